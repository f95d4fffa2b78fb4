//! What is sent: paths, queries, headers, bodies.

use super::*;
use rejoin::hms::PeerUpdate;

#[tokio::test]
async fn the_request_for_a_peer_is_the_documented_one() {
    let server = Scripted::answers([Answer::ok(PEER_BODY)]).await;
    let peer = fetch_peer(&client(&server)).await.unwrap().value;
    assert_eq!(
        (peer.peer_id.as_str(), peer.user_id.as_str()),
        (PEER, "player-7")
    );
    assert_eq!(
        peer.metadata.unwrap().raw(),
        Some(r#"{"checkpoint":"cave-3","hp":71}"#)
    );
    assert_eq!(peer.tracks.unwrap().as_str(), r#"{"t":{"mute":true}}"#);
    assert_eq!(server.lines(), [PEER_LINE]);
    let request = &server.received()[0];
    assert_eq!(request.bearer().split('.').count(), 3, "a JWT");
    assert_eq!(
        request.header("user-agent"),
        Some(concat!("rejoin/", env!("CARGO_PKG_VERSION")))
    );
    assert_eq!(
        (request.header("content-type"), request.body.as_str()),
        (None, "")
    );
}

#[tokio::test]
async fn no_id_reaches_another_path() {
    let server = Scripted::answers([Answer::ok("{}")]).await;
    let client = client(&server);
    let printable: String = (' '..='~').collect();
    let cases = [
        ("a/b", "a%2Fb"),
        ("%2e%2e", "%252e%252e"),
        ("..%2f", "..%252f"),
        ("../..", "..%2F.."),
        ("?x", "%3Fx"),
        ("#y", "%23y"),
        ("ü", "%C3%BC"),
        (" ", "%20"),
        ("\\", "%5C"),
        ("...", "..."),
    ];
    for (id, _) in cases.iter().chain([&(printable.as_str(), "")]) {
        let answer = client
            .peer(&RoomId::parse(id).unwrap(), &PeerId::parse(id).unwrap())
            .await;
        assert_eq!(answer.unwrap().value.peer_id, *id);
    }
    let mut lines = server.lines();
    let all = lines.pop().unwrap();
    let expected =
        cases.map(|(_, segment)| format!("GET /v2/active-rooms/{segment}/peers/{segment}"));
    assert_eq!(lines, expected);
    assert_eq!(all.matches('/').count(), 5, "{all}");
    assert!(!all.contains(['?', '#', '\\']), "{all}");
}

#[tokio::test]
async fn the_request_for_a_list_has_its_filters() {
    let server = Scripted::answers([Answer::ok(r#"{"peers":{"a":{"user_id":"u"}}}"#)]).await;
    let client = client(&server);
    let user = UserId::parse("a&role=x#?+ü").unwrap();
    assert_eq!(fetch_peers(&client).await.unwrap().value.len(), 1);
    client.peers(&room(), Some(&user), None).await.unwrap();
    client
        .peers(&room(), Some(&user), Some("on stage"))
        .await
        .unwrap();
    client.peers(&room(), None, Some("player")).await.unwrap();
    let query = "user_id=a%26role%3Dx%23%3F%2B%C3%BC";
    assert_eq!(
        server.lines(),
        [
            LIST_LINE.to_owned(),
            format!("{LIST_LINE}?{query}"),
            format!("{LIST_LINE}?{query}&role=on+stage"),
            format!("{LIST_LINE}?role=player"),
        ]
    );
}

#[tokio::test]
async fn an_update_names_only_what_it_replaces() {
    let server = Scripted::answers([Answer::new(500, ""), Answer::ok(PEER_BODY)]).await;
    let client = client(&server);
    let metadata = PeerUpdate {
        metadata: Some("{\"a\":\"\0\"}".to_owned()),
        ..PeerUpdate::default()
    };
    let updated = client
        .update_peer(&room(), &peer_id(), &metadata)
        .await
        .unwrap()
        .value;
    assert_eq!(updated.user_id, "player-7");
    let role = PeerUpdate {
        role: Some("player".to_owned()),
        name: Some("x".to_owned()),
        metadata: None,
    };
    client
        .update_peer(&room(), &peer_id(), &role)
        .await
        .unwrap();
    let sent: Vec<_> = server
        .received()
        .into_iter()
        .map(|request| (request.method, request.body))
        .collect();
    let post = |body: &str| ("POST".to_owned(), body.to_owned());
    let first = r#"{"metadata":"{\"a\":\"\u0000\"}"}"#;
    assert_eq!(
        sent,
        [
            post(first),
            post(first),
            post(r#"{"role":"player","name":"x"}"#)
        ]
    );
    assert_eq!(
        server.received()[0].header("content-type"),
        Some("application/json")
    );
    assert_eq!(
        server.received()[0].target,
        PEER_LINE.strip_prefix("GET ").unwrap()
    );
}

#[tokio::test]
async fn connections_are_reused() {
    let server = Scripted::answers([Answer::ok(PEER_BODY)]).await;
    let client = client(&server);
    for _ in 0..3 {
        fetch_peer(&client).await.unwrap();
    }
    assert_eq!(server.connections(), 1);
}

#[tokio::test]
async fn concurrent_requests_are_bounded() {
    let server =
        Scripted::answers([Answer::ok(PEER_BODY).delayed(Duration::from_millis(20))]).await;
    let client = Client::new(ClientConfig {
        max_concurrent: 3,
        ..config(&server)
    })
    .unwrap();
    let requests: Vec<_> = (0..12)
        .map(|_| {
            let client = client.clone();
            tokio::spawn(async move { fetch_peer(&client).await })
        })
        .collect();
    for request in requests {
        request.await.unwrap().unwrap();
    }
    assert_eq!(server.lines().len(), 12);
    // A connection carries one request at a time, and an idle one is used again.
    assert!(server.connections() <= 3, "{}", server.connections());
}
