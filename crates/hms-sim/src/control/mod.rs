//! The control API under `/control`: makes things happen in the rooms, and makes calls fail. JSON,
//! without authentication: for loopback addresses.
//!
//! | call | body | does |
//! |---|---|---|
//! | `POST /rooms/{room}/peers` | `{user_id?, name?, role?, metadata?, peer_id?, tracks?: [{type, source?, mute?, id?}], room_name?, session_id?}` | a peer joins: 201 |
//! | `PATCH /rooms/{room}/peers/{peer}` | `{name?, role?, metadata?, requested_by?}` | changes it; `requested_by` is the id of the peer that asks for the role |
//! | `PUT /rooms/{room}/peers/{peer}/metadata` | `{metadata}` | sets its metadata; `{}` leaves the field out of answers |
//! | `POST /rooms/{room}/peers/{peer}/drop` | `{ghost_seconds?, reason?, leave_at?: "ghost_end"\|"drop"}` | cuts its connection |
//! | `POST /rooms/{room}/peers/{peer}/reconnect` | | the ghost is connected again |
//! | `POST /rooms/{room}/peers/{peer}/leave` | `{reason?, message?}` | it leaves (`client request`) |
//! | `POST /rooms/{room}/peers/{peer}/kick` | `{message?}` | it is removed (`peer kicked`) |
//! | `POST /rooms/{room}/peers/{peer}/tracks` | `{type, source?, mute?, id?}` | publishes a track |
//! | `PATCH /rooms/{room}/peers/{peer}/tracks/{track}` | `{mute}` | mutes or unmutes it |
//! | `POST /rooms/{room}/end` | `{reason?, lock?, by?, leave_reason?}` | ends the room, by a peer or by the REST API; leave events only with a reason for them |
//! | `GET /state` | | `{now, tokens_seen, rooms: {room: {name, session_id, peers: {peer: …}}}}` |
//! | `GET`, `DELETE /requests` | | `{total, requests}`: what came to the REST API; or forgets it |
//! | `GET`, `PUT`, `DELETE /faults` | `[{operation?, times?, skip?, fault}]` | shows, replaces or ends the faults |
//! | `POST /tokens/revoke` | | refuses every token that came so far |
//! | `GET`, `PUT`, `DELETE /webhooks` | `{rules?: [{types?, times?, effect}], leave_at?, drop_reason?, time_scale?, parallel?, lose_all?, replays?: {delay_ms?, end?, sends?, mark?}}` | `{pending, settings, deliveries}`; replaces the settings; or resets them |
//! | `PUT`, `DELETE /webhooks/outage` | | loses every event from now on; or delivers again |
//! | `PUT`, `DELETE /webhooks/target` | `{url, header?, secret}` | where webhooks go, or nowhere |
//! | `POST /webhooks/replay` | `{ids?, types?, in_data?}` | sends past events again, 10 a second: `{replayed}` |
//! | `POST /webhooks/send` | anything | delivers this body as it is, with the usual retries |
//!
//! `metadata` is any JSON value, and is served byte for byte as it stands in the request. Faults
//! are `{"status": 500}`, `{"delay_ms": 200}`, `"cut_body"`, `"hang"`, `{"rate_limit": {"header":
//! 3}}`, `{"rate_limit": {"date": 3}}`, `{"rate_limit": {"message": 45}}`, `{"rate_limit":
//! "nonsense"}`, `{"rate_limit": "bare"}`, `{"html": 502}`, `{"empty": 503}`, `{"redirect":
//! "http://…"}`, `"garbage"`, `"unauthorized"`, `"forbidden"`, `{"flood": bytes}`, `{"answer":
//! {"status", "content_type"?, "body"}}`; operations are `peer`, `peers`, `room`, `update`,
//! `session`, `sessions`, `rooms`, `create_room`, `retrieve_room`, `update_room`, `remove_peers`,
//! `end_room`, `send_message`, `webhook_events`, `replay`, `replay_status`, `any`.
//! Effects are `"lose"`, `{"duplicate": copies}`, `{"delay_ms": 500}`, `{"reorder": group}`.
//!
//! What is lost stands in the history of the REST API as a delivery that failed, and can be
//! replayed through it. `replays` says what becomes of such replays: they wait for `delay_ms`, then
//! reach their end, or send as many events as `sends` says and `end` as `failed`, `canceled` or
//! `terminated`; `mark` is where `is_replay` stands: `top_level`, `data` or `nowhere`. The faults
//! `"forbidden"` and `{"status": 503}` take 100ms's words for these calls.
//!
//! Peers are answered in the REST shape with `room_id`, `session_id` and `ghost_until`. Errors are
//! `{"error": "…"}`: 400 for a body that is not understood, 404 for a room or peer that does not
//! exist, 409 for a peer id that does and for a join of a room that is disabled or locked.

