//! The delivery history of webhooks, and their replay.
//!
//! Not documented, and chosen here: the history lists the newest first, by the time of the event;
//! an event that is on its way is not in it; a replay sends the oldest first, its own retries
//! included; a time range holds both its ends; event types that are not supported, and numbers out
//! of range, are refused with 400; `completed_at` and `result` are absent while a replay runs.

use axum::body::Bytes;
use axum::extract::{Path, RawQuery, State};
use axum::http::StatusCode;
use axum::response::Response;
use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{error, ok};
use crate::Sim;
use crate::webhooks::{EventFilter, Outcome, PastEvent, ReplayRequest, Status, Workflow};

/// How far back the history reaches.
const MAX_AGE: TimeDelta = TimeDelta::days(30);
/// The longest time range.
const MAX_RANGE: TimeDelta = TimeDelta::days(14);
/// Where the time range starts by default.
const DEFAULT_AGE: TimeDelta = TimeDelta::hours(24);
/// The largest page of the history, and the usual one.
const MAX_PAGE: usize = 100;
const DEFAULT_PAGE: usize = 50;
/// The most events of one replay.
const MAX_REPLAY: usize = 50_000;
/// The event types that can be named.
const EVENT_TYPES: [&str; 12] = [
    "session.open.success",
    "session.close.success",
    "peer.join.success",
    "peer.leave.success",
    "recording.success",
    "recording.failed",
    "transcription.success",
    "beam.started.success",
    "beam.stopped.success",
    "beam.recording.success",
    "hls.recording.success",
    "stream.recording.success",
];

/// The parameters of both calls.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
struct Parameters {
    start_time: Option<DateTime<Utc>>,
    end_time: Option<DateTime<Utc>>,
    room_id: Option<String>,
    event_names: Vec<String>,
    status: Option<Status>,
    limit: Option<usize>,
    offset: Option<usize>,
    page: Option<usize>,
}

/// Why a request is refused: the message of a 400.
type Refusal = &'static str;

impl Parameters {
    /// Reads a query, in which `event_names` may stand several times.
    fn of_query(query: &str) -> Result<Self, Refusal> {
        let mut fields = serde_json::Map::new();
        let mut names = Vec::new();
        for (name, value) in url::form_urlencoded::parse(query.as_bytes()) {
            match (name.as_ref(), value.parse::<u64>()) {
                ("event_names", _) => names.push(Value::from(value)),
                ("limit" | "page", Ok(number)) => {
                    fields.insert(name.into_owned(), number.into());
                }
                _ => {
                    fields.insert(name.into_owned(), value.into_owned().into());
                }
            }
        }
        fields.insert("event_names".to_owned(), names.into());
        serde_json::from_value(fields.into()).map_err(|_| "invalid query parameters")
    }

    fn filter(&self, usual: Status, now: DateTime<Utc>) -> Result<EventFilter, Refusal> {
        let start = self.start_time.unwrap_or(now - DEFAULT_AGE);
        let end = self.end_time.unwrap_or(now);
        if start < now - MAX_AGE {
            return Err("start_time must be within the last 30 days");
        }
        if end <= start || end > start + MAX_RANGE {
            return Err("end_time must be within 14 days after start_time");
        }
        let known = |name: &String| EVENT_TYPES.contains(&name.as_str());
        if !self.event_names.iter().all(known) {
            return Err("event type is not supported");
        }
        Ok(EventFilter {
            start,
            end,
            room_id: self.room_id.clone().unwrap_or_default(),
            event_names: self.event_names.clone(),
            status: self.status.unwrap_or(usual),
        })
    }
}

/// The delivery history, paged.
pub(super) async fn events(State(sim): State<Sim>, RawQuery(query): RawQuery) -> Response {
    match events_page(&sim, &query.unwrap_or_default()) {
        Ok(page) => ok(&page),
        Err(refusal) => refused(refusal),
    }
}

fn events_page(sim: &Sim, query: &str) -> Result<Value, Refusal> {
    let parameters = Parameters::of_query(query)?;
    let filter = parameters.filter(Status::All, sim.now())?;
    let size = parameters.limit.unwrap_or(DEFAULT_PAGE);
    let page = parameters.page.unwrap_or(1);
    if !(1..=MAX_PAGE).contains(&size) {
        return Err("limit must be from 1 to 100");
    }
    if page == 0 {
        return Err("page must be 1 or more");
    }
    let events = sim.past_events(&filter);
    let pages = events.len().div_ceil(size);
    let on_page = events
        .iter()
        .rev()
        .skip((page - 1).saturating_mul(size))
        .take(size);
    Ok(json!({
        "events": on_page.map(event_json).collect::<Vec<_>>(),
        "pagination": {
            "current_page": page,
            "page_size": size,
            "total_pages": pages,
            "total_items": events.len(),
            "has_next": page < pages,
            "has_prev": page > 1,
        },
        "summary": { "total_events": events.len() },
    }))
}

