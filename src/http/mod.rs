//! The HTTP API: requests in, answers out. No SQL, and no calls to 100ms: [`crate::service`] has those.
//!
//! The whole URL table is in [`router`]. `extract` and `auth` stand before a handler, `error` has every failure, and
//! `observe` is around all of it.

mod auth;
mod error;
mod extract;
mod health;
mod history;
pub mod json;
mod observe;
mod openapi;
mod restore;
mod resume;
mod snapshots;
mod webhooks;

use std::sync::Arc;

use axum::Router;
use axum::extract::FromRef;
use axum::middleware::{from_fn, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, get, post};
use metrics_exporter_prometheus::PrometheusHandle;
use tower_http::catch_panic::CatchPanicLayer;
use utoipa_swagger_ui::{Config, SwaggerUi};

use crate::keys::{KeyRing, Scope};
use crate::service::Service;
use auth::RequiredScope;
use error::{ApiError, Code};
pub use openapi::openapi;
pub use webhooks::WebhookApi;

/// What the handlers share.
pub struct Api {
    /// What they call.
    pub service: Service,
    /// Who may call them; nobody is asked where there are none.
    pub keys: Arc<KeyRing>,
    /// What `/metrics` shows.
    pub metrics: PrometheusHandle,
    /// What takes webhooks, where there are secrets for them.
    pub webhooks: Option<Arc<WebhookApi>>,
}

/// What axum clones several times a request: one count, not one for all that is in it.
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

/// The URL table.
pub fn router(api: Api) -> Router {
    let keys = api.keys.clone();
    let needs = |scope: Scope, route: MethodRouter<Shared>| {
        route.route_layer(from_fn_with_state(
            RequiredScope {
                keys: keys.clone(),
                scope,
            },
            auth::guard,
        ))
    };
    Router::new()
        .route(
            "/v1/rooms/{room_id}/peers/{peer_id}/snapshots",
            needs(Scope::Snapshot, post(snapshots::of_peer)),
        )
        .route(
            "/v1/rooms/{room_id}/snapshots",
            needs(Scope::Snapshot, post(snapshots::of_room)),
        )
        .route(
            "/v1/users/{user_id}/resume",
            needs(Scope::Resume, get(resume::get).post(restore::post)),
        )
        .route(
            "/v1/users/{user_id}/snapshots",
            needs(Scope::History, get(history::get)),
        )
        .route("/v1/webhooks/100ms", post(webhooks::take))
        .route("/health/live", get(health::live))
        .route("/health/ready", get(health::ready))
        .route("/metrics", get(health::metrics))
        .merge(docs())
        .fallback(async || ApiError::new(Code::NotFound, "There is nothing at this path."))
        .method_not_allowed_fallback(async || {
            ApiError::new(
                Code::MethodNotAllowed,
                "The path does not take this method.",
            )
        })
        .layer(CatchPanicLayer::custom(panicked))
        .layer(from_fn(observe::observe))
        .with_state(Shared(Arc::new(api)))
}

/// Runs `work` to its end even if the client hangs up meanwhile: the request only waits for it.
async fn run_to_completion<T: Send + 'static>(
    work: impl Future<Output = T> + Send + 'static,
) -> Result<T, ApiError> {
    tokio::spawn(work).await.map_err(|_| ApiError::internal())
}

/// The page at `/docs`. It would load a badge from swagger.io, and tell it of the service's address, unless told not to.
fn docs() -> SwaggerUi {
    SwaggerUi::new("/docs")
        .url("/openapi.json", openapi())
        .config(Config::default().validator_url("none"))
}

#[expect(clippy::needless_pass_by_value, reason = "the layer's signature")]
fn panicked(panic: Box<dyn std::any::Any + Send + 'static>) -> Response {
    let said = panic
        .downcast_ref::<&str>()
        .copied()
        .or(panic.downcast_ref::<String>().map(String::as_str));
    tracing::error!(
        panic = said.unwrap_or("without a message"),
        "a request handler panicked"
    );
    ApiError::internal().into_response()
}