pub(super) mod shapes;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, patch, post, put};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::json;

use self::shapes::ControlPeer;
use super::faults::FaultRule;
use super::handle::DropOptions;
use super::metadata::{WireMetadata, given};
use super::model::{Join, NewTrack, Peer, RoomEnd, SimError, Update};
use super::webhooks::{Replay, WebhookSettings, WebhookTarget};
use super::{MAX_BODY, Sim, rest};

/// The routes, without their prefix.
pub(super) fn router(sim: Sim) -> Router {
    Router::new()
        .route("/rooms/{room}/peers", post(join))
        .route("/rooms/{room}/end", post(end))
        .route("/rooms/{room}/peers/{peer}", patch(update))
        .route("/rooms/{room}/peers/{peer}/metadata", put(set_metadata))
        .route("/rooms/{room}/peers/{peer}/drop", post(drop_peer))
        .route("/rooms/{room}/peers/{peer}/reconnect", post(reconnect))
        .route("/rooms/{room}/peers/{peer}/leave", post(leave))
        .route("/rooms/{room}/peers/{peer}/kick", post(kick))
        .route("/rooms/{room}/peers/{peer}/tracks", post(add_track))
        .route("/rooms/{room}/peers/{peer}/tracks/{track}", patch(mute))
        .route(
            "/state",
            get(async |State(sim): State<Sim>| axum::Json(sim.state())),
        )
        .route("/requests", get(requests).delete(clear_requests))
        .route("/faults", get(faults).put(set_faults).delete(clear_faults))
        .route("/tokens/revoke", post(revoke))
        .route(
            "/webhooks",
            get(webhooks).put(set_webhooks).delete(reset_webhooks),
        )
        .route("/webhooks/outage", put(lose).delete(deliver))
        .route("/webhooks/target", put(set_target).delete(clear_target))
        .route("/webhooks/replay", post(replay))
        .route("/webhooks/send", post(send))
        .fallback(async || failure(StatusCode::NOT_FOUND, "no such control call"))
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .with_state(sim)
}

type Answer = Result<Response, SimError>;
type RoomAndPeer = Path<(String, String)>;

async fn join(State(sim): State<Sim>, Path(room): Path<String>, body: Bytes) -> Answer {
    let peer = sim.join(&room, parse::<Join>(&body)?)?;
    Ok(rest::json(StatusCode::CREATED, &ControlPeer::new(&peer)))
}

async fn update(State(sim): State<Sim>, Path((room, peer)): RoomAndPeer, body: Bytes) -> Answer {
    /// What the REST API has no field for.
    #[derive(Deserialize)]
    struct Requester {
        requested_by: Option<String>,
    }
    let Requester { requested_by } = parse(&body)?;
    let update = Update {
        requested_by,
        ..parse(&body)?
    };
    shown(sim.update(&room, &peer, update))
}

async fn set_metadata(
    State(sim): State<Sim>,
    Path((room, peer)): RoomAndPeer,
    body: Bytes,
) -> Answer {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Body {
        #[serde(default, deserialize_with = "given")]
        metadata: Option<WireMetadata>,
    }
    let metadata = parse::<Body>(&body)?
        .metadata
        .unwrap_or_else(WireMetadata::absent);
    shown(sim.set_metadata(&room, &peer, metadata))
}

async fn drop_peer(State(sim): State<Sim>, Path((room, peer)): RoomAndPeer, body: Bytes) -> Answer {
    shown(sim.drop_peer(&room, &peer, parse::<DropOptions>(&body)?))
}

