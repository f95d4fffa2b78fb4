//! What was written last, as a place to start from: a write of a peer that was written lately needs no read before it.
//!
//! Nothing is ever answered from here. A state that is remembered is only what a write *expects* to find, and the write
//! says whether it did: another replica, an admin or a failover may have moved it meanwhile. Then it is read.

use std::sync::atomic::{AtomicU16, Ordering};

use quick_cache::Weighter;
use quick_cache::sync::Cache;

use super::fold::Versioned;
use crate::domain::{Label, PeerKey, Tracks};

/// How much is remembered, in bytes.
const BYTES: u64 = 16 << 20;
/// What an entry takes beside its texts, in bytes: two structs, and the counts of a dozen shared texts.
const ENTRY_BYTES: usize = 700;
/// How many entries are expected; more or fewer only cost their own space.
const ENTRIES: usize = 16_384;

/// Trust in what is remembered: the share of times that it was still so, in these parts.
const FULL_TRUST: u16 = 1 << 12;
/// With less, it is not started from: where many replicas write the same peers, a write that fails costs more than the
/// read that it spares.
const LEAST_TRUST: u16 = FULL_TRUST / 4 * 3;
/// How many times back trust reaches, about.
const REACH: u16 = 64;

/// The states of the peers that this process wrote last.
pub(super) struct Memory {
    states: Cache<PeerKey, Versioned, Weight>,
    trust: AtomicU16,
}

impl Memory {
    pub(super) fn new() -> Self {
        Self { states: Cache::with_weighter(ENTRIES, BYTES, Weight), trust: AtomicU16::new(FULL_TRUST) }
    }

    /// The state of this peer when it was last written from here, if that is worth starting from.
    pub(super) fn recall(&self, key: &PeerKey) -> Option<Versioned> {
        (self.trust.load(Ordering::Relaxed) >= LEAST_TRUST).then(|| self.states.get(key)).flatten()
    }

    /// Remembers a state that was written.
    pub(super) fn keep(&self, key: PeerKey, written: Versioned) {
        self.states.insert(key, written);
    }

    /// Learns what the database holds of a peer: whether what is remembered of it, if anything is, was right.
    pub(super) fn check(&self, key: &PeerKey, found: Option<&Versioned>) {
        if let Some(remembered) = self.states.get(key) {
            let right = found.is_some_and(|found| found.version == remembered.version);
            self.judge(right);
            if !right {
                self.states.remove(key);
            }
        }
    }

    /// Learns that a state that was started from was still so.
    pub(super) fn confirm(&self) {
        self.judge(true);
    }

    fn judge(&self, right: bool) {
        // Two at once may count as one: trust is an estimate.
        let trust = self.trust.load(Ordering::Relaxed);
        let after = if right { trust + (FULL_TRUST - trust).div_ceil(REACH) } else { trust - trust / REACH };
        self.trust.store(after, Ordering::Relaxed);
    }
}

/// Bytes, about.
#[derive(Clone)]
struct Weight;

impl Weighter<PeerKey, Versioned> for Weight {
    fn weight(&self, key: &PeerKey, Versioned { state, .. }: &Versioned) -> u64 {
        let ids = key.user_id.as_str().len() + key.room_id.as_str().len() + key.peer_id.as_str().len();
        let label = |label: &Option<Label>| label.as_ref().map_or(0, |label| label.as_str().len());
        let labels = label(&state.name) + label(&state.role) + label(&state.presence.session_id);
        let tracks = state.tracks.as_ref().map_or(0, |tracks: &Tracks| tracks.as_str().len());
        (ENTRY_BYTES + ids + labels + tracks + state.metadata.len()) as u64
    }
}
