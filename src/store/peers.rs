//! Look-ups of single peers.

use sqlx::{PgConnection, query_file, query_scalar};

use super::connections::Statement;
use super::{Store, StoreError, rows};
use crate::domain::{PeerId, PeerKey, RoomId, UserId};

impl Store {
    /// Whether a saved state arrived at this peer, as far as is known: 100ms answered so, or it was
    /// observed there, or the metadata has changed since. That one was sent is no proof.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn was_restored_to(&self, key: &PeerKey) -> Result<bool, StoreError> {
        let key = key.clone();
        self.restores.execute(WasRestoredTo { key }).await
    }

    /// Whether an end of this peer, or of its session, was reported.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn has_ended(&self, key: &PeerKey) -> Result<bool, StoreError> {
        let key = key.clone();
        self.restores.execute(HasEnded { key }).await
    }

    /// The room in which a user's peer was observed last; none where it never was.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn room_of(
        &self,
        user_id: &UserId,
        peer_id: &PeerId,
    ) -> Result<Option<RoomId>, StoreError> {
        let room_of_peer = RoomOfPeer {
            user_id: user_id.clone(),
            peer_id: peer_id.clone(),
        };
        self.restores.execute(room_of_peer).await
    }
}

struct WasRestoredTo {
    key: PeerKey,
}

impl Statement for WasRestoredTo {
    type Output = bool;

    async fn run(&self, connection: &mut PgConnection) -> Result<bool, sqlx::Error> {
        query_scalar!(
            r#"SELECT rejoin_require_primary() AND EXISTS (
                   SELECT FROM peers
                   WHERE user_id = $1 AND room_id = $2 AND peer_id = $3
                     AND restored_at IS NOT NULL AND metadata_changed_at IS NOT NULL
                     AND (coalesce(change_observed_at >= restored_at, true)
                          OR change_id = restored_change OR restored_answered_at IS NOT NULL)
               ) AS "restored!""#,
            self.key.user_id.as_str(),
            self.key.room_id.as_str(),
            self.key.peer_id.as_str()
        )
        .fetch_one(connection)
        .await
    }
}

struct HasEnded {
    key: PeerKey,
}

impl Statement for HasEnded {
    type Output = bool;

    async fn run(&self, connection: &mut PgConnection) -> Result<bool, sqlx::Error> {
        let row = query_file!(
            "src/store/queries/has_ended.sql",
            self.key.user_id.as_str(),
            self.key.room_id.as_str(),
            self.key.peer_id.as_str()
        )
        .fetch_optional(connection)
        .await?;
        Ok(row.is_some_and(|row| row.has_ended))
    }
}

struct RoomOfPeer {
    user_id: UserId,
    peer_id: PeerId,
}

impl Statement for RoomOfPeer {
    type Output = Option<RoomId>;

    async fn run(&self, connection: &mut PgConnection) -> Result<Option<RoomId>, sqlx::Error> {
        let room_id = query_scalar!(
            "SELECT room_id FROM peers WHERE (SELECT rejoin_require_primary()) AND user_id = $1 AND peer_id = $2
             ORDER BY last_observed_at DESC LIMIT 1",
            self.user_id.as_str(),
            self.peer_id.as_str()
        )
        .fetch_optional(connection)
        .await?;
        room_id
            .map(|room_id| RoomId::parse(&room_id).map_err(rows::corrupt))
            .transpose()
    }
}
