//! 429 in every form: nothing is sent until the wait is over.

use super::*;

const DOCUMENTED: &str =
    r#"{"code":429,"message":"rate limit exceeded, retry after 45 seconds","details":[]}"#;

async fn wait_after(answer: Answer) -> Duration {
    let server = Scripted::answers([answer, Answer::ok(PEER_BODY)]).await;
    let client = client(&server);
    let wait = retry_after(fetch_peer(&client).await);
    // Every operation waits, those of clones too.
    let left = retry_after(fetch_peers(&client.clone()).await);
    assert!(left <= wait);
    assert_eq!(server.lines(), [PEER_LINE], "sent once");
    wait
}

#[tokio::test]
async fn the_wait_is_read_from_header_or_message() {
    let seconds = Duration::from_secs;
    let with_header = Answer::new(429, DOCUMENTED).header("retry-after", "7");
    assert_eq!(wait_after(with_header).await, seconds(7));
    assert_eq!(wait_after(Answer::new(429, DOCUMENTED)).await, seconds(45));
    let older = r#"{"data":{"description":"Rate Limit exceeded, Retry after 12 seconds"}}"#;
    assert_eq!(wait_after(Answer::new(429, older)).await, seconds(12));
    assert_eq!(
        wait_after(Answer::new(429, "retry after 3 seconds").chunked()).await,
        seconds(3)
    );
    assert_eq!(
        wait_after(Answer::new(429, "").header("retry-after", "999999999")).await,
        Duration::from_hours(1)
    );
    for without_wait in ["", "<html>", "{}", "retry after a while"] {
        let guess = wait_after(Answer::new(429, without_wait)).await;
        assert!((seconds(1)..seconds(2)).contains(&guess), "{guess:?}");
    }
}

#[tokio::test]
async fn the_wait_may_be_a_date() {
    let date = (chrono::Utc::now() + Duration::from_secs(100))
        .format("%a, %d %b %Y %H:%M:%S GMT")
        .to_string();
    let wait = wait_after(Answer::new(429, DOCUMENTED).header("retry-after", &date)).await;
    assert!(
        (Duration::from_secs(90)..=Duration::from_secs(100)).contains(&wait),
        "{wait:?}"
    );
}

#[tokio::test]
async fn the_gate_opens_when_the_wait_is_over() {
    let limited = Answer::new(429, "").header("retry-after", "1");
    let server = Scripted::answers([limited, Answer::ok(PEER_BODY)]).await;
    let client = client(&server);
    let wait = retry_after(fetch_peer(&client).await);
    tokio::time::sleep(wait).await;
    assert!(fetch_peer(&client).await.is_ok());
    assert_eq!(server.lines().len(), 2);
}

#[tokio::test]
async fn a_429_to_the_background_stops_the_background_alone() {
    let server = Scripted::answers([Answer::new(429, DOCUMENTED), Answer::ok(PEER_BODY)]).await;
    let client = client(&server);
    let background = client.in_background(UpstreamRate::DEFAULT);
    let wait = retry_after(fetch_peer(&background).await);
    assert_eq!(wait, Duration::from_secs(45));
    assert!(retry_after(fetch_peers(&background.clone()).await) <= wait);
    assert!(fetch_peer(&client).await.is_ok());
    assert_eq!(server.lines(), [PEER_LINE, PEER_LINE]);
}

#[tokio::test]
async fn a_429_to_a_caller_stops_the_background_too() {
    let server = Scripted::answers([Answer::new(429, DOCUMENTED)]).await;
    let client = client(&server);
    let background = client.in_background(UpstreamRate::DEFAULT);
    let wait = retry_after(fetch_peer(&client).await);
    assert!(retry_after(fetch_peer(&background).await) <= wait);
    assert_eq!(server.lines(), [PEER_LINE]);
}

#[tokio::test]
async fn requests_that_wait_for_a_permit_are_not_sent_once_the_gate_closes() {
    let server =
        Scripted::answers([Answer::new(429, DOCUMENTED).delayed(Duration::from_millis(50))]).await;
    let client = Client::new(ClientConfig {
        max_concurrent: 1,
        ..config(&server)
    })
    .unwrap();
    let (first, second, third) = tokio::join!(
        fetch_peer(&client),
        fetch_peer(&client),
        fetch_peer(&client)
    );
    for result in [first, second, third] {
        assert_eq!(code(result), ProblemCode::UpstreamRateLimited);
    }
    assert_eq!(server.lines().len(), 1);
}

#[tokio::test]
async fn a_429_whose_body_hangs_closes_the_gate_too() {
    let server = Scripted::answers([Answer::new(429, DOCUMENTED).stalled()]).await;
    let client = impatient_client(&server);
    for _ in 0..2 {
        let result = fetch_peer(&client).await;
        assert_eq!(code(result), ProblemCode::UpstreamRateLimited);
    }
    assert_eq!(server.lines().len(), 1);
}

#[tokio::test]
async fn a_429_to_the_request_after_a_404_closes_the_gate() {
    let (limited, _) =
        fetch_from([Answer::new(404, NOT_FOUND), Answer::new(429, DOCUMENTED)]).await;
    assert_eq!(retry_after(limited), Duration::from_secs(45));
}
