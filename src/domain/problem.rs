//! The problem codes: the stable names of every failure that a client can see.
//!
//! The same in answers, log lines, metrics and the database. `http` maps them to statuses and
//! titles.

use super::named::named;

named! {
    /// The stable name of a failure, in answers, log lines, metrics and the database.
    pub enum ProblemCode {
        /// The request is not valid.
        InvalidRequest = "invalid-request",
        /// The request has no valid API key or webhook secret.
        Unauthorized = "unauthorized",
        /// The API key lacks the scope.
        Forbidden = "forbidden",
        /// The room has no session now.
        RoomNotActive = "room-not-active",
        /// The peer is not in the room.
        PeerNotFound = "peer-not-found",
        /// The user has no saved state.
        NoSavedMetadata = "no-saved-metadata",
        /// The saved state is older than the caller accepts.
        SavedMetadataTooOld = "saved-metadata-too-old",
        /// The peer of the saved state did not drop.
        NotDropped = "not-dropped",
        /// The peer belongs to another user.
        PeerNotOfUser = "peer-not-of-user",
        /// Somebody else has claimed the saved state.
        AlreadyClaimed = "already-claimed",
        /// The room is not watched.
        RoomNotWatched = "room-not-watched",
        /// There is no such path.
        NotFound = "not-found",
        /// The path does not support the method.
        MethodNotAllowed = "method-not-allowed",
        /// The body of the request is too large.
        PayloadTooLarge = "payload-too-large",
        /// The peer has no `user_id` that can be stored.
        PeerWithoutUserId = "peer-without-user-id",
        /// The metadata is larger than the setting allows.
        MetadataTooLarge = "metadata-too-large",
        /// The metadata is not Unicode text.
        MetadataNotRepresentable = "metadata-not-representable",
        /// 100ms rejected the credentials of the service.
        UpstreamUnauthorized = "upstream-unauthorized",
        /// 100ms gave an answer that it does not document.
        UpstreamBadResponse = "upstream-bad-response",
        /// 100ms could not be reached, or failed.
        UpstreamUnavailable = "upstream-unavailable",
        /// 100ms did not answer in time.
        UpstreamTimeout = "upstream-timeout",
        /// 100ms limits the rate.
        UpstreamRateLimited = "upstream-rate-limited",
        /// The database does not answer.
        DatabaseUnavailable = "database-unavailable",
        /// The queues of the service are full.
        Overloaded = "overloaded",
        /// A fault of the service.
        Internal = "internal",
    }
}

impl ProblemCode {
    /// The code of that name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|code| code.as_str() == name)
    }
}
