//! What the service does, without HTTP: fetch and keep peers, give states and history back.
//!
//! The request handlers and the commands both call this. Nothing here holds a database connection while 100ms is asked.
//! `restore` sends states back and has them claimed, `auto` does so by itself when a player joins again.

mod restore;
mod webhook;

use crate::domain::{
    Clock, KeyTooLarge, Label, Metadata, NotRepresentable, Observation, PeerId, PeerKey, RoleName,
    RoomId, SavedState, Source, Timestamp, UserId,
};
use crate::hms::{self, Fetched, HmsError, UpstreamPeer};
use crate::store::{HistoryPage, HistoryQuery, ResumeQuery, Saved, Store, StoreError};
pub use restore::{
    Progress, RestoreError, RestorePolicy, RestoreRequest, RestoreResult, RestoreWorker, Waiting,
    When,
};
pub use webhook::{Outcome, RestoreScheduling, WebhookError, WebhookReceiver};

/// What is kept of a peer.
#[derive(Debug, Clone, Copy)]
pub struct StoragePolicy {
    /// The largest metadata that is kept, in bytes.
    pub max_metadata_bytes: usize,
    /// Whether display names are kept.
    pub store_names: bool,
}

/// Why a peer that 100ms told of was not kept.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unstorable {
    /// Nothing to key it by.
    #[error("the peer has no user_id, so its metadata cannot be kept for a user")]
    NoUserId,
    /// A user id that is no id.
    #[error("the peer's user_id cannot be kept: {0}")]
    BadUserId(crate::domain::InvalidId),
    /// A peer id that is no id.
    #[error("the peer's id cannot be kept: {0}")]
    BadPeerId(crate::domain::InvalidId),
    /// Ids too large for an index.
    #[error(transparent)]
    KeyTooLarge(#[from] KeyTooLarge),
    /// More metadata than the setting allows.
    #[error(
        "the metadata has {size} bytes, and at most {max} are kept (REJOIN_MAX_METADATA_BYTES)"
    )]
    MetadataTooLarge {
        /// Its size in bytes.
        size: usize,
        /// The most that is kept.
        max: usize,
    },
    /// Metadata that no text is equal to.
    #[error(transparent)]
    NotRepresentable(#[from] NotRepresentable),
}

