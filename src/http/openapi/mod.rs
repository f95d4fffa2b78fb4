//! The parts of the API's description that belong to no route: title, tags, keys, problems and
//! examples.

mod codes;
mod examples;
mod own_events;

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};
use utoipa::openapi::Ref;
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::{Modify, OpenApi};

use self::codes::codes_of;
use super::error::{Code, status_and_title};

/// The name of the security scheme of API keys.
pub(super) const KEY: &str = "key";

#[derive(OpenApi)]
#[openapi(
    info(title = "rejoin"),
    modifiers(&Security, &Codes),
    tags(
        (name = "snapshot", description = "Fetch peers from 100ms and save their metadata."),
        (name = "resume", description = "Read the saved state of a user, restore it to a peer, or claim it."),
        (name = "history", description = "Read what was saved of a user."),
        (name = "watch", description = "Look at the peers of rooms regularly."),
        (name = "forward", description = "See which events were not passed on, and send them again; and the events that rejoin itself sends."),
        (name = "reconciliation", description = "Ask again for what 100ms could not deliver."),
        (name = "webhook", description = "Receive the events of 100ms: who joins, leaves and drops."),
        (name = "health", description = "Probes and metrics. They need no API key."),
    )
)]
struct WithoutRoutes;

/// What [`crate::domain::WatchInterval`] reads.
const EVERY: &str =
    "^(([5-9]|[1-9][0-9]{1,2}|[12][0-9]{3}|3[0-5][0-9]{2}|3600)s|([1-9]|[1-5][0-9]|60)m|1h)$";

/// The description without the routes.
pub(super) fn without_routes() -> utoipa::openapi::OpenApi {
    WithoutRoutes::openapi()
}

struct Security;

impl Modify for Security {
    fn modify(&self, openapi: &mut utoipa::openapi::OpenApi) {
        let key = HttpBuilder::new()
            .scheme(HttpAuthScheme::Bearer)
            .description(Some("An API key. `rejoin key new` makes one."))
            .build();
        openapi
            .components
            .get_or_insert_default()
            .add_security_scheme(KEY, SecurityScheme::Http(key));
    }
}

/// Lists the problem codes, with the statuses and titles of [`status_and_title`].
struct Codes;

impl Modify for Codes {
    fn modify(&self, openapi: &mut utoipa::openapi::OpenApi) {
        let rows = Code::ALL.iter().map(|code| {
            let (status, title) = status_and_title(*code);
            format!("| `{}` | {} | {title}. |\n", code.as_str(), status.as_u16())
        });
        openapi.info.description = Some(format!(
            "Saves the metadata of 100ms peers, and gives it back when the player rejoins.\n\n\
             Failures are problem details (RFC 9457) with one of these codes. Their `request_id` \
             is also in the `x-request-id` header and in the log:\n\n\
             | code | status | meaning |\n|---|---|---|\n{}",
            rows.collect::<String>()
        ));
    }
}

/// The schema of a problem code; [`complete`] defines it.
pub(super) fn problem_code() -> Ref {
    Ref::from_schema_name("ProblemCode")
}

/// The schema of the outcome of a look; [`complete`] defines it.
pub(super) fn look_outcome() -> Ref {
    Ref::from_schema_name("LookOutcome")
}

/// Adds what holds for the whole document: the codes, the limits of ids, headers and security.
/// `webhook_header` has the secret of a webhook.
pub(super) fn complete(openapi: &utoipa::openapi::OpenApi, webhook_header: &str) -> Value {
    let mut document = serde_json::to_value(openapi).expect("a description is JSON");
    document["servers"] = json!([{"url": "/", "description": "The server of this document."}]);
    document["components"]["securitySchemes"]["webhookSecret"] = json!({
        "type": "apiKey",
        "in": "header",
        "name": webhook_header,
        "description": "The secret of the webhook. `REJOIN_WEBHOOK_HEADER` names the header.",
    });
    document["webhooks"] = own_events::webhooks();
    complete_schemas(&mut document["components"]["schemas"]);
    let paths = document["paths"].as_object_mut();
    for (path, item) in paths.into_iter().flatten() {
        for operation in item.as_object_mut().into_iter().flat_map(Map::values_mut) {
            complete_operation(path, operation);
        }
    }
    document
}

fn complete_schemas(schemas: &mut Value) {
    let codes: Vec<&str> = Code::ALL.iter().map(|code| code.as_str()).collect();
    schemas["ProblemCode"] = json!({
        "type": "string",
        "description": "Why a request failed. Stable: what clients should switch on.",
        "enum": codes,
    });
    let outcomes = [&["ok"][..], &codes].concat();
    schemas["LookOutcome"] = json!({
        "type": "string",
        "description": "How a look ended: `ok`, or why it failed.",
        "enum": outcomes,
    });
    for name in ["room_id", "peer_id", "claimed_by"] {
        limit_id(&mut schemas["RestoreBody"]["properties"][name]);
    }
    schemas["WatchBody"]["properties"]["every"]["pattern"] = json!(EVERY);
    // What the handler checks.
    let is_true = |name: &str| json!({"required": [name], "properties": {name: {"const": true}}});
    schemas["RestoreBody"]["if"] = json!({"anyOf": [is_true("overwrite"), is_true("role")]});
    schemas["RestoreBody"]["then"] =
        json!({"required": ["peer_id"], "properties": {"peer_id": {"type": "string"}}});
    schemas["Ok"] = json!({
        "type": "object",
        "description": "It is done.",
        "required": ["status"],
        "properties": {"status": {"type": "string", "const": "ok"}},
    });
    if let Some(schemas) = schemas.as_object_mut() {
        schemas.extend(own_events::schemas());
    }
    // One object: without a saved state, only these four fields are there.
    let mut properties = schemas["Resume"]["properties"].clone();
    let own = schemas["RestoreAnswer"]["allOf"][1]["properties"].take();
    if let (Some(all), Value::Object(own)) = (properties.as_object_mut(), own) {
        all.extend(own);
    }
    schemas["RestoreAnswer"] = json!({
        "type": "object",
        "description": "What was done with the saved state. The fields of the state are absent if nothing is saved.",
        "required": ["user_id", "restored", "why", "claim"],
        "properties": properties,
    });
}

