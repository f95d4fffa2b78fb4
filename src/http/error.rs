//! Every failure that a client can see: one stable code each, the same in the body, the log line and the metric.
//!
//! The only place that maps failures to status codes. Bodies are problem details (RFC 9457).

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
use crate::store::{StoreError, UnavailableReason};

/// The status and the title of a code.
pub(crate) fn status_and_title(code: Code) -> (StatusCode, &'static str) {
    match code {
        Code::InvalidRequest => (StatusCode::BAD_REQUEST, "The request is invalid"),
        Code::Unauthorized => (
            StatusCode::UNAUTHORIZED,
            "A valid API key or webhook secret is required",
        ),
        Code::Forbidden => (
            StatusCode::FORBIDDEN,
            "The API key lacks the required scope",
        ),
        Code::RoomNotActive => (StatusCode::NOT_FOUND, "The room is not active"),
        Code::PeerNotFound => (StatusCode::NOT_FOUND, "The peer is not in the room"),
        Code::NoSavedMetadata => (StatusCode::NOT_FOUND, "No metadata is saved for the user"),
        Code::SavedMetadataTooOld => (StatusCode::NOT_FOUND, "The saved metadata is too old"),
        Code::NotDropped => (
            StatusCode::CONFLICT,
            "The peer of the saved state did not drop",
        ),
        Code::PeerNotOfUser => (StatusCode::CONFLICT, "The peer belongs to another user"),
        Code::AlreadyClaimed => (StatusCode::CONFLICT, "The saved state is already claimed"),
        Code::RoomNotWatched => (StatusCode::NOT_FOUND, "The room is not watched"),
        Code::NotFound => (StatusCode::NOT_FOUND, "Nothing exists at this path"),
        Code::MethodNotAllowed => (
            StatusCode::METHOD_NOT_ALLOWED,
            "The path does not support this method",
        ),
        Code::PayloadTooLarge => (
            StatusCode::PAYLOAD_TOO_LARGE,
            "The request body is too large",
        ),
        Code::PeerWithoutUserId => (
            StatusCode::UNPROCESSABLE_ENTITY,
            "The peer has no user_id that can be stored",
        ),
        Code::MetadataTooLarge => (
            StatusCode::UNPROCESSABLE_ENTITY,
            "The metadata is too large to store",
        ),
        Code::MetadataNotRepresentable => (
            StatusCode::UNPROCESSABLE_ENTITY,
            "The metadata is not Unicode text",
        ),
        Code::UpstreamUnauthorized => (
            StatusCode::BAD_GATEWAY,
            "100ms rejected the service's credentials",
        ),
        Code::UpstreamBadResponse => (StatusCode::BAD_GATEWAY, "100ms gave an unexpected response"),
        Code::UpstreamUnavailable => (StatusCode::BAD_GATEWAY, "100ms is unavailable"),
        Code::UpstreamTimeout => (StatusCode::GATEWAY_TIMEOUT, "100ms did not respond in time"),
        Code::UpstreamRateLimited => (
            StatusCode::SERVICE_UNAVAILABLE,
            "100ms limits the request rate",
        ),
        Code::DatabaseUnavailable => (
            StatusCode::SERVICE_UNAVAILABLE,
            "The database is unavailable",
        ),
        Code::Overloaded => (StatusCode::SERVICE_UNAVAILABLE, "The service is overloaded"),
        Code::Internal => (StatusCode::INTERNAL_SERVER_ERROR, "The service failed"),
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

    /// Does not say what went wrong: that is in the log.
    pub(crate) fn internal() -> Self {
        Self::new(
            Code::Internal,
            "The service failed. Its log has the cause, under this request_id.",
        )
    }

    /// For a connection beyond the limit.
    pub(crate) fn too_many_connections() -> Self {
        Self::new(
            Code::Overloaded,
            "Too many connections are open. Try again shortly.",
        )
        .retry_after(Duration::from_secs(1))
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

/// Rounded up, and at least one: after that many seconds the wait is over.
fn whole_seconds(wait: Duration) -> u64 {
    wait.as_secs() + u64::from(wait.subsec_nanos() > 0 || wait.is_zero())
}

/// Passes the failure to `http::observe`, which knows the request id and writes the body.
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
    /// The HTTP status.
    #[schema(value_type = i32)]
    status: u16,
    /// What happened this time.
    detail: &'a str,
    /// Stable: what clients should switch on.
    #[schema(schema_with = super::openapi::problem_code)]
    code: &'a str,
    /// Also in the `x-request-id` header and in the service's log.
    request_id: &'a str,
}

/// Problem details; those of `already-claimed` include the existing claim.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ClaimProblem<'a> {
    #[serde(flatten)]
    problem: Problem<'a>,
    /// Who has claimed the state, and when.
    #[serde(skip_serializing_if = "Option::is_none")]
    claim: Option<&'a ClaimJson>,
}

/// The message of an error as a sentence: errors begin in lower case and have no full stop, so that
/// others can quote them.
fn sentence(error: &impl std::error::Error) -> String {
    let mut message = error.to_string();
    if let Some(first) = message.get_mut(..1) {
        first.make_ascii_uppercase();
    }
    if !message.ends_with('.') {
        message.push('.');
    }
    message
}

impl From<HmsError> for ApiError {
    fn from(error: HmsError) -> Self {
        let problem = Self::new(error.code(), sentence(&error));
        match error {
            HmsError::RateLimited { retry_after } => problem.retry_after(retry_after),
            HmsError::Overloaded => problem.retry_after(Duration::from_secs(1)),
            _ => problem,
        }
    }
}

impl From<StoreError> for ApiError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Unavailable(ref reason) => {
                tracing::warn!(error = %error.with_sources(), "database unavailable");
                let detail = match reason {
                    UnavailableReason::ReadOnly => {
                        "The database server is read-only. Try again shortly.".to_owned()
                    }
                    UnavailableReason::SchemaOutdated(migration) => {
                        format!(
                            "The database lacks the migration {migration}: run `rejoin migrate`."
                        )
                    }
                    UnavailableReason::Pooler => {
                        "The pooler in front of the database cannot be used with rejoin.".to_owned()
                    }
                    _ => "The database is unavailable. Try again shortly.".to_owned(),
                };
                Self::new(Code::DatabaseUnavailable, detail).retry_after(Duration::from_secs(1))
            }
            StoreError::Overloaded { retry_after } => Self::new(
                Code::Overloaded,
                "Too many requests are waiting for the database. Try again shortly.",
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
        Self::new(unstorable.code(), sentence(&unstorable))
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
        let detail = sentence(&error);
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
