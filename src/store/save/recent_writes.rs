//! The states that this process wrote last: a peer that was written recently need not be read
//! before its next write.
//!
//! Nothing is ever answered from here. A recent write is only what the next write *expects* as its
//! baseline, and the conditional write shows whether it was right: another replica, an admin or a
//! failover may have changed the peer meanwhile. Then it is read.

use std::sync::{Mutex, PoisonError};

use hashlink::LruCache;

use super::baseline::VersionedState;
use crate::domain::{Label, PeerKey, PeerState, Tracks};

/// How much is stored, in bytes.
const CAPACITY_BYTES: usize = 16 << 20;
/// What an entry takes beside its texts, in bytes: two structs, and the counts of a dozen shared
/// texts.
const ENTRY_BYTES: usize = 900;

/// A hit rate of one. Rates are stored as integers, in these parts.
const FULL_HIT_RATE: u16 = 1 << 12;
/// Below this hit rate nothing is expected. Where many replicas write the same peers, a write that
/// fails costs more than the read that it saves.
const MIN_HIT_RATE: u16 = FULL_HIT_RATE / 4 * 3;
/// About how many lookups the hit rate covers.
const HIT_RATE_WINDOW: u16 = 64;

/// The states that this process wrote last.
pub(super) struct RecentWrites(Mutex<Inner>);

struct Inner {
    states: LruCache<PeerKey, VersionedState>,
    bytes: usize,
    hit_rate: u16,
}

impl RecentWrites {
    pub(super) fn new() -> Self {
        Self(Mutex::new(Inner {
            states: LruCache::new_unbounded(),
            bytes: 0,
            hit_rate: FULL_HIT_RATE,
        }))
    }

    /// The state of this peer when this process wrote it last, unless the hit rate is too low.
    pub(super) fn get(&self, key: &PeerKey) -> Option<VersionedState> {
        self.with(|inner| {
            if inner.hit_rate < MIN_HIT_RATE {
                None
            } else {
                inner.states.get(key).cloned()
            }
        })
    }

    /// Stores a state that was written.
    pub(super) fn insert(&self, key: PeerKey, written: VersionedState) {
        self.with(|inner| {
            inner.remove(&key);
            inner.bytes += weight(&key, &written.state);
            inner.states.insert(key, written);
            while inner.bytes > CAPACITY_BYTES
                && let Some((key, oldest)) = inner.states.remove_lru()
            {
                inner.bytes -= weight(&key, &oldest.state);
            }
        });
    }

    /// Compares the entry of a peer, if there is one, to what the database holds. A wrong entry is
    /// removed.
    pub(super) fn verify(&self, key: &PeerKey, stored: Option<&VersionedState>) {
        self.with(|inner| {
            if let Some(expected) = inner.states.peek(key) {
                let is_hit = stored.is_some_and(|stored| stored.version == expected.version);
                inner.record(is_hit);
                if !is_hit {
                    inner.remove(key);
                }
            }
        });
    }

    /// Records that an expected baseline was right.
    pub(super) fn record_hit(&self) {
        self.with(|inner| inner.record(true));
    }

    fn with<T>(&self, work: impl FnOnce(&mut Inner) -> T) -> T {
        work(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Inner {
    fn remove(&mut self, key: &PeerKey) {
        if let Some(removed) = self.states.remove(key) {
            self.bytes -= weight(key, &removed.state);
        }
    }

    fn record(&mut self, is_hit: bool) {
        self.hit_rate = if is_hit {
            self.hit_rate + (FULL_HIT_RATE - self.hit_rate).div_ceil(HIT_RATE_WINDOW)
        } else {
            self.hit_rate - self.hit_rate / HIT_RATE_WINDOW
        };
    }
}

/// About what an entry takes, in bytes.
fn weight(key: &PeerKey, state: &PeerState) -> usize {
    let length = |label: &Option<Label>| label.as_ref().map_or(0, |label| label.as_str().len());
    let name = state
        .current
        .as_ref()
        .map_or(0, |current| length(&current.name));
    let end = state.presence.ended.as_ref();
    let reason = end.map_or(0, |end| length(&end.reason));
    let labels = name + reason + length(&state.role) + length(&state.presence.session_id);
    let metadata = state
        .current
        .as_ref()
        .map_or(0, |current| current.metadata.len());
    let tracks = state
        .tracks
        .as_ref()
        .map_or(0, |tracks: &Tracks| tracks.as_str().len());
    ENTRY_BYTES + key.size() + labels + tracks + metadata
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{Metadata, Observation, PeerId, RoomId, Rules, Source, UserId};

    fn written(peer: usize, version: i64, metadata: &str) -> (PeerKey, VersionedState) {
        let (user_id, room_id) = (
            UserId::parse("player-7").unwrap(),
            RoomId::parse("cave").unwrap(),
        );
        let peer_id = PeerId::parse(&format!("peer-{peer}")).unwrap();
        let key = PeerKey::new(user_id, room_id, peer_id).unwrap();
        let at = chrono::DateTime::from_timestamp(1_800_000_000, 0)
            .unwrap()
            .into();
        let observation = Observation::new(key, at, Source::Room, Metadata::from_text(metadata));
        let key = observation.key.clone();
        let mut state = PeerState::default();
        state.apply(&observation.into(), &Rules::default());
        (key, VersionedState { state, version })
    }

    #[test]
    fn the_oldest_writes_are_removed_first_and_the_size_is_bounded() {
        let recent_writes = RecentWrites::new();
        let large = "x".repeat(256 << 10);
        let keys: Vec<PeerKey> = (0..200)
            .map(|peer| {
                let (key, state) = written(peer, 1, &large);
                recent_writes.insert(key.clone(), state);
                key
            })
            .collect();
        let stored = keys
            .iter()
            .filter(|key| recent_writes.get(key).is_some())
            .count();
        assert!((50..64).contains(&stored), "{stored}");
        assert!(recent_writes.get(&keys[0]).is_none() && recent_writes.get(&keys[199]).is_some());
        let (key, small) = written(199, 2, "");
        recent_writes.insert(key.clone(), small);
        assert_eq!(recent_writes.get(&key).map(|state| state.version), Some(2));
        recent_writes.with(|inner| {
            let weighed: usize = inner
                .states
                .iter()
                .map(|(key, written)| weight(key, &written.state))
                .sum();
            assert_eq!(inner.bytes, weighed);
        });
    }

    #[test]
    fn nothing_is_expected_while_others_write_the_same_peers() {
        let recent_writes = RecentWrites::new();
        let (key, ours) = written(1, 1, "a");
        let (_, theirs) = written(1, 2, "b");
        let mut misses = 0;
        while recent_writes.with(|inner| inner.hit_rate >= MIN_HIT_RATE) {
            recent_writes.insert(key.clone(), ours.clone());
            recent_writes.verify(&key, Some(&theirs));
            assert!(
                recent_writes.get(&key).is_none(),
                "a wrong entry is removed"
            );
            misses += 1;
        }
        assert!((10..40).contains(&misses), "{misses}");
        recent_writes.insert(key.clone(), ours.clone());
        assert!(recent_writes.get(&key).is_none());
        (0..HIT_RATE_WINDOW).for_each(|_| recent_writes.verify(&key, Some(&ours)));
        assert_eq!(recent_writes.get(&key).map(|state| state.version), Some(1));
    }
}
