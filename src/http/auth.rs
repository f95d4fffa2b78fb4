//! Who may call what: `Authorization: Bearer <key>`, against a scope that the URL table names.

use std::convert::Infallible;
use std::sync::Arc;

use axum::extract::{FromRequestParts, Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::error::{ApiError, Code};
use crate::keys::{KeyRing, Scope};

/// What a route asks of a key.
#[derive(Debug, Clone)]
pub(crate) struct RequiredScope {
    pub(crate) keys: Arc<KeyRing>,
    pub(crate) scope: Scope,
}

/// The name of the key that was used, for the log.
#[derive(Debug, Clone)]
pub(crate) struct KeyName(pub(crate) Arc<str>);

/// The name of the key that a request came with, if there are keys.
#[derive(Debug)]
pub(crate) struct Caller(pub(crate) Option<Arc<str>>);

impl<S: Send + Sync> FromRequestParts<S> for Caller {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        Ok(Self(
            parts.extensions.get::<KeyName>().map(|name| name.0.clone()),
        ))
    }
}

/// Lets a request through whose key has the scope.
pub(crate) async fn guard(
    State(guard): State<RequiredScope>,
    mut request: Request,
    next: Next,
) -> Response {
    if guard.keys.is_empty() {
        // Without keys the service listens on a loopback address only (`config` sees to that).
        return next.run(request).await;
    }
    match admit(&guard, request.headers()) {
        Ok(name) => {
            request.extensions_mut().insert(name.clone());
            let mut response = next.run(request).await;
            response.extensions_mut().insert(name);
            response
        }
        Err(error) => error.into_response(),
    }
}

fn admit(guard: &RequiredScope, headers: &HeaderMap) -> Result<KeyName, ApiError> {
    let header = headers.get(header::AUTHORIZATION).ok_or_else(|| {
        ApiError::new(
            Code::Unauthorized,
            "Send an API key: `Authorization: Bearer <key>`.",
        )
    })?;
    let entry = header
        .to_str()
        .ok()
        .and_then(|value| value.split_once(' '))
        .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"))
        .and_then(|(_, key)| guard.keys.find(key.trim()))
        .ok_or_else(|| ApiError::new(Code::Unauthorized, "The API key is not known."))?;
    if entry.allows(guard.scope) {
        Ok(KeyName(entry.name().into()))
    } else {
        let scope = guard.scope.as_str();
        Err(ApiError::new(
            Code::Forbidden,
            format!("The API key lacks the scope `{scope}`."),
        ))
    }
}
