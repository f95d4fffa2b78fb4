//! History: what was saved of a user, newest first.

use axum::Json;
use axum::extract::State;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::error::{ApiError, Problem};
use super::extract::{Path, Query, page_limit};
use super::json::SnapshotJson;
use crate::domain::{PeerId, RoomId, Timestamp, UserId};
use crate::service::Service;
use crate::store::{Cursor, HistoryQuery, Span};

/// Which part of history.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct HistoryFilter {
    /// Only of peers in this room.
    #[param(value_type = Option<String>)]
    room_id: Option<RoomId>,
    /// Only of this peer.
    #[param(value_type = Option<String>)]
    peer_id: Option<PeerId>,
    /// Only what was first observed at this instant or later.
    #[param(value_type = Option<String>, format = DateTime)]
    since: Option<Timestamp>,
    /// Only what was first observed before this instant.
    #[param(value_type = Option<String>, format = DateTime)]
    until: Option<Timestamp>,
    /// The state at this instant, one row per peer. Not together with `since` or `until`.
    #[param(value_type = Option<String>, format = DateTime)]
    at: Option<Timestamp>,
    /// How many rows at most: 1 to 500, 50 by default.
    #[param(minimum = 1, maximum = 500)]
    limit: Option<u16>,
    /// `next_cursor` of the previous page.
    cursor: Option<String>,
}

impl HistoryFilter {
    fn query(self, user_id: UserId) -> Result<HistoryQuery, ApiError> {
        let span = match (self.at, self.since, self.until) {
            (Some(at), None, None) => Span::At(at),
            (None, since, until) => Span::Between { since, until },
            (Some(_), _, _) => {
                return Err(ApiError::invalid(
                    "`at` cannot be combined with `since` or `until`.",
                ));
            }
        };
        let limit = page_limit(self.limit)?;
        let parse = |text: String| {
            Cursor::parse(&text)
                .ok_or_else(|| ApiError::invalid("`cursor` is not the `next_cursor` of a page."))
        };
        let after = self.cursor.map(parse).transpose()?;
        Ok(HistoryQuery {
            user_id,
            room_id: self.room_id,
            peer_id: self.peer_id,
            span,
            limit,
            after,
        })
    }
}

/// A page of history.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = History)]
pub(crate) struct HistoryJson {
    /// Newest first.
    snapshots: Vec<SnapshotJson>,
    /// Asks for the next page; null on the last.
    #[schema(required)]
    next_cursor: Option<String>,
}

/// Read what was saved of a user, newest first.
#[utoipa::path(
    get,
    operation_id = "listHistory",
    path = "/v1/users/{user_id}/snapshots",
    tag = "history",
    params(("user_id" = String, Path), HistoryFilter),
    responses(
        (status = 200, description = "A page of history; empty for a user who was never observed.", body = HistoryJson),
        (status = "default", description = "The request failed; `code` says why.", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn get(
    State(service): State<Service>,
    Path(user_id): Path<UserId>,
    Query(filter): Query<HistoryFilter>,
) -> Result<Json<HistoryJson>, ApiError> {
    let page = service.history(&filter.query(user_id)?).await?;
    Ok(Json(HistoryJson {
        snapshots: page.snapshots.into_iter().map(Into::into).collect(),
        next_cursor: page.next.map(|cursor| cursor.to_string()),
    }))
}
