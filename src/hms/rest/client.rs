//! The operations on 100ms, one method each.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use reqwest::Method;
use serde::Serialize;
use tokio::time::Instant;
use tracing::field::Empty;

use super::peer::bad_response;
use super::replay::{self, Filters, Replay, ReplayState};
use super::send::{Answer, Kind, Request, Transport};
use super::session::{self, Session, SessionPage};
use super::url::Base;
use super::{PeerList, UpstreamPeer, peer};
use crate::domain::{PeerId, RoomId, SessionId, Timestamp, UserId};
use crate::hms::metrics::{Operation, Outcome, REQUEST_SECONDS, REQUESTS};
use crate::hms::{ClientConfig, HmsError, InvalidConfig, UpstreamRate};
use crate::trace::{Instrument, span};

/// No budget is longer, whatever is configured.
const LONGEST_BUDGET: Duration = Duration::from_hours(1);

/// A client of 100ms's REST API. Cheap to clone; clones share connections, token, rate limit and
/// permits.
///
/// # What is retried
/// Within the budget of one operation ([`ClientConfig::timeout`]):
/// - after a failed or broken connection, an incomplete body, or a 5xx: up to two more attempts,
///   after about 50 and 200 ms, then [`HmsError::Unavailable`]. All operations are
///   idempotent: they read, and [`update_peer`](Self::update_peer) replaces whole values;
/// - after 401 or 403: once, with a fresh token, if one can be signed; then
///   [`HmsError::Unauthorized`];
/// - after a 404: nothing, but a request for the room decides between [`HmsError::RoomNotActive`]
///   and [`HmsError::PeerNotFound`];
/// - after a 429: nothing. Until the wait that 100ms asks for (or a growing guess) is over, every
///   operation returns [`HmsError::RateLimited`] without sending anything. A 429 to the
///   [background](Self::in_background) stops the background alone;
/// - after anything else, nothing. Redirects are not followed.
#[derive(Clone)]
pub struct Client(Arc<Inner>);

struct Inner {
    base: Base,
    transport: Transport,
    timeout: Duration,
    peer_body_limit: usize,
    list_body_limit: usize,
}

/// A value, and the time it is valid for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fetched<T> {
    /// Just before the request was sent; of several attempts, the last.
    pub sent_at: Timestamp,
    /// The answer.
    pub value: T,
}

/// What [`Client::update_peer`] replaces. A field that is `None` stays as it is.
#[derive(Clone, Default, PartialEq, Eq, Serialize)]
pub struct PeerUpdate {
    /// The whole new metadata.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub metadata: Option<String>,
    /// The new role, by name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub role: Option<String>,
    /// The new display name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
}

/// Shows sizes only: metadata and names never reach a log.
impl fmt::Debug for PeerUpdate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PeerUpdate")
            .field("metadata_bytes", &self.metadata.as_ref().map(String::len))
            .field("role", &self.role)
            .field("name_bytes", &self.name.as_ref().map(String::len))
            .finish()
    }
}

impl Client {
    /// A client with these settings. Connects to nothing yet.
    ///
    /// # Errors
    /// [`InvalidConfig`] when the base URL, the token or the proxies of the environment cannot be
    /// used.
    pub fn new(config: ClientConfig) -> Result<Self, InvalidConfig> {
        let base = Base::new(config.base_url.clone()).ok_or(InvalidConfig::BaseUrl)?;
        Ok(Self(Arc::new(Inner {
            timeout: config.timeout.min(LONGEST_BUDGET),
            peer_body_limit: config.peer_body_limit,
            list_body_limit: config.list_body_limit,
            transport: Transport::new(config, base.is_loopback())?,
            base,
        })))
    }

    /// The same client for work that nobody waits for: at most so many requests a second, and never
    /// in the way of others. Every clone of it shares that rate.
    #[must_use]
    pub fn in_background(&self, rate: UpstreamRate) -> Self {
        let Inner {
            base,
            transport,
            timeout,
            peer_body_limit,
            list_body_limit,
        } = &*self.0;
        Self(Arc::new(Inner {
            base: base.clone(),
            transport: transport.in_background(rate),
            timeout: *timeout,
            peer_body_limit: *peer_body_limit,
            list_body_limit: *list_body_limit,
        }))
    }

