//! rejoin's own events: queued as forwards, in the transaction that stores what they say.
//!
//! A drop, a restore and a claim are each one conditional write, which happens once. Which state a
//! resume returns depends on all peers of a user, who may be written at the same time: so the row of
//! the user in `announced_states` is locked, and then what a resume returns is compared with it.

mod body;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use sqlx::{PgConnection, query_file, query_file_scalar};
use tokio::sync::Notify;
use uuid::Uuid;

use self::body::body;
use super::Layout;
use super::forwards::queue_forwards;
use super::resume::{ResumeQuery, latest_states};
use super::save::PeerWrite;
use crate::domain::{
    ChangeId, EventPolicy, NewForward, OwnEvent, SavedState, UserId, WrittenPeer, is_new_state,
};

/// How own events are queued. Cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct OwnEvents {
    policy: EventPolicy,
    queued: Arc<Notify>,
}

impl OwnEvents {
    pub(super) fn new(policy: EventPolicy, queued: Arc<Notify>) -> Self {
        Self { policy, queued }
    }

    /// The event as it is sent.
    pub(super) fn forward(&self, event: &OwnEvent) -> NewForward {
        NewForward {
            id: Uuid::new_v4(),
            room_id: Some(event.room_id().clone()),
            user_id: Some(event.key().user_id.clone()),
            headers: vec![("content-type".to_owned(), b"application/json".to_vec())],
            body: body(event, self.policy),
        }
    }

    /// Queues events in the transaction that the connection is in.
    pub(super) async fn queue(
        &self,
        connection: &mut PgConnection,
        events: impl IntoIterator<Item = OwnEvent>,
    ) -> Result<(), sqlx::Error> {
        let forwards: Vec<NewForward> = events
            .into_iter()
            .map(|event| self.forward(&event))
            .collect();
        queue_forwards(connection, &forwards.iter().collect::<Vec<_>>()).await
    }

    /// Events are queued, and durable.
    pub(super) fn notify(&self) {
        self.queued.notify_one();
    }

    /// The events of the states that these writes save, which are done in the transaction that the
    /// connection is in. The users are locked until it ends.
    pub(super) async fn announce(
        &self,
        connection: &mut PgConnection,
        layout: Layout,
        peer_writes: &[PeerWrite],
    ) -> Result<Vec<NewForward>, sqlx::Error> {
        let users: BTreeSet<&UserId> = peer_writes
            .iter()
            .filter(|peer_write| peer_write.may_change_resume())
            .map(|peer_write| &peer_write.key.user_id)
            .collect();
        if users.is_empty() {
            return Ok(Vec::new());
        }
        let announced = lock_announced(connection, layout, &users).await?;
        // A statement of its own, so that it sees what others have saved until the lock was free.
        let states = saved_states(connection, layout, &users).await?;
        let (mut user_ids, mut changes, mut forwards) = (Vec::new(), Vec::new(), Vec::new());
        for state in states {
            let known = announced.get(state.key.user_id.as_str()).copied().flatten();
            if known == Some(state.change) {
                continue;
            }
            if is_new_state(known, &state, &written(peer_writes, &state.key.user_id)) {
                forwards.push(self.forward(&OwnEvent::Saved(state.clone())));
            }
            user_ids.push(state.key.user_id.to_string());
            changes.push(state.change.as_uuid());
        }
        if layout == Layout::Distributed {
            for (user_id, change) in user_ids.iter().zip(&changes) {
                query_file!(
                    "src/store/queries/one_user/announce_state.sql",
                    user_id,
                    change
                )
                .execute(&mut *connection)
                .await?;
            }
        } else if !user_ids.is_empty() {
            query_file!("src/store/queries/announce_states.sql", &user_ids, &changes)
                .execute(connection)
                .await?;
        }
        Ok(forwards)
    }
}

/// The change that was announced last of each user; none of a user of whom none was.
async fn lock_announced(
    connection: &mut PgConnection,
    layout: Layout,
    users: &BTreeSet<&UserId>,
) -> Result<BTreeMap<String, Option<ChangeId>>, sqlx::Error> {
    if layout == Layout::Distributed {
        let mut announced = BTreeMap::new();
        for user_id in users {
            let change = query_file_scalar!(
                "src/store/queries/one_user/lock_announced_state.sql",
                user_id.as_str()
            );
            let change = change.fetch_one(&mut *connection).await?;
            announced.insert(user_id.to_string(), change.map(ChangeId::from_uuid));
        }
        return Ok(announced);
    }
    let user_ids: Vec<&str> = users.iter().map(|user_id| user_id.as_str()).collect();
    let rows = query_file!(
        "src/store/queries/lock_announced_states.sql",
        &user_ids as &[&str]
    )
    .fetch_all(connection)
    .await?;
    Ok(rows
        .into_iter()
        .map(|row| (row.user_id, row.change.map(ChangeId::from_uuid)))
        .collect())
}

/// What a resume of each of these users returns now.
async fn saved_states(
    connection: &mut PgConnection,
    layout: Layout,
    users: &BTreeSet<&UserId>,
) -> Result<Vec<SavedState>, sqlx::Error> {
    let queries: Vec<ResumeQuery> = users
        .iter()
        .map(|user_id| ResumeQuery::of_user(user_id))
        .collect();
    let queries: Vec<&ResumeQuery> = queries.iter().collect();
    let states = latest_states(connection, layout, &queries, false).await?;
    Ok(states.into_iter().flatten().collect())
}

/// The peers of this user that were written.
fn written<'a>(peer_writes: &'a [PeerWrite], user_id: &UserId) -> Vec<WrittenPeer<'a>> {
    peer_writes
        .iter()
        .filter(|peer_write| peer_write.key.user_id == *user_id)
        .map(PeerWrite::written_peer)
        .collect()
}
