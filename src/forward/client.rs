//! One attempt to send an event.

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use ::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use reqwest::{Response, redirect};
use tokio::time::timeout;

use super::Endpoint;
use super::address::PublicAddresses;
use crate::backoff::requested_wait;
use crate::domain::{ForwardOutcome, NewForward, Timestamp};

/// How long it may take to connect.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long an attempt may take.
pub(crate) const TIMEOUT: Duration = Duration::from_secs(15);
/// How long the rest of an answer may take after its head.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(1);
/// The longest wait that an answer can ask for: a mistaken `Retry-After` must not stop events for days.
const LONGEST_WAIT: Duration = Duration::from_hours(1);
/// How much of an answer is read, so that the connection can be used again.
const MAX_ANSWER: usize = 64 << 10;

/// Sends events to one endpoint. Cheap to clone; clones share connections.
#[derive(Clone)]
pub struct Client {
    http: reqwest::Client,
    endpoint: Arc<Endpoint>,
}

/// Why the endpoint did not accept an event.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SendError {
    /// It redirects.
    #[error("the endpoint redirects with status {0}, which is not followed")]
    Redirected(u16),
    /// It wants no more such events.
    #[error("the endpoint answered 410: it is gone")]
    Gone,
    /// It answered something else.
    #[error("the endpoint answered status {status}")]
    Refused {
        /// Its status.
        status: u16,
        /// How long to leave it alone, as it asks with a 429 or a 503.
        retry_after: Option<Duration>,
    },
    /// It took too long.
    #[error("the endpoint did not answer within {} s", TIMEOUT.as_secs())]
    TimedOut,
    /// There was no answer.
    #[error("the endpoint could not be reached: {0}")]
    Unreachable(String),
}

impl SendError {
    /// How long the endpoint wants to wait for the event.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Refused { retry_after, .. } => *retry_after,
            Self::Redirected(_) | Self::Gone | Self::TimedOut | Self::Unreachable(_) => None,
        }
    }

    /// The outcome of the attempt.
    pub fn outcome(&self) -> ForwardOutcome {
        match self {
            Self::Redirected(_) => ForwardOutcome::Redirected,
            Self::Gone => ForwardOutcome::Gone,
            Self::Refused { .. } => ForwardOutcome::Refused,
            Self::TimedOut => ForwardOutcome::TimedOut,
            Self::Unreachable(_) => ForwardOutcome::Unreachable,
        }
    }
}

impl Client {
    /// A client of this endpoint. It uses no proxy, since only then it sees which address it
    /// connects to.
    ///
    /// # Errors
    /// Where TLS cannot be set up.
    pub fn new(endpoint: Endpoint) -> Result<Self, reqwest::Error> {
        #[expect(
            clippy::disallowed_methods,
            reason = "the one client of the endpoint is made here"
        )]
        let http = reqwest::Client::builder()
            .redirect(redirect::Policy::none())
            .connect_timeout(CONNECT_TIMEOUT)
            .timeout(TIMEOUT)
            .no_proxy()
            .dns_resolver(Arc::new(PublicAddresses))
            .build()?;
        Ok(Self {
            http,
            endpoint: Arc::new(endpoint),
        })
    }

    /// Sends an event once, `now`.
    ///
    /// # Errors
    /// [`SendError`].
    pub async fn send(&self, event: &NewForward, now: Timestamp) -> Result<(), SendError> {
        let request = self
            .http
            .post(self.endpoint.url.clone())
            .headers(self.headers(event, now))
            .body(event.body.clone());
        let response = request.send().await.map_err(|error| failure(&error))?;
        let status = response.status();
        let retry_after = match status {
            StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => {
                requested_wait(response.headers(), now.to_utc())
            }
            _ => None,
        };
        // Where it takes too long, the connection is closed.
        drop(timeout(DRAIN_TIMEOUT, drain(response)).await);
        match status {
            status if status.is_success() => Ok(()),
            StatusCode::GONE => Err(SendError::Gone),
            status if status.is_redirection() => Err(SendError::Redirected(status.as_u16())),
            status => Err(SendError::Refused {
                status: status.as_u16(),
                retry_after: retry_after.map(|wait| wait.min(LONGEST_WAIT)),
            }),
        }
    }

    /// The headers of the event, those of the endpoint in their place, and ours in place of both.
    fn headers(&self, event: &NewForward, now: Timestamp) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in &event.headers {
            let header = HeaderName::try_from(name.as_str()).ok();
            if let (Some(name), Ok(value)) = (header, HeaderValue::from_bytes(value)) {
                headers.append(name, value);
            }
        }
        for name in self.endpoint.headers.keys() {
            headers.remove(name);
        }
        let of_endpoint = self.endpoint.headers.iter();
        for (name, value) in of_endpoint {
            headers.append(name.clone(), value.clone());
        }
        let id = event.id.to_string();
        let timestamp = now.to_utc().timestamp();
        let secret = self.endpoint.secret.as_ref();
        let signature = secret.map(|secret| secret.sign(&id, timestamp, &event.body));
        for (name, value) in [
            ("webhook-id", Some(id)),
            ("webhook-timestamp", Some(timestamp.to_string())),
            ("webhook-signature", signature),
        ] {
            let value = value.and_then(|value| HeaderValue::try_from(value).ok());
            if let Some(value) = value {
                headers.insert(name, value);
            }
        }
        headers
    }
}

/// Reads an answer to its end, unless it is long.
async fn drain(mut response: Response) {
    let mut read = 0;
    while let Ok(Some(chunk)) = response.chunk().await {
        read += chunk.len();
        if read > MAX_ANSWER {
            return;
        }
    }
}

fn failure(error: &reqwest::Error) -> SendError {
    if error.is_timeout() {
        return SendError::TimedOut;
    }
    // The error itself has the URL, which may have a secret in it.
    let mut reason: &dyn Error = error;
    while let Some(source) = reason.source() {
        reason = source;
    }
    let reason = match error.source() {
        Some(_) => reason.to_string(),
        None => "no answer".to_owned(),
    };
    SendError::Unreachable(reason)
}