/// Why a snapshot failed.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    /// 100ms.
    #[error(transparent)]
    Upstream(#[from] HmsError),
    /// The peer itself.
    #[error(transparent)]
    Unstorable(#[from] Unstorable),
    /// The database.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// What came of the snapshot of a room.
#[derive(Debug)]
pub struct RoomSnapshot {
    /// When 100ms was asked.
    pub observed_at: Timestamp,
    /// The peers that were kept.
    pub saved: Vec<Saved>,
    /// The peers that were not, by id, and why.
    pub skipped: Vec<(String, SnapshotError)>,
}

/// How many peers of a room are kept at a time: many enough for full batches, few enough to show progress.
const PORTION: usize = 2_000;

/// The service.
#[derive(Clone)]
pub struct Service {
    hms: hms::Client,
    store: Store,
    clock: Clock,
    limits: StoragePolicy,
}

impl Service {
    /// A service that asks this upstream and keeps in this store.
    pub fn new(hms: hms::Client, store: Store, clock: Clock, limits: StoragePolicy) -> Self {
        Self {
            hms,
            store,
            clock,
            limits,
        }
    }

    /// The present instant.
    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// Fetches a peer now and keeps it.
    ///
    /// # Errors
    /// [`SnapshotError`].
    pub async fn snapshot_peer(
        &self,
        room: &RoomId,
        peer: &PeerId,
    ) -> Result<Saved, SnapshotError> {
        let fetched = self.hms.peer(room, peer).await?;
        let observation = self.observation(room, fetched.sent_at, Source::Peer, fetched.value)?;
        Ok(self.store.save(observation).await?)
    }

    /// Fetches the peers of a room now and keeps all that can be kept.
    ///
    /// # Errors
    /// [`SnapshotError`] where the room could not be fetched, or the database went away; asking again is harmless. What is
    /// wrong with single peers is in the answer.
    ///
    /// `progress` is told how many peers were kept so far, and how many there are.
    pub async fn snapshot_room(
        &self,
        room: &RoomId,
        user: Option<&UserId>,
        role: Option<&RoleName>,
        progress: impl Fn(usize, usize),
    ) -> Result<RoomSnapshot, SnapshotError> {
        let fetched = self
            .hms
            .peers(room, user, role.map(RoleName::as_str))
            .await?;
        Ok(self.keep(room, Source::Room, fetched, progress).await?)
    }

    /// Keeps peers of a room that were fetched.
    async fn keep(
        &self,
        room: &RoomId,
        source: Source,
        fetched: Fetched<Vec<UpstreamPeer>>,
        progress: impl Fn(usize, usize),
    ) -> Result<RoomSnapshot, StoreError> {
        let observed_at = fetched.sent_at;
        let (mut observations, mut skipped) = (Vec::new(), Vec::new());
        for peer in fetched.value {
            let id = peer.peer_id.clone();
            match self.observation(room, observed_at, source, peer) {
                Ok(observation) => observations.push(observation),
                Err(refusal) => skipped.push((id, refusal.into())),
            }
        }
        let mut saved = Vec::with_capacity(observations.len());
        let all = observations.len();
        while !observations.is_empty() {
            let portion: Vec<Observation> = observations
                .drain(..observations.len().min(PORTION))
                .collect();
            let ids: Vec<PeerId> = portion
                .iter()
                .map(|observation| observation.key.peer_id.clone())
                .collect();
            for (id, result) in ids.into_iter().zip(self.store.save_all(portion).await) {
                match result {
                    Ok(kept) => saved.push(kept),
                    Err(error @ StoreError::Refused(_)) => {
                        skipped.push((id.to_string(), error.into()))
                    }
                    Err(outage) => return Err(outage),
                }
            }
            progress(all - observations.len(), all);
        }
        Ok(RoomSnapshot {
            observed_at,
            saved,
            skipped,
        })
    }

    /// What is kept of a peer that 100ms told of.
    fn observation(
        &self,
        room: &RoomId,
        observed_at: Timestamp,
        source: Source,
        peer: UpstreamPeer,
    ) -> Result<Observation, Unstorable> {
        Ok(Observation {
            key: key_of(room, &peer)?,
            observed_at,
            source,
            metadata: self.bounded(peer.metadata?)?,
            name: peer.name.filter(|_: &Label| self.limits.store_names),
            role: peer.role,
            tracks: peer.tracks,
            joined_at: peer.joined_at,
        })
    }

    fn bounded(&self, metadata: Metadata) -> Result<Metadata, Unstorable> {
        let (size, max) = (metadata.len(), self.limits.max_metadata_bytes);
        if size > max {
            Err(Unstorable::MetadataTooLarge { size, max })
        } else {
            Ok(metadata)
        }
    }

    /// The saved state of a user, or none where there is nothing to resume: never set, or cleared.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn resume(&self, query: ResumeQuery) -> Result<Option<SavedState>, StoreError> {
        Ok(self
            .store
            .resume(query)
            .await?
            .filter(|state| !state.metadata.is_empty()))
    }

    /// A page of a user's history.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn history(&self, query: &HistoryQuery) -> Result<HistoryPage, StoreError> {
        self.store.history(query).await
    }

    /// Whether requests can be served: the database answers.
    ///
    /// # Errors
    /// [`StoreError`] when it does not.
    pub async fn ready(&self) -> Result<(), StoreError> {
        self.store.ping().await
    }

    /// Connections to the database: all, and those in use.
    pub fn connections(&self) -> (u32, u32) {
        self.store.connections()
    }
}

fn key_of(room: &RoomId, peer: &UpstreamPeer) -> Result<PeerKey, Unstorable> {
    if peer.user_id.is_empty() {
        return Err(Unstorable::NoUserId);
    }
    let user_id = UserId::parse(&peer.user_id).map_err(Unstorable::BadUserId)?;
    let peer_id = PeerId::parse(&peer.peer_id).map_err(Unstorable::BadPeerId)?;
    Ok(PeerKey::new(user_id, room.clone(), peer_id)?)
}
