//! Resumes: the saved state of a user, read from the primary, many users in one statement.

mod latest;
mod of_user;

use std::sync::Arc;

use sqlx::PgConnection;

use self::latest::latest_state;
pub(super) use self::latest::latest_states;
use super::batch::{Batch, Ticket};
use super::connections::{Database, Statement};
use super::metrics::QueueName;
use super::{Layout, StoreError};
use crate::domain::{PeerId, RoomId, SavedState, UserId};

/// Which saved state is wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResumeQuery {
    /// The user.
    pub user_id: UserId,
    /// Only of peers in this room.
    pub room_id: Option<RoomId>,
    /// Not of this peer: the new connection itself.
    pub exclude_peer_id: Option<PeerId>,
}

impl ResumeQuery {
    /// The saved state of a user, whichever of their peers has it.
    pub fn of_user(user_id: &UserId) -> Self {
        Self {
            user_id: user_id.clone(),
            room_id: None,
            exclude_peer_id: None,
        }
    }
}

/// Reads saved states in batches.
pub(super) struct ResumeBatch {
    pub(super) database: Database,
    /// Whether to read presence. Without webhooks none is reported.
    pub(super) presence: bool,
}

impl Batch for ResumeBatch {
    type Item = ResumeQuery;
    type Output = Option<SavedState>;
    const QUEUE: QueueName = QueueName::Resume;
    const SKIPS_ABANDONED: bool = true;

    fn layout(&self) -> Layout {
        self.database.layout()
    }

    fn size(query: &ResumeQuery) -> usize {
        let room_id = query.room_id.as_ref().map_or(0, |id| id.as_str().len());
        let excluded = query.exclude_peer_id.as_ref();
        let excluded = excluded.map_or(0, |id| id.as_str().len());
        query.user_id.as_str().len() + room_id + excluded
    }

    async fn run(self: &Arc<Self>, tickets: Vec<Ticket<Self>>) {
        let mut parts = match self.layout() {
            Layout::OneServer => vec![tickets],
            Layout::Distributed => tickets.into_iter().map(|ticket| vec![ticket]).collect(),
        };
        while let Some(mut part) = parts.pop() {
            let queries: Vec<&ResumeQuery> = part.iter().map(|ticket| &ticket.item).collect();
            let resume = Resume {
                queries: &queries,
                presence: self.presence,
            };
            match self.database.execute(&resume).await {
                Ok(states) => {
                    for (ticket, state) in part.into_iter().zip(states) {
                        ticket.answer(Ok(state));
                    }
                }
                // One row cannot be decoded, or one argument is refused. By halves, so that
                // whichever it is fails alone.
                Err(StoreError::Refused(_)) if part.len() > 1 => {
                    parts.push(part.split_off(part.len() / 2));
                    parts.push(part);
                }
                Err(error) => {
                    for ticket in part {
                        ticket.answer(Err(error.clone()));
                    }
                }
            }
        }
    }
}

struct Resume<'a> {
    queries: &'a [&'a ResumeQuery],
    presence: bool,
}

impl Statement for Resume<'_> {
    /// One for each query, in order.
    type Output = Vec<Option<SavedState>>;

    async fn run(&self, connection: &mut PgConnection) -> Result<Self::Output, sqlx::Error> {
        match self.queries {
            [query] if !self.presence => Ok(vec![latest_state(connection, query).await?]),
            queries => latest_states(connection, Layout::OneServer, queries, self.presence).await,
        }
    }

    async fn run_distributed(
        &self,
        connection: &mut PgConnection,
    ) -> Result<Self::Output, sqlx::Error> {
        latest_states(connection, Layout::Distributed, self.queries, self.presence).await
    }
}