    /// One connected peer, with its tracks.
    ///
    /// # Errors
    /// Any [`HmsError`].
    pub async fn peer(
        &self,
        room: &RoomId,
        peer: &PeerId,
    ) -> Result<Fetched<UpstreamPeer>, HmsError> {
        let request = Request::get(self.0.base.peer(room, peer), self.0.peer_body_limit);
        measured(Operation::Peer, self.0.one_peer(request, room, peer)).await
    }

    /// The room's connected peers, without tracks: all, or only those of a user or a role. No match
    /// is an empty list.
    ///
    /// # Errors
    /// Any [`HmsError`] but [`HmsError::PeerNotFound`].
    pub async fn peers(
        &self,
        room: &RoomId,
        user: Option<&UserId>,
        role: Option<&str>,
    ) -> Result<Fetched<PeerList>, HmsError> {
        let kind = if user.is_some() {
            Kind::List
        } else {
            Kind::WholeRoom
        };
        let request = Request {
            kind,
            ..Request::get(self.0.base.peers(room, user, role), self.0.list_body_limit)
        };
        measured(Operation::Peers, self.0.all_peers(request, room)).await
    }

    /// A page of the sessions that are active now: the first, or the one after that `last`.
    ///
    /// # Errors
    /// Any [`HmsError`] but [`HmsError::PeerNotFound`] and [`HmsError::RoomNotActive`].
    pub async fn active_sessions(
        &self,
        start: Option<&str>,
    ) -> Result<Fetched<SessionPage>, HmsError> {
        let request = Request {
            kind: Kind::List,
            ..Request::get(self.0.base.active_sessions(start), self.0.list_body_limit)
        };
        measured(Operation::Sessions, self.0.session_page(request)).await
    }

    /// Who was in a session, and when they left; none where 100ms knows no such session.
    ///
    /// # Errors
    /// Any [`HmsError`] but [`HmsError::PeerNotFound`] and [`HmsError::RoomNotActive`].
    pub async fn session(&self, id: &SessionId) -> Result<Fetched<Option<Session>>, HmsError> {
        let request = Request {
            kind: Kind::WholeRoom,
            ..Request::get(self.0.base.session(id), self.0.list_body_limit)
        };
        measured(Operation::Session, self.0.session(request)).await
    }

    /// Has 100ms send again the webhooks that it could not deliver from the one time to the other. The
    /// same request while that goes on joins it.
    ///
    /// # Errors
    /// Any [`HmsError`] but [`HmsError::PeerNotFound`] and [`HmsError::RoomNotActive`].
    pub async fn replay(&self, start: Timestamp, end: Timestamp) -> Result<Replay, HmsError> {
        let filters = serde_json::to_vec(&Filters::failed(start, end));
        let request = Request {
            method: Method::POST,
            json: Some(Bytes::from(filters.expect("texts are always JSON"))),
            ..Request::get(self.0.base.replays(), self.0.peer_body_limit)
        };
        let body = measured(Operation::Replay, self.0.body(request, "replays")).await?;
        replay::read_replay(&body.value)
    }

    /// How far a replay is.
    ///
    /// # Errors
    /// As of [`Client::replay`].
    pub async fn replay_state(&self, replay: &Replay) -> Result<ReplayState, HmsError> {
        let url = self.0.base.replay(&replay.workflow_id);
        let request = Request::get(url, self.0.peer_body_limit);
        let body = measured(Operation::ReplayState, self.0.body(request, "a replay")).await?;
        replay::read_state(&body.value)
    }

    /// Replaces the fields that `update` has, and returns the updated peer. The last writer wins:
    /// 100ms has no versions.
    ///
    /// # Errors
    /// Any [`HmsError`]. Unless it [is a refusal](HmsError::is_refusal), the update may or may not
    /// have happened. An attempt that was refused after one without an answer counts as the latter.
    pub async fn update_peer(
        &self,
        room: &RoomId,
        peer: &PeerId,
        update: &PeerUpdate,
    ) -> Result<Fetched<UpstreamPeer>, HmsError> {
        let json = serde_json::to_vec(update).expect("texts are always JSON");
        let request = Request {
            method: Method::POST,
            json: Some(Bytes::from(json)),
            ..Request::get(self.0.base.peer(room, peer), self.0.peer_body_limit)
        };
        measured(Operation::UpdatePeer, self.0.one_peer(request, room, peer)).await
    }
}