/// What the history says of an event: not the event itself.
fn event_json(event: &PastEvent) -> Value {
    let mut data = json!({ "session_id": event.session_id() });
    if let Some((peer, user)) = event.peer_and_user() {
        data["peer_id"] = peer.into();
        data["user_id"] = user.into();
    }
    let mut payload = json!({
        "event_data": data,
        "webhook_url": event.url,
        "original_event_name": event.kind(),
    });
    // The name of a delivery that succeeded is not documented.
    let mut name = "reporter.webhook.delivery.success";
    if let Some(Outcome::Failed(reason)) = &event.outcome {
        payload["error_reason"] = reason.as_str().into();
        name = "reporter.webhook.delivery.failed";
    }
    json!({
        "event_id": event.id(),
        "event_name": name,
        "room_id": event.room_id(),
        "event_timestamp": seconds(event.at),
        "payload": payload,
    })
}

/// Starts a replay, or joins an identical one.
pub(super) async fn replay(State(sim): State<Sim>, body: Bytes) -> Response {
    let request = match replay_request(&body, sim.now()) {
        Ok(request) => request,
        Err(refusal) => return refused(refusal),
    };
    let (workflow, started) = sim.start_replay(request);
    let (status, message) = if started {
        ("started", "Webhook replay has been queued for processing")
    } else {
        ("already_running", "Identical replay is already in progress")
    };
    ok(&json!({
        "workflow_id": workflow.id,
        "status": status,
        "message": message,
        "filters": filters(&workflow.request.filter),
    }))
}

/// The request in a body; an empty one asks for all that failed in the last 24 hours.
fn replay_request(body: &[u8], now: DateTime<Utc>) -> Result<ReplayRequest, Refusal> {
    const NO_OBJECT: Refusal = "the body must be an object of filters";
    let body = if body.is_empty() { b"{}" } else { body };
    let as_sent: Value = serde_json::from_slice(body).map_err(|_| NO_OBJECT)?;
    if !as_sent.is_object() {
        return Err(NO_OBJECT);
    }
    let parameters = Parameters::deserialize(&as_sent).map_err(|_| "invalid filters")?;
    let limit = parameters.limit.unwrap_or(MAX_REPLAY);
    if !(1..=MAX_REPLAY).contains(&limit) {
        return Err("limit must be from 1 to 50000");
    }
    Ok(ReplayRequest {
        filter: parameters.filter(Status::Failed, now)?,
        limit,
        offset: parameters.offset.unwrap_or(0),
        as_sent,
    })
}

/// How far a replay is.
pub(super) async fn workflow(State(sim): State<Sim>, Path(id): Path<String>) -> Response {
    match sim.workflow(&id) {
        Some(workflow) => ok(&workflow_json(&workflow)),
        None => error(StatusCode::NOT_FOUND, "workflow not found", "not found"),
    }
}

fn workflow_json(workflow: &Workflow) -> Value {
    let mut filters = filters(&workflow.request.filter);
    filters["limit"] = workflow.request.limit.into();
    filters["offset"] = workflow.request.offset.into();
    let progress = json!({
        "total": workflow.total,
        "completed": workflow.completed,
        "failed": workflow.failed_events.len(),
    });
    let mut shown = json!({
        "workflow_id": workflow.id,
        "status": workflow.status(),
        "started_at": seconds(workflow.started_at),
        "filters": filters,
        "progress": progress,
    });
    if let Some(at) = workflow.completed_at() {
        let mut result = progress;
        result["failed_events"] = workflow.failed_events.clone().into();
        shown["completed_at"] = seconds(at).into();
        shown["result"] = result;
    }
    shown
}

fn filters(filter: &EventFilter) -> Value {
    json!({
        "start_time": seconds(filter.start),
        "end_time": seconds(filter.end),
        "room_id": filter.room_id,
        "event_types": filter.event_names,
    })
}

fn seconds(at: DateTime<Utc>) -> String {
    at.to_rfc3339_opts(SecondsFormat::Secs, true)
}

fn refused(message: Refusal) -> Response {
    error(StatusCode::BAD_REQUEST, message, "invalid parameters")
}
