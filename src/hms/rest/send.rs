//! The one way a request leaves the process: gate, permit, token, attempt, and what is tried again.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE};
use reqwest::{Method, Response, StatusCode, redirect};
use tokio::time::error::Elapsed;
use tokio::time::{Instant, sleep, timeout_at};
use tracing::field::Empty;
use url::Url;

use super::Fetched;
use super::lane::Lane;
use super::memory::{LARGE_LIST_BYTES, ListPermit};
use super::rate_limit::{self, Gate};
use super::token::{Token, Tokens};
use crate::backoff::{self, Backoff};
use crate::domain::Clock;
use crate::hms::{ClientConfig, HmsError, InvalidConfig, TransientError, UpstreamRate};
use crate::trace::{self, Instrument, span};

/// How many more attempts a transient failure gets.
const MAX_RETRIES: u32 = 2;
/// The pauses before them.
const BACKOFF: Backoff = Backoff {
    first: Duration::from_millis(50),
    longest: Duration::from_millis(200),
    factor: 4,
    jitter: 0.5,
};
/// How much of the body of a 429 is searched for the wait, in bytes.
const MESSAGE_LIMIT: usize = 64 << 10;

/// A request, which may be sent more than once.
#[derive(Debug)]
pub(super) struct Request {
    pub(super) method: Method,
    pub(super) url: Url,
    /// The JSON to send.
    pub(super) json: Option<Bytes>,
    /// The longest body of an answer that is read, in bytes.
    pub(super) body_limit: usize,
    /// What the answer is.
    pub(super) kind: Kind,
}

/// What a request is answered with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Something small.
    Single,
    /// The peers of a user.
    List,
    /// The peers of a room: there may be many, and few such requests are in flight at once.
    WholeRoom,
}

impl Request {
    pub(super) fn get(url: Url, body_limit: usize) -> Self {
        Self {
            method: Method::GET,
            url,
            json: None,
            body_limit,
            kind: Kind::Single,
        }
    }
}

/// The whole body of an answer.
#[derive(Debug, Default)]
pub(super) struct Body {
    pub(super) bytes: Vec<u8>,
    pub(super) permit: ListPermit,
}

/// What 100ms answered.
#[derive(Debug)]
pub(super) enum Answer {
    /// 2xx, and the whole body.
    Body(Body),
    /// 404: it does not say whether the room or the peer was not found.
    NotFound,
}

/// Why an attempt gave no answer.
enum AttemptError {
    /// 401 or 403 to this token: worth another attempt with a fresh one.
    Unauthorized(Arc<Token>),
    /// Worth another attempt after a pause.
    Transient(TransientError),
    /// Not worth another attempt.
    Final(HmsError),
}

/// Everything that the requests of one client share.
pub(super) struct Transport {
    http: reqwest::Client,
    tokens: Arc<Tokens>,
    gate: Arc<Gate>,
    lane: Lane,
    clock: Clock,
}

