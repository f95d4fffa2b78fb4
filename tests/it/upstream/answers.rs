//! What the client returns for answers that arrive whole.

use super::*;

#[tokio::test]
async fn after_a_404_the_client_asks_whether_the_room_is_active() {
    for body in [
        NOT_FOUND,
        "",
        "<html>not found</html>",
        r#"{"data":{"description":"not found"}}"#,
    ] {
        let not_found = || Answer::new(404, body);
        let active = Answer::ok(r#"{"id":"x","session":{"peers":[]}}"#);
        let (result, lines) = fetch_from([not_found(), active]).await;
        assert_eq!(code(result), ProblemCode::PeerNotFound);
        assert_eq!(lines, [PEER_LINE, ROOM_LINE]);
        let (result, lines) = fetch_from([not_found(), not_found()]).await;
        assert_eq!(code(result), ProblemCode::RoomNotActive);
        assert_eq!(lines, [PEER_LINE, ROOM_LINE]);
    }
}

#[tokio::test]
async fn a_failure_to_ask_for_the_room_fails_the_operation() {
    for (status, expected) in [
        (500, ProblemCode::UpstreamUnavailable),
        (403, ProblemCode::UpstreamUnauthorized),
        (410, ProblemCode::UpstreamBadResponse),
    ] {
        let answers = [Answer::new(404, NOT_FOUND), Answer::new(status, "")];
        assert_eq!(code(fetch_from(answers).await.0), expected);
    }
    let server = Scripted::answers([Answer::new(404, NOT_FOUND), Answer::hang()]).await;
    let result = fetch_peer(&impatient_client(&server)).await;
    assert_eq!(code(result), ProblemCode::UpstreamTimeout);
}

#[tokio::test]
async fn a_404_of_a_list_is_about_the_room() {
    let not_found = || Answer::new(404, NOT_FOUND);
    let server = Scripted::answers([not_found(), not_found(), not_found(), Answer::ok("{}")]).await;
    let client = client(&server);
    assert_eq!(code(fetch_peers(&client).await), ProblemCode::RoomNotActive);
    assert_eq!(
        code(fetch_peers(&client).await),
        ProblemCode::UpstreamBadResponse
    );
    assert_eq!(server.lines(), [LIST_LINE, ROOM_LINE, LIST_LINE, ROOM_LINE]);
}

#[tokio::test]
async fn an_unexpected_body_is_an_error_without_a_retry() {
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
        let (result, lines) = fetch_from([Answer::ok(body)]).await;
        assert_eq!(code(result), ProblemCode::UpstreamBadResponse, "{body}");
        assert_eq!(lines, [PEER_LINE]);
    }
    for body in ["", "<html>", "{}", r#"{"peers":[]}"#] {
        let server = Scripted::answers([Answer::ok(body)]).await;
        let result = fetch_peers(&client(&server)).await;
        assert_eq!(code(result), ProblemCode::UpstreamBadResponse, "{body}");
    }
}

#[tokio::test]
async fn an_unexpected_status_is_reported_without_its_body() {
    let elsewhere = "http://127.0.0.1:1/elsewhere";
    for status in [301, 302, 307, 308, 304, 400, 405, 409, 410, 422] {
        let answer = Answer::new(status, "secret").header("location", elsewhere);
        let (result, lines) = fetch_from([answer]).await;
        let Err(HmsError::BadResponse(reason)) = result else {
            panic!("{result:?}")
        };
        assert_eq!(reason, format!("status {status}"));
        assert_eq!(lines, [PEER_LINE], "a redirect is not followed");
    }
}

#[tokio::test]
async fn the_length_of_bodies_is_limited() {
    let long = format!(r#"{{"metadata":"{}"}}"#, "x".repeat(10_000));
    for answer in [Answer::ok(long.clone()), Answer::ok(long.clone()).chunked()] {
        let server = Scripted::answers([answer]).await;
        let small = ClientConfig {
            peer_body_limit: long.len() - 1,
            ..config(&server)
        };
        let result = fetch_peer(&Client::new(small).unwrap()).await;
        assert_eq!(code(result), ProblemCode::UpstreamBadResponse);
        let enough = ClientConfig {
            peer_body_limit: long.len(),
            ..config(&server)
        };
        assert!(fetch_peer(&Client::new(enough).unwrap()).await.is_ok());
        assert_eq!(server.lines().len(), 2, "neither is retried");
    }
    let server = Scripted::answers([Answer::ok(r#"{"peers":{}}"#)]).await;
    let small = ClientConfig {
        list_body_limit: 5,
        ..config(&server)
    };
    let result = fetch_peers(&Client::new(small).unwrap()).await;
    assert_eq!(code(result), ProblemCode::UpstreamBadResponse);
}

#[tokio::test]
async fn a_body_that_never_ends_is_not_waited_for() {
    // Of the declared 64 MiB, only the part below the limit is read.
    let endless = Answer::ok(vec![b' '; 64 << 20]).stalled();
    let server = Scripted::answers([endless]).await;
    let result = fetch_peer(&client(&server)).await;
    assert_eq!(code(result), ProblemCode::UpstreamBadResponse);
}

#[tokio::test]
async fn an_odd_peer_in_a_large_list_leaves_the_others_alone() {
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
    let peers = fetch_peers(&client(&server)).await.unwrap().value;
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
    let (peer, _) = fetch_from([Answer::ok(format!(r#"{{"metadata":{deep}}}"#))]).await;
    assert_eq!(peer.unwrap().metadata.unwrap().raw(), Some(deep.as_str()));
    for hostile in ["[".repeat(2_000_000), r#"{"a":"#.repeat(400_000)] {
        let (result, _) = fetch_from([Answer::ok(hostile)]).await;
        assert_eq!(code(result), ProblemCode::UpstreamBadResponse);
    }
}
