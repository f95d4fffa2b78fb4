//! Extractors whose rejections are problem details. The raw ones of axum are banned in `clippy.toml`.

use std::time::Duration;

use axum::body::{Body, HttpBody};
use axum::extract::rejection::QueryRejection;
use axum::extract::{FromRequest, FromRequestParts, Request};
use axum::http::request::Parts;
use futures_util::StreamExt;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use tokio::time::timeout;

use super::error::{ApiError, Code};

/// The largest body of a request that needs none, in bytes.
pub(super) const MAX_BODY: usize = 64 << 10;
/// How much of a larger one is read before it is refused: who sends no more gets to read the answer, where closing the
/// connection on unread bytes would reset it.
const MAX_READ: usize = 8 << 20;

/// The ids in the path, percent-decoded and parsed.
#[derive(Debug)]
pub(crate) struct Path<T>(pub(crate) T);

impl<S: Send + Sync, T: DeserializeOwned + Send> FromRequestParts<S> for Path<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        check_encoding(parts.uri.path())?;
        #[expect(clippy::disallowed_types, reason = "this is the wrapper")]
        let path = axum::extract::Path::<T>::from_request_parts(parts, state).await;
        path.map(|path| Self(path.0))
            .map_err(|error| ApiError::invalid(error.body_text()))
    }
}

/// The query string. A parameter that the path does not know is an error: a mistyped filter must not be ignored.
#[derive(Debug)]
pub(crate) struct Query<T>(pub(crate) T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequestParts<S> for Query<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        check_encoding(parts.uri.query().unwrap_or_default())?;
        #[expect(clippy::disallowed_types, reason = "this is the wrapper")]
        let query = axum::extract::Query::<T>::from_request_parts(parts, state).await;
        query
            .map(|query| Self(query.0))
            .map_err(|error: QueryRejection| ApiError::invalid(error.body_text()))
    }
}

/// There is nothing to filter.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct NoFilter {}

/// The decoders are lenient: `%zz` stays as it is, and of bytes that are no UTF-8 they make U+FFFD. An id that was
/// altered could be another's.
fn check_encoding(encoded: &str) -> Result<(), ApiError> {
    let mut parts = encoded.split('%');
    let mut decoded = parts.next().unwrap_or_default().as_bytes().to_vec();
    for part in parts {
        let (digits, rest) = part
            .as_bytes()
            .split_at_checked(2)
            .ok_or_else(badly_encoded)?;
        let mut byte = [0];
        hex::decode_to_slice(digits, &mut byte).map_err(|_| badly_encoded())?;
        decoded.extend(byte);
        decoded.extend(rest);
    }
    std::str::from_utf8(&decoded)
        .map(|_| ())
        .map_err(|_| badly_encoded())
}

fn badly_encoded() -> ApiError {
    ApiError::invalid("The URL is not percent-encoded UTF-8.")
}

/// How many rows a page has where none is given, and at most.
const DEFAULT_LIMIT: u16 = 50;
const MAX_LIMIT: u16 = 500;

/// The `limit` of a page.
pub(super) fn page_limit(limit: Option<u16>) -> Result<u16, ApiError> {
    let limit = limit.unwrap_or(DEFAULT_LIMIT);
    if (1..=MAX_LIMIT).contains(&limit) {
        return Ok(limit);
    }
    let detail = format!("`limit` is {limit}, but should be 1 to {MAX_LIMIT}.");
    Err(ApiError::invalid(detail))
}

/// How long a body may take: a client that sends none would otherwise hold its connection for ever.
const BODY_TIMEOUT: Duration = Duration::from_secs(10);

/// The end of a body that says nothing: it is read to its end and forgotten.
#[derive(Debug)]
pub(crate) struct NoBody;

impl<S: Send + Sync> FromRequest<S> for NoBody {
    type Rejection = ApiError;

    async fn from_request(request: Request, _: &S) -> Result<Self, ApiError> {
        whole_body(request, MAX_BODY).await.map(|_| Self)
    }
}

/// The body as JSON, whatever its content type; none is `{}`. Its first wrong field is named.
#[derive(Debug)]
pub(crate) struct JsonBody<T>(pub(crate) T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for JsonBody<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, _: &S) -> Result<Self, ApiError> {
        let body = whole_body(request, MAX_BODY).await?;
        let body = if body.is_empty() {
            b"{}"
        } else {
            body.as_slice()
        };
        // Read as an object, an array would be one without names.
        if !body.trim_ascii_start().starts_with(b"{") {
            return Err(ApiError::invalid("The body is not a JSON object."));
        }
        let read =
            serde_path_to_error::deserialize(&mut serde_json::Deserializer::from_slice(body));
        read.map(Self)
            .map_err(|error| ApiError::invalid(format!("The body is invalid: {error}.")))
    }
}

/// The whole body, of at most `max` bytes, if it comes in time.
pub(crate) async fn whole_body(request: Request, max: usize) -> Result<Vec<u8>, ApiError> {
    let timed_out = |_| ApiError::invalid("The body was not received in time.");
    timeout(BODY_TIMEOUT, read(request.into_body(), max))
        .await
        .map_err(timed_out)?
}

async fn read(body: Body, max: usize) -> Result<Vec<u8>, ApiError> {
    let mut size = usize::try_from(body.size_hint().lower()).unwrap_or(usize::MAX);
    let mut bytes = Vec::new();
    let max_read = MAX_READ.max(max);
    if size <= max_read {
        size = 0;
        let mut chunks = body.into_data_stream();
        while let Some(chunk) = chunks.next().await {
            let chunk = chunk.map_err(|_| ApiError::invalid("The body could not be read."))?;
            size += chunk.len();
            if size > max_read {
                break;
            }
            if size <= max {
                bytes.extend_from_slice(&chunk);
            }
        }
    }
    if size > max {
        Err(too_large(max))
    } else {
        Ok(bytes)
    }
}

fn too_large(max: usize) -> ApiError {
    ApiError::new(
        Code::PayloadTooLarge,
        format!("The body is larger than {max} bytes, the most that this path accepts."),
    )
}
