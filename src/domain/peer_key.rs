//! What identifies a peer in the store.

use super::{PeerId, RoomId, UserId};

/// What identifies a peer in the store.
/// `user_id` comes first, so that everything of a user lies together in an index.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PeerKey {
    /// The user whose peer it is.
    pub user_id: UserId,
    /// The room it is in.
    pub room_id: RoomId,
    /// The peer's own id.
    pub peer_id: PeerId,
}

impl PeerKey {
    /// The key of a peer.
    ///
    /// # Errors
    /// [`KeyTooLarge`]: the three ids together are larger than an index entry of Postgres can be.
    pub fn new(user_id: UserId, room_id: RoomId, peer_id: PeerId) -> Result<Self, KeyTooLarge> {
        let key = Self {
            user_id,
            room_id,
            peer_id,
        };
        let bytes = key.size();
        if bytes > MAX_KEY_BYTES {
            Err(KeyTooLarge { bytes })
        } else {
            Ok(key)
        }
    }

    /// The size of its ids, in bytes.
    pub(crate) fn size(&self) -> usize {
        self.user_id.as_str().len() + self.room_id.as_str().len() + self.peer_id.as_str().len()
    }
}

/// The maximum size of a peer's three ids together, in bytes.
/// A B-tree entry of Postgres holds 2,704 bytes, which two times and headers share.
/// Only ids of some 250 four-byte characters each exceed this.
const MAX_KEY_BYTES: usize = 2_600;

/// The three ids of a peer are together too large for a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("user_id, room_id and peer_id together have {bytes} bytes; the limit is {MAX_KEY_BYTES}")]
pub struct KeyTooLarge {
    bytes: usize,
}
