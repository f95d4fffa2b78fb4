//! Reads the stored states of peers.

use std::collections::BTreeMap;

use sqlx::{PgConnection, query_file};

use super::baseline::VersionedState;
use crate::domain::{Change, CurrentRow, PeerKey, PeerState, Presence, Timestamp, Tracks};
use crate::store::rows;

/// The states of those of these peers that are stored.
pub(super) async fn read_peers(
    connection: &mut PgConnection,
    keys: &[&PeerKey],
) -> Result<BTreeMap<PeerKey, VersionedState>, sqlx::Error> {
    if keys.is_empty() {
        return Ok(BTreeMap::new());
    }
    let user_ids: Vec<&str> = keys.iter().map(|key| key.user_id.as_str()).collect();
    let room_ids: Vec<&str> = keys.iter().map(|key| key.room_id.as_str()).collect();
    let peer_ids: Vec<&str> = keys.iter().map(|key| key.peer_id.as_str()).collect();
    let peer_rows = query_file!(
        "src/store/queries/read_peers.sql",
        &user_ids as &[&str],
        &room_ids as &[&str],
        &peer_ids as &[&str]
    )
    .fetch_all(connection)
    .await?;
    peer_rows
        .into_iter()
        .map(|row| {
            let key = rows::key(&row.user_id, &row.room_id, &row.peer_id)?;
            let metadata = rows::metadata(row.metadata_raw)?;
            let changed_at: Option<Timestamp> = row.metadata_changed_at.map(Into::into);
            let change = changed_at.map(|changed_at| Change {
                id: rows::change_id(row.change_id, &key.user_id, changed_at, &metadata),
                observed_at: row.change_observed_at.map_or(changed_at, Into::into),
                other_until: row.other_metadata_at.map(Into::into),
            });
            // The previous version of the service did not write what precedes a row.
            let is_of_before = changed_at.is_some() && row.change_id.is_none();
            let preceded_at = if is_of_before {
                Some(row.first_observed_at.into())
            } else {
                row.preceded_at.map(Into::into)
            };
            let state = PeerState {
                change,
                changed_at,
                current: if row.snapshot_id.is_nil() {
                    None
                } else {
                    Some(CurrentRow {
                        id: row.snapshot_id,
                        source: rows::source(&row.source)?,
                        metadata,
                        name: rows::label(row.name),
                        first_observed_at: row.first_observed_at.into(),
                        last_observed_at: row.last_observed_at.into(),
                        preceded_at,
                    })
                },
                join_metadata: row.join_metadata,
                role: rows::label(row.role),
                tracks: row.tracks.map(Tracks::from_canonical),
                joined_at: row.joined_at.map(Into::into),
                presence: Presence {
                    connected_since: row.connected_since.map(Into::into),
                    session_id: rows::label(row.session_id),
                    ended: rows::end(row.ended_at, row.end_kind.as_deref(), row.end_reason)?,
                },
                restored: rows::restore_mark(
                    row.restored_at,
                    row.restored_change,
                    row.restored_changed_at,
                    row.restored_answered_at,
                ),
            };
            let version = row.version;
            Ok((key, VersionedState { state, version }))
        })
        .collect()
}
