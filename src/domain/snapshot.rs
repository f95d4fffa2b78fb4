//! Snapshots, the rows of history; and the saved state, which a resume returns.

use sha2::{Digest, Sha256};
use uuid::Uuid;

use super::{
    ChangeId, Label, Metadata, Observation, PeerKey, Source, Status, Timestamp, Tracks,
    UserPresence,
};

/// A row of history: one content of one peer, and from when to when it was observed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    /// `UUIDv7`, ordered by `first_observed_at`.
    pub id: Uuid,
    /// The peer.
    pub key: PeerKey,
    /// The display name; none where the source does not mention it.
    pub name: Option<Label>,
    /// The role; none where no source mentioned it.
    pub role: Option<Label>,
    /// The exact metadata.
    pub metadata: Metadata,
    /// The tracks; none where the source has none.
    pub tracks: Option<Tracks>,
    /// When the peer joined.
    pub joined_at: Option<Timestamp>,
    /// When this content was first observed.
    pub first_observed_at: Timestamp,
    /// When this content was last observed.
    pub last_observed_at: Timestamp,
    /// Where the first observation of this content comes from.
    pub source: Source,
}

impl Snapshot {
    /// The row that this observation alone makes.
    pub fn first(observation: &Observation) -> Self {
        Self {
            id: snapshot_id(observation),
            key: observation.key.clone(),
            name: observation.name.clone(),
            role: observation.role.clone(),
            metadata: observation.metadata.clone(),
            tracks: observation.tracks.clone(),
            joined_at: observation.joined_at,
            first_observed_at: observation.observed_at,
            last_observed_at: observation.observed_at,
            source: observation.source,
        }
    }
}

/// The saved state of a user: the state of the peer whose metadata changed last.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SavedState {
    /// The peer.
    pub key: PeerKey,
    /// Its current snapshot.
    pub snapshot_id: Uuid,
    /// The exact metadata; empty after a clear.
    pub metadata: Metadata,
    /// The change that made it.
    pub change: ChangeId,
    /// When that change counts as made.
    pub changed_at: Timestamp,
    /// The display name.
    pub name: Option<Label>,
    /// The role.
    pub role: Option<Label>,
    /// When the peer joined.
    pub joined_at: Option<Timestamp>,
    /// When the peer was last observed with this state.
    pub last_observed_at: Timestamp,
    /// Whether the peer is connected, and which peers of the user are.
    pub presence: UserPresence,
}

impl SavedState {
    /// When the state's peer dropped; none where it did not, or its drop was not reported yet.
    pub fn dropped_at(&self) -> Option<Timestamp> {
        let peer = &self.presence.peer;
        if peer.status == Status::Dropped {
            peer.since
        } else {
            None
        }
    }
}

