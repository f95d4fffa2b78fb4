//! What breaks on the way: retries, and the budget that bounds them.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::Instant;

use rejoin::domain::{Clock, Timestamp};
use tokio::net::TcpListener;

use super::*;

#[tokio::test]
async fn what_passes_is_tried_again() {
    for fault in [
        Answer::new(500, "{}"),
        Answer::new(503, "<html>").header("retry-after", "30"),
        Answer::ok(PEER_BODY).cut(),
        Answer::gone(),
    ] {
        let (peer, lines) = outcome([fault.clone(), fault.clone(), Answer::ok(PEER_BODY)]).await;
        assert!(peer.is_ok(), "{fault:?}: {peer:?}");
        assert_eq!(lines, [PEER_LINE; 3], "{fault:?}");
    }
}

#[tokio::test]
async fn what_does_not_pass_is_unavailable_after_three_attempts() {
    for fault in [
        Answer::new(500, ""),
        Answer::new(502, "<html>"),
        Answer::ok(PEER_BODY).cut(),
        Answer::gone(),
    ] {
        let (refused, lines) = outcome([fault.clone()]).await;
        assert_eq!(refused, Err(HmsError::Unavailable), "{fault:?}");
        assert_eq!(lines, [PEER_LINE; 3], "{fault:?}");
    }
}

#[tokio::test]
async fn nobody_there_is_unavailable() {
    let free = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let base = format!("http://{}", free.local_addr().unwrap())
        .parse()
        .unwrap();
    drop(free);
    let client = Client::new(ClientConfig::new(base, Credentials::token("ready"))).unwrap();
    assert_eq!(ask(&client).await, Err(HmsError::Unavailable));
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
        assert_eq!(ask(&hasty(&server)).await, Err(HmsError::Timeout));
        let took = start.elapsed();
        assert!(
            (Duration::from_millis(300)..Duration::from_secs(2)).contains(&took),
            "{took:?}"
        );
        assert_eq!(server.lines(), [PEER_LINE]);
    }
}

#[tokio::test]
async fn the_last_problem_names_the_failure() {
    let server = Scripted::answers([Answer::new(500, ""), Answer::hang()]).await;
    assert_eq!(ask(&hasty(&server)).await, Err(HmsError::Timeout));
    // The pause before the third attempt would outlast the budget: no use in waiting for it.
    let server = Scripted::answers([Answer::new(500, "")]).await;
    let short = ClientConfig {
        timeout: Duration::from_millis(245),
        ..config(&server)
    };
    assert_eq!(
        ask(&Client::new(short).unwrap()).await,
        Err(HmsError::Unavailable)
    );
    assert_eq!(server.lines().len(), 2);
}

#[tokio::test]
async fn waiting_for_a_turn_counts() {
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
    let (first, second) = tokio::join!(ask(&client), ask(&client));
    assert_eq!(
        (first, second),
        (Err(HmsError::Timeout), Err(HmsError::Timeout))
    );
    assert!(start.elapsed() < budget * 2, "they wait side by side");
    awake.store(true, Ordering::SeqCst);
    assert!(
        ask(&client).await.is_ok(),
        "a turn that timed out is given back"
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
    // Each look at the clock is a second later than the one before.
    let seconds = Arc::new(AtomicI64::new(1_772_359_200));
    let ticks = Arc::clone(&seconds);
    let at = |second| Timestamp::from(chrono::DateTime::from_timestamp_secs(second).unwrap());
    let clock = Clock::from_fn(move || at(ticks.fetch_add(1, Ordering::SeqCst)));
    let client = Client::new(ClientConfig {
        clock,
        ..config(&server)
    })
    .unwrap();
    let sent_at = ask(&client).await.unwrap().sent_at;
    assert_eq!(
        sent_at,
        at(seconds.load(Ordering::SeqCst) - 1),
        "the last look, taken just before the last attempt"
    );
    assert_eq!(server.lines().len(), 3);
}
