//! Every failure that a client can see: one stable code each, the same in the body, the log line and the metric.
//!
//! The only place that knows status codes. Bodies are problem details (RFC 9457).

use std::time::Duration;

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

use crate::domain::Claim;
use crate::hms::HmsError;
use crate::service::{Refusal, RestoreError, SnapshotError};
use crate::store::StoreError;

macro_rules! codes {
    ($($(#[$doc:meta])* $name:ident = $code:literal $status:ident $title:literal,)+) => {
        /// The stable codes.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub(crate) enum Code {
            $($(#[$doc])* $name,)+
        }

        impl Code {
            /// All of them, for the API's description.
            pub(crate) const ALL: &[Self] = &[$(Self::$name,)+];

            pub(crate) fn as_str(self) -> &'static str {
                match self { $(Self::$name => $code,)+ }
            }

            pub(crate) fn status(self) -> StatusCode {
                match self { $(Self::$name => StatusCode::$status,)+ }
            }

            pub(crate) fn title(self) -> &'static str {
                match self { $(Self::$name => $title,)+ }
            }
        }
    };
}

codes! {
    InvalidRequest = "invalid-request" BAD_REQUEST "The request is not valid",
    Unauthorized = "unauthorized" UNAUTHORIZED "A valid API key is needed",
    Forbidden = "forbidden" FORBIDDEN "The API key may not do this",
    RoomNotActive = "room-not-active" NOT_FOUND "The room is not active",
    PeerNotFound = "peer-not-found" NOT_FOUND "The peer is not in the room",
    NoSavedMetadata = "no-saved-metadata" NOT_FOUND "There is nothing to resume",
    SavedMetadataTooOld = "saved-metadata-too-old" NOT_FOUND "What there is to resume is too old",
    NotDropped = "not-dropped" CONFLICT "The peer whose state is saved did not drop",
    PeerNotOfUser = "peer-not-of-user" CONFLICT "The peer belongs to another user",
    AlreadyClaimed = "already-claimed" CONFLICT "Somebody else has claimed the state",
    NotFound = "not-found" NOT_FOUND "There is nothing at this path",
    MethodNotAllowed = "method-not-allowed" METHOD_NOT_ALLOWED "The path does not take this method",
    PayloadTooLarge = "payload-too-large" PAYLOAD_TOO_LARGE "The body is too large",
    PeerWithoutUserId = "peer-without-user-id" UNPROCESSABLE_ENTITY "The peer has no user_id to keep its metadata by",
    MetadataTooLarge = "metadata-too-large" UNPROCESSABLE_ENTITY "The metadata is larger than what is kept",
    MetadataNotRepresentable = "metadata-not-representable" UNPROCESSABLE_ENTITY "The metadata is not Unicode text",
    UpstreamUnauthorized = "upstream-unauthorized" BAD_GATEWAY "100ms refused the service's credentials",
    UpstreamBadResponse = "upstream-bad-response" BAD_GATEWAY "100ms gave an unexpected answer",
    UpstreamUnavailable = "upstream-unavailable" BAD_GATEWAY "100ms is unavailable",
    UpstreamTimeout = "upstream-timeout" GATEWAY_TIMEOUT "100ms did not answer in time",
    UpstreamRateLimited = "upstream-rate-limited" SERVICE_UNAVAILABLE "100ms limits the rate",
    DatabaseUnavailable = "database-unavailable" SERVICE_UNAVAILABLE "The database does not answer",
    Overloaded = "overloaded" SERVICE_UNAVAILABLE "The service has too much to do",
    Internal = "internal" INTERNAL_SERVER_ERROR "Something went wrong in the service",
}

/// A failure on its way to the client.
#[derive(Debug, Clone)]
pub(crate) struct ApiError {
    code: Code,
    detail: String,
    retry_after: Option<Duration>,
    claim: Option<Box<Claim>>,
}

impl ApiError {
    pub(crate) fn new(code: Code, detail: impl Into<String>) -> Self {
        Self {
            code,
            detail: detail.into(),
            retry_after: None,
            claim: None,
        }
    }

    pub(crate) fn invalid(detail: impl Into<String>) -> Self {
        Self::new(Code::InvalidRequest, detail)
    }

    /// Says nothing of what went wrong; that is in the log.
    pub(crate) fn internal() -> Self {
        Self::new(
            Code::Internal,
            "The fault is the service's. The log has more under this request_id.",
        )
    }

    fn retry_after(mut self, wait: Duration) -> Self {
        self.retry_after = Some(wait);
        self
    }

    pub(crate) fn code(&self) -> Code {
        self.code
    }

    pub(crate) fn detail(&self) -> &str {
        &self.detail
    }

    /// The answer: problem details that name the request.
    pub(crate) fn render(&self, request_id: &str) -> Response {
        let problem = Problem {
            kind: "about:blank",
            title: self.code.title(),
            status: self.code.status().as_u16(),
            detail: &self.detail,
            code: self.code.as_str(),
            request_id,
        };
        let problem = ClaimProblem {
            problem,
            claim: self.claim.as_deref(),
        };
        let body = serde_json::to_vec(&problem).expect("strings are always JSON");
        let content_type = HeaderValue::from_static("application/problem+json");
        let mut response = (
            self.code.status(),
            [(header::CONTENT_TYPE, content_type)],
            body,
        )
            .into_response();
        let headers = response.headers_mut();
        if let Some(wait) = self.retry_after {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(whole_seconds(wait)));
        }
        if self.code == Code::Unauthorized {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}

/// Rounded up, and at least one: whoever waits so long finds the wait over.
fn whole_seconds(wait: Duration) -> u64 {
    wait.as_secs() + u64::from(wait.subsec_nanos() > 0 || wait.is_zero())
}

/// Carries the failure to `http::observe`, which knows the request's id and writes the body.
impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let mut response = self.code.status().into_response();
        response.extensions_mut().insert(self);
        response
    }
}

