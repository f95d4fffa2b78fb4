//! Faults that can be switched on: which requests they hit, and what they do to the answer.

use std::time::Duration;

use axum::body::{Body, Bytes, to_bytes};
use axum::extract::Request;
use axum::http::{Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use chrono::{DateTime, Utc};
use futures_util::{StreamExt, stream};
use serde::{Deserialize, Serialize};

use super::rest::{analytics_forbidden, error};

/// The calls of the REST API, as fault rules name them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Operation {
    /// Every request, even to a path that 100ms does not have.
    #[default]
    Any,
    /// `GET /active-rooms/{room_id}/peers/{peer_id}`
    Peer,
    /// `GET /active-rooms/{room_id}/peers`
    Peers,
    /// `GET /active-rooms/{room_id}`
    Room,
    /// `POST /active-rooms/{room_id}/peers/{peer_id}`
    Update,
    /// `GET /sessions/{session_id}`
    Session,
    /// `GET /sessions`
    Sessions,
    /// `GET /rooms`
    Rooms,
    /// `POST /rooms`
    CreateRoom,
    /// `GET /rooms/{room_id}`
    RetrieveRoom,
    /// `POST /rooms/{room_id}`
    UpdateRoom,
    /// `POST /active-rooms/{room_id}/remove-peers`
    RemovePeers,
    /// `POST /active-rooms/{room_id}/end-room`
    EndRoom,
    /// `POST /active-rooms/{room_id}/send-message`
    SendMessage,
    /// `GET /analytics/webhooks`
    WebhookEvents,
    /// `POST /analytics/webhooks/replay`
    Replay,
    /// `GET /analytics/webhooks/replay/{workflow_id}`
    ReplayStatus,
}

impl Operation {
    /// The call that a method and a path ask for.
    pub(super) fn of(method: &Method, path: &str) -> Option<Self> {
        let segments: Vec<&str> = path.split('/').skip(1).collect();
        match (method.as_str(), segments.as_slice()) {
            ("GET", ["v2", "active-rooms", _, "peers", _]) => Some(Self::Peer),
            ("GET", ["v2", "active-rooms", _, "peers"]) => Some(Self::Peers),
            ("GET", ["v2", "active-rooms", _]) => Some(Self::Room),
            ("POST", ["v2", "active-rooms", _, "peers", _]) => Some(Self::Update),
            ("GET", ["v2", "sessions", _]) => Some(Self::Session),
            ("GET", ["v2", "sessions"]) => Some(Self::Sessions),
            ("GET", ["v2", "rooms"]) => Some(Self::Rooms),
            ("POST", ["v2", "rooms"]) => Some(Self::CreateRoom),
            ("GET", ["v2", "rooms", _]) => Some(Self::RetrieveRoom),
            ("POST", ["v2", "rooms", _]) => Some(Self::UpdateRoom),
            ("POST", ["v2", "active-rooms", _, "remove-peers"]) => Some(Self::RemovePeers),
            ("POST", ["v2", "active-rooms", _, "end-room"]) => Some(Self::EndRoom),
            ("POST", ["v2", "active-rooms", _, "send-message"]) => Some(Self::SendMessage),
            ("GET", ["v2", "analytics", "webhooks"]) => Some(Self::WebhookEvents),
            ("POST", ["v2", "analytics", "webhooks", "replay"]) => Some(Self::Replay),
            ("GET", ["v2", "analytics", "webhooks", "replay", _]) => Some(Self::ReplayStatus),
            _ => None,
        }
    }

    /// Whether it is one of the calls about webhooks, which word their errors differently.
    pub(super) fn is_analytics(self) -> bool {
        matches!(
            self,
            Self::WebhookEvents | Self::Replay | Self::ReplayStatus
        )
    }
}

/// Which requests a fault hits.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FaultRule {
    /// Only this call; any when none is given.
    #[serde(default)]
    pub operation: Operation,
    /// How many requests; without end when none is given.
    #[serde(default)]
    pub times: Option<u32>,
    /// How many requests pass unharmed first.
    #[serde(default)]
    pub skip: u32,
    /// What happens to them.
    pub fault: Fault,
}

impl FaultRule {
    /// Applies to every request of this call.
    pub fn always(operation: Operation, fault: Fault) -> Self {
        Self {
            operation,
            times: None,
            skip: 0,
            fault,
        }
    }

    /// Applies to the next `times` requests of this call.
    pub fn times(operation: Operation, times: u32, fault: Fault) -> Self {
        Self {
            times: Some(times),
            ..Self::always(operation, fault)
        }
    }

    fn takes(&mut self, operation: Option<Operation>) -> bool {
        if self.times == Some(0)
            || (self.operation != Operation::Any && operation != Some(self.operation))
        {
            return false;
        }
        if self.skip > 0 {
            self.skip -= 1;
            return false;
        }
        self.times = self.times.map(|times| times - 1);
        true
    }
}

/// What happens to a request.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fault {
    /// An error of this status with the documented body.
    Status(u16),
    /// A delay before whatever else happens: the rules that follow apply too.
    DelayMs(u64),
    /// The right answer, of which only the first half arrives before the connection breaks.
    CutBody,
    /// No answer at all, until the caller gives up.
    Hang,
    /// 429 in one of its forms.
    RateLimit(RateLimit),
    /// An HTML page with this status, as proxies send it.
    Html(u16),
    /// Nothing but this status.
    Empty(u16),
    /// 302 to this address.
    Redirect(String),
    /// 200 with something that is not JSON.
    Garbage,
    /// 401, as if the token were not valid.
    Unauthorized,
    /// 403, as if the token did not permit it.
    Forbidden,
    /// 200 with a JSON string of about this many bytes, streamed without a length.
    Flood(u64),
    /// Exactly this answer.
    Answer {
        /// Its status.
        status: u16,
        /// Its content type.
        #[serde(default)]
        content_type: Option<String>,
        /// Its body.
        body: String,
    },
}

