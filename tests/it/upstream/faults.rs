//! Failures on the way: retries, and the budget that limits them.

use std::error::Error;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::Instant;

use rejoin::domain::{Clock, Timestamp};
use tokio::net::TcpListener;

use super::*;
use crate::support::logs;

#[tokio::test]
async fn a_transient_failure_is_retried() {
    for fault in [
        Answer::new(500, "{}"),
        Answer::new(503, "<html>").header("retry-after", "30"),
        Answer::ok(PEER_BODY).cut(),
        Answer::gone(),
    ] {
        let (peer, lines) = fetch_from([fault.clone(), fault.clone(), Answer::ok(PEER_BODY)]).await;
        assert!(peer.is_ok(), "{fault:?}: {peer:?}");
        assert_eq!(lines, [PEER_LINE; 3], "{fault:?}");
    }
}

#[tokio::test]
async fn a_failure_that_lasts_is_unavailable_after_three_attempts() {
    for fault in [
        Answer::new(500, ""),
        Answer::new(502, "<html>"),
        Answer::ok(PEER_BODY).cut(),
        Answer::gone(),
    ] {
        let (result, lines) = fetch_from([fault.clone()]).await;
        assert_eq!(code(result), ProblemCode::UpstreamUnavailable, "{fault:?}");
        assert_eq!(lines, [PEER_LINE; 3], "{fault:?}");
    }
}

#[tokio::test]
async fn a_refused_connection_is_unavailable_and_the_error_says_so() {
    let free = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let base = format!("http://{}", free.local_addr().unwrap())
        .parse()
        .unwrap();
    drop(free);
    let client = Client::new(ClientConfig::new(base, Credentials::token("ready"))).unwrap();
    let error = fetch_peer(&client).await.unwrap_err();
    assert_eq!(error.code(), ProblemCode::UpstreamUnavailable);
    assert_eq!(error.to_string(), "100ms is unavailable");
    let mut cause = error.source().unwrap();
    while let Some(source) = cause.source() {
        cause = source;
    }
    let cause = cause.to_string();
    assert!(cause.starts_with("Connection refused"), "{cause}");
    assert!(!format!("{error:?}").contains(PEER), "{error:?}");
}

/// Each cause is in the log; the answer to a client does not quote it.
#[tokio::test]
async fn a_failed_connection_is_logged_with_its_cause() {
    // Speaks HTTP, and no TLS.
    let server = Scripted::answers([Answer::new(500, "")]).await;
    let tls = format!("https://127.0.0.1:{}", server.port);
    for (base, causes) in [
        ("http://127.0.0.1:1", &["Connection refused"][..]),
        ("http://nowhere.invalid", &["dns error", "lookup"]),
        (tls.as_str(), &["tls", "InvalidContentType"]),
    ] {
        logs::capture();
        let config = ClientConfig::new(base.parse().unwrap(), Credentials::token("ready"));
        let error = fetch_peer(&Client::new(config).unwrap()).await.unwrap_err();
        let logged = logs::captured();
        let warned = logged.lines().find(|line| line.contains("WARN"));
        let warned = warned.unwrap_or_else(|| panic!("{base}: {logged}"));
        assert!(
            causes.iter().any(|cause| warned.contains(cause)),
            "{base}: {warned}"
        );
        assert_eq!(error.to_string(), "100ms is unavailable");
    }
}

#[tokio::test]
async fn a_timeout_is_logged_with_the_failure_before_it() {
    let server = Scripted::answers([Answer::gone(), Answer::hang()]).await;
    logs::capture();
    let result = fetch_peer(&impatient_client(&server)).await;
    assert_eq!(code(result), ProblemCode::UpstreamTimeout);
    let logged = logs::captured();
    assert!(
        logged.contains("100ms did not answer in time: error sending request"),
        "{logged}"
    );
}

#[tokio::test]
async fn silence_is_a_timeout_within_the_budget() {
    for silence in [
        Answer::hang(),
        Answer::ok(PEER_BODY).stalled(),
        Answer::ok(PEER_BODY).delayed(Duration::from_mins(1)),
    ] {
        let server = Scripted::answers([silence]).await;
        let start = Instant::now();
        let result = fetch_peer(&impatient_client(&server)).await;
        assert_eq!(code(result), ProblemCode::UpstreamTimeout);
        let took = start.elapsed();
        assert!(
            (Duration::from_millis(300)..Duration::from_secs(2)).contains(&took),
            "{took:?}"
        );
        assert_eq!(server.lines(), [PEER_LINE]);
    }
}

#[tokio::test]
async fn the_last_failure_decides_the_code() {
    let server = Scripted::answers([Answer::new(500, ""), Answer::hang()]).await;
    let result = fetch_peer(&impatient_client(&server)).await;
    assert_eq!(code(result), ProblemCode::UpstreamTimeout);
    // The pause before the third attempt would end after the budget, so there is no point in it.
    let server = Scripted::answers([Answer::new(500, "")]).await;
    let short = ClientConfig {
        timeout: Duration::from_millis(245),
        ..config(&server)
    };
    let result = fetch_peer(&Client::new(short).unwrap()).await;
    assert_eq!(code(result), ProblemCode::UpstreamUnavailable);
    assert_eq!(server.lines().len(), 2);
}

#[tokio::test]
async fn waiting_for_a_permit_uses_the_budget() {
    let awake = Arc::new(AtomicBool::new(false));
    let is_awake = Arc::clone(&awake);
    let script = move |_: &_| {
        if is_awake.load(Ordering::SeqCst) {
            Answer::ok(PEER_BODY)
        } else {
            Answer::hang()
        }
    };
    let server = Scripted::with(script).await;
    let budget = Duration::from_millis(800);
    let one = ClientConfig {
        max_concurrent: 1,
        timeout: budget,
        ..config(&server)
    };
    let client = Client::new(one).unwrap();
    let start = Instant::now();
    let (first, second) = tokio::join!(fetch_peer(&client), fetch_peer(&client));
    assert_eq!(code(first), ProblemCode::UpstreamTimeout);
    assert_eq!(code(second), ProblemCode::UpstreamTimeout);
    assert!(start.elapsed() < budget * 2, "they wait at the same time");
    awake.store(true, Ordering::SeqCst);
    assert!(
        fetch_peer(&client).await.is_ok(),
        "a request that timed out releases its permit"
    );
}

#[tokio::test]
async fn an_answer_is_dated_by_the_attempt_that_was_answered() {
    let server = Scripted::answers([
        Answer::new(500, ""),
        Answer::new(401, ""),
        Answer::ok(PEER_BODY),
    ])
    .await;
    // Each reading of the clock is a second later than the one before.
    let seconds = Arc::new(AtomicI64::new(1_772_359_200));
    let ticks = Arc::clone(&seconds);
    let at = |second| Timestamp::from(chrono::DateTime::from_timestamp_secs(second).unwrap());
    let clock = Clock::from_fn(move || at(ticks.fetch_add(1, Ordering::SeqCst)));
    let client = Client::new(ClientConfig {
        clock,
        ..config(&server)
    })
    .unwrap();
    let sent_at = fetch_peer(&client).await.unwrap().sent_at;
    assert_eq!(
        sent_at,
        at(seconds.load(Ordering::SeqCst) - 1),
        "the last reading, just before the last attempt"
    );
    assert_eq!(server.lines().len(), 3);
}