/// The id of the snapshot that this observation makes: a `UUIDv7` of its time, whose random bits
/// are a digest of the peer, the time and the content.
///
/// The same observation has the same id through whichever replica and however often it comes, so it
/// makes one row without a table of the ids so far.
pub fn snapshot_id(observation: &Observation) -> Uuid {
    let PeerKey {
        user_id,
        room_id,
        peer_id,
    } = &observation.key;
    let micros = observation.observed_at.to_utc().timestamp_micros();
    let parts = [
        Some(user_id.as_str().as_bytes()),
        Some(room_id.as_str().as_bytes()),
        Some(peer_id.as_str().as_bytes()),
        Some(&micros.to_be_bytes()),
        observation.metadata.raw().map(str::as_bytes),
        observation
            .name
            .as_ref()
            .map(|name| name.as_str().as_bytes()),
        observation
            .role
            .as_ref()
            .map(|role| role.as_str().as_bytes()),
        observation
            .tracks
            .as_ref()
            .map(|tracks| tracks.as_str().as_bytes()),
    ];
    let mut digest = Sha256::new();
    for part in parts {
        // Each part after its length, so that no two different lists of parts are the same bytes.
        let length = part.map_or(u64::MAX, |bytes| bytes.len() as u64);
        digest.update(length.to_be_bytes());
        digest.update(part.unwrap_or_default());
    }
    let random = digest.finalize()[..10]
        .try_into()
        .expect("a SHA-256 digest is longer than 10 bytes");
    let millis = micros.max(0).unsigned_abs() / 1000;
    uuid::Builder::from_unix_timestamp_millis(millis, &random).into_uuid()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{PeerId, RoomId, UserId};

    #[test]
    fn the_same_observation_has_the_same_id_and_another_has_another() {
        let at =
            |second: i64| Timestamp::from(chrono::DateTime::from_timestamp(second, 0).unwrap());
        let key = PeerKey::new(
            UserId::parse("player-7").unwrap(),
            RoomId::parse("room").unwrap(),
            PeerId::parse("peer").unwrap(),
        )
        .unwrap();
        let one = Observation {
            name: Some(Label::new("seven")),
            role: Some(Label::new("player")),
            tracks: Tracks::from_wire("{}"),
            ..Observation::new(key, at(1), Source::Peer, Metadata::from_text("a"))
        };
        assert_eq!(snapshot_id(&one), snapshot_id(&one.clone()));
        assert_eq!(snapshot_id(&one).get_version_num(), 7);
        let others = [
            Observation {
                observed_at: at(2),
                ..one.clone()
            },
            Observation {
                metadata: Metadata::from_text("b"),
                ..one.clone()
            },
            Observation {
                metadata: Metadata::NONE,
                ..one.clone()
            },
            Observation {
                name: None,
                ..one.clone()
            },
            Observation {
                tracks: None,
                ..one.clone()
            },
            Observation {
                key: PeerKey {
                    peer_id: PeerId::parse("other").unwrap(),
                    ..one.key.clone()
                },
                ..one.clone()
            },
        ];
        for other in others {
            assert_ne!(snapshot_id(&other), snapshot_id(&one), "{other:?}");
        }
    }

    #[test]
    fn ids_sort_by_the_millisecond_of_the_observation() {
        let key = PeerKey::new(
            UserId::parse("player-7").unwrap(),
            RoomId::parse("room").unwrap(),
            PeerId::parse("peer").unwrap(),
        )
        .unwrap();
        for (time, expected) in [
            ("2027-01-15T08:00:00.123456Z", (1_800_000_000, 123_000_000)),
            ("1970-01-01T00:00:01Z", (1, 0)),
            ("1960-01-01T00:00:00Z", (0, 0)),
        ] {
            let at = Timestamp::parse(time).unwrap();
            let observation = Observation::new(key.clone(), at, Source::Room, Metadata::NONE);
            let timestamp = snapshot_id(&observation).get_timestamp().unwrap();
            assert_eq!(timestamp.to_unix(), expected, "{time}");
        }
    }

    #[test]
    fn only_a_reported_drop_has_a_time_of_the_drop() {
        let at = Timestamp::parse("2027-01-15T08:00:00Z");
        for (status, expected) in [
            (Status::Dropped, at),
            (Status::Left, None),
            (Status::Kicked, None),
            (Status::Ended, None),
            (Status::Connected, None),
            (Status::Unknown, None),
        ] {
            let mut presence = UserPresence::default();
            presence.peer.status = status;
            presence.peer.since = at;
            let state = SavedState {
                key: PeerKey::new(
                    UserId::parse("player-7").unwrap(),
                    RoomId::parse("room").unwrap(),
                    PeerId::parse("peer").unwrap(),
                )
                .unwrap(),
                snapshot_id: Uuid::nil(),
                metadata: Metadata::NONE,
                change: ChangeId::from_uuid(Uuid::nil()),
                changed_at: Timestamp::default(),
                name: None,
                role: None,
                joined_at: None,
                last_observed_at: Timestamp::default(),
                presence,
            };
            assert_eq!(state.dropped_at(), expected, "{status:?}");
        }
    }
}
