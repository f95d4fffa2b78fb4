//! Reads the stored states of peers.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use sqlx::{PgConnection, query_file_as};
use uuid::Uuid;

use super::baseline::VersionedState;
use crate::domain::{Change, CurrentRow, PeerKey, PeerState, Presence, Timestamp, Tracks};
use crate::store::{Layout, rows};

/// The states of those of these peers that are stored.
pub(super) async fn read_peers(
    connection: &mut PgConnection,
    layout: Layout,
    keys: &[&PeerKey],
) -> Result<BTreeMap<PeerKey, VersionedState>, sqlx::Error> {
    if keys.is_empty() {
        return Ok(BTreeMap::new());
    }
    let peer_rows = match layout {
        Layout::OneServer => read_of_many(connection, keys).await?,
        Layout::Distributed => read_one_by_one(connection, keys).await?,
    };
    peer_rows.into_iter().map(PeerRow::into_state).collect()
}

async fn read_of_many(
    connection: &mut PgConnection,
    keys: &[&PeerKey],
) -> Result<Vec<PeerRow>, sqlx::Error> {
    let user_ids: Vec<&str> = keys.iter().map(|key| key.user_id.as_str()).collect();
    let room_ids: Vec<&str> = keys.iter().map(|key| key.room_id.as_str()).collect();
    let peer_ids: Vec<&str> = keys.iter().map(|key| key.peer_id.as_str()).collect();
    query_file_as!(
        PeerRow,
        "src/store/queries/read_peers.sql",
        &user_ids as &[&str],
        &room_ids as &[&str],
        &peer_ids as &[&str]
    )
    .fetch_all(connection)
    .await
}

async fn read_one_by_one(
    connection: &mut PgConnection,
    keys: &[&PeerKey],
) -> Result<Vec<PeerRow>, sqlx::Error> {
    let mut peer_rows = Vec::new();
    for key in keys {
        let peer = query_file_as!(
            PeerRow,
            "src/store/queries/one_user/read_peer.sql",
            key.user_id.as_str(),
            key.room_id.as_str(),
            key.peer_id.as_str()
        );
        peer_rows.extend(peer.fetch_optional(&mut *connection).await?);
    }
    Ok(peer_rows)
}

struct PeerRow {
    user_id: String,
    room_id: String,
    peer_id: String,
    version: i64,
    snapshot_id: Uuid,
    source: String,
    metadata_raw: Option<Vec<u8>>,
    metadata_changed_at: Option<DateTime<Utc>>,
    name: Option<String>,
    role: Option<String>,
    tracks: Option<String>,
    joined_at: Option<DateTime<Utc>>,
    first_observed_at: DateTime<Utc>,
    last_observed_at: DateTime<Utc>,
    connected_since: Option<DateTime<Utc>>,
    session_id: Option<String>,
    ended_at: Option<DateTime<Utc>>,
    end_kind: Option<String>,
    end_reason: Option<String>,
    restored_at: Option<DateTime<Utc>>,
    restored_change: Option<Uuid>,
    restored_changed_at: Option<DateTime<Utc>>,
    restored_answered_at: Option<DateTime<Utc>>,
    change_id: Option<Uuid>,
    change_observed_at: Option<DateTime<Utc>>,
    other_metadata_at: Option<DateTime<Utc>>,
    preceded_at: Option<DateTime<Utc>>,
    join_metadata: Option<Uuid>,
}

impl PeerRow {
    fn into_state(self) -> Result<(PeerKey, VersionedState), sqlx::Error> {
        let key = rows::key(&self.user_id, &self.room_id, &self.peer_id)?;
        let metadata = rows::metadata(self.metadata_raw)?;
        let changed_at: Option<Timestamp> = self.metadata_changed_at.map(Into::into);
        let change = changed_at.map(|changed_at| Change {
            id: rows::change_id(self.change_id, &key.user_id, changed_at, &metadata),
            observed_at: self.change_observed_at.map_or(changed_at, Into::into),
            other_until: self.other_metadata_at.map(Into::into),
        });
        // The previous version of the service did not write what precedes a self.
        let is_of_before = changed_at.is_some() && self.change_id.is_none();
        let preceded_at = if is_of_before {
            Some(self.first_observed_at.into())
        } else {
            self.preceded_at.map(Into::into)
        };
        let state = PeerState {
            change,
            changed_at,
            current: if self.snapshot_id.is_nil() {
                None
            } else {
                Some(CurrentRow {
                    id: self.snapshot_id,
                    source: rows::source(&self.source)?,
                    metadata,
                    name: rows::label(self.name),
                    first_observed_at: self.first_observed_at.into(),
                    last_observed_at: self.last_observed_at.into(),
                    preceded_at,
                })
            },
            join_metadata: self.join_metadata,
            role: rows::label(self.role),
            tracks: self.tracks.map(Tracks::from_canonical),
            joined_at: self.joined_at.map(Into::into),
            presence: Presence {
                connected_since: self.connected_since.map(Into::into),
                session_id: rows::label(self.session_id),
                ended: rows::end(self.ended_at, self.end_kind.as_deref(), self.end_reason)?,
            },
            restored: rows::restore_mark(
                self.restored_at,
                self.restored_change,
                self.restored_changed_at,
                self.restored_answered_at,
            ),
        };
        let version = self.version;
        Ok((key, VersionedState { state, version }))
    }
}
