//! The one way a request leaves the process: turn, gate, token, attempt, and what is tried again.

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
use crate::hms::{ClientConfig, HmsError, InvalidConfig};

/// How many more attempts a transient failure gets.
const MAX_RETRIES: u32 = 2;
/// The pauses before them.
const BACKOFF: Backoff = Backoff {
    first: Duration::from_millis(50),
    longest: Duration::from_millis(200),
    factor: 4,
    jitter: 0.5,
};
/// How much of the body of a 429 is searched for the wait.
const MESSAGE_LIMIT: usize = 64 << 10;

/// One request, as often as it takes.
#[derive(Debug)]
pub(super) struct Request {
    pub(super) method: Method,
    pub(super) url: Url,
    /// The JSON to send.
    pub(super) json: Option<Bytes>,
    /// The longest answer that is read, in bytes.
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

/// What 100ms said.
#[derive(Debug)]
pub(super) enum Answer {
    /// 2xx, and the whole body.
    Body(Vec<u8>),
    /// 404: of the room or of the peer, it does not say.
    NotFound,
}

/// Why an attempt gave no answer.
enum Trouble {
    /// 401 or 403 to this token.
    Refused(Arc<Token>),
    /// Worth another attempt: what broke, for the log.
    Passing(&'static str),
    /// Not worth one.
    Final(HmsError),
}

/// Everything that the requests of one client share.
pub(super) struct Transport {
    http: reqwest::Client,
    tokens: Tokens,
    gate: Gate,
    turns: Semaphore,
    clock: Clock,
}

impl Transport {
    /// A transport for `config`; the proxies of the environment are used unless 100ms is on this very machine.
    pub(super) fn new(config: ClientConfig, loopback: bool) -> Result<Self, InvalidConfig> {
        let http = reqwest::Client::builder()
            .user_agent(concat!("rejoin/", env!("CARGO_PKG_VERSION")))
            .redirect(redirect::Policy::none())
            // So that one dead address leaves time to try the next.
            .connect_timeout(config.timeout / 2);
        let http = if loopback { http.no_proxy() } else { http };
        Ok(Self {
            http: http.build().map_err(InvalidConfig::Http)?,
            tokens: Tokens::new(&config.credentials, config.clock.clone())
                .ok_or(InvalidConfig::Token)?,
            gate: Gate::default(),
            turns: Semaphore::new(config.max_concurrent.clamp(1, Semaphore::MAX_PERMITS)),
            clock: config.clock,
        })
    }

    /// Sends until there is an answer, a reason to stop, or `deadline` has come.
    pub(super) async fn send(
        &self,
        request: &Request,
        deadline: Instant,
    ) -> Result<Fetched<Answer>, HmsError> {
        let (mut retries, mut renewed) = (0, false);
        loop {
            match self.attempt(request, deadline).await {
                Ok(fetched) => {
                    self.gate.answered(Instant::now());
                    return Ok(fetched);
                }
                Err(Trouble::Final(error)) => return Err(error),
                Err(Trouble::Refused(token)) => {
                    if renewed || self.tokens.after_refusal_of(&token).is_none() {
                        return Err(HmsError::Unauthorized);
                    }
                    renewed = true;
                }
                Err(Trouble::Passing(what)) => {
                    tracing::debug!(what, "a request to 100ms failed");
                    if retries == MAX_RETRIES {
                        return Err(HmsError::Unavailable);
                    }
                    pause(BACKOFF.pause(retries), deadline).await?;
                    retries += 1;
                }
            }
        }
    }

    async fn attempt(
        &self,
        request: &Request,
        deadline: Instant,
    ) -> Result<Fetched<Answer>, Trouble> {
        self.gate.check(Instant::now()).map_err(Trouble::Final)?;
        let late = |_| Trouble::Final(HmsError::Timeout);
        let _turn = timeout_at(deadline, self.turns.acquire())
            .await
            .map_err(late)?;
        // Others may have closed the gate while this one queued.
        self.gate.check(Instant::now()).map_err(Trouble::Final)?;
        let token = self.tokens.current();
        let sent_at = self.clock.now();
        let answer = timeout_at(deadline, self.exchange(request, token, deadline))
            .await
            .map_err(late)??;
        Ok(Fetched {
            sent_at,
            value: answer,
        })
    }

    async fn exchange(
        &self,
        request: &Request,
        token: Arc<Token>,
        deadline: Instant,
    ) -> Result<Answer, Trouble> {
        let response = self
            .prepare(request, &token)
            .send()
            .await
            .map_err(|error| broken(&error))?;
        match response.status() {
            status if status.is_success() => whole_body(response, request.body_limit)
                .await
                .map(Answer::Body),
            StatusCode::NOT_FOUND => Ok(Answer::NotFound),
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Err(Trouble::Refused(token)),
            StatusCode::TOO_MANY_REQUESTS => {
                let named = self.wait_named_in(response, deadline).await;
                let retry_after = self.gate.close(named, Instant::now());
                Err(Trouble::Final(HmsError::RateLimited { retry_after }))
            }
            status if status.is_server_error() => Err(Trouble::Passing("a 5xx answer")),
            status => Err(bad(format!("status {}", status.as_u16()))),
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

    /// The wait that a 429 names. A body that hangs must not keep the gate open, so it gets half of the time that is left.
    async fn wait_named_in(&self, mut response: Response, deadline: Instant) -> Option<Duration> {
        if let Some(wait) = rate_limit::in_header(response.headers(), &self.clock) {
            return Some(wait);
        }
        let now = Instant::now();
        let enough = now + deadline.saturating_duration_since(now) / 2;
        let mut message = Vec::new();
        while message.len() < MESSAGE_LIMIT
            && let Ok(Ok(Some(chunk))) = timeout_at(enough, response.chunk()).await
        {
            message.extend_from_slice(&chunk);
        }
        rate_limit::in_body(&message)
    }
}

/// Waits before the next attempt, if there is time for it.
async fn pause(pause: Duration, deadline: Instant) -> Result<(), HmsError> {
    if Instant::now() + pause >= deadline {
        return Err(HmsError::Unavailable);
    }
    sleep(pause).await;
    Ok(())
}

async fn whole_body(mut response: Response, limit: usize) -> Result<Vec<u8>, Trouble> {
    let too_long = || bad(format!("a body of more than {limit} bytes"));
    if response
        .content_length()
        .is_some_and(|length| length > limit as u64)
    {
        return Err(too_long());
    }
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(|error| broken(&error))? {
        if body.len() + chunk.len() > limit {
            return Err(too_long());
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

fn bad(what: String) -> Trouble {
    Trouble::Final(HmsError::BadResponse(what))
}

fn broken(error: &reqwest::Error) -> Trouble {
    // The error itself names the URL, which holds the user's id.
    Trouble::Passing(if error.is_connect() {
        "no connection"
    } else {
        "the connection broke"
    })
}
