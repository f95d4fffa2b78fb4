//! Forwards: the events that were not passed on yet, and those that never were.

use axum::Json;
use axum::extract::State;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use super::error::{ApiError, Code, Problem};
use super::extract::{NoBody, NoFilter, Path, Query, page_limit};
use super::json::TimeJson;
use crate::domain::{ForwardRecord, ForwardState};
use crate::service::Service;

/// An event that is to be passed on.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Forward)]
pub struct ForwardJson {
    /// The `webhook-id` that it is sent with.
    id: Uuid,
    /// The room; null where the event names none.
    #[schema(required)]
    room_id: Option<String>,
    /// Whose peer it is about; null where it is about none.
    #[schema(required)]
    user_id: Option<String>,
    /// Whether it waits or is dead.
    state: ForwardStateJson,
    /// When it came.
    #[schema(value_type = DateTime<Utc>)]
    received_at: TimeJson,
    /// How often it was sent.
    attempts: u32,
    /// When it is sent next, unless an earlier event of its room has to go first; null if it is dead.
    #[schema(value_type = Option<DateTime<Utc>>, required)]
    next_attempt_at: Option<TimeJson>,
    /// When its first attempt failed; null before that.
    #[schema(value_type = Option<DateTime<Utc>>, required)]
    failing_since: Option<TimeJson>,
    /// What came of the last attempt; null before the first.
    #[schema(required)]
    last_error: Option<String>,
    /// When it was given up; null if it waits. It is deleted a week later.
    #[schema(value_type = Option<DateTime<Utc>>, required)]
    dead_at: Option<TimeJson>,
}

/// The state of an event that is to be passed on.
#[derive(Debug, Clone, Copy, Serialize, Deserialize, ToSchema)]
#[schema(as = ForwardState)]
#[serde(rename_all = "lowercase")]
pub(crate) enum ForwardStateJson {
    /// It is sent, or will be.
    Waiting,
    /// It was refused for good, or for 24 hours.
    Dead,
}

impl From<ForwardRecord> for ForwardJson {
    fn from(record: ForwardRecord) -> Self {
        let is_waiting = record.state == ForwardState::Waiting;
        Self {
            id: record.id,
            room_id: record.room_id.map(|room_id| room_id.to_string()),
            user_id: record.user_id.map(|user_id| user_id.to_string()),
            state: match record.state {
                ForwardState::Waiting => ForwardStateJson::Waiting,
                ForwardState::Dead => ForwardStateJson::Dead,
            },
            received_at: TimeJson(record.received_at),
            attempts: record.attempts,
            next_attempt_at: is_waiting.then_some(TimeJson(record.due_at)),
            failing_since: record.failing_since.map(TimeJson),
            last_error: record.last_error,
            dead_at: record.dead_at.map(TimeJson),
        }
    }
}

impl From<ForwardStateJson> for ForwardState {
    fn from(state: ForwardStateJson) -> Self {
        match state {
            ForwardStateJson::Waiting => Self::Waiting,
            ForwardStateJson::Dead => Self::Dead,
        }
    }
}

/// Which page of the events.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct ForwardFilter {
    /// Only those in this state.
    #[param(inline)]
    state: Option<ForwardStateJson>,
    /// How many events at most: 1 to 500, 50 by default.
    #[param(minimum = 1, maximum = 500)]
    limit: Option<u16>,
    /// `next_cursor` of the previous page.
    cursor: Option<String>,
}

/// A page of events that are to be passed on.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Forwards)]
pub(crate) struct ForwardsJson {
    /// In the order in which they came.
    forwards: Vec<ForwardJson>,
    /// Asks for the next page; null on the last.
    #[schema(required)]
    next_cursor: Option<String>,
}

/// List the events that are to be passed on, and those that never were.
#[utoipa::path(
    get,
    operation_id = "listForwards",
    path = "/v1/forwards",
    tag = "forward",
    params(ForwardFilter),
    responses(
        (status = 200, description = "A page of events.", body = ForwardsJson),
        (status = "default", description = "The request failed; `code` says why.", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn list(
    State(service): State<Service>,
    Query(filter): Query<ForwardFilter>,
) -> Result<Json<ForwardsJson>, ApiError> {
    let limit = page_limit(filter.limit)?;
    let after = filter.cursor.as_deref().map(parse_cursor).transpose()?;
    let state = filter.state.map(Into::into);
    let after = after.unwrap_or_default();
    let mut forwards = service.forwards(after, state, limit + 1).await?;
    let has_more = forwards.len() > usize::from(limit);
    forwards.truncate(usize::from(limit));
    let last = forwards.last().filter(|_| has_more);
    Ok(Json(ForwardsJson {
        next_cursor: last.map(|forward| forward.position.to_string()),
        forwards: forwards.into_iter().map(Into::into).collect(),
    }))
}

/// Reads the position of an event.
fn parse_cursor(text: &str) -> Result<i64, ApiError> {
    text.parse()
        .ok()
        .filter(|position: &i64| *position > 0 && position.to_string() == text)
        .ok_or_else(|| ApiError::invalid("`cursor` is not the `next_cursor` of a page."))
}

/// Send an event again now, whether it waits or is dead. One that was dead holds up no other.
#[utoipa::path(
    post,
    operation_id = "retryForward",
    path = "/v1/forwards/{forward_id}/retry",
    tag = "forward",
    params(("forward_id" = Uuid, Path)),
    responses(
        (status = 200, description = "It will be sent.", body = ForwardJson),
        (status = "default", description = "The request failed; `code` says why.", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn retry(
    State(service): State<Service>,
    Path(forward_id): Path<Uuid>,
    Query(NoFilter {}): Query<NoFilter>,
    _: NoBody,
) -> Result<Json<ForwardJson>, ApiError> {
    let forward = service.retry_forward(forward_id).await?.ok_or_else(|| {
        let detail = "No event with this id is to be passed on. It may have been accepted.";
        ApiError::new(Code::NotFound, detail)
    })?;
    Ok(Json(forward.into()))
}

/// How many events wait again.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = RetriedForwards)]
pub(crate) struct RetriedJson {
    /// How many there are.
    retried: u64,
}

/// Send all dead events again.
#[utoipa::path(
    post,
    operation_id = "retryForwards",
    path = "/v1/forwards/retry",
    tag = "forward",
    responses(
        (status = 200, description = "They will be sent.", body = RetriedJson),
        (status = "default", description = "The request failed; `code` says why.", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn retry_all(
    State(service): State<Service>,
    Query(NoFilter {}): Query<NoFilter>,
    _: NoBody,
) -> Result<Json<RetriedJson>, ApiError> {
    let retried = service.retry_dead_forwards().await?;
    Ok(Json(RetriedJson { retried }))
}