/// Problem details as in RFC 9457.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Problem<'a> {
    #[serde(rename = "type")]
    kind: &'a str,
    /// What the code means.
    title: &'a str,
    status: u16,
    /// What happened this time.
    detail: &'a str,
    /// Stable; the thing to switch on.
    code: &'a str,
    /// Also in the `x-request-id` header and in the service's log.
    request_id: &'a str,
}

/// Problem details, and of `already-claimed` the claim that stands.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ClaimProblem<'a> {
    #[serde(flatten)]
    problem: Problem<'a>,
    /// Who has the state, and since when.
    #[serde(skip_serializing_if = "Option::is_none")]
    claim: Option<&'a Claim>,
}

impl From<HmsError> for ApiError {
    fn from(error: HmsError) -> Self {
        let detail = error.to_string();
        match error {
            HmsError::RoomNotActive => Self::new(Code::RoomNotActive, detail),
            HmsError::PeerNotFound => Self::new(Code::PeerNotFound, detail),
            HmsError::Unauthorized => Self::new(Code::UpstreamUnauthorized, detail),
            HmsError::RateLimited { retry_after } => {
                Self::new(Code::UpstreamRateLimited, detail).retry_after(retry_after)
            }
            HmsError::Timeout => Self::new(Code::UpstreamTimeout, detail),
            HmsError::Unavailable => Self::new(Code::UpstreamUnavailable, detail),
            HmsError::BadResponse(_) => Self::new(Code::UpstreamBadResponse, detail),
        }
    }
}

impl From<StoreError> for ApiError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Unavailable(why) => {
                tracing::warn!(why, "database unavailable");
                Self::new(
                    Code::DatabaseUnavailable,
                    "The database does not answer. Try again shortly.",
                )
                .retry_after(Duration::from_secs(1))
            }
            StoreError::Overloaded { retry_after } => Self::new(
                Code::Overloaded,
                "Too much is waiting for the database. Try again shortly.",
            )
            .retry_after(retry_after),
            StoreError::Refused(refusal) => {
                tracing::error!(error = %refusal, "the database refused a statement");
                Self::internal()
            }
        }
    }
}

impl From<Refusal> for ApiError {
    fn from(refusal: Refusal) -> Self {
        let code = match refusal {
            Refusal::NoUserId | Refusal::BadUserId(_) => Code::PeerWithoutUserId,
            Refusal::BadPeerId(_) => Code::UpstreamBadResponse,
            Refusal::KeyTooLarge(_) => Code::InvalidRequest,
            Refusal::MetadataTooLarge { .. } => Code::MetadataTooLarge,
            Refusal::NotRepresentable(_) => Code::MetadataNotRepresentable,
        };
        Self::new(code, refusal.to_string())
    }
}

impl From<SnapshotError> for ApiError {
    fn from(error: SnapshotError) -> Self {
        match error {
            SnapshotError::Upstream(error) => error.into(),
            SnapshotError::Refused(refusal) => refusal.into(),
            SnapshotError::Store(error) => error.into(),
        }
    }
}

impl From<RestoreError> for ApiError {
    fn from(error: RestoreError) -> Self {
        let detail = error.to_string();
        match error {
            RestoreError::Upstream(error) => error.into(),
            RestoreError::Store(error) => error.into(),
            RestoreError::Refused(refusal) => refusal.into(),
            RestoreError::NotOfUser => Self::new(Code::PeerNotOfUser, detail),
            RestoreError::RoomUnknown => Self::invalid(detail),
            RestoreError::NothingSaved => Self::new(Code::NoSavedMetadata, detail),
            RestoreError::AlreadyClaimed(claim) => Self {
                claim: Some(Box::new(claim)),
                ..Self::new(Code::AlreadyClaimed, detail)
            },
        }
    }
}
