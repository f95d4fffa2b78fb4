//! Reports that have to wait: for the lock of somebody else on their peer, or for their turn to
//! rebuild its rows. They leave their batch, so that it is answered without them.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};

use sqlx::{PgConnection, query_file, query_file_scalar, query_scalar};
use tokio::sync::{Semaphore, SemaphorePermit};

use super::{SaveBatch, Saved, by_user};
use crate::domain::{PeerKey, Report};
use crate::store::batch::Ticket;
use crate::store::connections::Statement;

/// How many peers with locks are waited for at once, and how many are rebuilt at once.
const PERMITS: usize = 2;
/// The connections of all of them.
pub(in crate::store) const STRAGGLERS: usize = 2 * PERMITS;

/// Why a report has to wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum WaitReason {
    /// Somebody else has locked its peer.
    Locked,
    /// Somebody else is inserting its peer.
    Inserted,
    /// It is out of order: the rows of its peer are rebuilt.
    OutOfOrder,
}

/// What came of the wait of one report.
pub(super) enum Waited {
    /// It is saved.
    Saved(Option<Saved>),
    /// It may be saved like any other.
    Ready,
    /// Somebody else has locked its peer.
    Locked,
    /// Its peer was erased meanwhile, and the report with it.
    Erased,
}

/// The reports that wait, by peer. Those of one peer wait in one task.
pub(super) struct Stragglers {
    waiting: Mutex<HashMap<PeerKey, VecDeque<Ticket<SaveBatch>>>>,
    locked: Semaphore,
    out_of_order: Semaphore,
}

impl Stragglers {
    pub(super) fn new() -> Self {
        Self {
            waiting: Mutex::default(),
            locked: Semaphore::new(PERMITS),
            out_of_order: Semaphore::new(PERMITS),
        }
    }

    /// Adds a ticket; true where its peer needs a task.
    pub(super) fn add(&self, key: &PeerKey, ticket: Ticket<SaveBatch>) -> bool {
        let mut waiting = self.waiting();
        let is_new = !waiting.contains_key(key);
        waiting.entry(key.clone()).or_default().push_back(ticket);
        is_new
    }

    /// Adds the tickets whose peers are waited for already, and returns the others.
    pub(super) fn join(&self, tickets: Vec<Ticket<SaveBatch>>) -> Vec<Ticket<SaveBatch>> {
        let mut waiting = self.waiting();
        if waiting.is_empty() {
            return tickets;
        }
        let mut others = Vec::with_capacity(tickets.len());
        for ticket in tickets {
            match waiting.get_mut(ticket.item.key()) {
                Some(queue) => queue.push_back(ticket),
                None => others.push(ticket),
            }
        }
        others
    }

    /// The next ticket of a peer. Where there is none, its task is over.
    pub(super) fn next(&self, key: &PeerKey) -> Option<Ticket<SaveBatch>> {
        let mut waiting = self.waiting();
        let next = waiting.get_mut(key).and_then(VecDeque::pop_front);
        if next.is_none() {
            waiting.remove(key);
        }
        next
    }

    /// Waits until it may take a connection.
    pub(super) async fn permit(&self, reason: WaitReason) -> Option<SemaphorePermit<'_>> {
        let permits = match reason {
            WaitReason::Locked | WaitReason::Inserted => &self.locked,
            WaitReason::OutOfOrder => &self.out_of_order,
        };
        permits.acquire().await.ok()
    }

    fn waiting(&self) -> MutexGuard<'_, HashMap<PeerKey, VecDeque<Ticket<SaveBatch>>>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The indices of the pending reports whose peers somebody else has locked.
pub(super) struct LockedPeers<'a> {
    pub(super) reports: &'a [&'a Report],
    pub(super) pending: &'a [usize],
}

impl LockedPeers<'_> {
    /// The same of one user after another.
    async fn by_user(&self, connection: &mut PgConnection) -> Result<Vec<usize>, sqlx::Error> {
        let mut locked = Vec::new();
        let pending = self
            .pending
            .iter()
            .map(|&index| (index, self.reports[index].key()));
        let pending: Vec<(usize, &PeerKey)> = pending.collect();
        for (user_id, keys) in by_user(pending.iter().map(|(_, key)| *key)) {
            let room_ids: Vec<&str> = keys.iter().map(|key| key.room_id.as_str()).collect();
            let peer_ids: Vec<&str> = keys.iter().map(|key| key.peer_id.as_str()).collect();
            let of_user = query_file_scalar!(
                "src/store/queries/one_user/locked_peers.sql",
                user_id.as_str(),
                &room_ids as &[&str],
                &peer_ids as &[&str]
            );
            let of_user = of_user.fetch_all(&mut *connection).await?;
            let position = |ord: i64| usize::try_from(ord - 1).ok();
            let keys_locked = of_user
                .into_iter()
                .filter_map(|ord| keys.get(position(ord)?));
            for key in keys_locked {
                let indices = pending.iter().filter(|(_, pending)| pending == key);
                locked.extend(indices.map(|(index, _)| *index));
            }
        }
        Ok(locked)
    }
}

impl Statement for LockedPeers<'_> {
    type Output = Vec<usize>;

    async fn run_distributed(
        &self,
        connection: &mut PgConnection,
    ) -> Result<Vec<usize>, sqlx::Error> {
        self.by_user(connection).await
    }

    async fn run(&self, connection: &mut PgConnection) -> Result<Vec<usize>, sqlx::Error> {
        let keys = || self.pending.iter().map(|&index| self.reports[index].key());
        let user_ids: Vec<&str> = keys().map(|key| key.user_id.as_str()).collect();
        let room_ids: Vec<&str> = keys().map(|key| key.room_id.as_str()).collect();
        let peer_ids: Vec<&str> = keys().map(|key| key.peer_id.as_str()).collect();
        let locked = query_file!(
            "src/store/queries/locked_peers.sql",
            &user_ids as &[&str],
            &room_ids as &[&str],
            &peer_ids as &[&str]
        )
        .fetch_all(connection)
        .await?;
        let position = |ord: i64| usize::try_from(ord - 1).ok();
        Ok(locked
            .iter()
            .filter_map(|row| self.pending.get(position(row.ord)?).copied())
            .collect())
    }
}

/// Waits until nobody else has locked a peer that is there.
pub(super) struct WaitForPeer<'a>(pub(super) &'a PeerKey);

impl Statement for WaitForPeer<'_> {
    type Output = Waited;

    async fn run(&self, connection: &mut PgConnection) -> Result<Waited, sqlx::Error> {
        let version = query_scalar!(
            "SELECT version FROM peers WHERE user_id = $1 AND room_id = $2 AND peer_id = $3 \
             FOR UPDATE",
            self.0.user_id.as_str(),
            self.0.room_id.as_str(),
            self.0.peer_id.as_str()
        )
        .fetch_optional(connection)
        .await?;
        Ok(version.map_or(Waited::Erased, |_| Waited::Ready))
    }
}

/// Whether a lock was not to be had in time.
pub(super) fn is_lock_timeout(error: &sqlx::Error) -> bool {
    let database_error = error.as_database_error();
    database_error.is_some_and(|error| error.code().as_deref() == Some("55P03"))
}
