//! Resume with consequences: the saved state goes back to a peer at 100ms, or is claimed, or both.

use axum::Json;
use axum::extract::State;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::auth::Caller;
use super::error::{ApiError, ClaimProblem, Problem};
use super::extract::{JsonBody, NoFilter, Path, Query};
use super::json::{ClaimJson, ResumeJson, SkipReasonJson};
use super::run_to_completion;
use crate::domain::{Claimant, PeerId, Requester, RoomId, SkipReason, Timestamp, UserId};
use crate::service::{RestoreRequest, RestoreResult, Service};

/// What to do with the saved state.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RestoreBody {
    /// Only a state of this room; and where `peer_id` is. Without it, the peer is looked for where it was last observed, else
    /// where the state is from.
    #[schema(value_type = Option<String>)]
    room_id: Option<RoomId>,
    /// Send the state to this peer, if its metadata is empty.
    #[schema(value_type = Option<String>)]
    peer_id: Option<PeerId>,
    /// Claim the state for this one, in its own words: of many who try, one gets it.
    #[schema(value_type = Option<String>)]
    claimed_by: Option<Claimant>,
    /// Send it even if the peer has metadata, of which no account is taken. A peer that was restored once is left alone.
    #[serde(default)]
    overwrite: bool,
    /// Send the role too.
    #[serde(default)]
    role: bool,
}

/// The saved state, as it was found, and what was done with it.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = RestoreAnswer)]
pub(crate) struct RestoreJson {
    #[serde(flatten)]
    resume: ResumeJson,
    /// Whether it was sent to the peer.
    restored: bool,
    /// Why it was not; null where it was, and where no peer was named.
    #[schema(required)]
    why: Option<SkipReasonJson>,
    /// The claim, where one was asked for.
    #[schema(required)]
    claim: Option<ClaimJson>,
}

/// There is no state, so the peer got none.
#[derive(Debug, Serialize)]
pub(crate) struct NothingRestored {
    user_id: String,
    restored: bool,
    why: SkipReasonJson,
    claim: Option<ClaimJson>,
}

/// What came of it.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub(crate) enum RestoreAnswer {
    /// There is a state.
    Found(Box<RestoreJson>),
    /// There is none.
    Nothing(NothingRestored),
}

impl RestoreAnswer {
    fn new(user_id: &UserId, done: RestoreResult, now: Timestamp) -> Self {
        let RestoreResult {
            state,
            skipped,
            restored,
            claim,
        } = done;
        let claim = claim.map(ClaimJson::from);
        match state {
            Some(state) => {
                let resume = ResumeJson::new(state, now);
                Self::Found(Box::new(RestoreJson {
                    resume,
                    restored,
                    why: skipped.map(SkipReasonJson::from),
                    claim,
                }))
            }
            None => Self::Nothing(NothingRestored {
                user_id: user_id.to_string(),
                restored,
                why: skipped.unwrap_or(SkipReason::NothingSaved).into(),
                claim,
            }),
        }
    }
}

/// Send the saved state back to a peer, claim it, or both.
///
/// What is sent back is no new change: the state moves to that peer, and what was claimed stays claimed until the player's
/// metadata changes.
#[utoipa::path(
    post,
    operation_id = "restore",
    path = "/v1/users/{user_id}/resume",
    tag = "resume",
    params(("user_id" = String, Path)),
    request_body = RestoreBody,
    responses(
        (status = 200, description = "The saved state, and what was done with it.", body = RestoreJson),
        (status = 409, description = "Somebody else has claimed it (`already-claimed`), or the peer is another user's.",
         body = ClaimProblem, content_type = "application/problem+json"),
        (status = "default", description = "The request failed; `code` says why.", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn post(
    State(service): State<Service>,
    Path(user_id): Path<UserId>,
    Query(NoFilter {}): Query<NoFilter>,
    Caller(caller): Caller,
    JsonBody(body): JsonBody<RestoreBody>,
) -> Result<Json<RestoreAnswer>, ApiError> {
    if body.peer_id.is_none() && (body.overwrite || body.role) {
        return Err(ApiError::invalid(
            "`overwrite` and `role` need a `peer_id`.",
        ));
    }
    let request = RestoreRequest {
        user_id: user_id.clone(),
        room_id: body.room_id,
        peer_id: body.peer_id,
        claimed_by: body.claimed_by,
        overwrite: body.overwrite,
        with_role: body.role,
        requester: Requester::Key(caller),
    };
    let now = service.now();
    let done = run_to_completion(async move { service.restore(request).await }).await??;
    Ok(Json(RestoreAnswer::new(&user_id, done, now)))
}