async fn reconnect(State(sim): State<Sim>, Path((room, peer)): RoomAndPeer) -> Answer {
    shown(sim.reconnect(&room, &peer))
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct LeaveOptions {
    reason: Option<String>,
    message: String,
}

async fn leave(State(sim): State<Sim>, Path((room, peer)): RoomAndPeer, body: Bytes) -> Answer {
    let LeaveOptions { reason, message } = parse(&body)?;
    shown(sim.remove(
        &room,
        &peer,
        reason.as_deref().unwrap_or("client request"),
        &message,
    ))
}

async fn kick(State(sim): State<Sim>, Path((room, peer)): RoomAndPeer, body: Bytes) -> Answer {
    shown(sim.kick(&room, &peer, &parse::<LeaveOptions>(&body)?.message))
}

async fn add_track(State(sim): State<Sim>, Path((room, peer)): RoomAndPeer, body: Bytes) -> Answer {
    shown(sim.add_track(&room, &peer, parse::<NewTrack>(&body)?))
}

async fn mute(
    State(sim): State<Sim>,
    Path((room, peer, track)): Path<(String, String, String)>,
    body: Bytes,
) -> Answer {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Body {
        mute: bool,
    }
    shown(sim.mute(&room, &peer, &track, parse::<Body>(&body)?.mute))
}

async fn end(State(sim): State<Sim>, Path(room): Path<String>, body: Bytes) -> Answer {
    sim.end_room_with(&room, parse::<RoomEnd>(&body)?)?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

async fn requests(State(sim): State<Sim>) -> Response {
    axum::Json(json!({ "total": sim.request_count(), "requests": sim.requests() })).into_response()
}

async fn clear_requests(State(sim): State<Sim>) -> StatusCode {
    sim.clear_requests();
    StatusCode::NO_CONTENT
}

async fn faults(State(sim): State<Sim>) -> Response {
    axum::Json(sim.faults()).into_response()
}

async fn set_faults(State(sim): State<Sim>, body: Bytes) -> Answer {
    sim.set_faults(parse::<Vec<FaultRule>>(&body)?);
    Ok(StatusCode::NO_CONTENT.into_response())
}

async fn clear_faults(State(sim): State<Sim>) -> StatusCode {
    sim.set_faults([]);
    StatusCode::NO_CONTENT
}

async fn revoke(State(sim): State<Sim>) -> StatusCode {
    sim.revoke_tokens();
    StatusCode::NO_CONTENT
}

async fn webhooks(State(sim): State<Sim>) -> Response {
    let (pending, settings, deliveries) = (
        sim.pending_deliveries(),
        sim.webhook_settings(),
        sim.deliveries(),
    );
    axum::Json(json!({ "pending": pending, "settings": settings, "deliveries": deliveries }))
        .into_response()
}

async fn set_webhooks(State(sim): State<Sim>, body: Bytes) -> Answer {
    sim.set_webhook_settings(parse(&body)?);
    Ok(StatusCode::NO_CONTENT.into_response())
}

async fn reset_webhooks(State(sim): State<Sim>) -> StatusCode {
    sim.set_webhook_settings(WebhookSettings::default());
    StatusCode::NO_CONTENT
}

async fn lose(State(sim): State<Sim>) -> StatusCode {
    sim.lose_webhooks();
    StatusCode::NO_CONTENT
}

async fn deliver(State(sim): State<Sim>) -> StatusCode {
    sim.deliver_webhooks();
    StatusCode::NO_CONTENT
}

async fn set_target(State(sim): State<Sim>, body: Bytes) -> Answer {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Body {
        url: String,
        header: Option<String>,
        secret: String,
    }
    let Body {
        url,
        header,
        secret,
    } = parse(&body)?;
    let header = header.as_deref().unwrap_or(WebhookTarget::DEFAULT_HEADER);
    sim.set_webhook_target(Some(WebhookTarget::new(&url, header, secret.into())?));
    Ok(StatusCode::NO_CONTENT.into_response())
}

async fn clear_target(State(sim): State<Sim>) -> StatusCode {
    sim.set_webhook_target(None);
    StatusCode::NO_CONTENT
}

async fn replay(State(sim): State<Sim>, body: Bytes) -> Answer {
    let replayed = sim.replay(&parse::<Replay>(&body)?);
    Ok(axum::Json(json!({ "replayed": replayed })).into_response())
}

async fn send(State(sim): State<Sim>, body: String) -> StatusCode {
    sim.send_webhook(&body);
    StatusCode::NO_CONTENT
}

/// Reads a body, whatever its content type; an empty one is `{}`.
fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, SimError> {
    let body = if body.is_empty() { b"{}" } else { body };
    serde_json::from_slice(body).map_err(|error| SimError::Invalid(error.to_string()))
}

fn shown(peer: Result<Peer, SimError>) -> Answer {
    peer.map(|peer| rest::json(StatusCode::OK, &ControlPeer::new(&peer)))
}

fn failure(status: StatusCode, detail: &str) -> Response {
    (status, axum::Json(json!({ "error": detail }))).into_response()
}

impl IntoResponse for SimError {
    fn into_response(self) -> Response {
        let status = match &self {
            Self::RoomNotActive | Self::NoSuchPeer | Self::NoSuchTrack | Self::NoSuchRoom => {
                StatusCode::NOT_FOUND
            }
            Self::PeerExists | Self::RoomDisabled => StatusCode::CONFLICT,
            Self::Invalid(_) => StatusCode::BAD_REQUEST,
        };
        failure(status, &self.to_string())
    }
}
