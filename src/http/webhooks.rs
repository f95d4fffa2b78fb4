//! Webhooks of 100ms: exactly 200 once an event is stored durably, since 100ms retries anything else.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Request, State};
use serde_json::{Value, json};

use super::error::{ApiError, Code, Problem};
use super::extract::{MAX_BODY, whole_body};
use crate::keys::WebhookSecrets;
use crate::service::{WebhookError, WebhookReceiver};

/// The largest event that is accepted at least, in bytes.
const MIN_EVENT_LIMIT: usize = 1 << 20;
/// How many bytes of JSON one byte of metadata takes at most: `\u001f`.
const MAX_ESCAPED_BYTES: usize = 6;

/// What the webhook path needs; absent if no secrets are set.
pub struct WebhookApi {
    /// What proves that an event comes from 100ms.
    pub secrets: WebhookSecrets,
    /// What stores the events.
    pub webhooks: WebhookReceiver,
}

impl WebhookApi {
    /// The largest event that is accepted, in bytes. An event with the largest metadata fits.
    fn event_limit(&self) -> usize {
        let metadata = self.webhooks.storage_policy.max_metadata_bytes;
        MIN_EVENT_LIMIT.max(MAX_ESCAPED_BYTES * metadata + MAX_BODY)
    }
}

/// Receive an event of 100ms.
///
/// Events may be repeated and out of order. The name and the value of the secret header are
/// settings.
#[utoipa::path(
    post,
    operation_id = "receiveWebhook",
    path = "/v1/webhooks/100ms",
    tag = "webhook",
    request_body(content = Value, description = "An event as 100ms sends it. At most 1 MiB, or six times the largest metadata where that is more."),
    responses(
        (status = 200, description = "The event is stored durably, or has nothing to store."),
        (status = "default", description = "The request failed; `code` says why.", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn take(
    State(api): State<Option<Arc<WebhookApi>>>,
    mut request: Request,
) -> Result<Json<Value>, ApiError> {
    let api = api.ok_or_else(|| {
        ApiError::new(
            Code::NotFound,
            "Webhooks are not set up. Set REJOIN_WEBHOOK_SECRETS.",
        )
    })?;
    if !api.secrets.admits(request.headers()) {
        let header = api.secrets.header();
        let detail = format!("Send the webhook's secret in the header `{header}`.");
        return Err(ApiError::new(Code::Unauthorized, detail));
    }
    let headers = std::mem::take(request.headers_mut());
    let body = whole_body(request, api.event_limit()).await?;
    match api.webhooks.receive(&headers, body.into()).await {
        Ok(_) => Ok(Json(json!({"status": "ok"}))),
        Err(WebhookError::NotAnEvent(error)) => Err(ApiError::invalid(error.to_string())),
        Err(WebhookError::Store(error)) => Err(error.into()),
    }
}
