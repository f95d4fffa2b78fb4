//! Snapshots: peers are fetched from 100ms now and saved.

use crate::domain::{
    Observation, PeerId, PeerKey, Report, RoleName, RoomId, Source, Timestamp, Unstorable, UserId,
};
use crate::hms::{Fetched, HmsError, ListPermit, PeerList, UpstreamPeer};
use crate::service::Service;
use crate::store::{Saved, StoreError};

/// How many peers of a room are saved at a time: enough for full batches, and few enough to report
/// progress. Of large peers there are fewer: the portions of the list are bounded in bytes.
const PEERS_PER_SAVE: usize = 2_000;

/// Why a snapshot failed.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    /// The peer or the room could not be fetched.
    #[error(transparent)]
    Upstream(#[from] HmsError),
    /// The peer cannot be stored.
    #[error(transparent)]
    Unstorable(#[from] Unstorable),
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// The snapshot of a room.
#[derive(Debug)]
pub struct RoomSnapshot {
    /// When 100ms was asked.
    pub observed_at: Timestamp,
    /// The peers that were saved.
    pub saved: Vec<Saved>,
    /// The ids of the peers that were not saved, and why.
    pub skipped: Vec<(String, SnapshotError)>,
    /// What this takes of the memory for large lists, until it is dropped.
    pub permit: ListPermit,
}

/// The peers of a room that were fetched, and are saved part by part.
pub struct FetchedRoom {
    service: Service,
    room_id: RoomId,
    observed_at: Timestamp,
    list: PeerList,
    /// Those that were read of the list and are not saved yet.
    read: Vec<UpstreamPeer>,
    report: fn(Observation) -> Report,
}

impl RoomSnapshot {
    /// A snapshot of nothing yet, of a room that was asked for then.
    pub(super) fn at(observed_at: Timestamp) -> Self {
        Self {
            observed_at,
            saved: Vec::new(),
            skipped: Vec::new(),
            permit: ListPermit::default(),
        }
    }
}

impl Service {
    /// Fetches a peer now and saves it.
    ///
    /// # Errors
    /// [`SnapshotError`].
    pub async fn snapshot_peer(
        &self,
        room_id: &RoomId,
        peer_id: &PeerId,
    ) -> Result<Saved, SnapshotError> {
        let fetched = self.hms.peer(room_id, peer_id).await?;
        let observation =
            self.observation(room_id, fetched.sent_at, Source::Peer, fetched.value)?;
        Ok(self.store.save(observation).await?)
    }

    /// Fetches the peers of a room now and saves all that can be stored.
    ///
    /// Calls `progress` with the number of peers that are done, and of all.
    ///
    /// # Errors
    /// [`SnapshotError`] when the room could not be fetched, or the database is away. Another
    /// attempt is harmless. Errors of single peers are in the result.
    pub async fn snapshot_room(
        &self,
        room_id: &RoomId,
        user_id: Option<&UserId>,
        role: Option<&RoleName>,
        progress: impl Fn(usize, usize),
    ) -> Result<RoomSnapshot, SnapshotError> {
        let mut fetched = self.fetch_room(room_id, user_id, role).await?;
        let mut snapshot = RoomSnapshot::at(fetched.observed_at());
        let all = fetched.len();
        while let Some(part) = fetched.save_next().await? {
            snapshot.saved.extend(part.saved);
            snapshot.skipped.extend(part.skipped);
            progress(snapshot.saved.len() + snapshot.skipped.len(), all);
        }
        snapshot.permit = fetched.into_permit();
        Ok(snapshot)
    }

    /// Fetches the peers of a room now, to be saved. Those of one user are few, and are saved with
    /// the exact time; of all others, one that is as it was a moment ago is not written again.
    ///
    /// # Errors
    /// [`SnapshotError`].
    pub async fn fetch_room(
        &self,
        room_id: &RoomId,
        user_id: Option<&UserId>,
        role: Option<&RoleName>,
    ) -> Result<FetchedRoom, SnapshotError> {
        let role = role.map(RoleName::as_str);
        let Fetched { sent_at, value } = self.hms.peers(room_id, user_id, role).await?;
        Ok(FetchedRoom {
            service: self.clone(),
            room_id: room_id.clone(),
            observed_at: sent_at,
            list: value,
            read: Vec::new(),
            report: if user_id.is_some() {
                Report::Observed
            } else {
                Report::Looked
            },
        })
    }

    /// Saves peers of a room that were fetched then from there, each as such a report.
    pub(super) async fn save_peers(
        &self,
        room_id: &RoomId,
        (source, observed_at): (Source, Timestamp),
        peers: Vec<UpstreamPeer>,
        report: fn(Observation) -> Report,
    ) -> Result<RoomSnapshot, StoreError> {
        let mut snapshot = RoomSnapshot::at(observed_at);
        let mut observations = Vec::with_capacity(peers.len());
        for peer in peers {
            let id = peer.peer_id.clone();
            match self.observation(room_id, observed_at, source, peer) {
                Ok(observation) => observations.push(observation),
                Err(unstorable) => snapshot.skipped.push((id, unstorable.into())),
            }
        }
        let ids: Vec<PeerId> = observations
            .iter()
            .map(|observation| observation.key.peer_id.clone())
            .collect();
        let reports = observations.into_iter().map(report).collect();
        for (id, result) in ids.iter().zip(self.store.save_all(reports).await) {
            match result {
                Ok(saved) => snapshot.saved.push(saved),
                Err(error @ StoreError::Refused(_)) => {
                    snapshot.skipped.push((id.to_string(), error.into()));
                }
                Err(outage) => return Err(outage),
            }
        }
        Ok(snapshot)
    }

    /// The observation of a peer that was fetched, if it can be stored.
    pub(super) fn observation(
        &self,
        room_id: &RoomId,
        observed_at: Timestamp,
        source: Source,
        peer: UpstreamPeer,
    ) -> Result<Observation, Unstorable> {
        let key = key_of(room_id, &peer)?;
        Ok(Observation {
            key,
            observed_at,
            source,
            metadata: self.storage_policy.check_metadata(peer.metadata?)?,
            name: self.storage_policy.check_name(peer.name),
            role: peer.role,
            tracks: peer.tracks,
            joined_at: peer.joined_at,
        })
    }
}

impl FetchedRoom {
    /// When 100ms was asked.
    pub fn observed_at(&self) -> Timestamp {
        self.observed_at
    }

    /// How many peers there are.
    pub fn len(&self) -> usize {
        self.list.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// Saves the next of them, and returns what came of these; none where all are saved.
    ///
    /// # Errors
    /// [`SnapshotError`]; what was saved until then stays so.
    pub async fn save_next(&mut self) -> Result<Option<RoomSnapshot>, SnapshotError> {
        if self.read.is_empty() {
            let Some(peers) = self.list.next_portion().await? else {
                return Ok(None);
            };
            self.read = peers;
        }
        let count = self.read.len().min(PEERS_PER_SAVE);
        let peers = self.read.drain(..count).collect();
        let from = (Source::Room, self.observed_at);
        let saved = self
            .service
            .save_peers(&self.room_id, from, peers, self.report);
        Ok(Some(saved.await?))
    }

    /// What the list takes of the memory for large lists.
    pub fn into_permit(self) -> ListPermit {
        self.list.into_permit()
    }
}

/// The key of a peer that was fetched.
pub(super) fn key_of(room_id: &RoomId, peer: &UpstreamPeer) -> Result<PeerKey, Unstorable> {
    if peer.user_id.is_empty() {
        return Err(Unstorable::NoUserId);
    }
    let user_id = UserId::parse(&peer.user_id).map_err(Unstorable::BadUserId)?;
    let peer_id = PeerId::parse(&peer.peer_id).map_err(Unstorable::BadPeerId)?;
    Ok(PeerKey::new(user_id, room_id.clone(), peer_id)?)
}
