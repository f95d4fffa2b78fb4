//! Keeps one date for each change: of the peer that made it, and of those it was restored to.

use sqlx::{PgConnection, query_file};
use uuid::Uuid;

use super::PeerWrite;
use super::peer_write::new_version;
use crate::domain::{ChangeId, PeerState};
use crate::store::Layout;

/// The change whose date may differ between peers once this state is written: it was dated anew, or
/// is being restored to the peer.
pub(super) fn change_to_align(before: &PeerState, state: &PeerState) -> Option<ChangeId> {
    let restoring = state
        .restored
        .filter(|mark| before.restored != Some(*mark))
        .map(|mark| mark.change);
    let dated_anew = state.change.filter(|change| {
        before.change.is_some_and(|known| known.id == change.id)
            && before.changed_at != state.changed_at
    });
    restoring.or(dated_anew.map(|change| change.id))
}

/// Dates restored states like their source, after these writes and in their transaction.
pub(super) async fn align_restored_peers(
    connection: &mut PgConnection,
    layout: Layout,
    peer_writes: &[PeerWrite],
) -> Result<(), sqlx::Error> {
    let (user_ids, changes): (Vec<&str>, Vec<Uuid>) = peer_writes
        .iter()
        .filter_map(|peer_write| {
            let change = peer_write.change_to_align?;
            Some((peer_write.key.user_id.as_str(), change.as_uuid()))
        })
        .unzip();
    if changes.is_empty() {
        return Ok(());
    }
    if layout == Layout::Distributed {
        for (user_id, change) in user_ids.iter().zip(&changes) {
            query_file!(
                "src/store/queries/one_user/align_restored_peers.sql",
                user_id,
                change,
                new_version()
            )
            .execute(&mut *connection)
            .await?;
        }
        return Ok(());
    }
    query_file!(
        "src/store/queries/align_restored_peers.sql",
        &user_ids as &[&str],
        &changes
    )
    .execute(connection)
    .await?;
    Ok(())
}
