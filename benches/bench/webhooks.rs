//! Webhooks over HTTP, saved with a row of history, against the simplest upsert of pgbench.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use chrono::{SecondsFormat, Utc};

use super::MEASUREMENT;
use super::database::{Server, USERS};
use super::load::{self, Load};
use super::report::at_least;
use super::saves::{UPSERT, prepare_upsert};
use super::variant::{SECRET, Service};

const CONNECTIONS: u32 = 64;

pub(crate) async fn against_pgbench(server: &Server) {
    println!("\n# webhooks over HTTP, each a change with its row of history");
    let database = server.database().await;
    database.fill(USERS).await;
    prepare_upsert(&database).await;
    let rows = "SELECT count(*) FROM snapshots";
    let before = database.count(rows).await;
    let service = Service::with_webhooks(&database.url);
    let sent = Arc::new(AtomicU32::new(0));
    events(&service, &sent).await;
    let (mut ours, mut pgbench) = (0.0, 0.0);
    for _ in 0..3 {
        ours += events(&service, &sent).await.per_second / 3.0;
        pgbench += database.pgbench(CONNECTIONS, UPSERT) / 3.0;
    }
    at_least(
        "64 connections, against pgbench upsert",
        ours,
        pgbench,
        "/s",
        1.2,
    );
    let micros = service.cpu_seconds() * 1e6 / f64::from(sent.load(Ordering::Relaxed));
    println!("      {micros:.0} us of CPU in the service for each event");
    let added = database.count(rows).await - before;
    assert_eq!(
        added,
        i64::from(sent.load(Ordering::Relaxed)),
        "every event has its row of history"
    );
    drop(service);
    database.remove().await;
}

pub(crate) async fn events(service: &Service, sent: &Arc<AtomicU32>) -> Load {
    let sent = sent.clone();
    let request = move |_| {
        let body = event(sent.fetch_add(1, Ordering::Relaxed));
        load::post("/v1/webhooks/100ms", ("x-rejoin-secret", SECRET), &body)
    };
    load::run(service.address, CONNECTIONS, MEASUREMENT, request).await
}

/// The `n`th event: every user joins with empty metadata, then every user drops with some, then
/// joins as the next peer.
fn event(n: u32) -> String {
    let (round, index) = (n / USERS, n % USERS);
    let now = Utc::now().to_rfc3339_opts(SecondsFormat::Micros, true);
    let (room, user, peer) = (index % 100, 1 + index, round / 2);
    let (kind, state, left) = match round % 2 {
        0 => ("join", String::new(), String::new()),
        _ => (
            "leave",
            format!(r#"{{\"checkpoint\":\"cave-3\",\"hp\":{n}}}"#),
            format!(r#","left_at":"{now}","reason":"websocket closed","duration":1"#),
        ),
    };
    format!(
        r#"{{"version":"2.0","id":"event-{n}","account_id":"60b8e13a6eb86d8101b57354","timestamp":"{now}",
            "type":"peer.{kind}.success","data":{{"room_id":"room-{room}","room_name":"arena",
            "session_id":"session-{round}","template_id":"66112497abcd52312556c4aa","peer_id":"peer-{index}-{peer}",
            "user_id":"user-{user}","user_name":"seven","role":"player","type":"regular",
            "user_data":"{state}","joined_at":"{now}"{left}}}}}"#
    )
}
