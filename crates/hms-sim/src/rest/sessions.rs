//! The sessions of all rooms, paged.
//!
//! What ends the list is not documented: here every page that has a session has a `last`, and the
//! page after it is empty. Nor is the order: the newest come first. A `start` that is no session is
//! refused. Without `active` all sessions are listed: the documentation names `true` as its default,
//! but its own sample without the filter lists sessions that are over.

use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::response::Response;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::{bad_query, bad_request, ok};
use crate::Sim;
use crate::model::Session;
use crate::wire::SessionJson;

/// The documented bounds of `limit`.
const MIN_LIMIT: usize = 10;
const MAX_LIMIT: usize = 100;

#[derive(Deserialize)]
pub(super) struct SessionFilter {
    active: Option<bool>,
    room_id: Option<String>,
    /// Started then or later.
    after: Option<DateTime<Utc>>,
    /// Started then or earlier.
    before: Option<DateTime<Utc>>,
    limit: Option<usize>,
    /// The `last` of the page before.
    start: Option<String>,
}

#[derive(Serialize)]
struct SessionsJson<'a> {
    limit: usize,
    data: Vec<SessionJson<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    last: Option<String>,
}

impl SessionFilter {
    fn matches(&self, session: &Session) -> bool {
        let is_active = session.ended_at.is_none();
        self.active.is_none_or(|active| active == is_active)
            && self
                .room_id
                .as_ref()
                .is_none_or(|room| *room == session.room_id)
            && self.after.is_none_or(|after| session.created_at >= after)
            && self
                .before
                .is_none_or(|before| session.created_at <= before)
    }
}

pub(super) async fn list(
    State(sim): State<Sim>,
    filter: Result<Query<SessionFilter>, QueryRejection>,
) -> Response {
    let filter = match filter {
        Ok(Query(filter)) => filter,
        Err(rejection) => return bad_query(&rejection),
    };
    let limit = filter.limit.unwrap_or(MIN_LIMIT);
    if !(MIN_LIMIT..=MAX_LIMIT).contains(&limit) {
        return bad_request("limit must be from 10 to 100");
    }
    sim.with_state(|state| {
        let sessions = state.sessions();
        // Looked for among all sessions: the one that ended the page before may match no more.
        let first = match &filter.start {
            None => 0,
            Some(start) => {
                let mut ids = sessions.iter().map(|(record, _)| &record.session.id);
                match ids.position(|id| id == start) {
                    Some(last) => last + 1,
                    None => return bad_request("start is not the last of a page"),
                }
            }
        };
        let page: Vec<_> = sessions
            .into_iter()
            .skip(first)
            .filter(|(record, _)| filter.matches(&record.session))
            .take(limit)
            .collect();
        let last = page.last().map(|(record, _)| record.session.id.clone());
        let data = page.into_iter().map(SessionJson::new).collect();
        ok(&SessionsJson { limit, data, last })
    })
}
