//! Resume: reads the saved state of a user. Never asks 100ms.

use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use sha2::{Digest, Sha256};
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use super::error::{ApiError, Code, Problem};
use super::extract::{Path, Query};
use super::json::ResumeJson;
use super::metrics::{RESUME_AGE_SECONDS, RESUMES, ResumeOutcome};
use crate::domain::{PeerId, RoomId, UserId};
use crate::service::Service;
use crate::store::ResumeQuery;

/// Which state.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct ResumeFilter {
    /// Only of peers in this room.
    #[param(value_type = Option<String>)]
    room_id: Option<RoomId>,
    /// Not of this peer. For games whose client sets default metadata when it joins: the new peer.
    #[param(value_type = Option<String>)]
    exclude_peer_id: Option<PeerId>,
    /// Only if the peer was last observed with it at most this many seconds ago, and not a
    /// moment longer.
    max_age: Option<u64>,
    /// Only if the peer of the saved state dropped.
    #[param(inline)]
    only: Option<Only>,
}

/// Which presence the peer of the saved state must have.
#[derive(Debug, Clone, Copy, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Only {
    /// Its connection was lost.
    Dropped,
}

/// Read the saved state of a user.
///
/// It is the state of the peer whose metadata changed last, among all peers of the user. `ETag`
/// changes with the saved state; a request with it in `If-None-Match` gives 304.
#[utoipa::path(
    get,
    operation_id = "getResume",
    path = "/v1/users/{user_id}/resume",
    tag = "resume",
    params(
        ("user_id" = String, Path),
        ResumeFilter,
        ("If-None-Match" = Option<String>, Header, description = "The `ETag` of an earlier answer: 304 if it is still current."),
    ),
    responses(
        (status = 200, description = "The saved state.", body = ResumeJson, headers(("ETag" = String, description = "Names the saved state and its presence."))),
        (status = 304, description = "The saved state is the one that `If-None-Match` names.",
         headers(("ETag" = String, description = "Names the saved state and its presence."))),
        (status = "default", description = "The request failed; `code` says why.", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn get(
    State(service): State<Service>,
    Path(user_id): Path<UserId>,
    Query(filter): Query<ResumeFilter>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let query = ResumeQuery {
        user_id,
        room_id: filter.room_id,
        exclude_peer_id: filter.exclude_peer_id,
    };
    let Some(state) = service.resume(query).await? else {
        RESUMES.count(&ResumeOutcome::Miss);
        return Err(ApiError::new(
            Code::NoSavedMetadata,
            "No metadata is saved for this user.",
        ));
    };
    let (snapshot_id, now) = (state.snapshot_id, service.now());
    let age = now.since(state.last_observed_at);
    let resume = ResumeJson::new(state, now);
    let etag = etag(snapshot_id, &resume);
    let is_too_old = |max: &u64| age > Duration::from_secs(*max);
    if let Some(max) = filter.max_age.filter(is_too_old) {
        RESUMES.count(&ResumeOutcome::TooOld);
        let age = age.as_secs_f64();
        let detail = format!(
            "The saved metadata was last observed {age} seconds ago, and max_age is {max}."
        );
        return Err(ApiError::new(Code::SavedMetadataTooOld, detail));
    }
    if filter.only.is_some() && !resume.is_dropped() {
        RESUMES.count(&ResumeOutcome::NotDropped);
        return Err(ApiError::new(
            Code::NotDropped,
            "The peer of the saved state did not drop.",
        ));
    }
    RESUMES.count(&ResumeOutcome::Hit);
    RESUME_AGE_SECONDS.of(&()).record(age);
    let known = is_known(&headers, &etag);
    let caching = [
        (header::ETAG, etag),
        (
            header::CACHE_CONTROL,
            HeaderValue::from_static("private, no-cache"),
        ),
    ];
    Ok(if known {
        (StatusCode::NOT_MODIFIED, caching).into_response()
    } else {
        (caching, Json(resume)).into_response()
    })
}

/// Of the state and the presence. Weak: `age_seconds` and `last_observed_at` move on while those stay the same.
fn etag(snapshot_id: Uuid, resume: &ResumeJson) -> HeaderValue {
    let presence = serde_json::to_vec(&resume.presence()).unwrap_or_default();
    let presence = hex::encode(&Sha256::digest(presence)[..6]);
    HeaderValue::try_from(format!("W/\"{}-{presence}\"", snapshot_id.simple()))
        .expect("hex digits are a header value")
}

/// Whether `If-None-Match` names the tag, by weak comparison (RFC 9110).
fn is_known(headers: &HeaderMap, etag: &HeaderValue) -> bool {
    let opaque = |tag: &str| tag.trim().trim_start_matches("W/").to_owned();
    let Ok(ours) = etag.to_str().map(opaque) else {
        return false;
    };
    headers
        .get_all(header::IF_NONE_MATCH)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .any(|tag| tag.trim() == "*" || opaque(tag) == ours)
}
