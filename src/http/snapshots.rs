//! Snapshots: fetches peers from 100ms now and saves them.

use std::cell::Cell;

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize, Serializer};
use utoipa::{IntoParams, ToSchema};

use super::error::{ApiError, Problem};
use super::extract::{NoBody, NoFilter, Path, Query};
use super::json::{SnapshotJson, TimeJson};
use super::openapi::problem_code;
use super::run_to_completion;
use super::stream::{Lines, accepts_lines, streamed};
use crate::domain::{PeerId, RoleName, RoomId, UserId};
use crate::service::{FetchedRoom, RoomSnapshot, Service, SnapshotError};
use crate::store::Saved;
use crate::trace::{self, Instrument};

/// Fetch a peer from 100ms now and save its metadata.
#[utoipa::path(
    post,
    operation_id = "snapshotPeer",
    path = "/v1/rooms/{room_id}/peers/{peer_id}/snapshots",
    tag = "snapshot",
    params(("room_id" = String, Path), ("peer_id" = String, Path)),
    responses(
        (status = 200, description = "Nothing changed. The row of history that was extended.", body = SnapshotJson),
        (status = 201, description = "Something changed. The new row of history.", body = SnapshotJson),
        (status = "default", description = "The request failed; `code` says why.", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn of_peer(
    State(service): State<Service>,
    Path((room, peer)): Path<(RoomId, PeerId)>,
    Query(NoFilter {}): Query<NoFilter>,
    _: NoBody,
) -> Result<(StatusCode, Json<SnapshotJson>), ApiError> {
    let saved =
        run_to_completion(async move { service.snapshot_peer(&room, &peer).await }).await??;
    let status = if saved.changed {
        StatusCode::CREATED
    } else {
        StatusCode::OK
    };
    Ok((status, Json(saved.snapshot.into())))
}

/// Which peers of the room.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct RoomFilter {
    /// Only peers of this user.
    #[param(value_type = Option<String>)]
    user_id: Option<UserId>,
    /// Only peers of this role.
    #[param(value_type = Option<String>)]
    role: Option<RoleName>,
}

/// The result of the snapshot of a room.
#[derive(Serialize, ToSchema)]
#[schema(as = RoomSnapshot)]
pub(crate) struct RoomSnapshotJson {
    room_id: String,
    /// When 100ms was asked.
    #[schema(value_type = DateTime<Utc>)]
    observed_at: TimeJson,
    /// The current snapshot of each peer that was saved.
    #[schema(value_type = Vec<SnapshotJson>)]
    snapshots: SavedJson,
    /// The peers that were not saved.
    skipped: Vec<Skipped>,
}

/// What was saved. It is serialized once, and each snapshot is dropped after it was.
struct SavedJson(Cell<Vec<Saved>>);

impl Serialize for SavedJson {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let saved = self.0.take().into_iter();
        serializer.collect_seq(saved.map(|saved| SnapshotJson::from(saved.snapshot)))
    }
}

/// A peer that was not saved, and why.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Skipped {
    peer_id: String,
    /// One of the problem codes.
    #[schema(schema_with = problem_code)]
    code: &'static str,
    detail: String,
}

impl From<(String, SnapshotError)> for Skipped {
    fn from((peer_id, error): (String, SnapshotError)) -> Self {
        let FailureJson { code, detail } = error.into();
        Self {
            peer_id,
            code,
            detail,
        }
    }
}

/// A line of the snapshot of a room as `application/x-ndjson`. The last one is `end` or `problem`; an
/// answer without either is not complete.
///
/// Not in the description of the API: a second type of the same answer makes generated clients give
/// a union of both.
#[derive(Serialize)]
#[serde(rename_all = "snake_case")]
enum LineJson {
    /// The first line.
    Room(FetchedJson),
    /// A peer that was saved: its current snapshot.
    Snapshot(SnapshotJson),
    /// A peer that was not saved.
    Skipped(Skipped),
    /// All peers of the room are saved or skipped.
    End(EndJson),
    /// The others were not saved.
    Problem(FailureJson),
}

