//! Webhooks: a replica that takes them, events as 100ms writes them, and a simulated 100ms that
//! sends them.

use hms_sim::{Sim, WebhookTarget};
use rejoin::config::WebhookArgs;
use reqwest::{Body, Method};
use serde_json::{Value, json};

use super::world::{Answer, ROOM, Replica, Setup};

/// The secret that [`Setup::with_webhooks`] accepts.
pub(crate) const WEBHOOK_SECRET: &str = "webhook-secret-1";
/// Another that it accepts.
pub(crate) const OTHER_WEBHOOK_SECRET: &str = "webhook-secret-2";

impl Setup {
    /// Replicas that take webhooks.
    pub(crate) fn with_webhooks() -> Self {
        let secrets = format!("{WEBHOOK_SECRET},{OTHER_WEBHOOK_SECRET}");
        Self {
            webhooks: WebhookArgs::at(secrets.into()),
            ..Self::default()
        }
    }
}

/// Has this 100ms send webhooks to the app at `base`.
pub(crate) fn send_webhooks(sim: &Sim, base: &str) {
    let url = format!("{base}/v1/webhooks/100ms");
    let secret = WEBHOOK_SECRET.into();
    let target = WebhookTarget::new(&url, WebhookTarget::DEFAULT_HEADER, secret);
    sim.set_webhook_target(Some(target.expect("a URL and a header")));
}

/// Sends one event.
pub(crate) async fn send_event(app: &Replica, event: &Value) -> Answer {
    send_webhook(app, WEBHOOK_SECRET, event.to_string()).await
}

/// Sends this body with this secret.
pub(crate) async fn send_webhook(app: &Replica, secret: &str, body: impl Into<Body>) -> Answer {
    Answer::to(
        app.request(Method::POST, "/v1/webhooks/100ms")
            .header(WebhookTarget::DEFAULT_HEADER, secret)
            .body(body),
    )
    .await
}

/// The event of a peer of `player-7` that joined in this second after 12:00:00, when a world's
/// clock starts.
pub(crate) fn join_event(peer: &str, second: u32, metadata: &str) -> Value {
    json!({
        "version": "2.0", "id": "any", "type": "peer.join.success", "timestamp": "2026-12-01T12:00:00Z",
        "data": {
            "user_id": "player-7", "room_id": ROOM, "peer_id": peer, "session_id": "s1", "role": "player",
            "user_name": "player-7", "joined_at": format!("2026-12-01T12:00:{second:02}Z"), "user_data": metadata,
        }
    })
}

/// The event of the same peer's leave.
pub(crate) fn leave_event(
    peer: &str,
    joined: u32,
    left: u32,
    reason: &str,
    metadata: &str,
) -> Value {
    let mut event = join_event(peer, joined, metadata);
    event["type"] = "peer.leave.success".into();
    event["data"]["left_at"] = format!("2026-12-01T12:00:{left:02}Z").into();
    event["data"]["reason"] = reason.into();
    event
}