/// The forms of 429.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RateLimit {
    /// The wait in seconds as `Retry-After`.
    Header(u64),
    /// The end of a wait of so many seconds as an HTTP date in `Retry-After`.
    Date(u64),
    /// A `Retry-After` that is neither.
    Nonsense,
    /// The wait in seconds in the message, the only documented form.
    Message(u64),
    /// Without the wait, and without a body.
    Bare,
}

/// The current rules, in order.
#[derive(Default)]
pub(super) struct Faults {
    pub(super) rules: Vec<FaultRule>,
}

impl Faults {
    /// What happens to this request: all delays up to the first rule of another kind, and that one.
    pub(super) fn take(&mut self, operation: Option<Operation>) -> (Duration, Option<Fault>) {
        let mut delay = Duration::ZERO;
        for rule in &mut self.rules {
            match rule.takes(operation).then(|| rule.fault.clone()) {
                None => {}
                Some(Fault::DelayMs(ms)) => delay += Duration::from_millis(ms),
                fault => return (delay, fault),
            }
        }
        (delay, None)
    }
}

/// Answers a request as the fault demands, `now`; `next` gives the right answer.
pub(super) async fn answer(
    fault: Fault,
    now: DateTime<Utc>,
    operation: Option<Operation>,
    request: Request,
    next: Next,
) -> Response {
    let is_analytics = operation.is_some_and(Operation::is_analytics);
    match fault {
        Fault::DelayMs(_) => next.run(request).await,
        Fault::CutBody => cut(next.run(request).await).await,
        Fault::Hang => std::future::pending().await,
        Fault::Status(503) if is_analytics => error(
            StatusCode::SERVICE_UNAVAILABLE,
            "webhook replay service unavailable",
            "unavailable",
        ),
        Fault::Status(code) => error(status(code), "simulated fault", "fault"),
        Fault::RateLimit(form) => rate_limited(form, now),
        Fault::Html(code) => {
            let page = "<html><body><h1>Bad Gateway</h1></body></html>";
            (status(code), [(header::CONTENT_TYPE, "text/html")], page).into_response()
        }
        Fault::Empty(code) => status(code).into_response(),
        Fault::Redirect(to) => (StatusCode::FOUND, [(header::LOCATION, to)]).into_response(),
        Fault::Garbage => (
            [(header::CONTENT_TYPE, "application/json")],
            "{\"id\": \u{1}nope",
        )
            .into_response(),
        Fault::Unauthorized => error(
            StatusCode::UNAUTHORIZED,
            "Token validation error",
            "not found",
        ),
        Fault::Forbidden if is_analytics => analytics_forbidden(),
        Fault::Forbidden => error(StatusCode::FORBIDDEN, "Forbidden", "permission denied"),
        Fault::Flood(size) => flood(size),
        Fault::Answer {
            status: code,
            content_type,
            body,
        } => {
            let content_type = content_type.unwrap_or_else(|| "application/json".to_owned());
            (status(code), [(header::CONTENT_TYPE, content_type)], body).into_response()
        }
    }
}

fn status(code: u16) -> StatusCode {
    StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
}

fn rate_limited(form: RateLimit, now: DateTime<Utc>) -> Response {
    let documented = |message: &str| error(StatusCode::TOO_MANY_REQUESTS, message, "rate limited");
    let with_header = |value: String| {
        let header = [(header::RETRY_AFTER, value)];
        (header, documented("rate limit exceeded")).into_response()
    };
    match form {
        RateLimit::Header(seconds) => with_header(seconds.to_string()),
        RateLimit::Date(seconds) => {
            let end = now + Duration::from_secs(seconds);
            with_header(end.format("%a, %d %b %Y %H:%M:%S GMT").to_string())
        }
        RateLimit::Nonsense => with_header("in a while".to_owned()),
        RateLimit::Message(seconds) => documented(&format!(
            "rate limit exceeded, retry after {seconds} seconds"
        )),
        RateLimit::Bare => StatusCode::TOO_MANY_REQUESTS.into_response(),
    }
}

/// The same answer with its full length announced, whose connection breaks half-way.
async fn cut(response: Response) -> Response {
    let (mut parts, body) = response.into_parts();
    let body = to_bytes(body, usize::MAX).await.unwrap_or_default();
    parts
        .headers
        .insert(header::CONTENT_LENGTH, body.len().into());
    let half = body.slice(..body.len() / 2);
    let broken = async {
        // Lets the first half reach the caller before the connection is closed.
        tokio::time::sleep(Duration::from_millis(20)).await;
        Err(std::io::Error::other("the simulated connection broke"))
    };
    Response::from_parts(
        parts,
        Body::from_stream(stream::iter([Ok(half)]).chain(stream::once(broken))),
    )
}

fn flood(size: u64) -> Response {
    const CHUNK: &[u8] = &[b'x'; 16 * 1024];
    let chunks = usize::try_from(size / CHUNK.len() as u64 + 1).unwrap_or(usize::MAX);
    let middle = std::iter::repeat_n(Bytes::from_static(CHUNK), chunks);
    let body = std::iter::once(Bytes::from_static(b"\""))
        .chain(middle)
        .chain([Bytes::from_static(b"\"")]);
    let body = Body::from_stream(stream::iter(body.map(Ok::<_, std::io::Error>)));
    ([(header::CONTENT_TYPE, "application/json")], body).into_response()
}
