//! The description of the API: `/openapi.json`, `rejoin openapi` and the page at `/docs`.

use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::{Modify, OpenApi};

use super::error::{Code, status_and_title};
use super::{health, history, restore, resume, snapshots, webhooks};

#[derive(OpenApi)]
#[openapi(
    info(title = "rejoin", description = "Gives a player their state back."),
    paths(
        snapshots::of_peer,
        snapshots::of_room,
        resume::get,
        restore::post,
        history::get,
        webhooks::take,
        health::live,
        health::ready,
        health::metrics,
    ),
    modifiers(&Security, &Codes),
    tags(
        (name = "snapshot", description = "Fetch peers from 100ms and keep their metadata."),
        (name = "resume", description = "Give it back."),
        (name = "history", description = "See what it was."),
        (name = "webhook", description = "Told by 100ms: who joins, leaves and drops."),
        (name = "health", description = "For probes and Prometheus; no key needed."),
    )
)]
struct Description;

/// The description of the API.
pub fn openapi() -> utoipa::openapi::OpenApi {
    Description::openapi()
}

struct Security;

impl Modify for Security {
    fn modify(&self, openapi: &mut utoipa::openapi::OpenApi) {
        let key = HttpBuilder::new()
            .scheme(HttpAuthScheme::Bearer)
            .description(Some("An API key."))
            .build();
        openapi
            .components
            .get_or_insert_default()
            .add_security_scheme("key", SecurityScheme::Http(key));
    }
}

/// Lists the codes of [`Code`] in the description, from the one table that there is.
struct Codes;

impl Modify for Codes {
    fn modify(&self, openapi: &mut utoipa::openapi::OpenApi) {
        let rows = Code::ALL.iter().map(|code| {
            let (status, title) = status_and_title(*code);
            format!("| `{}` | {} | {title} |\n", code.as_str(), status.as_u16())
        });
        openapi.info.description = Some(format!(
            "Gives a player their state back.\n\nFailures are problem details (RFC 9457) with one of these codes, and a \
             `request_id` that is also in the `x-request-id` header:\n\n| code | status | meaning |\n|---|---|---|\n{}",
            rows.collect::<String>()
        ));
    }
}
