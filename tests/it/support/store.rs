//! The store without HTTP: a replica's store, users of their own, and generated observations.

use proptest::prelude::*;
use rejoin::domain::{
    Label, MIN_KEEP_PEERS, Metadata, Observation, PartitionPeriod, PeerId, PeerKey, RoomId,
    SavedState, Snapshot, Source, Timestamp, UserId,
};
use rejoin::store::{HistoryQuery, PartitionStep, ResumeQuery, Span, Store, StoreConfig};
use uuid::Uuid;

/// The peers that [`sample_observations`] speaks of.
pub(crate) const PEERS: usize = 4;

/// The room of each of the [`PEERS`].
pub(crate) fn room_of(peer: usize) -> &'static str {
    ["cave", "tower"][peer % 2]
}

/// The second in which each of the [`PEERS`] joined: 1 and 2 at the same instant.
pub(crate) fn joined_second_of(peer: usize) -> i64 {
    [0, 5, 5, 9][peer]
}

/// The store of one replica.
pub(crate) fn store(url: &str) -> Store {
    Store::new(
        url.parse().unwrap(),
        &StoreConfig {
            save_workers: 2,
            resume_workers: 2,
            other_connections: 2,
            ..StoreConfig::default()
        },
    )
}

/// Makes the partitions of this month and the next ones.
pub(crate) async fn make_partitions(store: &Store, now: Timestamp) {
    let make = async || store.make_partition(PartitionPeriod::Month, now).await;
    while make().await.unwrap() != PartitionStep::Finished {}
}

/// An instant, in seconds after one that all tests share.
pub(crate) fn at(second: i64) -> Timestamp {
    chrono::DateTime::from_timestamp(1_800_000_000 + second, 0)
        .unwrap()
        .into()
}

/// A user whom no other test and no other case has.
pub(crate) fn new_user() -> UserId {
    UserId::parse(&format!("user-{}", Uuid::new_v4().simple())).unwrap()
}

/// A resume of this user, without filters.
pub(crate) fn resume_query(user: &UserId) -> ResumeQuery {
    ResumeQuery {
        user_id: user.clone(),
        room_id: None,
        exclude_peer_id: None,
    }
}

/// Compacts all that is old enough, and returns how many rows of peers went.
pub(crate) async fn compact(store: &Store) -> u64 {
    let (mut deleted, mut position) = (0, None);
    loop {
        let step = store.compact_peers(MIN_KEEP_PEERS, position).await.unwrap();
        deleted += step.deleted;
        if step.position.is_none() {
            return deleted;
        }
        position = step.position;
    }
}

/// What a resume of this user returns.
pub(crate) async fn saved_state(store: &Store, user: &UserId) -> Option<SavedState> {
    store.resume(resume_query(user)).await.unwrap()
}

/// The history of this user within a span, as one page without other filters.
pub(crate) async fn history_within(store: &Store, user: &UserId, span: Span) -> Vec<Snapshot> {
    let query = HistoryQuery {
        user_id: user.clone(),
        room_id: None,
        peer_id: None,
        span,
        limit: 500,
        after: None,
    };
    store.history(&query).await.unwrap().snapshots
}

/// All history of this user.
pub(crate) async fn history(store: &Store, user: &UserId) -> Vec<Snapshot> {
    let all = Span::Between {
        since: None,
        until: None,
    };
    history_within(store, user, all).await
}

/// An observation of one of a user's few peers. The numbers are so small that times and contents
/// collide.
#[derive(Debug, Clone)]
pub(crate) struct SampleObservation {
    pub(crate) peer: usize,
    pub(crate) second: i64,
    pub(crate) metadata: Option<&'static str>,
}

impl SampleObservation {
    /// The same as an observation of this user.
    pub(crate) fn of(&self, user: &UserId) -> Observation {
        let room = RoomId::parse(room_of(self.peer)).unwrap();
        let peer = PeerId::parse(&format!("peer-{}", self.peer)).unwrap();
        Observation {
            key: PeerKey::new(user.clone(), room, peer).unwrap(),
            observed_at: at(self.second),
            source: Source::Room,
            metadata: self.metadata.map_or(Metadata::NONE, Metadata::from_text),
            name: Some(Label::new("seven")),
            role: Some(Label::new("player")),
            tracks: None,
            joined_at: Some(at(joined_second_of(self.peer))),
        }
    }
}

/// Up to 23 observations of one user's [`PEERS`], in any order of time.
pub(crate) fn sample_observations() -> impl Strategy<Value = Vec<SampleObservation>> {
    let metadata = prop::sample::select(vec![
        None,
        Some(""),
        Some("a"),
        Some("b"),
        Some("{\"hp\": 1}"),
    ]);
    let observation =
        (0..PEERS, 0i64..12, metadata).prop_map(|(peer, second, metadata)| SampleObservation {
            peer,
            second,
            metadata,
        });
    prop::collection::vec(observation, 1..24)
}
