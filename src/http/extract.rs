//! Extractors whose rejections are problem details. The raw ones of axum are banned in `clippy.toml`.

use std::time::Duration;

use axum::extract::rejection::{BytesRejection, FailedToBufferBody, PathRejection, QueryRejection};
use axum::extract::{FromRequest, FromRequestParts, Request};
use axum::http::request::Parts;
use serde::de::DeserializeOwned;
use tokio::time::timeout;

use super::error::{ApiError, Code};

/// The ids in the path, percent-decoded and parsed.
#[derive(Debug)]
pub(crate) struct Path<T>(pub(crate) T);

impl<S: Send + Sync, T: DeserializeOwned + Send> FromRequestParts<S> for Path<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        #[expect(clippy::disallowed_types, reason = "this is the wrapper")]
        match axum::extract::Path::<T>::from_request_parts(parts, state).await {
            Ok(axum::extract::Path(path)) => Ok(Self(path)),
            Err(PathRejection::FailedToDeserializePathParams(error)) => Err(ApiError::invalid(error.body_text())),
            Err(other) => Err(ApiError::invalid(other.body_text())),
        }
    }
}

/// The query string. A parameter that the path does not know is an error: a mistyped filter must not be ignored.
#[derive(Debug)]
pub(crate) struct Query<T>(pub(crate) T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequestParts<S> for Query<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        #[expect(clippy::disallowed_types, reason = "this is the wrapper")]
        let query = axum::extract::Query::<T>::from_request_parts(parts, state).await;
        query.map(|query| Self(query.0)).map_err(|error: QueryRejection| ApiError::invalid(error.body_text()))
    }
}

/// How long the body of a request may take.
const BODY_TIMEOUT: Duration = Duration::from_secs(10);

/// The end of a body that says nothing: it is read to its end and forgotten, within the limit of the route.
#[derive(Debug)]
pub(crate) struct NoBody;

impl<S: Send + Sync> FromRequest<S> for NoBody {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &S) -> Result<Self, ApiError> {
        match timeout(BODY_TIMEOUT, axum::body::Bytes::from_request(request, state)).await {
            Ok(Ok(_)) => Ok(Self),
            Ok(Err(error)) => Err(body_error(&error)),
            Err(_) => Err(ApiError::invalid(format!("The body did not come within {BODY_TIMEOUT:?}."))),
        }
    }
}

pub(crate) fn body_error(error: &BytesRejection) -> ApiError {
    match error {
        BytesRejection::FailedToBufferBody(FailedToBufferBody::LengthLimitError(_)) => {
            ApiError::new(Code::PayloadTooLarge, "The body is larger than this path takes.")
        }
        _ => ApiError::invalid("The body could not be read to its end."),
    }
}
