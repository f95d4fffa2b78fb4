//! 100ms's REST API under `/v2`. Every request is logged, then meets its fault, then the token
//! check, then its answer.

mod actions;
mod analytics;
mod paging;
mod rooms;
mod sessions;

use axum::Router;
use axum::body::Bytes;
use axum::extract::rejection::QueryRejection;
use axum::extract::{DefaultBodyLimit, FromRequest, Path, Query, Request, State};
use axum::http::{Method, StatusCode, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use serde::Serialize;
use tokio_util::sync::CancellationToken;

use crate::auth::AuthError;
use crate::faults::{self, Operation};
use crate::model::{Filter, SimError, Update};
use crate::requests::{self, MAX_LOGGED_BODY};
use crate::serve::Shutdown;
use crate::wire::{self, ErrorJson, PeerJson, PeersJson, RoomJson, SessionJson};
use crate::{MAX_BODY, Sim};

/// The routes of the REST API, and its answer to every other path.
pub(super) fn router(sim: Sim) -> Router {
    Router::new()
        .route("/v2/active-rooms/{room_id}", get(room))
        .route("/v2/active-rooms/{room_id}/peers", get(peers))
        .route(
            "/v2/active-rooms/{room_id}/peers/{peer_id}",
            get(peer).post(update),
        )
        .route(
            "/v2/active-rooms/{room_id}/remove-peers",
            post(actions::remove_peers),
        )
        .route(
            "/v2/active-rooms/{room_id}/end-room",
            post(actions::end_room),
        )
        .route(
            "/v2/active-rooms/{room_id}/send-message",
            post(actions::send_message),
        )
        .route("/v2/analytics/webhooks", get(analytics::events))
        .route("/v2/analytics/webhooks/replay", post(analytics::replay))
        .route(
            "/v2/analytics/webhooks/replay/{workflow_id}",
            get(analytics::workflow),
        )
        .route("/v2/rooms", get(rooms::list).post(rooms::create))
        .route(
            "/v2/rooms/{room_id}",
            get(rooms::retrieve).post(rooms::update),
        )
        .route("/v2/sessions", get(sessions::list))
        .route("/v2/sessions/{session_id}", get(session))
        .fallback(async || not_found())
        .method_not_allowed_fallback(async || {
            error(
                StatusCode::METHOD_NOT_ALLOWED,
                "Method not allowed",
                "method not allowed",
            )
        })
        .layer(from_fn_with_state(sim.clone(), log_and_answer))
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .with_state(sim)
}

/// An error in the documented shape.
pub(super) fn error(status: StatusCode, message: &str, detail: &str) -> Response {
    json(status, &ErrorJson::new(status.as_u16(), message, detail))
}

/// A JSON answer.
pub(super) fn json(status: StatusCode, body: &impl Serialize) -> Response {
    let body = serde_json::to_vec(body).expect("the shapes of this module have string keys only");
    (status, [(header::CONTENT_TYPE, "application/json")], body).into_response()
}

async fn peer(State(sim): State<Sim>, Path((room, peer)): Path<(String, String)>) -> Response {
    sim.with_state(|state| answer(state.peer(&room, &peer).map(PeerJson::with_tracks)))
}

async fn peers(
    State(sim): State<Sim>,
    Path(room): Path<String>,
    filter: Result<Query<Filter>, QueryRejection>,
) -> Response {
    let filter = match filter {
        Ok(Query(filter)) => filter,
        Err(rejection) => return bad_query(&rejection),
    };
    sim.with_state(|state| {
        answer(
            state
                .peers(&room, &filter)
                .map(|peers| PeersJson::new(&peers)),
        )
    })
}

async fn room(State(sim): State<Sim>, Path(room): Path<String>) -> Response {
    sim.with_state(|state| answer(state.room(&room).map(RoomJson::new)))
}

async fn session(State(sim): State<Sim>, Path(session): Path<String>) -> Response {
    sim.with_state(|state| {
        state
            .session(&session)
            .map(SessionJson::new)
            .map_or_else(not_found, |body| ok(&body))
    })
}

async fn update(
    State(sim): State<Sim>,
    Path((room, peer)): Path<(String, String)>,
    body: Bytes,
) -> Response {
    // Checked first, because serde reads an array as an object of nothing.
    let object = Some(body.as_ref()).filter(|body| body.trim_ascii_start().starts_with(b"{"));
    let Some(update) = object.and_then(|body| serde_json::from_slice::<Update>(body).ok()) else {
        return bad_request("the body must be an object of strings");
    };
    if update
        .metadata
        .as_ref()
        .is_some_and(|metadata| !metadata.is_string())
    {
        return bad_request("metadata must be a string");
    }
    answer(
        sim.update(&room, &peer, update)
            .as_ref()
            .map(PeerJson::with_tracks)
            .map_err(Clone::clone),
    )
}

fn answer(result: Result<impl Serialize, SimError>) -> Response {
    match result {
        Ok(body) => ok(&body),
        Err(_) => not_found(),
    }
}

fn ok(body: &impl Serialize) -> Response {
    json(StatusCode::OK, body)
}

/// One body for every 404. Whether 100ms distinguishes a room that is not active from an unknown
/// peer is not documented.
fn not_found() -> Response {
    error(StatusCode::NOT_FOUND, "Not found", "not found")
}

fn bad_request(detail: &str) -> Response {
    error(StatusCode::BAD_REQUEST, "Bad request", detail)
}

/// The documented refusal of the calls about webhooks, whatever is wrong with the token.
pub(super) fn analytics_forbidden() -> Response {
    error(
        StatusCode::FORBIDDEN,
        "insufficient permissions",
        "permission denied",
    )
}

/// A query that cannot be read, such as a number that is none.
fn bad_query(rejection: &QueryRejection) -> Response {
    bad_request(&rejection.body_text())
}

fn unauthorized(auth_error: AuthError) -> Response {
    match auth_error {
        AuthError::InvalidToken => error(
            StatusCode::UNAUTHORIZED,
            "Token validation error",
            "not found",
        ),
        AuthError::NotPermitted => error(StatusCode::FORBIDDEN, "Forbidden", "permission denied"),
    }
}

/// Logs the request and the status of its answer, which comes at the shutdown at the latest.
async fn log_and_answer(State(sim): State<Sim>, request: Request, next: Next) -> Response {
    let operation = Operation::of(request.method(), request.uri().path());
    let (request, body) = match buffered(request).await {
        Ok(buffered) => buffered,
        Err(refused) => return refused,
    };
    let at = wire::time(sim.now());
    let number = sim.log(requests::Request {
        number: 0,
        at: at.clone(),
        method: request.method().to_string(),
        path: request.uri().path().to_owned(),
        query: request.uri().query().map(ToOwned::to_owned),
        operation,
        traceparent: request
            .headers()
            .get("traceparent")
            .map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned()),
        body,
        status: None,
    });
    let shutdown = request
        .extensions()
        .get::<Shutdown>()
        .cloned()
        .unwrap_or_else(|| Shutdown(CancellationToken::new()));
    let response = tokio::select! {
        response = fault_or_answer(&sim, operation, request, next) => response,
        () = shutdown.0.cancelled() => error(StatusCode::SERVICE_UNAVAILABLE, "shutting down", "shutdown"),
    };
    sim.log_answer(number, &at, response.status().as_u16());
    response
}

