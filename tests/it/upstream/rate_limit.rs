//! 429, in every form: until the wait is over nothing is sent.

use super::*;

const DOCUMENTED: &str =
    r#"{"code":429,"message":"rate limit exceeded, retry after 45 seconds","details":[]}"#;

async fn wait_after(answer: Answer) -> Duration {
    let server = Scripted::answers([answer, Answer::ok(PEER_BODY)]).await;
    let client = client(&server);
    let Err(HmsError::RateLimited { retry_after }) = ask(&client).await else {
        panic!("not limited")
    };
    // Every operation, and clones too, until then.
    let Err(HmsError::RateLimited { retry_after: left }) = ask_for_all(&client.clone()).await
    else {
        panic!("not limited")
    };
    assert!(left <= retry_after);
    assert_eq!(server.lines(), [PEER_LINE], "asked once");
    retry_after
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
    for unnamed in ["", "<html>", "{}", "retry after a while"] {
        let guess = wait_after(Answer::new(429, unnamed)).await;
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
    let Err(HmsError::RateLimited { retry_after }) = ask(&client).await else {
        panic!("not limited")
    };
    tokio::time::sleep(retry_after).await;
    assert!(ask(&client).await.is_ok());
    assert_eq!(server.lines().len(), 2);
}

#[tokio::test]
async fn those_who_queue_see_the_gate_close() {
    let server =
        Scripted::answers([Answer::new(429, DOCUMENTED).delayed(Duration::from_millis(50))]).await;
    let client = Client::new(ClientConfig {
        max_concurrent: 1,
        ..config(&server)
    })
    .unwrap();
    let (first, second, third) = tokio::join!(ask(&client), ask(&client), ask(&client));
    for outcome in [first, second, third] {
        assert!(
            matches!(outcome, Err(HmsError::RateLimited { .. })),
            "{outcome:?}"
        );
    }
    assert_eq!(server.lines().len(), 1);
}

#[tokio::test]
async fn a_limit_whose_message_hangs_closes_the_gate_all_the_same() {
    let server = Scripted::answers([Answer::new(429, DOCUMENTED).stalled()]).await;
    let client = hasty(&server);
    for _ in 0..2 {
        assert!(matches!(
            ask(&client).await,
            Err(HmsError::RateLimited { .. })
        ));
    }
    assert_eq!(server.lines().len(), 1);
}

#[tokio::test]
async fn a_limit_on_the_question_after_a_404_counts() {
    let (limited, _) = outcome([Answer::new(404, NOT_FOUND), Answer::new(429, DOCUMENTED)]).await;
    assert_eq!(
        limited,
        Err(HmsError::RateLimited {
            retry_after: Duration::from_secs(45)
        })
    );
}
