//! Every failure that a client can see: one stable code each, the same in the body, the log line and the metric.
//!
//! The only place that knows status codes. Bodies are problem details (RFC 9457).

use std::time::Duration;

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

use super::json::ClaimJson;
pub(crate) use crate::domain::ProblemCode as Code;
use crate::domain::Unstorable;
use crate::hms::HmsError;
use crate::service::{RestoreError, SnapshotError};
use crate::store::StoreError;

/// The status and the title of a code.
pub(crate) fn status_and_title(code: Code) -> (StatusCode, &'static str) {
    match code {
        Code::InvalidRequest => (StatusCode::BAD_REQUEST, "The request is not valid"),
        Code::Unauthorized => (StatusCode::UNAUTHORIZED, "A valid API key is needed"),
        Code::Forbidden => (StatusCode::FORBIDDEN, "The API key may not do this"),
        Code::RoomNotActive => (StatusCode::NOT_FOUND, "The room is not active"),
        Code::PeerNotFound => (StatusCode::NOT_FOUND, "The peer is not in the room"),
        Code::NoSavedMetadata => (StatusCode::NOT_FOUND, "There is nothing to resume"),
        Code::SavedMetadataTooOld => (StatusCode::NOT_FOUND, "What there is to resume is too old"),
        Code::NotDropped => (
            StatusCode::CONFLICT,
            "The peer whose state is saved did not drop",
        ),
        Code::PeerNotOfUser => (StatusCode::CONFLICT, "The peer belongs to another user"),
        Code::AlreadyClaimed => (StatusCode::CONFLICT, "Somebody else has claimed the state"),
        Code::NotFound => (StatusCode::NOT_FOUND, "There is nothing at this path"),
        Code::MethodNotAllowed => (
            StatusCode::METHOD_NOT_ALLOWED,
            "The path does not take this method",
        ),
        Code::PayloadTooLarge => (StatusCode::PAYLOAD_TOO_LARGE, "The body is too large"),
        Code::PeerWithoutUserId => (
            StatusCode::UNPROCESSABLE_ENTITY,
            "The peer has no user_id to keep its metadata by",
        ),
        Code::MetadataTooLarge => (
            StatusCode::UNPROCESSABLE_ENTITY,
            "The metadata is larger than what is kept",
        ),
        Code::MetadataNotRepresentable => (
            StatusCode::UNPROCESSABLE_ENTITY,
            "The metadata is not Unicode text",
        ),
        Code::UpstreamUnauthorized => (
            StatusCode::BAD_GATEWAY,
            "100ms refused the service's credentials",
        ),
        Code::UpstreamBadResponse => (StatusCode::BAD_GATEWAY, "100ms gave an unexpected answer"),
        Code::UpstreamUnavailable => (StatusCode::BAD_GATEWAY, "100ms is unavailable"),
        Code::UpstreamTimeout => (StatusCode::GATEWAY_TIMEOUT, "100ms did not answer in time"),
        Code::UpstreamRateLimited => (StatusCode::SERVICE_UNAVAILABLE, "100ms limits the rate"),
        Code::DatabaseUnavailable => (
            StatusCode::SERVICE_UNAVAILABLE,
            "The database does not answer",
        ),
        Code::Overloaded => (
            StatusCode::SERVICE_UNAVAILABLE,
            "The service has too much to do",
        ),
        Code::Internal => (
            StatusCode::INTERNAL_SERVER_ERROR,
            "Something went wrong in the service",
        ),
    }
}

/// A failure on its way to the client.
#[derive(Debug, Clone)]
pub(crate) struct ApiError {
    code: Code,
    detail: String,
    retry_after: Option<Duration>,
    claim: Option<Box<ClaimJson>>,
}

impl ApiError {
    pub(crate) fn new(code: Code, detail: impl Into<String>) -> Self {
        Self {
            code,
            detail: detail.into(),
            retry_after: None,
            claim: None,
        }
    }

    pub(crate) fn invalid(detail: impl Into<String>) -> Self {
        Self::new(Code::InvalidRequest, detail)
    }

    /// Says nothing of what went wrong; that is in the log.
    pub(crate) fn internal() -> Self {
        Self::new(
            Code::Internal,
            "The fault is the service's. The log has more under this request_id.",
        )
    }

