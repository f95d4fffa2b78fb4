//! What is made of answers that come whole.

use super::*;

fn is_bad<T: std::fmt::Debug>(outcome: &Result<T, HmsError>) -> bool {
    matches!(outcome, Err(HmsError::BadResponse(_)))
}

#[tokio::test]
async fn a_404_asks_whether_the_room_is_active() {
    let both = [PEER_LINE, ROOM_LINE];
    for body in [
        NOT_FOUND,
        "",
        "<html>not found</html>",
        r#"{"data":{"description":"not found"}}"#,
    ] {
        let missing = || Answer::new(404, body);
        let (gone, lines) = outcome([
            missing(),
            Answer::ok(r#"{"id":"x","session":{"peers":[]}}"#),
        ])
        .await;
        assert_eq!(
            (gone, lines),
            (
                Err(HmsError::PeerNotFound),
                both.map(str::to_owned).to_vec()
            )
        );
        let (inactive, lines) = outcome([missing(), missing()]).await;
        assert_eq!(
            (inactive, lines),
            (
                Err(HmsError::RoomNotActive),
                both.map(str::to_owned).to_vec()
            )
        );
    }
}

#[tokio::test]
async fn a_failing_question_after_a_404_fails_the_operation() {
    let missing = || Answer::new(404, NOT_FOUND);
    assert_eq!(
        outcome([missing(), Answer::new(500, "")]).await.0,
        Err(HmsError::Unavailable)
    );
    assert_eq!(
        outcome([missing(), Answer::new(403, "")]).await.0,
        Err(HmsError::Unauthorized)
    );
    assert!(is_bad(&outcome([missing(), Answer::new(410, "")]).await.0));
    let server = Scripted::answers([missing(), Answer::hang()]).await;
    assert_eq!(ask(&hasty(&server)).await, Err(HmsError::Timeout));
}

#[tokio::test]
async fn a_404_of_a_list_means_the_room() {
    let missing = || Answer::new(404, NOT_FOUND);
    let server = Scripted::answers([missing(), missing(), missing(), Answer::ok("{}")]).await;
    let client = client(&server);
    assert_eq!(ask_for_all(&client).await, Err(HmsError::RoomNotActive));
    assert!(is_bad(&ask_for_all(&client).await));
    assert_eq!(server.lines(), [LIST_LINE, ROOM_LINE, LIST_LINE, ROOM_LINE]);
}

#[tokio::test]
async fn an_unexpected_body_is_refused_without_asking_again() {
    let bodies = [
        "",
        "<html>hello</html>",
        "null",
        "[]",
        "\"text\"",
        r#"{"id":"#,
        r#"{"id":"another"}"#,
        "\u{feff}{}",
    ];
    for body in bodies {
        let (refused, lines) = outcome([Answer::ok(body)]).await;
        assert!(is_bad(&refused), "{body}: {refused:?}");
        assert_eq!(lines, [PEER_LINE]);
    }
    for body in ["", "<html>", "{}", r#"{"peers":[]}"#] {
        let server = Scripted::answers([Answer::ok(body)]).await;
        assert!(is_bad(&ask_for_all(&client(&server)).await), "{body}");
    }
}

#[tokio::test]
async fn an_unexpected_status_is_named_and_no_more() {
    let elsewhere = "http://127.0.0.1:1/elsewhere";
    for status in [301, 302, 307, 308, 304, 400, 405, 409, 410, 422] {
        let answer = Answer::new(status, "secret").header("location", elsewhere);
        let (refused, lines) = outcome([answer]).await;
        assert_eq!(
            refused,
            Err(HmsError::BadResponse(format!("status {status}")))
        );
        assert_eq!(lines, [PEER_LINE], "a redirect is not followed");
    }
}

#[tokio::test]
async fn bodies_are_capped() {
    let long = format!(r#"{{"metadata":"{}"}}"#, "x".repeat(10_000));
    for answer in [Answer::ok(long.clone()), Answer::ok(long.clone()).chunked()] {
        let server = Scripted::answers([answer]).await;
        let small = ClientConfig {
            peer_body_limit: long.len() - 1,
            ..config(&server)
        };
        assert!(is_bad(&ask(&Client::new(small).unwrap()).await));
        let enough = ClientConfig {
            peer_body_limit: long.len(),
            ..config(&server)
        };
        assert!(ask(&Client::new(enough).unwrap()).await.is_ok());
        assert_eq!(server.lines().len(), 2, "neither asks again");
    }
    let server = Scripted::answers([Answer::ok(r#"{"peers":{}}"#)]).await;
    let small = ClientConfig {
        list_body_limit: 5,
        ..config(&server)
    };
    assert!(is_bad(&ask_for_all(&Client::new(small).unwrap()).await));
}

#[tokio::test]
async fn a_body_without_end_is_not_awaited() {
    // Of a declared 64 MiB, only what comes before the limit is read.
    let endless = Answer::ok(vec![b' '; 64 << 20]).stalled();
    let server = Scripted::answers([endless]).await;
    assert!(is_bad(&ask(&client(&server)).await));
}

#[tokio::test]
async fn a_large_list_keeps_its_odd_peers_apart() {
    let fill = "x".repeat(100);
    let mut entries: Vec<_> = (0..5000)
        .map(|n| format!(r#""p{n}":{{"id":"p{n}","user_id":"u{n}","metadata":"{fill}{n}"}}"#))
        .collect();
    entries[17] =
        r#""p17":{"id":"p17","user_id":"u17","name":"\ud800","metadata":"\udc00"}"#.to_owned();
    let server = Scripted::answers([Answer::ok(format!(
        r#"{{"peers":{{{}}}}}"#,
        entries.join(",")
    ))])
    .await;
    let peers = ask_for_all(&client(&server)).await.unwrap().value;
    assert_eq!(peers.len(), 5000);
    for (n, peer) in peers.iter().enumerate() {
        assert_eq!(peer.user_id, format!("u{n}"));
        assert_eq!(peer.metadata.is_err(), n == 17);
    }
    assert_eq!(
        peers[4999].metadata.as_ref().unwrap().raw().unwrap(),
        format!("{fill}4999")
    );
}

#[tokio::test]
async fn nesting_two_megabytes_deep_overflows_nothing() {
    let deep = "[".repeat(1_000_000) + &"]".repeat(1_000_000);
    let (peer, _) = outcome([Answer::ok(format!(r#"{{"metadata":{deep}}}"#))]).await;
    assert_eq!(peer.unwrap().metadata.unwrap().raw(), Some(deep.as_str()));
    let (refused, _) = outcome([Answer::ok("[".repeat(2_000_000))]).await;
    assert!(is_bad(&refused));
    let (refused, _) = outcome([Answer::ok(r#"{"a":"#.repeat(400_000))]).await;
    assert!(is_bad(&refused));
}
