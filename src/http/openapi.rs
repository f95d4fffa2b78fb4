//! The parts of the API's description that belong to no route: title, tags, keys and problem codes.

use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::{Modify, OpenApi};

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
        (name = "webhook", description = "Receive the events of 100ms: who joins, leaves and drops."),
        (name = "health", description = "Probes and metrics. They need no API key."),
    )
)]
struct WithoutRoutes;

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