/// The room of a snapshot.
#[derive(Serialize)]
struct FetchedJson {
    room_id: String,
    /// When 100ms was asked.
    observed_at: TimeJson,
    /// How many peers it has.
    peers: usize,
}

/// How many peers were saved and skipped.
#[derive(Default, Serialize)]
struct EndJson {
    saved: usize,
    skipped: usize,
}

/// Why a snapshot ended early.
#[derive(Serialize)]
struct FailureJson {
    /// One of the problem codes.
    code: &'static str,
    detail: String,
}

impl From<SnapshotError> for FailureJson {
    fn from(error: SnapshotError) -> Self {
        let error = ApiError::from(error);
        Self {
            code: error.code().as_str(),
            detail: error.detail().to_owned(),
        }
    }
}

/// Saves the peers of a room, and answers with each part once it is saved.
async fn save_in_lines(mut fetched: FetchedRoom, room_id: RoomId, mut lines: Lines) {
    let room = FetchedJson {
        room_id: room_id.to_string(),
        observed_at: TimeJson(fetched.observed_at()),
        peers: fetched.len(),
    };
    lines.write(&LineJson::Room(room)).await;
    let mut end = EndJson::default();
    let last = loop {
        lines.flush().await;
        match fetched.save_next().await {
            Ok(Some(part)) => {
                end.saved += part.saved.len();
                end.skipped += part.skipped.len();
                for saved in part.saved {
                    let snapshot = LineJson::Snapshot(saved.snapshot.into());
                    lines.write(&snapshot).await;
                }
                for skipped in part.skipped {
                    lines.write(&LineJson::Skipped(skipped.into())).await;
                }
            }
            Ok(None) => break LineJson::End(end),
            Err(error) => break LineJson::Problem(error.into()),
        }
    };
    lines.write(&last).await;
    lines.flush().await;
}

/// Fetch all peers of a room from 100ms now and save their metadata.
///
/// With `Accept: application/x-ndjson` the answer has a line for each peer, sent as soon as the peer is
/// saved: for large rooms.
#[utoipa::path(
    post,
    operation_id = "snapshotRoom",
    path = "/v1/rooms/{room_id}/snapshots",
    tag = "snapshot",
    params(("room_id" = String, Path), RoomFilter),
    responses(
        (status = 200, description = "Which peers were saved and which were skipped.", body = RoomSnapshotJson),
        (status = "default", description = "The request failed; `code` says why.", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn of_room(
    State(service): State<Service>,
    Path(room): Path<RoomId>,
    Query(filter): Query<RoomFilter>,
    headers: HeaderMap,
    _: NoBody,
) -> Result<Response, ApiError> {
    if accepts_lines(&headers) {
        let RoomFilter { user_id, role } = filter;
        let fetched = service.fetch_room(&room, user_id.as_ref(), role.as_ref());
        let fetched = fetched.await?;
        let (lines, answer) = Lines::new();
        tokio::spawn(save_in_lines(fetched, room, lines).instrument(trace::current()));
        return Ok(answer);
    }
    let room_id = room.to_string();
    let taken = run_to_completion(async move {
        service
            .snapshot_room(
                &room,
                filter.user_id.as_ref(),
                filter.role.as_ref(),
                |_, _| {},
            )
            .await
    });
    let RoomSnapshot {
        observed_at,
        saved,
        skipped,
        permit,
    } = taken.await??;
    let json = RoomSnapshotJson {
        room_id,
        observed_at: TimeJson(observed_at),
        snapshots: SavedJson(Cell::new(saved)),
        skipped: skipped.into_iter().map(Into::into).collect(),
    };
    Ok(if permit.is_large() {
        streamed(json, permit)
    } else {
        Json(json).into_response()
    })
}
