//! The rooms themselves, active or not: create, retrieve, list, update, enable and disable.
//!
//! Each call answers the fields of its sample in the documentation, which differ: `customer_id`
//! where a room is created or changed, `customer` where it is read. Left out because nothing says
//! what they hold: `enabled_source_template`, and `recording_info` that comes from the template.

use axum::body::Bytes;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::Response;
use chrono::{DateTime, Utc};
use serde::Deserialize;
use serde_json::{Value, json};

use super::paging::Page;
use super::{bad_query, bad_request, error, not_found, ok};
use crate::Sim;
use crate::model::SimError;
use crate::room_settings::RoomSettings;
use crate::state::RoomInfo;
use crate::wire::{APP_ID, CUSTOMER_ID, time};

/// The name of the simulated template.
const TEMPLATE_NAME: &str = "simulated-template";

#[derive(Deserialize)]
pub(super) struct RoomFilter {
    enabled: Option<bool>,
    name: Option<String>,
    /// Created then or later.
    after: Option<DateTime<Utc>>,
    /// Created then or earlier.
    before: Option<DateTime<Utc>>,
    limit: Option<usize>,
    start: Option<String>,
}

impl RoomFilter {
    fn matches(&self, room: &RoomInfo) -> bool {
        room.enabled == self.enabled.unwrap_or(true)
            && self
                .name
                .as_ref()
                .is_none_or(|name| name.eq_ignore_ascii_case(&room.name))
            && self.after.is_none_or(|after| room.created_at >= after)
            && self.before.is_none_or(|before| room.created_at <= before)
    }
}

pub(super) async fn list(
    State(sim): State<Sim>,
    filter: Result<Query<RoomFilter>, QueryRejection>,
) -> Response {
    let filter = match filter {
        Ok(Query(filter)) => filter,
        Err(rejection) => return bad_query(&rejection),
    };
    sim.with_state(|state| {
        let page = Page::new(
            state.room_infos(),
            |room| &room.id,
            |room| filter.matches(room),
            filter.limit,
            filter.start.as_deref(),
        );
        match page {
            Ok(page) => ok(&page.map(listed)),
            Err(reason) => bad_request(reason),
        }
    })
}

pub(super) async fn retrieve(State(sim): State<Sim>, Path(id): Path<String>) -> Response {
    sim.with_state(|state| {
        state
            .room_info(&id)
            .map_or_else(not_found, |room| ok(&read(room)))
    })
}

pub(super) async fn create(State(sim): State<Sim>, body: Bytes) -> Response {
    change(&body, |settings| {
        let room = sim.create_room(settings)?;
        let mut shown = written(&room);
        shown["app_id"] = APP_ID.into();
        Ok(shown)
    })
}

pub(super) async fn update(
    State(sim): State<Sim>,
    Path(id): Path<String>,
    body: Bytes,
) -> Response {
    change(&body, |settings| {
        let room = sim.update_room(&id, settings)?;
        let mut shown = written(&room);
        shown["customer"] = CUSTOMER_ID.into();
        Ok(shown)
    })
}

fn change(body: &[u8], step: impl FnOnce(RoomSettings) -> Result<Value, SimError>) -> Response {
    match RoomSettings::of_body(body).map(step) {
        Err(message) | Ok(Err(SimError::Invalid(message))) => {
            error(StatusCode::BAD_REQUEST, &message, "invalid body")
        }
        Ok(Err(_)) => not_found(),
        Ok(Ok(shown)) => ok(&shown),
    }
}

/// As a call that writes it answers.
fn written(room: &RoomInfo) -> Value {
    let mut shown = shown(room);
    shown["customer_id"] = CUSTOMER_ID.into();
    shown
}

/// As a call that reads it answers.
fn read(room: &RoomInfo) -> Value {
    let mut shown = shown(room);
    shown["customer"] = CUSTOMER_ID.into();
    shown
}

/// As the list has it.
fn listed(room: &RoomInfo) -> Value {
    let mut shown = read(room);
    shown["key"] = format!("{CUSTOMER_ID}:{}", room.name).into();
    shown
}

fn shown(room: &RoomInfo) -> Value {
    let mut shown = json!({
        "id": room.id,
        "name": room.name,
        "enabled": room.enabled,
        "description": room.description,
        "recording_source_template": room.recording_info.is_none(),
        "template_id": room.template_id,
        "template": TEMPLATE_NAME,
        "region": room.region,
        "created_at": time(room.created_at),
        "updated_at": time(room.updated_at),
    });
    let optional = [
        ("recording_info", room.recording_info.clone()),
        ("large_room", room.large_room.map(Into::into)),
        ("size", room.size.map(Into::into)),
        (
            "max_duration_seconds",
            room.max_duration_seconds.map(Into::into),
        ),
        ("polls", room.polls.clone().map(Into::into)),
        ("webhook", room.webhook.as_ref().map(|hook| json!(hook))),
    ];
    for (name, value) in optional {
        if let Some(value) = value {
            shown[name] = value;
        }
    }
    shown
}