    fn retry_after(mut self, wait: Duration) -> Self {
        self.retry_after = Some(wait);
        self
    }

    pub(crate) fn code(&self) -> Code {
        self.code
    }

    pub(crate) fn detail(&self) -> &str {
        &self.detail
    }

    /// The answer: problem details that name the request.
    pub(crate) fn render(&self, request_id: &str) -> Response {
        let (status, title) = status_and_title(self.code);
        let problem = Problem {
            kind: "about:blank",
            title,
            status: status.as_u16(),
            detail: &self.detail,
            code: self.code.as_str(),
            request_id,
        };
        let problem = ClaimProblem {
            problem,
            claim: self.claim.as_deref(),
        };
        let body = serde_json::to_vec(&problem).expect("strings are always JSON");
        let content_type = HeaderValue::from_static("application/problem+json");
        let mut response = (status, [(header::CONTENT_TYPE, content_type)], body).into_response();
        let headers = response.headers_mut();
        if let Some(wait) = self.retry_after {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(whole_seconds(wait)));
        }
        if self.code == Code::Unauthorized {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}

/// Rounded up, and at least one: whoever waits so long finds the wait over.
fn whole_seconds(wait: Duration) -> u64 {
    wait.as_secs() + u64::from(wait.subsec_nanos() > 0 || wait.is_zero())
}

/// Carries the failure to `http::observe`, which knows the request's id and writes the body.
impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let mut response = status_and_title(self.code).0.into_response();
        response.extensions_mut().insert(self);
        response
    }
}

/// Problem details as in RFC 9457.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Problem<'a> {
    #[serde(rename = "type")]
    kind: &'a str,
    /// What the code means.
    title: &'a str,
    status: u16,
    /// What happened this time.
    detail: &'a str,
    /// Stable; the thing to switch on.
    code: &'a str,
    /// Also in the `x-request-id` header and in the service's log.
    request_id: &'a str,
}

/// Problem details, and of `already-claimed` the claim that stands.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ClaimProblem<'a> {
    #[serde(flatten)]
    problem: Problem<'a>,
    /// Who has the state, and since when.
    #[serde(skip_serializing_if = "Option::is_none")]
    claim: Option<&'a ClaimJson>,
}

impl From<HmsError> for ApiError {
    fn from(error: HmsError) -> Self {
        let problem = Self::new(error.code(), error.to_string());
        match error {
            HmsError::RateLimited { retry_after } => problem.retry_after(retry_after),
            _ => problem,
        }
    }
}

impl From<StoreError> for ApiError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Unavailable(_) => {
                tracing::warn!(error = %error.with_sources(), "database unavailable");
                Self::new(
                    Code::DatabaseUnavailable,
                    "The database does not answer. Try again shortly.",
                )
                .retry_after(Duration::from_secs(1))
            }
            StoreError::Overloaded { retry_after } => Self::new(
                Code::Overloaded,
                "Too much is waiting for the database. Try again shortly.",
            )
            .retry_after(retry_after),
            StoreError::Refused(_) => {
                tracing::error!(error = %error.with_sources(), "the database refused a statement");
                Self::internal()
            }
        }
    }
}

impl From<Unstorable> for ApiError {
    fn from(unstorable: Unstorable) -> Self {
        Self::new(unstorable.code(), unstorable.to_string())
    }
}

impl From<SnapshotError> for ApiError {
    fn from(error: SnapshotError) -> Self {
        match error {
            SnapshotError::Upstream(error) => error.into(),
            SnapshotError::Unstorable(unstorable) => unstorable.into(),
            SnapshotError::Store(error) => error.into(),
        }
    }
}

impl From<RestoreError> for ApiError {
    fn from(error: RestoreError) -> Self {
        let detail = error.to_string();
        match error {
            RestoreError::Upstream(error) => error.into(),
            RestoreError::Store(error) => error.into(),
            RestoreError::Unstorable(unstorable) => unstorable.into(),
            RestoreError::NotOfUser => Self::new(Code::PeerNotOfUser, detail),
            RestoreError::RoomUnknown => Self::invalid(detail),
            RestoreError::NothingSaved => Self::new(Code::NoSavedMetadata, detail),
            RestoreError::AlreadyClaimed(claim) => Self {
                claim: Some(Box::new(claim.into())),
                ..Self::new(Code::AlreadyClaimed, detail)
            },
        }
    }
}
