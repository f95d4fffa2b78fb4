//! Webhooks of 100ms in. Exactly 200 once what they tell is durable.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Request, State};
use axum::http::{HeaderName, HeaderValue};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use subtle::{Choice, ConstantTimeEq};

use super::error::{ApiError, Code, Problem};
use super::extract::whole_body;
use crate::service::{WebhookError, WebhookReceiver};

/// The largest event that is taken.
const MAX_EVENT_BYTES: usize = 1 << 20;

/// What proves that an event comes from 100ms: a header whose value is one of the secrets.
#[derive(Clone)]
pub struct WebhookSecrets {
    header: HeaderName,
    /// SHA-256 of each, so that a comparison takes the same time whatever is sent.
    digests: Vec<[u8; 32]>,
}

impl WebhookSecrets {
    /// Any of these secrets, in this header.
    pub fn new<'a>(header: HeaderName, secrets: impl IntoIterator<Item = &'a str>) -> Self {
        let digests = secrets
            .into_iter()
            .map(|secret| Sha256::digest(secret.as_bytes()).into())
            .collect();
        Self { header, digests }
    }

    fn admit(&self, request: &Request) -> bool {
        let shown: [u8; 32] = Sha256::digest(
            request
                .headers()
                .get(&self.header)
                .map_or(&b""[..], HeaderValue::as_bytes),
        )
        .into();
        let any = self
            .digests
            .iter()
            .fold(Choice::from(0), |any, digest| any | digest.ct_eq(&shown));
        any.into()
    }
}

/// Names the header only.
impl std::fmt::Debug for WebhookSecrets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("WebhookSecrets")
            .field("header", &self.header)
            .finish_non_exhaustive()
    }
}

/// What the webhook path needs; absent where no secrets are set.
pub struct WebhookApi {
    /// Who is let in.
    pub secrets: WebhookSecrets,
    /// What keeps the events.
    pub webhooks: WebhookReceiver,
}

/// Take an event of 100ms.
///
/// Any event may come again, late or out of order. The secret header's name and value are settings.
#[utoipa::path(
    post,
    path = "/v1/webhooks/100ms",
    tag = "webhook",
    request_body(content = Value, description = "An event as 100ms sends it, at most 1 MiB."),
    responses(
        (status = 200, description = "What the event tells is durable, or there is nothing in it to keep."),
        (status = "default", description = "Problem details.", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn take(
    State(api): State<Option<Arc<WebhookApi>>>,
    request: Request,
) -> Result<Json<Value>, ApiError> {
    let api = api.ok_or_else(|| {
        ApiError::new(
            Code::NotFound,
            "Webhooks are not set up (REJOIN_WEBHOOK_SECRETS).",
        )
    })?;
    if !api.secrets.admit(&request) {
        let detail = format!(
            "Send the webhook's secret in the header `{}`.",
            api.secrets.header
        );
        return Err(ApiError::new(Code::Unauthorized, detail));
    }
    let body = whole_body(request, MAX_EVENT_BYTES).await?;
    match api.webhooks.receive(&body).await {
        Ok(_) => Ok(Json(json!({"status": "ok"}))),
        Err(WebhookError::NotAnEvent(error)) => Err(ApiError::invalid(error.to_string())),
        Err(WebhookError::Store(error)) => Err(error.into()),
    }
}
