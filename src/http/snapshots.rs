//! Snapshots: fetches peers from 100ms now and saves them.

use std::cell::Cell;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize, Serializer};
use utoipa::{IntoParams, ToSchema};

use super::error::{ApiError, Problem};
use super::extract::{NoBody, NoFilter, Path, Query};
use super::json::{SnapshotJson, TimeJson};
use super::openapi::problem_code;
use super::run_to_completion;
use super::stream::streamed;
use crate::domain::{PeerId, RoleName, RoomId, UserId};
use crate::service::{RoomSnapshot, Service};
use crate::store::Saved;

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

/// Fetch all peers of a room from 100ms now and save their metadata.
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
    _: NoBody,
) -> Result<Response, ApiError> {
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
    let skipped = skipped.into_iter().map(|(peer_id, error)| {
        let error = ApiError::from(error);
        Skipped {
            peer_id,
            code: error.code().as_str(),
            detail: error.detail().to_owned(),
        }
    });
    let json = RoomSnapshotJson {
        room_id,
        observed_at: TimeJson(observed_at),
        snapshots: SavedJson(Cell::new(saved)),
        skipped: skipped.collect(),
    };
    Ok(if permit.is_large() {
        streamed(json, permit)
    } else {
        Json(json).into_response()
    })
}
