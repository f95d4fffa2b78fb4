//! Watches: rooms that are looked at regularly.

use std::fmt;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use chrono::DateTime;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::auth::Caller;
use super::error::{ApiError, Code, Problem};
use super::extract::{JsonBody, NoBody, NoFilter, Path, Query, page_limit};
use super::json::TimeJson;
use super::openapi::look_outcome;
use crate::domain::{LastLook, RoomId, Timestamp, Watch, WatchInterval, WatchState};
use crate::service::Service;
use crate::store::{NewWatch, WatchPage};

/// How a room is watched.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct WatchBody {
    /// How often to look at the room, from `5s` to `1h`; `30s` where it is absent.
    #[schema(value_type = Option<String>)]
    every: Option<String>,
    /// When the watch ends. Without it, when the room is not active any more.
    #[schema(value_type = Option<DateTime<Utc>>)]
    until: Option<Timestamp>,
}

/// A room that is looked at regularly.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Watch)]
pub struct WatchJson {
    /// The room.
    room_id: String,
    /// How often it is looked at.
    every: String,
    /// When the watch ends; null where it ends when the room is not active any more.
    #[schema(value_type = Option<DateTime<Utc>>, required)]
    until: Option<TimeJson>,
    /// The name of the API key that asked for it; null where none did.
    #[schema(required)]
    requested_by: Option<String>,
    /// Whether it began by itself, since the room became active.
    automatic: bool,
    /// When it began.
    #[schema(value_type = DateTime<Utc>)]
    started_at: TimeJson,
    /// What it is doing.
    state: WatchStateJson,
    /// When the next look is scheduled.
    #[schema(value_type = DateTime<Utc>)]
    next_look_at: TimeJson,
    /// By how many whole seconds that look is late.
    late_seconds: u64,
    /// The last look; null before the first.
    #[schema(required)]
    last_look: Option<LastLookJson>,
}

/// A look that has ended.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = LastLook)]
pub(crate) struct LastLookJson {
    /// When it ended.
    #[schema(value_type = DateTime<Utc>)]
    at: TimeJson,
    /// `ok`, or the problem code.
    #[schema(schema_with = look_outcome)]
    outcome: &'static str,
    /// How many peers it saved.
    peers: u32,
    /// Of how many of them something had changed.
    changes: u32,
}

/// What a watch is doing.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = WatchState)]
#[serde(rename_all = "lowercase")]
pub(crate) enum WatchStateJson {
    /// It waits for its next look.
    Waiting,
    /// A replica looks at the room.
    Looking,
    /// Its next look is late by more than one interval.
    Late,
}

impl From<Watch> for WatchJson {
    fn from(watch: Watch) -> Self {
        Self {
            room_id: watch.room_id.to_string(),
            every: watch.every.to_string(),
            until: watch.until.map(TimeJson),
            requested_by: watch.requested_by.map(|name| name.to_string()),
            automatic: watch.automatic,
            started_at: TimeJson(watch.started_at),
            state: match watch.state {
                WatchState::Waiting => WatchStateJson::Waiting,
                WatchState::Looking => WatchStateJson::Looking,
                WatchState::Late => WatchStateJson::Late,
            },
            next_look_at: TimeJson(watch.next_look_at),
            late_seconds: watch.late_by.as_secs(),
            last_look: watch.last_look.map(Into::into),
        }
    }
}

impl From<LastLook> for LastLookJson {
    fn from(look: LastLook) -> Self {
        Self {
            at: TimeJson(look.at),
            outcome: look.outcome.as_str(),
            peers: look.peers,
            changes: look.changes,
        }
    }
}

