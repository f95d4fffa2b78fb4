//! The URL table. The router and the description of the API both come from it.
//!
//! | method | path | scope |
//! |---|---|---|
//! | POST | `/v1/rooms/{room_id}/peers/{peer_id}/snapshots` | snapshot |
//! | POST | `/v1/rooms/{room_id}/snapshots` | snapshot |
//! | GET | `/v1/users/{user_id}/resume` | resume |
//! | POST | `/v1/users/{user_id}/resume` | resume |
//! | GET | `/v1/users/{user_id}/snapshots` | history |
//! | PUT | `/v1/rooms/{room_id}/watch` | snapshot |
//! | GET | `/v1/rooms/{room_id}/watch` | snapshot |
//! | DELETE | `/v1/rooms/{room_id}/watch` | snapshot |
//! | GET | `/v1/watches` | snapshot |
//! | GET | `/v1/forwards` | admin |
//! | POST | `/v1/forwards/retry` | admin |
//! | POST | `/v1/forwards/{forward_id}/retry` | admin |
//! | POST | `/v1/reconciliations` | admin |
//! | GET | `/v1/reconciliations` | admin |
//! | GET | `/v1/reconciliations/{reconciliation_id}` | admin |
//! | POST | `/v1/webhooks/100ms` | |
//! | GET | `/health/live` | |
//! | GET | `/health/ready` | |
//! | GET | `/metrics` | |
//!
//! A test holds this table true. Beside it, [`super::router`] serves the description itself.

use std::sync::Arc;

use axum::middleware::from_fn_with_state;
use utoipa::openapi::path::{Operation, PathItem};
use utoipa::openapi::security::SecurityRequirement;
use utoipa_axum::router::{OpenApiRouter, UtoipaMethodRouter};
use utoipa_axum::routes;

use super::auth::{RequiredScope, require_scope};
use super::{
    Shared, forwards, health, history, openapi, reconciliations, restore, resume, snapshots,
    watches, webhooks,
};
use crate::keys::{KeyRing, Scope};

/// All routes, each with the scope that it requires of a key.
pub(super) fn routes(keys: &Arc<KeyRing>) -> OpenApiRouter<Shared> {
    let requires = |scope, routes| require(keys, scope, routes);
    OpenApiRouter::with_openapi(openapi::without_routes())
        .routes(requires(Scope::Snapshot, routes!(snapshots::of_peer)))
        .routes(requires(Scope::Snapshot, routes!(snapshots::of_room)))
        .routes(requires(Scope::Resume, routes!(resume::get, restore::post)))
        .routes(requires(Scope::History, routes!(history::get)))
        .routes(requires(
            Scope::Snapshot,
            routes!(watches::put, watches::get, watches::delete),
        ))
        .routes(requires(Scope::Snapshot, routes!(watches::list)))
        .routes(requires(Scope::Admin, routes!(forwards::list)))
        .routes(requires(Scope::Admin, routes!(forwards::retry_all)))
        .routes(requires(Scope::Admin, routes!(forwards::retry)))
        .routes(requires(
            Scope::Admin,
            routes!(reconciliations::post, reconciliations::list),
        ))
        .routes(requires(Scope::Admin, routes!(reconciliations::get)))
        .routes(routes!(webhooks::take))
        .merge(operations())
}

/// The routes for whoever operates the service. They are served at any load.
pub(super) fn operations() -> OpenApiRouter<Shared> {
    OpenApiRouter::new()
        .routes(routes!(health::live))
        .routes(routes!(health::ready))
        .routes(routes!(health::metrics))
}

/// Requires a scope of the requests to these routes, and says so in their description.
fn require(
    keys: &Arc<KeyRing>,
    scope: Scope,
    (schemas, mut paths, router): UtoipaMethodRouter<Shared>,
) -> UtoipaMethodRouter<Shared> {
    for operation in paths.paths.values_mut().flat_map(methods) {
        let requirement = SecurityRequirement::new(openapi::KEY, [scope.as_str()]);
        operation.security = Some(vec![requirement]);
    }
    let required = RequiredScope {
        keys: keys.clone(),
        scope,
    };
    let router = router.route_layer(from_fn_with_state(required, require_scope));
    (schemas, paths, router)
}

fn methods(item: &mut PathItem) -> impl Iterator<Item = &mut Operation> {
    [
        &mut item.get,
        &mut item.post,
        &mut item.put,
        &mut item.patch,
        &mut item.delete,
    ]
    .into_iter()
    .flatten()
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_table_at_the_top_of_this_file_is_the_description() {
        let table = include_str!("routes.rs")
            .lines()
            .filter_map(|line| line.strip_prefix("//! | "))
            .filter(|line| !line.starts_with("method"));
        let table: Vec<String> = table.map(ToOwned::to_owned).collect();

        let description = crate::http::openapi();
        let mut described = Vec::new();
        for (path, operations) in description["paths"].as_object().unwrap() {
            for (method, operation) in operations.as_object().unwrap() {
                let scope = operation["security"][0]["key"][0].as_str();
                let scope = scope.map_or(String::new(), |scope| format!("{scope} "));
                let method = method.to_uppercase();
                described.push(format!("{method} | `{path}` | {scope}|"));
            }
        }
        let sorted = |mut rows: Vec<String>| {
            rows.sort_unstable();
            rows
        };
        assert_eq!(sorted(table), sorted(described));
    }
}