impl Transport {
    /// A transport for `config`; the proxies of the environment are used unless 100ms is on this
    /// machine.
    pub(super) fn new(config: ClientConfig, loopback: bool) -> Result<Self, InvalidConfig> {
        #[expect(
            clippy::disallowed_methods,
            reason = "the one client of 100ms is made here"
        )]
        let http = reqwest::Client::builder()
            .user_agent(concat!("rejoin/", env!("CARGO_PKG_VERSION")))
            .redirect(redirect::Policy::none())
            // So that there is time for the next address when one is dead.
            .connect_timeout(config.timeout / 2);
        let http = if loopback { http.no_proxy() } else { http };
        let tokens = Tokens::new(&config.credentials, config.clock.clone());
        Ok(Self {
            http: http.build().map_err(InvalidConfig::Http)?,
            tokens: Arc::new(tokens.ok_or(InvalidConfig::Token)?),
            gate: Arc::default(),
            lane: Lane::foreground(config.max_concurrent),
            clock: config.clock,
        })
    }

    /// A transport for the background, with a lane and a gate of its own: a 429 to it stops nobody
    /// else, and one to the others stops it too.
    pub(super) fn in_background(&self, rate: UpstreamRate) -> Self {
        Self {
            http: self.http.clone(),
            tokens: self.tokens.clone(),
            gate: Arc::new(Gate::behind(self.gate.clone())),
            lane: Lane::background(rate),
            clock: self.clock.clone(),
        }
    }

    /// Sends until there is an answer, a failure that is final, or no time left before `deadline`,
    /// which moves by the time for which the background waits for the pace.
    pub(super) async fn send(
        &self,
        request: &Request,
        deadline: &mut Instant,
    ) -> Result<Fetched<Answer>, HmsError> {
        let (mut retries, mut renewed) = (0, false);
        let mut last_failure: Option<TransientError> = None;
        let is_update = request.method == Method::POST;
        // An attempt of an update that got no answer may have taken effect. Then a refusal of the
        // next one is not the whole truth.
        let after = |error: HmsError, last_failure: Option<TransientError>| match last_failure {
            Some(lost) if is_update && error.is_refusal() => HmsError::Unavailable(lost),
            last_failure if matches!(error, HmsError::Timeout(_)) => {
                HmsError::Timeout(last_failure)
            }
            _ => error,
        };
        loop {
            *deadline += self.lane.wait_for_pace().await;
            match self.attempt(request, *deadline).await {
                Ok(Fetched {
                    value: Answer::NotFound,
                    ..
                }) if is_update && last_failure.is_some() => {
                    return Err(after(HmsError::PeerNotFound, last_failure));
                }
                Ok(fetched) => {
                    self.gate.succeeded(Instant::now());
                    return Ok(fetched);
                }
                Err(AttemptError::Final(error)) => return Err(after(error, last_failure)),
                Err(AttemptError::Unauthorized(token)) => {
                    if renewed || self.tokens.renew(&token).is_none() {
                        return Err(after(HmsError::Unauthorized, last_failure));
                    }
                    renewed = true;
                }
                Err(AttemptError::Transient(error)) => {
                    tracing::debug!(error = %error.with_causes(), "a request to 100ms failed");
                    let pause = BACKOFF.pause(retries);
                    if retries == MAX_RETRIES || Instant::now() + pause >= *deadline {
                        return Err(HmsError::Unavailable(error));
                    }
                    last_failure = Some(error);
                    sleep(pause).await;
                    retries += 1;
                }
            }
        }
    }

    async fn attempt(
        &self,
        request: &Request,
        deadline: Instant,
    ) -> Result<Fetched<Answer>, AttemptError> {
        self.check_gate()?;
        let _permits = timeout_at(deadline, self.lane.permits_for(request.kind))
            .await
            .map_err(timed_out)?;
        // Another request may have closed the gate while this one waited.
        self.check_gate()?;
        let token = self.tokens.current();
        let sent_at = self.clock.now();
        let span = span!(
            "attempt",
            otel.name = request.method.as_str(),
            otel.kind = "client",
            http.request.method = request.method.as_str(),
            http.response.status_code = Empty,
        );
        let sent = async { self.prepare(request, &token).send().await };
        let response = timeout_at(deadline, sent.instrument(span.clone()))
            .await
            .map_err(timed_out)??;
        span.record("http.response.status_code", response.status().as_u16());
        let value = match response.status() {
            status if status.is_success() => {
                Answer::Body(self.whole_body(response, request, deadline).await?)
            }
            StatusCode::NOT_FOUND => Answer::NotFound,
            status => return Err(self.failure(status, response, token, deadline).await),
        };
        Ok(Fetched { sent_at, value })
    }

    fn check_gate(&self) -> Result<(), AttemptError> {
        let checked = self.gate.check(Instant::now());
        checked.map_err(|retry_after| AttemptError::Final(HmsError::RateLimited { retry_after }))
    }

    /// What a status other than success and 404 means.
    async fn failure(
        &self,
        status: StatusCode,
        response: Response,
        token: Arc<Token>,
        deadline: Instant,
    ) -> AttemptError {
        match status {
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => AttemptError::Unauthorized(token),
            StatusCode::TOO_MANY_REQUESTS => {
                let wait = self.requested_wait(response, deadline).await;
                let retry_after = self.gate.close(wait, Instant::now());
                AttemptError::Final(HmsError::RateLimited { retry_after })
            }
            status if status.is_server_error() => {
                AttemptError::Transient(TransientError::Status(status.as_u16()))
            }
            status => bad_response(format!("status {}", status.as_u16())),
        }
    }

    /// Reads the body. A large list first waits until there is memory for it, which is no time of
    /// 100ms's.
    async fn whole_body(
        &self,
        mut response: Response,
        request: &Request,
        mut deadline: Instant,
    ) -> Result<Body, AttemptError> {
        let limit = request.body_limit;
        let length = response
            .content_length()
            .map(|length| usize::try_from(length).unwrap_or(usize::MAX));
        let (mut body, mut chunk) = (Body::default(), Bytes::new());
        loop {
            let needed = length.unwrap_or(body.bytes.len() + chunk.len());
            if needed > limit {
                return Err(bad_response(format!("a body of more than {limit} bytes")));
            }
            let is_large = request.kind != Kind::Single && needed >= LARGE_LIST_BYTES;
            if is_large && !body.permit.is_large() {
                let started = Instant::now();
                let permit = self.lane.list_memory.acquire(length.unwrap_or(limit));
                body.permit = permit.await.map_err(AttemptError::Final)?;
                deadline += started.elapsed();
                body.bytes.reserve_exact(needed);
            }
            body.bytes.extend_from_slice(&chunk);
            match timeout_at(deadline, response.chunk())
                .await
                .map_err(timed_out)??
            {
                Some(next) => chunk = next,
                None => break,
            }
        }
        body.permit.shrink_to(body.bytes.len());
        Ok(body)
    }

    fn prepare(&self, request: &Request, token: &Token) -> reqwest::RequestBuilder {
        let builder = self
            .http
            .request(request.method.clone(), request.url.clone());
        let builder = builder
            .headers(trace::headers())
            .header(AUTHORIZATION, token.header.clone());
        match &request.json {
            Some(json) => builder
                .header(CONTENT_TYPE, "application/json")
                .body(json.clone()),
            None => builder,
        }
    }

    /// The wait that a 429 asks for. A body that hangs must not leave the gate open, so reading it
    /// may take half of the time that is left.
    async fn requested_wait(&self, mut response: Response, deadline: Instant) -> Option<Duration> {
        let now = self.clock.now().to_utc();
        if let Some(wait) = backoff::requested_wait(response.headers(), now) {
            return Some(wait);
        }
        let now = Instant::now();
        let read_deadline = now + deadline.saturating_duration_since(now) / 2;
        let mut message = Vec::new();
        while message.len() < MESSAGE_LIMIT
            && let Ok(Ok(Some(chunk))) = timeout_at(read_deadline, response.chunk()).await
        {
            message.extend_from_slice(&chunk);
        }
        rate_limit::in_body(&message)
    }
}

fn timed_out(_: Elapsed) -> AttemptError {
    AttemptError::Final(HmsError::Timeout(None))
}

fn bad_response(what: String) -> AttemptError {
    AttemptError::Final(HmsError::BadResponse(what))
}

impl From<reqwest::Error> for AttemptError {
    fn from(error: reqwest::Error) -> Self {
        Self::Transient(error.into())
    }
}