/// Watch a room: look at all of its peers regularly, from now on.
///
/// A watch that there is already is changed. It ends by itself when the room was not active at three
/// looks, two minutes apart at least.
#[utoipa::path(
    put,
    operation_id = "watchRoom",
    path = "/v1/rooms/{room_id}/watch",
    tag = "watch",
    params(("room_id" = String, Path)),
    request_body(content = WatchBody, description = "May be missing."),
    responses(
        (status = 200, description = "The watch was changed.", body = WatchJson),
        (status = 201, description = "The watch has begun.", body = WatchJson),
        (status = "default", description = "The request failed; `code` says why.", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn put(
    State(service): State<Service>,
    Path(room_id): Path<RoomId>,
    Query(NoFilter {}): Query<NoFilter>,
    Caller(requested_by): Caller,
    JsonBody(body): JsonBody<WatchBody>,
) -> Result<(StatusCode, Json<WatchJson>), ApiError> {
    let every = body
        .every
        .map_or(Ok(WatchInterval::DEFAULT), |every| every.parse());
    let every =
        every.map_err(|error| ApiError::invalid(format!("`every` is invalid: {error}.")))?;
    if body.until.is_some_and(|until| until <= service.now()) {
        return Err(ApiError::invalid("`until` is over already."));
    }
    let watch = NewWatch {
        room_id,
        every,
        until: body.until,
        requested_by,
    };
    let (watch, created) = service.put_watch(watch).await?;
    let status = if created {
        StatusCode::CREATED
    } else {
        StatusCode::OK
    };
    Ok((status, Json(watch.into())))
}

/// Read the watch of a room.
#[utoipa::path(
    get,
    operation_id = "getWatch",
    path = "/v1/rooms/{room_id}/watch",
    tag = "watch",
    params(("room_id" = String, Path)),
    responses(
        (status = 200, description = "The watch.", body = WatchJson),
        (status = "default", description = "The request failed; `code` says why.", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn get(
    State(service): State<Service>,
    Path(room_id): Path<RoomId>,
    Query(NoFilter {}): Query<NoFilter>,
) -> Result<Json<WatchJson>, ApiError> {
    let watch = service.watch(&room_id).await?.ok_or_else(not_watched)?;
    Ok(Json(watch.into()))
}

/// End the watch of a room. A look that has begun is finished.
#[utoipa::path(
    delete,
    operation_id = "unwatchRoom",
    path = "/v1/rooms/{room_id}/watch",
    tag = "watch",
    params(("room_id" = String, Path)),
    responses(
        (status = 204, description = "The watch has ended."),
        (status = "default", description = "The request failed; `code` says why.", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn delete(
    State(service): State<Service>,
    Path(room_id): Path<RoomId>,
    Query(NoFilter {}): Query<NoFilter>,
    _: NoBody,
) -> Result<StatusCode, ApiError> {
    if service.delete_watch(&room_id).await? {
        Ok(StatusCode::NO_CONTENT)
    } else {
        Err(not_watched())
    }
}

fn not_watched() -> ApiError {
    ApiError::new(
        Code::RoomNotWatched,
        "The room is not watched. `PUT` on this path begins a watch.",
    )
}

/// Which page of the watches.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct WatchFilter {
    /// The order: by room, or by lateness with the latest look first. By room by default.
    #[param(inline)]
    order: Option<OrderJson>,
    /// How many watches at most: 1 to 500, 50 by default.
    #[param(minimum = 1, maximum = 500)]
    limit: Option<u16>,
    /// `next_cursor` of the previous page, which was in the same order.
    cursor: Option<String>,
}

#[derive(Debug, Clone, Copy, Default, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum OrderJson {
    #[default]
    Room,
    Lateness,
}

/// A position in a list of watches.
#[derive(Debug, PartialEq, Eq)]
struct Cursor {
    next_look_at: Timestamp,
    /// Where a room of this id would be: any text is a position, but for a NUL, which is none in
    /// Postgres.
    room_id: String,
}

impl Cursor {
    /// Reads what `Display` writes.
    fn parse(text: &str) -> Option<Self> {
        let (micros, room_id) = text.split_once('_')?;
        let room_id = hex::decode(room_id).ok()?;
        Some(Self {
            next_look_at: DateTime::from_timestamp_micros(micros.parse().ok()?)?.into(),
            room_id: String::from_utf8_lossy(&room_id).replace('\0', ""),
        })
    }
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let micros = self.next_look_at.to_utc().timestamp_micros();
        write!(f, "{micros}_{}", hex::encode(&self.room_id))
    }
}

/// A page of watches.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Watches)]
pub(crate) struct WatchesJson {
    /// In the order that was asked for.
    watches: Vec<WatchJson>,
    /// Asks for the next page; null on the last.
    #[schema(required)]
    next_cursor: Option<String>,
}

/// List the rooms that are watched.
#[utoipa::path(
    get,
    operation_id = "listWatches",
    path = "/v1/watches",
    tag = "watch",
    params(WatchFilter),
    responses(
        (status = 200, description = "A page of watches.", body = WatchesJson),
        (status = "default", description = "The request failed; `code` says why.", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn list(
    State(service): State<Service>,
    Query(filter): Query<WatchFilter>,
) -> Result<Json<WatchesJson>, ApiError> {
    let limit = page_limit(filter.limit)?;
    let parse = |text: String| {
        Cursor::parse(&text)
            .ok_or_else(|| ApiError::invalid("`cursor` is not the `next_cursor` of a page."))
    };
    let after = filter.cursor.map(parse).transpose()?;
    let page = match filter.order.unwrap_or_default() {
        OrderJson::Room => WatchPage::ByRoom(after.map(|cursor| cursor.room_id)),
        OrderJson::Lateness => {
            WatchPage::ByLateness(after.map(|cursor| (cursor.next_look_at, cursor.room_id)))
        }
    };
    let mut watches = service.watches(page, limit + 1).await?;
    let has_more = watches.len() > usize::from(limit);
    watches.truncate(usize::from(limit));
    let next_cursor = watches.last().filter(|_| has_more).map(|watch| {
        let cursor = Cursor {
            next_look_at: watch.next_look_at,
            room_id: watch.room_id.to_string(),
        };
        cursor.to_string()
    });
    Ok(Json(WatchesJson {
        watches: watches.into_iter().map(Into::into).collect(),
        next_cursor,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_is_what_a_page_gave() {
        let cursor = Cursor {
            next_look_at: Timestamp::parse("2026-03-01T10:00:00.000001Z").unwrap(),
            room_id: "r⚔".to_owned(),
        };
        let text = cursor.to_string();
        assert_eq!(text, "1772359200000001_72e29a94");
        assert_eq!(Cursor::parse(&text), Some(cursor));
        for bad in ["", "_", "1_7", "x_72", "1_72_", "99999999999999999999_72"] {
            assert_eq!(Cursor::parse(bad), None, "{bad}");
        }
    }
}
