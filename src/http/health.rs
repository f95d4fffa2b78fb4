//! Health and metrics.

use axum::Json;
use axum::extract::State;
use axum::http::header;
use axum::response::IntoResponse;
use metrics_exporter_prometheus::PrometheusHandle;
use serde_json::{Value, json};

use super::error::{ApiError, Problem};
use super::metrics::{ConnectionState, DATABASE_CONNECTIONS};
use crate::service::Service;
use crate::store::{Layout, Readiness};

/// Check that the process answers.
#[utoipa::path(get, operation_id = "getLiveness", path = "/health/live", tag = "health", responses((status = 200, description = "The process answers.")))]
pub(crate) async fn live() -> Json<Value> {
    Json(json!({"status": "ok"}))
}

/// Check that the service can serve requests: the database answers.
///
/// Where Citus has distributed the tables, `database` is `distributed`. If some of its nodes do not answer, `status` is
/// `degraded`, `nodes_down` has their addresses, and requests of users whose rows they have fail with `database-unavailable`.
#[utoipa::path(
    get,
    operation_id = "getReadiness",
    path = "/health/ready",
    tag = "health",
    responses(
        (status = 200, description = "The service can serve requests."),
        (status = 503, description = "The database does not answer.", body = Problem,
         content_type = "application/problem+json"),
    )
)]
pub(crate) async fn ready(State(service): State<Service>) -> Result<Json<Value>, ApiError> {
    let Readiness { layout, nodes_down } = service.ready().await?;
    Ok(Json(match layout {
        Layout::OneServer => json!({"status": "ok"}),
        Layout::Distributed if nodes_down.is_empty() => {
            json!({"status": "ok", "database": "distributed"})
        }
        Layout::Distributed => {
            json!({"status": "degraded", "database": "distributed", "nodes_down": nodes_down})
        }
    }))
}

/// Read the metrics in the text format of Prometheus.
#[utoipa::path(get, operation_id = "getMetrics", path = "/metrics", tag = "health", responses((status = 200, description = "All metrics of the process.", body = String, content_type = "text/plain", example = "rejoin_resumes_total{outcome=\"hit\"} 1")))]
pub(crate) async fn metrics(
    State(service): State<Service>,
    State(handle): State<PrometheusHandle>,
) -> impl IntoResponse {
    metrics_process::Collector::default().collect();
    let (open, busy) = service.connections();
    for (state, number) in [(ConnectionState::Open, open), (ConnectionState::Busy, busy)] {
        DATABASE_CONNECTIONS.of(&state).set(f64::from(number));
    }
    (
        [(
            header::CONTENT_TYPE,
            "text/plain; version=0.0.4; charset=utf-8",
        )],
        handle.render(),
    )
}
