//! The one way a request leaves the process: gate, permit, token, attempt, and what is tried again.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE};
use reqwest::{Method, Response, StatusCode, redirect};
use tokio::sync::Semaphore;
use tokio::time::{Instant, sleep, timeout_at};
use url::Url;

use super::Fetched;
use super::rate_limit::{self, Gate};
use super::token::{Token, Tokens};
use crate::backoff::Backoff;
use crate::domain::Clock;
use crate::hms::{ClientConfig, HmsError, InvalidConfig, TransientError};

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
}

impl Request {
    pub(super) fn get(url: Url, body_limit: usize) -> Self {
        Self {
            method: Method::GET,
            url,
            json: None,
            body_limit,
        }
    }
}

/// What 100ms answered.
#[derive(Debug)]
pub(super) enum Answer {
    /// 2xx, and the whole body.
    Body(Vec<u8>),
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
    tokens: Tokens,
    gate: Gate,
    /// One for each request that may be in flight.
    permits: Semaphore,
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
        Ok(Self {
            http: http.build().map_err(InvalidConfig::Http)?,
            tokens: Tokens::new(&config.credentials, config.clock.clone())
                .ok_or(InvalidConfig::Token)?,
            gate: Gate::default(),
            permits: Semaphore::new(config.max_concurrent.clamp(1, Semaphore::MAX_PERMITS)),
            clock: config.clock,
        })
    }

    /// Sends until there is an answer, a failure that is final, or no time left before `deadline`.
    pub(super) async fn send(
        &self,
        request: &Request,
        deadline: Instant,
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
            match self.attempt(request, deadline).await {
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
                    if retries == MAX_RETRIES || Instant::now() + pause >= deadline {
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
        let timed_out = |_| AttemptError::Final(HmsError::Timeout(None));
        let _permit = timeout_at(deadline, self.permits.acquire())
            .await
            .map_err(timed_out)?;
        // Another request may have closed the gate while this one waited.
        self.check_gate()?;
        let token = self.tokens.current();
        let sent_at = self.clock.now();
        let answer = timeout_at(deadline, self.exchange(request, token, deadline))
            .await
            .map_err(timed_out)??;
        Ok(Fetched {
            sent_at,
            value: answer,
        })
    }

    fn check_gate(&self) -> Result<(), AttemptError> {
        let checked = self.gate.check(Instant::now());
        checked.map_err(|retry_after| AttemptError::Final(HmsError::RateLimited { retry_after }))
    }

    async fn exchange(
        &self,
        request: &Request,
        token: Arc<Token>,
        deadline: Instant,
    ) -> Result<Answer, AttemptError> {
        let response = self.prepare(request, &token).send().await?;
        match response.status() {
            status if status.is_success() => whole_body(response, request.body_limit)
                .await
                .map(Answer::Body),
            StatusCode::NOT_FOUND => Ok(Answer::NotFound),
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
                Err(AttemptError::Unauthorized(token))
            }
            StatusCode::TOO_MANY_REQUESTS => {
                let wait = self.requested_wait(response, deadline).await;
                let retry_after = self.gate.close(wait, Instant::now());
                Err(AttemptError::Final(HmsError::RateLimited { retry_after }))
            }
            status if status.is_server_error() => Err(AttemptError::Transient(
                TransientError::Status(status.as_u16()),
            )),
            status => Err(bad_response(format!("status {}", status.as_u16()))),
        }
    }

    fn prepare(&self, request: &Request, token: &Token) -> reqwest::RequestBuilder {
        let builder = self
            .http
            .request(request.method.clone(), request.url.clone());
        let builder = builder.header(AUTHORIZATION, token.header.clone());
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
        if let Some(wait) = rate_limit::in_header(response.headers(), &self.clock) {
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

async fn whole_body(mut response: Response, limit: usize) -> Result<Vec<u8>, AttemptError> {
    let too_long = || bad_response(format!("a body of more than {limit} bytes"));
    if response
        .content_length()
        .is_some_and(|length| length > limit as u64)
    {
        return Err(too_long());
    }
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await? {
        if body.len() + chunk.len() > limit {
            return Err(too_long());
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

fn bad_response(what: String) -> AttemptError {
    AttemptError::Final(HmsError::BadResponse(what))
}

impl From<reqwest::Error> for AttemptError {
    fn from(error: reqwest::Error) -> Self {
        Self::Transient(error.into())
    }
}