/// The fault if one is due, else the token check and the right answer.
async fn fault_or_answer(
    sim: &Sim,
    operation: Option<Operation>,
    request: Request,
    next: Next,
) -> Response {
    let (delay, fault) = sim.take_fault(operation);
    if !delay.is_zero() {
        tokio::time::sleep(delay).await;
    }
    match fault {
        Some(fault) => faults::answer(fault, sim.now(), operation, request, next).await,
        None => match sim.authorize(request.headers()) {
            Ok(()) => next.run(request).await,
            Err(_) if operation.is_some_and(Operation::is_analytics) => analytics_forbidden(),
            Err(auth_error) => unauthorized(auth_error),
        },
    }
}

/// The request with its body read, and that body as text for the log.
async fn buffered(request: Request) -> Result<(Request, Option<String>), Response> {
    if request.method() != Method::POST {
        return Ok((request, None));
    }
    let (parts, body) = request.into_parts();
    let body = Bytes::from_request(Request::from_parts(parts.clone(), body), &())
        .await
        .map_err(IntoResponse::into_response)?;
    let text = (body.len() <= MAX_LOGGED_BODY)
        .then(|| String::from_utf8(body.to_vec()).ok())
        .flatten();
    Ok((Request::from_parts(parts, body.into()), text))
}
