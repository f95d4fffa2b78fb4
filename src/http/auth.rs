//! Authorization: `Authorization: Bearer <key>`, against the scope that the URL table names.

use std::convert::Infallible;
use std::sync::Arc;

use axum::extract::{FromRequestParts, Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::error::{ApiError, Code};
use crate::keys::{KeyRing, Scope};

/// The scope that a route requires of a key.
#[derive(Debug, Clone)]
pub(super) struct RequiredScope {
    pub(super) keys: Arc<KeyRing>,
    pub(super) scope: Scope,
}

impl RequiredScope {
    /// The name of the key of a request, if that key has the scope.
    fn authorize(&self, headers: &HeaderMap) -> Result<KeyName, ApiError> {
        let header = headers.get(header::AUTHORIZATION).ok_or_else(|| {
            let detail = "Send an API key in the header: `Authorization: Bearer <key>`.";
            ApiError::new(Code::Unauthorized, detail)
        })?;
        let entry = header
            .to_str()
            .ok()
            .and_then(|value| value.split_once(' '))
            .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"))
            .and_then(|(_, key)| self.keys.find(key.trim()))
            .ok_or_else(|| ApiError::new(Code::Unauthorized, "The API key is not known."))?;
        if entry.allows(self.scope) {
            Ok(KeyName(entry.name().into()))
        } else {
            let scope = self.scope.as_str();
            let detail = format!("The API key lacks the scope `{scope}`.");
            Err(ApiError::new(Code::Forbidden, detail))
        }
    }
}

/// The name of the key that a request was authorized by, for the log.
#[derive(Debug, Clone)]
pub(super) struct KeyName(pub(super) Arc<str>);

/// The name of the key that a request was authorized by, if there are keys.
#[derive(Debug)]
pub(super) struct Caller(pub(super) Option<Arc<str>>);

impl<S: Send + Sync> FromRequestParts<S> for Caller {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        let name = parts.extensions.get::<KeyName>();
        Ok(Self(name.map(|name| name.0.clone())))
    }
}

/// Lets a request through whose key has the scope.
pub(super) async fn require_scope(
    State(required): State<RequiredScope>,
    mut request: Request,
    next: Next,
) -> Response {
    if required.keys.is_empty() {
        // `config` allows no keys only on a loopback address.
        return next.run(request).await;
    }
    match required.authorize(request.headers()) {
        Ok(name) => {
            request.extensions_mut().insert(name.clone());
            let mut response = next.run(request).await;
            response.extensions_mut().insert(name);
            response
        }
        Err(error) => error.into_response(),
    }
}
