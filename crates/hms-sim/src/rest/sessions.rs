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
use serde::Deserialize;

use super::paging::Page;
use super::{bad_query, bad_request, ok};
use crate::Sim;
use crate::model::Session;
use crate::wire::SessionJson;

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
    sim.with_state(|state| {
        let page = Page::new(
            state.sessions(),
            |(record, _)| &record.session.id,
            |(record, _)| filter.matches(&record.session),
            filter.limit,
            filter.start.as_deref(),
        );
        match page {
            Ok(page) => ok(&page.map(SessionJson::new)),
            Err(reason) => bad_request(reason),
        }
    })
}
