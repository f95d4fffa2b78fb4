//! The HTTP API: requests in, answers out. No SQL, and no calls to 100ms: [`crate::service`] has those.
//!
//! The URL table is in `routes`. `extract` and `auth` come before a handler, `error` has every
//! failure, `json` the shapes of the answers, `stream` sends large ones, and `observe` wraps every
//! request.

mod auth;
mod error;
mod extract;
pub mod forwards;
mod health;
mod history;
pub mod json;
mod metrics;
mod observe;
mod openapi;
pub mod reconciliations;
mod restore;
mod resume;
mod routes;
mod snapshots;
mod stream;
pub mod watches;
mod webhooks;

use std::sync::Arc;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::FromRef;
use axum::http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use axum::middleware::{from_fn, map_response};
use axum::response::{IntoResponse, Response};
use metrics_exporter_prometheus::PrometheusHandle;
use tower_http::catch_panic::CatchPanicLayer;
use utoipa_swagger_ui::{Config, SwaggerUi};

pub(crate) use self::metrics::METRICS;
use crate::keys::{KeyRing, WebhookSecrets};
use crate::service::Service;
use crate::trace::{self, Instrument};
use error::{ApiError, Code};
pub use webhooks::WebhookApi;

/// What the handlers share.
pub struct Api {
    /// What they call.
    pub service: Service,
    /// The API keys. Without any, every request is let through.
    pub keys: Arc<KeyRing>,
    /// What `/metrics` shows.
    pub metrics: PrometheusHandle,
    /// What receives webhooks, if there are secrets for them.
    pub webhooks: Option<Arc<WebhookApi>>,
}

/// The state of the router, which axum clones several times per request: so a clone is one count.
#[derive(Clone)]
struct Shared(Arc<Api>);

impl FromRef<Shared> for Service {
    fn from_ref(shared: &Shared) -> Self {
        shared.0.service.clone()
    }
}

impl FromRef<Shared> for PrometheusHandle {
    fn from_ref(shared: &Shared) -> Self {
        shared.0.metrics.clone()
    }
}

impl FromRef<Shared> for Option<Arc<WebhookApi>> {
    fn from_ref(shared: &Shared) -> Self {
        shared.0.webhooks.clone()
    }
}

/// What is served.
pub struct Routers {
    /// The routes of the URL table, the description of the API, and what wraps them.
    pub all: Router,
    /// What is left of that for connections beyond the limit: health and metrics.
    pub when_full: Router,
}

/// The routers of an API.
pub fn routers(api: Api) -> Routers {
    let (router, description) = routes::routes(&api.keys).split_for_parts();
    let webhooks = api.webhooks.as_ref();
    let webhook_header = webhooks.map_or(WebhookSecrets::DEFAULT_HEADER, |webhooks| {
        webhooks.secrets.header().as_str()
    });
    let description = openapi::complete(&description, webhook_header);
    let (operable, _) = routes::operations().split_for_parts();
    let shared = Shared(Arc::new(api));
    let all = router
        .merge(docs(description))
        .fallback(async || ApiError::new(Code::NotFound, "Nothing exists at this path."))
        .method_not_allowed_fallback(async || {
            ApiError::new(
                Code::MethodNotAllowed,
                "The path does not support this method. The `allow` header lists those it supports.",
            )
        });
    let when_full = operable
        .fallback(async || ApiError::too_many_connections())
        .method_not_allowed_fallback(async || ApiError::too_many_connections());
    let [all, when_full] = [all, when_full].map(|router| {
        router
            .layer(CatchPanicLayer::custom(panicked))
            .layer(from_fn(observe::observe))
            .with_state(shared.clone())
    });
    Routers { all, when_full }
}

/// The description of the API.
pub fn openapi() -> serde_json::Value {
    let description = routes::routes(&Arc::default()).into_openapi();
    openapi::complete(&description, WebhookSecrets::DEFAULT_HEADER)
}

/// The description at `/openapi.json`, and the page of it at `/docs`.
fn docs(description: serde_json::Value) -> Router<Shared> {
    // By default the page loads a badge from swagger.io, which discloses the service's address.
    let page = SwaggerUi::new("/docs")
        .external_url_unchecked("/openapi.json", description)
        .config(Config::default().validator_url("none"));
    Router::from(page).layer(map_response(with_head))
}

/// What the head of the page lacks: without it, a phone shows the page at the width of a desk, and the
/// answers as a narrow column of it.
const HEAD: &str = r#"<meta name="viewport" content="width=device-width, initial-scale=1">
    <style>
      @media (max-width: 640px) {
        .swagger-ui .wrapper, .swagger-ui .opblock-body pre { padding: 0 8px; }
        .swagger-ui .response-col_links { display: none; }
        .swagger-ui .response-col_status { min-width: 40px; }
        .swagger-ui table.responses-table, .swagger-ui .responses-inner { padding: 4px; }
        .swagger-ui .opblock .opblock-summary-path { max-width: none; word-break: break-word; }
        .swagger-ui .info table { display: block; overflow-x: auto; }
      }
    </style>
  </head>"#;

/// The page with a title of its own, and readable on a phone: the crate has no settings for that.
async fn with_head(response: Response) -> Response {
    const MAX_PAGE_BYTES: usize = 64 << 10;
    let is_page = response
        .headers()
        .get(CONTENT_TYPE)
        .is_some_and(|kind| kind.as_bytes().starts_with(b"text/html"));
    if !is_page {
        return response;
    }
    let (mut head, body) = response.into_parts();
    let Ok(page) = to_bytes(body, MAX_PAGE_BYTES).await else {
        return ApiError::internal().into_response();
    };
    let page = String::from_utf8_lossy(&page);
    let page = page
        .replace(
            "<title>Swagger UI</title>",
            "<title>rejoin: the API</title>",
        )
        .replace("</head>", HEAD);
    head.headers.remove(CONTENT_LENGTH);
    Response::from_parts(head, Body::from(page))
}

/// Runs `work` to its end even if the client hangs up meanwhile: the request only waits for it.
async fn run_to_completion<T: Send + 'static>(
    work: impl Future<Output = T> + Send + 'static,
) -> Result<T, ApiError> {
    let work = work.instrument(trace::current());
    tokio::spawn(work).await.map_err(|_| ApiError::internal())
}

#[expect(clippy::needless_pass_by_value, reason = "the layer's signature")]
fn panicked(panic: Box<dyn std::any::Any + Send + 'static>) -> Response {
    let message = panic
        .downcast_ref::<&str>()
        .copied()
        .or(panic.downcast_ref::<String>().map(String::as_str));
    tracing::error!(
        panic = message.unwrap_or("without a message"),
        "a request handler panicked"
    );
    ApiError::internal().into_response()
}
