//! Reconciliations: what 100ms could not deliver is asked for again.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use super::auth::Caller;
use super::error::{ApiError, Code, Problem};
use super::extract::{JsonBody, NoFilter, Path, Query, page_limit};
use super::json::TimeJson;
use super::openapi::problem_code;
use crate::domain::{Reconciled, ReconciliationReport, ReconciliationState, Timestamp};
use crate::service::Service;

/// Which time to reconcile.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ReconciliationBody {
    /// The start. 100ms replays the last 30 days.
    #[schema(value_type = DateTime<Utc>)]
    since: Timestamp,
    /// The end; now where it is absent.
    #[schema(value_type = Option<DateTime<Utc>>)]
    until: Option<Timestamp>,
}

/// A time in which webhooks may have been lost, and what came of asking for them again.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Reconciliation)]
pub struct ReconciliationJson {
    /// Its id.
    id: Uuid,
    /// The last sign of life of any replica before, or the start that somebody asked for.
    #[schema(value_type = DateTime<Utc>)]
    since: TimeJson,
    /// The first sign of life after it, or the end that somebody asked for.
    #[schema(value_type = DateTime<Utc>)]
    until: TimeJson,
    /// Whether somebody asked for it.
    manual: bool,
    /// The name of the API key that asked for it; null where none did.
    #[schema(required)]
    requested_by: Option<String>,
    /// How far it is.
    state: StateJson,
    /// When a replica takes it, where it waits: at once, or later, if something could not be done; null
    /// otherwise.
    #[schema(value_type = Option<DateTime<Utc>>, required)]
    next_attempt_at: Option<TimeJson>,
    /// What came of it so far; null before a replica takes it.
    #[schema(required)]
    result: Option<ResultJson>,
}

/// What came of a reconciliation so far.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ReconciliationResult)]
pub(crate) struct ResultJson {
    /// When it was finished; null until then.
    #[schema(value_type = Option<DateTime<Utc>>, required)]
    finished_at: Option<TimeJson>,
    /// How many events 100ms sent again.
    replayed: u64,
    /// How many of them failed again.
    not_replayed: u64,
    /// How many active rooms were looked at.
    rooms: u32,
    /// How many peers were saved.
    peers: u64,
    /// Of how many of them something had changed.
    changes: u64,
    /// How many peers counted as connected and had left.
    corrected: u64,
    /// Why something could not be done; null where all was. What failed for a while is tried again for
    /// a day.
    #[schema(schema_with = nullable_problem_code, required)]
    problem: Option<&'static str>,
}

fn nullable_problem_code() -> utoipa::openapi::schema::Schema {
    let null = utoipa::openapi::ObjectBuilder::new()
        .schema_type(utoipa::openapi::schema::Type::Null)
        .build();
    utoipa::openapi::OneOfBuilder::new()
        .item(null)
        .item(problem_code())
        .into()
}

/// How far a reconciliation is.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ReconciliationState)]
#[serde(rename_all = "lowercase")]
pub(crate) enum StateJson {
    /// No replica has taken it yet, or it is tried again later.
    Waiting,
    /// A replica works on it.
    Running,
    /// It is finished.
    Finished,
}

impl From<ReconciliationReport> for ReconciliationJson {
    fn from(report: ReconciliationReport) -> Self {
        Self {
            id: report.id,
            since: TimeJson(report.since),
            until: TimeJson(report.until),
            manual: report.manual,
            requested_by: report.requested_by.map(|name| name.to_string()),
            state: match report.state {
                ReconciliationState::Waiting => StateJson::Waiting,
                ReconciliationState::Running => StateJson::Running,
                ReconciliationState::Finished => StateJson::Finished,
            },
            next_attempt_at: report.next_attempt_at.map(TimeJson),
            result: report
                .reconciled
                .map(|reconciled| ResultJson::new(report.finished_at, reconciled)),
        }
    }
}

impl ResultJson {
    fn new(finished_at: Option<Timestamp>, reconciled: Reconciled) -> Self {
        Self {
            finished_at: finished_at.map(TimeJson),
            replayed: reconciled.replayed,
            not_replayed: reconciled.not_replayed,
            rooms: reconciled.rooms,
            peers: reconciled.peers,
            changes: reconciled.changes,
            corrected: reconciled.corrected,
            problem: reconciled.problem.map(Code::as_str),
        }
    }
}

/// Have 100ms send again what it could not deliver, and look at all active rooms.
///
/// A replica does so in the background; the id says how far it is.
#[utoipa::path(
    post,
    operation_id = "reconcile",
    path = "/v1/reconciliations",
    tag = "reconciliation",
    request_body(content = ReconciliationBody, description = "Which time."),
    responses(
        (status = 202, description = "It will be done.", body = ReconciliationJson),
        (status = "default", description = "The request failed; `code` says why.", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn post(
    State(service): State<Service>,
    Query(NoFilter {}): Query<NoFilter>,
    Caller(requested_by): Caller,
    JsonBody(body): JsonBody<ReconciliationBody>,
) -> Result<(StatusCode, Json<ReconciliationJson>), ApiError> {
    let report = service.add_reconciliation(body.since, body.until, requested_by);
    let report = report.await?.ok_or_else(|| {
        ApiError::invalid("`since` is not before `until`, which is now by default.")
    })?;
    Ok((StatusCode::ACCEPTED, Json(report.into())))
}

/// Read a reconciliation.
#[utoipa::path(
    get,
    operation_id = "getReconciliation",
    path = "/v1/reconciliations/{reconciliation_id}",
    tag = "reconciliation",
    params(("reconciliation_id" = Uuid, Path)),
    responses(
        (status = 200, description = "The reconciliation.", body = ReconciliationJson),
        (status = "default", description = "The request failed; `code` says why.", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn get(
    State(service): State<Service>,
    Path(id): Path<Uuid>,
    Query(NoFilter {}): Query<NoFilter>,
) -> Result<Json<ReconciliationJson>, ApiError> {
    let report = service.reconciliation(id).await?;
    let report = report
        .ok_or_else(|| ApiError::new(Code::NotFound, "There is no reconciliation of this id."))?;
    Ok(Json(report.into()))
}

/// Which page of the reconciliations.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct ReconciliationFilter {
    /// How many at most: 1 to 500, 50 by default.
    #[param(minimum = 1, maximum = 500)]
    limit: Option<u16>,
    /// Only those before this one: the last of the previous page.
    before: Option<Uuid>,
}

/// Reconciliations.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Reconciliations)]
pub(crate) struct ReconciliationsJson {
    /// Newest first.
    reconciliations: Vec<ReconciliationJson>,
}

/// List reconciliations, newest first.
#[utoipa::path(
    get,
    operation_id = "listReconciliations",
    path = "/v1/reconciliations",
    tag = "reconciliation",
    params(ReconciliationFilter),
    responses(
        (status = 200, description = "A page of reconciliations; the last one has fewer than `limit`.", body = ReconciliationsJson),
        (status = "default", description = "The request failed; `code` says why.", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn list(
    State(service): State<Service>,
    Query(filter): Query<ReconciliationFilter>,
) -> Result<Json<ReconciliationsJson>, ApiError> {
    let limit = page_limit(filter.limit)?;
    let reports = service.reconciliations(filter.before, limit).await?;
    Ok(Json(ReconciliationsJson {
        reconciliations: reports.into_iter().map(Into::into).collect(),
    }))
}
