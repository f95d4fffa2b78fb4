//! The sessions of all rooms, paged.
//!
//! What ends the list is not documented: here every page that has a session has a `last`, and the
//! page after it is empty. Nor is the order: the newest come first.

use axum::extract::{Query, State};
use axum::response::Response;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::{bad_request, ok};
use crate::Sim;
use crate::wire::SessionJson;

/// The documented bounds of `limit`.
const MIN_LIMIT: usize = 10;
const MAX_LIMIT: usize = 100;

#[derive(Deserialize)]
pub(super) struct SessionFilter {
    active: Option<bool>,
    room_id: Option<String>,
    after: Option<DateTime<Utc>>,
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

pub(super) async fn list(State(sim): State<Sim>, Query(filter): Query<SessionFilter>) -> Response {
    let limit = filter.limit.unwrap_or(MIN_LIMIT);
    if !(MIN_LIMIT..=MAX_LIMIT).contains(&limit) {
        return bad_request("limit must be from 10 to 100");
    }
    sim.with_state(|state| {
        let mut sessions = state.sessions();
        sessions.retain(|(record, _)| {
            let session = &record.session;
            let is_active = session.ended_at.is_none();
            filter.active.is_none_or(|active| active == is_active)
                && filter
                    .room_id
                    .as_ref()
                    .is_none_or(|room| *room == session.room_id)
                && filter.after.is_none_or(|after| session.created_at > after)
                && filter
                    .before
                    .is_none_or(|before| session.created_at < before)
        });
        let start = filter.start.as_ref().and_then(|start| {
            sessions
                .iter()
                .position(|(record, _)| record.session.id == *start)
        });
        let page = sessions
            .into_iter()
            .skip(start.map_or(0, |start| start + 1))
            .take(limit);
        let page: Vec<_> = page.collect();
        let last = page.last().map(|(record, _)| record.session.id.clone());
        let data = page.into_iter().map(SessionJson::new).collect();
        ok(&SessionsJson { limit, data, last })
    })
}