impl Inner {
    async fn one_peer(
        &self,
        request: Request,
        room: &RoomId,
        peer: &PeerId,
    ) -> Result<Fetched<UpstreamPeer>, HmsError> {
        let mut deadline = self.deadline();
        let Fetched { sent_at, value } = self.transport.send(&request, &mut deadline).await?;
        match value {
            Answer::Body(body) => Ok(Fetched {
                sent_at,
                value: peer::read_peer(&body.bytes, peer)?,
            }),
            Answer::NotFound if self.is_active(room, &mut deadline).await? => {
                Err(HmsError::PeerNotFound)
            }
            Answer::NotFound => Err(HmsError::RoomNotActive),
        }
    }

    async fn all_peers(
        &self,
        request: Request,
        room: &RoomId,
    ) -> Result<Fetched<PeerList>, HmsError> {
        let mut deadline = self.deadline();
        let Fetched { sent_at, value } = self.transport.send(&request, &mut deadline).await?;
        match value {
            Answer::Body(body) => Ok(Fetched {
                sent_at,
                value: PeerList::find(body).await?,
            }),
            Answer::NotFound if self.is_active(room, &mut deadline).await? => {
                Err(bad_response("status 404 for the peers of an active room"))
            }
            Answer::NotFound => Err(HmsError::RoomNotActive),
        }
    }

    async fn session_page(&self, request: Request) -> Result<Fetched<SessionPage>, HmsError> {
        let Fetched { sent_at, value } = self.body(request, "the list of sessions").await?;
        Ok(Fetched {
            sent_at,
            value: session::read_page(&value)?,
        })
    }

    async fn session(&self, request: Request) -> Result<Fetched<Option<Session>>, HmsError> {
        let mut deadline = self.deadline();
        let Fetched { sent_at, value } = self.transport.send(&request, &mut deadline).await?;
        let value = match value {
            Answer::Body(body) => Some(Session::read(body).await?),
            Answer::NotFound => None,
        };
        Ok(Fetched { sent_at, value })
    }

    /// The body of an answer to a request for something that is always there.
    async fn body(&self, request: Request, what: &str) -> Result<Fetched<Vec<u8>>, HmsError> {
        let mut deadline = self.deadline();
        let Fetched { sent_at, value } = self.transport.send(&request, &mut deadline).await?;
        match value {
            Answer::Body(body) => Ok(Fetched {
                sent_at,
                value: body.bytes,
            }),
            Answer::NotFound => Err(bad_response(&format!("status 404 for {what}"))),
        }
    }

    /// Whether the room is active. This is the documented way to find out, since a 404 does not say
    /// what was not found.
    async fn is_active(&self, room: &RoomId, deadline: &mut Instant) -> Result<bool, HmsError> {
        let request = Request::get(self.base.room(room), self.peer_body_limit);
        let room = self.transport.send(&request, deadline).await?;
        Ok(matches!(room.value, Answer::Body(_)))
    }

    fn deadline(&self) -> Instant {
        Instant::now() + self.timeout
    }
}

/// Counts an operation by its outcome, and measures its time.
async fn measured<T>(
    operation: Operation,
    work: impl Future<Output = Result<T, HmsError>>,
) -> Result<T, HmsError> {
    let start = Instant::now();
    let span = span!(
        "100ms",
        otel.name = format_args!("100ms {}", operation.as_str()),
        otel.status_code = Empty,
        error.type = Empty,
    );
    let result = work.instrument(span.clone()).await;
    let seconds = start.elapsed().as_secs_f64();
    let outcome = Outcome::of(&result);
    REQUESTS.count(&(operation, outcome));
    REQUEST_SECONDS.of(&operation).record(seconds);
    if let Err(error) = &result {
        span.record("error.type", error.code().as_str());
        span.record("otel.status_code", "ERROR");
    }
    let (operation, outcome) = (operation.as_str(), outcome.as_str());
    match &result {
        Ok(_) | Err(HmsError::RoomNotActive | HmsError::PeerNotFound) => {
            tracing::debug!(operation, outcome, seconds, "100ms answered");
        }
        Err(error) => {
            let error = error.with_causes();
            tracing::warn!(
                operation,
                outcome,
                seconds,
                error,
                "100ms gave no usable answer"
            );
        }
    }
    result
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").finish_non_exhaustive()
    }
}
