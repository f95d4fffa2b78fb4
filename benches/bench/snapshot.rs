//! The latency that an on-demand snapshot adds to that of 100ms.

use hms_sim::Join;

use super::MEASUREMENT;
use super::database::Server;
use super::load;
use super::players::Upstream;
use super::report::at_most;
use super::variant::Service;

pub(crate) async fn added_latency(server: &Server) {
    println!("\n# on-demand snapshot against a direct request to 100ms, 1 connection");
    let database = server.database().await;
    let upstream = Upstream::start().await;
    let joined = upstream.sim.join("room", Join::of("player-7"));
    let peer = joined.expect("it joins");
    let service = Service::with_upstream(&database.url, &upstream.url);

    let path = format!("/v1/rooms/room/peers/{}/snapshots", peer.id);
    let key = format!("Bearer {}", service.key);
    let post = move |_| load::post(&path, ("authorization", &key), "");
    let ours = load::run(service.address, 1, MEASUREMENT, post).await;
    let token = token();
    let path = format!("/v2/active-rooms/room/peers/{}", peer.id);
    let direct = load::run(upstream.address, 1, MEASUREMENT, move |_| {
        load::get(&path, &token)
    })
    .await;
    println!(
        "      p50 {:.2} ms, of which 100ms {:.2} ms",
        ours.p50, direct.p50
    );
    at_most("added p50", ours.p50 - direct.p50, "ms", 3.0);

    drop(service);
    upstream.stop().await;
    database.remove().await;
}

/// A management token, as 100ms documents it.
fn token() -> String {
    let now = chrono::Utc::now().timestamp();
    let claims = serde_json::json!({
        "access_key": "key", "type": "management", "version": 2, "jti": uuid::Uuid::new_v4(),
        "iat": now - 10, "nbf": now - 10, "exp": now + 3600,
    });
    let key = jsonwebtoken::EncodingKey::from_secret(b"secret");
    jsonwebtoken::encode(&jsonwebtoken::Header::default(), &claims, &key).expect("a token")
}