/// The limits that [`crate::domain::UserId`] and the other ids check.
fn limit_id(schema: &mut Value) {
    schema["minLength"] = json!(1);
    schema["maxLength"] = json!(256);
    schema["pattern"] = json!(r"^(?!\.{1,2}$)[^\u0000-\u001f\u007f-\u009f]+$");
}

fn complete_operation(path: &str, operation: &mut Value) {
    if path.starts_with("/v1/webhooks/") {
        operation["security"] = json!([{"webhookSecret": []}]);
    } else if operation.get("security").is_none() {
        operation["security"] = json!([]);
    }
    let parameters = operation
        .get_mut("parameters")
        .and_then(Value::as_array_mut);
    for parameter in parameters.into_iter().flatten() {
        let name = parameter["name"].as_str().unwrap_or_default().to_owned();
        let is_uuid = parameter["schema"]["format"] == "uuid" || name == "forward_id";
        if is_uuid {
            parameter["schema"] = json!({"type": "string", "format": "uuid"});
        } else if name.ends_with("_id") || name == "role" {
            limit_id(&mut parameter["schema"]);
        }
        if name == "max_age" {
            parameter["schema"] = json!({"type": "integer", "minimum": 0, "maximum": u64::MAX});
        }
        if name == "cursor" {
            let of_time = |rest| format!("^(0|-[1-9][0-9]{{0,15}}|[1-9][0-9]{{0,16}})_{rest}$");
            let pattern = match path {
                "/v1/forwards" => "^[1-9][0-9]{0,17}$".to_owned(),
                "/v1/watches" => of_time("([0-9a-f]{2}){1,1024}"),
                _ => of_time("[0-9a-f]{32}"),
            };
            parameter["schema"]["pattern"] = json!(pattern);
        }
        if parameter["in"] == "path" {
            parameter["example"] = match name.as_str() {
                "reconciliation_id" => examples::answer("reconcile", "202")["id"].clone(),
                name => examples::id(name).clone(),
            };
        }
    }
    let id = operation["operationId"]
        .as_str()
        .unwrap_or_default()
        .to_owned();
    if ["restore", "watchRoom"].contains(&id.as_str()) {
        operation["requestBody"]["required"] = json!(false);
    }
    if let Some(body) = operation.get_mut("requestBody") {
        body["content"]["application/json"]["example"] = examples::request(&id).clone();
    }
    add_problems(&id, &mut operation["responses"]);
    let responses = operation["responses"].as_object_mut();
    for (status, response) in responses.into_iter().flatten() {
        complete_response(&id, status, response);
    }
}

/// The problems of an operation, by their statuses, each code with an example.
fn add_problems(id: &str, responses: &mut Value) {
    let mut by_status: BTreeMap<u16, Vec<Code>> = BTreeMap::new();
    for code in codes_of(id) {
        let (status, _) = status_and_title(code);
        by_status.entry(status.as_u16()).or_default().push(code);
    }
    for (status, codes) in by_status {
        let has_claim = codes.contains(&Code::AlreadyClaimed);
        let schema = if has_claim { "ClaimProblem" } else { "Problem" };
        let titles: Vec<String> = codes
            .iter()
            .map(|code| format!("`{}`: {}.", code.as_str(), status_and_title(*code).1))
            .collect();
        let examples: Map<String, Value> = codes
            .iter()
            .map(|code| {
                let example = json!({"value": examples::problem(*code)});
                (code.as_str().to_owned(), example)
            })
            .collect();
        responses[status.to_string()] = json!({
            "description": titles.join("\n\n"),
            "content": {"application/problem+json": {
                "schema": {"$ref": format!("#/components/schemas/{schema}")},
                "examples": examples,
            }},
        });
    }
}

fn complete_response(id: &str, status: &str, response: &mut Value) {
    response["headers"]["x-request-id"] = json!({
        "description": "Names the request in the service's log.",
        "schema": {"type": "string"},
    });
    if ["default", "503"].contains(&status) {
        response["headers"]["Retry-After"] = json!({
            "description": "After how many seconds to try again, where that is known.",
            "schema": {"type": "integer", "minimum": 1},
        });
    }
    if status == "401" {
        response["headers"]["WWW-Authenticate"] = json!({
            "description": "`Bearer`.",
            "schema": {"type": "string"},
        });
    }
    let example = examples::answer(id, status);
    if example.is_null() {
        return;
    }
    let content = &mut response["content"]["application/json"];
    if content.is_null() {
        content["schema"] = json!({"$ref": "#/components/schemas/Ok"});
    }
    content["example"] = example.clone();
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    #[test]
    fn every_reference_resolves_and_every_operation_id_is_unique() {
        let text = crate::http::openapi().to_string();
        let document: serde_json::Value = serde_json::from_str(&text).unwrap();
        for reference in text.split("\"$ref\":\"#").skip(1) {
            let pointer = reference.split('"').next().unwrap();
            assert!(document.pointer(pointer).is_some(), "{pointer}");
        }
        let mut ids = BTreeSet::new();
        for item in document["paths"].as_object().unwrap().values() {
            for operation in item.as_object().unwrap().values() {
                assert!(ids.insert(operation["operationId"].as_str().unwrap()));
                assert!(operation["security"].is_array());
            }
        }
    }
}
