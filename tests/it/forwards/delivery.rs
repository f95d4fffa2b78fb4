//! What is passed on, and when nothing is.

use rejoin::config::ForwardArgs;
use reqwest::{Body, Method};
use serde_json::json;

use super::{Endpoint, assert_in_order, count, send_joins, until_none_waits, world};
use crate::support::webhooks::{WEBHOOK_SECRET, join_event, leave_event, send_event, send_webhook};
use crate::support::world::{Answer, ROOM, Setup, World};

const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

#[tokio::test]
async fn an_event_is_passed_on_byte_for_byte_with_its_headers_and_ours() {
    let world = World::new().await;
    let endpoint = Endpoint::new().await;
    let setup = Setup {
        forwards: ForwardArgs::to(&endpoint.url).with(SECRET, "x-theirs: token, x-other: a:b"),
        ..Setup::with_webhooks()
    };
    let app = world.replica(setup).await;
    let body = "{ \"type\" : \"recording.success\",\n \"data\":{\"caf\\u00e9\":\"\\ud800 \u{e9}\",\"n\":1.50}} ";
    let request = app
        .request(Method::POST, "/v1/webhooks/100ms")
        .header("x-rejoin-secret", WEBHOOK_SECRET)
        .header("content-type", "application/json; charset=utf-8")
        .header("user-agent", "100ms")
        .header("authorization", "Bearer of-theirs")
        .header("x-of-100ms", "kept")
        .header("x-theirs", "not from the caller")
        .body(Body::from(body));
    Answer::to(request).await.expect(200);
    endpoint.until_accepted(1).await;
    let received = endpoint.accepted().remove(0);
    assert_eq!(received.body, body);
    assert_eq!((&*received.method, &*received.target), ("POST", "/hooks"));
    for (name, value) in [
        ("content-type", Some("application/json; charset=utf-8")),
        ("user-agent", Some("100ms")),
        ("x-of-100ms", Some("kept")),
        ("x-theirs", Some("token")),
        ("x-other", Some("a:b")),
        ("authorization", Some("Bearer of-theirs")),
        ("x-rejoin-secret", None),
    ] {
        assert_eq!(received.header(name), value, "{name}");
    }
    let host = format!("127.0.0.1:{}", endpoint.server.port);
    assert_eq!(received.header("host"), Some(&*host));
    let length = body.len().to_string();
    assert_eq!(received.header("content-length"), Some(&*length));
    let header = |name: &str| received.header(name).unwrap();
    assert!(header("webhook-id").parse::<uuid::Uuid>().is_ok());
    // 12:00:00, when the clock of a world starts.
    assert_eq!(header("webhook-timestamp"), "1796126400");
    assert!(header("webhook-signature").starts_with("v1,"));
}

#[tokio::test]
async fn events_of_every_kind_are_passed_on_and_no_others() {
    let (world, endpoint, app) = world().await;
    let mut without_user = join_event("p2", 1, "");
    without_user["data"]["user_id"] = json!("");
    let of_room = |kind: &str| json!({"type": kind, "timestamp": "2026-12-01T12:00:09Z", "data": {"room_id": ROOM}});
    let join = join_event("p1", 1, "hp 71");
    let events = [
        join.clone(),
        join,
        leave_event("p1", 1, 5, "left", "hp 70"),
        // Older than what is known: the rows of the peer are rebuilt.
        {
            let mut older = join_event("p1", 1, "hp 72");
            older["type"] = json!("role.change.success");
            older["data"]["role_changed_at"] = json!("2026-12-01T12:00:03Z");
            older
        },
        without_user,
        of_room("session.open.success"),
        of_room("recording.success"),
        of_room("session.close.success"),
        json!({"type": "test"}),
        json!([]),
    ];
    for event in &events {
        send_event(&app, event).await.expect(200);
    }
    send_webhook(&app, WEBHOOK_SECRET, "no event")
        .await
        .expect(400);
    send_webhook(&app, "no secret", "{}").await.expect(401);
    endpoint.until_accepted(events.len()).await;
    until_none_waits(&world.database.pool().await).await;
    let mut bodies: Vec<String> = endpoint.accepted().into_iter().map(|it| it.body).collect();
    let mut expected: Vec<String> = events.iter().map(ToString::to_string).collect();
    bodies.sort();
    expected.sort();
    assert_eq!(bodies, expected);
}

#[tokio::test]
async fn each_room_has_its_order_and_connections_are_used_again() {
    let (_world, endpoint, app) = world().await;
    let rooms = ["room-a", "room-b", "room-c"];
    send_joins(&app, &rooms, 0..30).await;
    endpoint.until_accepted(90).await;
    assert_in_order(&endpoint, &rooms, 30);
    let connections = endpoint.server.connections();
    assert!(connections <= 16, "{connections} connections");
}

#[tokio::test]
async fn nothing_is_queued_without_an_endpoint() {
    let world = World::new().await;
    let app = world.replica(Setup::with_webhooks()).await;
    send_joins(&app, &["room-a"], 0..3).await;
    send_event(&app, &json!({"type": "test"})).await.expect(200);
    let pool = world.database.pool().await;
    assert_eq!(count(&pool, "forwards").await, 0);
    assert_eq!(count(&pool, "peers").await, 3);
}
