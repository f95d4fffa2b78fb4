//! What was written last, as a place to start from: a write of a peer that was written lately needs no read before it.
//!
//! Nothing is ever answered from here. A state that is remembered is only what a write *expects* to find, and the write
//! says whether it did: another replica, an admin or a failover may have moved it meanwhile. Then it is read.

use std::sync::{Mutex, PoisonError};

use hashlink::LruCache;

use super::peer_write::Versioned;
use crate::domain::{Label, PeerKey, PeerState, Tracks};

/// How much is remembered, in bytes.
const BYTES: usize = 16 << 20;
/// What an entry takes beside its texts, in bytes: two structs, and the counts of a dozen shared texts.
const ENTRY_BYTES: usize = 700;

/// Trust in what is remembered: the share of times that it was still so, in these parts.
const FULL_TRUST: u16 = 1 << 12;
/// With less, it is not started from: where many replicas write the same peers, a write that fails costs more than the
/// read that it spares.
const LEAST_TRUST: u16 = FULL_TRUST / 4 * 3;
/// How many times back trust reaches, about.
const REACH: u16 = 64;

/// The states of the peers that this process wrote last.
pub(in crate::store) struct Memory(Mutex<Inner>);

struct Inner {
    states: LruCache<PeerKey, Versioned>,
    bytes: usize,
    trust: u16,
}

impl Memory {
    pub(in crate::store) fn new() -> Self {
        Self(Mutex::new(Inner {
            states: LruCache::new_unbounded(),
            bytes: 0,
            trust: FULL_TRUST,
        }))
    }

    /// The state of this peer when it was last written from here, if that is worth starting from.
    pub(in crate::store) fn recall(&self, key: &PeerKey) -> Option<Versioned> {
        self.with(|inner| {
            if inner.trust < LEAST_TRUST {
                None
            } else {
                inner.states.get(key).cloned()
            }
        })
    }

    /// Remembers a state that was written.
    pub(in crate::store) fn keep(&self, key: PeerKey, written: Versioned) {
        self.with(|inner| {
            inner.forget(&key);
            inner.bytes += weight(&key, &written.state);
            inner.states.insert(key, written);
            while inner.bytes > BYTES
                && let Some((key, oldest)) = inner.states.remove_lru()
            {
                inner.bytes -= weight(&key, &oldest.state);
            }
        });
    }

    /// Learns what the database holds of a peer: whether what is remembered of it, if anything is, was right.
    pub(in crate::store) fn check(&self, key: &PeerKey, found: Option<&Versioned>) {
        self.with(|inner| {
            if let Some(remembered) = inner.states.peek(key) {
                let right = found.is_some_and(|found| found.version == remembered.version);
                inner.judge(right);
                if !right {
                    inner.forget(key);
                }
            }
        });
    }

    /// Learns that a state that was started from was still so.
    pub(in crate::store) fn confirm(&self) {
        self.with(|inner| inner.judge(true));
    }

    fn with<T>(&self, work: impl FnOnce(&mut Inner) -> T) -> T {
        work(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Inner {
    fn forget(&mut self, key: &PeerKey) {
        if let Some(forgotten) = self.states.remove(key) {
            self.bytes -= weight(key, &forgotten.state);
        }
    }

    fn judge(&mut self, right: bool) {
        self.trust = if right {
            self.trust + (FULL_TRUST - self.trust).div_ceil(REACH)
        } else {
            self.trust - self.trust / REACH
        };
    }
}

/// What an entry takes, in bytes, about.
fn weight(key: &PeerKey, state: &PeerState) -> usize {
    let ids = key.user_id.as_str().len() + key.room_id.as_str().len() + key.peer_id.as_str().len();
    let label = |label: &Option<Label>| label.as_ref().map_or(0, |label| label.as_str().len());
    let labels = label(&state.name) + label(&state.role) + label(&state.presence.session_id);
    let tracks = state
        .tracks
        .as_ref()
        .map_or(0, |tracks: &Tracks| tracks.as_str().len());
    ENTRY_BYTES + ids + labels + tracks + state.metadata.len()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{Metadata, Observation, PeerId, RoomId, Source, UserId};

    fn written(peer: usize, version: i64, metadata: &str) -> (PeerKey, Versioned) {
        let (user, room) = (
            UserId::parse("player-7").unwrap(),
            RoomId::parse("cave").unwrap(),
        );
        let key =
            PeerKey::new(user, room, PeerId::parse(&format!("peer-{peer}")).unwrap()).unwrap();
        let at = chrono::DateTime::from_timestamp(1_800_000_000, 0)
            .unwrap()
            .into();
        let seen = Observation::new(key, at, Source::Room, Metadata::from_text(metadata));
        (
            seen.key.clone(),
            Versioned {
                state: PeerState::first(&seen),
                version,
            },
        )
    }

    #[test]
    fn what_was_written_longest_ago_is_forgotten_first_and_the_rest_has_its_bounds() {
        let memory = Memory::new();
        let large = "x".repeat(256 << 10);
        let peers: Vec<PeerKey> = (0..200)
            .map(|peer| {
                let (key, written) = written(peer, 1, &large);
                memory.keep(key.clone(), written);
                key
            })
            .collect();
        let remembered = peers
            .iter()
            .filter(|key| memory.recall(key).is_some())
            .count();
        assert!((50..64).contains(&remembered), "{remembered}");
        assert!(memory.recall(&peers[0]).is_none() && memory.recall(&peers[199]).is_some());
        let (key, small) = written(199, 2, "");
        memory.keep(key.clone(), small);
        assert_eq!(memory.recall(&key).map(|known| known.version), Some(2));
        memory.with(|inner| {
            let weighed: usize = inner
                .states
                .iter()
                .map(|(key, known)| weight(key, &known.state))
                .sum();
            assert_eq!(inner.bytes, weighed);
        });
    }

    #[test]
    fn where_others_write_the_same_peers_it_is_not_started_from_until_they_stop() {
        let memory = Memory::new();
        let (key, ours) = written(1, 1, "a");
        let (_, theirs) = written(1, 2, "b");
        let mut wrong = 0;
        while memory.is_trusted() {
            memory.keep(key.clone(), ours.clone());
            memory.check(&key, Some(&theirs));
            assert!(
                memory.recall(&key).is_none(),
                "what was found wrong is forgotten"
            );
            wrong += 1;
        }
        assert!((10..40).contains(&wrong), "{wrong}");
        memory.keep(key.clone(), ours.clone());
        assert!(memory.recall(&key).is_none());
        (0..REACH).for_each(|_| memory.check(&key, Some(&ours)));
        assert_eq!(memory.recall(&key).map(|known| known.version), Some(1));
    }

    impl Memory {
        fn is_trusted(&self) -> bool {
            self.with(|inner| inner.trust >= LEAST_TRUST)
        }
    }
}
