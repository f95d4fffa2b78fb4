//! The REST API: shapes as documented, tokens, ghosts, exact bytes.

use std::time::Duration;

use hms_sim::{DropOptions, Join, NewTrack, WireMetadata};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use super::{ROOM, Running, claims, shape, token};

const PEER: &str = r#"{
  "id": "2e8fc83e-6aef-4ca8-9124-bedc253f3529", "name": "nixon-test2", "user_id": "4c661446-f6f2-49c2-a317-16892756a2fa",
  "metadata": { "Lower_hand": true, "business_user_id": "XYZ_1234" }, "role": "backstage", "joined_at": "2022-10-06T05:22:41.635589462Z",
  "tracks": { "780a28e0-f2df-450b-9954-70307a440530": {
    "id": "780a28e0-f2df-450b-9954-70307a440530", "stream_id": "2cc4afed-20ba-4793-a223-d4c76c331456", "mute": false, "type": "video",
    "source": "regular", "started_at": "2022-10-06T05:22:41.752327705Z", "description": "" } }
}"#;

const LIST: &str = r#"{ "peers": { "1038fa72-9345-4651-beab-436f9242ebf4": {
  "id": "1038fa72-9345-4651-beab-436f9242ebf4", "name": "player seven", "user_id": "player-7",
  "metadata": "{\"checkpoint\":\"cave-3\",\"hp\":71}", "role": "player", "joined_at": "2026-03-01T10:00:00.123456789Z" } } }"#;

const ACTIVE_ROOM: &str = r#"{
  "id": "627cda81ab4f3b56a077dc33", "name": "arena-12", "customer_id": "627cdddff2e4e30487862ad1",
  "session": { "id": "633c22b420636a0cb361dea0", "created_at": "2026-03-01T09:58:00.939011796Z",
    "peers": ["1038fa72-9345-4651-beab-436f9242ebf4"] }
}"#;

const SESSION: &str = r#"{
  "id": "633c22b420636a0cb361dea0", "room_id": "627cda81ab4f3b56a077dc33", "customer_id": "627cdddff2e4e30487862ad1", "active": false,
  "peers": { "1038fa72-9345-4651-beab-436f9242ebf4": {
    "id": "1038fa72-9345-4651-beab-436f9242ebf4", "session_id": "633c22b420636a0cb361dea0", "name": "player seven", "role": "player",
    "user_id": "player-7", "joined_at": "2026-03-01T10:00:00.123Z", "left_at": "2026-03-01T10:06:12.643Z" } },
  "created_at": "2026-03-01T09:58:00.939Z", "updated_at": "2026-03-01T10:06:12.65Z"
}"#;

fn documented(payload: &str) -> Value {
    shape(&serde_json::from_str(payload).unwrap())
}

fn video() -> NewTrack {
    NewTrack {
        id: None,
        kind: "video".into(),
        source: None,
        mute: false,
    }
}

#[tokio::test]
async fn answers_have_the_documented_shapes() {
    let sim = Running::start().await;
    let metadata =
        WireMetadata::json(r#"{ "Lower_hand": true, "business_user_id": "XYZ_1234" }"#).unwrap();
    let join = Join {
        tracks: vec![video()],
        ..Join::of("player-7").with_metadata(metadata)
    };
    let peer = sim.sim.join(ROOM, join).unwrap();

    let (status, body) = sim
        .get(&format!("/active-rooms/{ROOM}/peers/{}", peer.id))
        .await;
    assert_eq!((status, shape(&body)), (StatusCode::OK, documented(PEER)));
    let joined_at = body["joined_at"].as_str().unwrap();
    assert_eq!(
        joined_at.split_once('.').unwrap().1.len(),
        "123456789Z".len(),
        "{joined_at}"
    );

    let (status, body) = sim.get(&format!("/active-rooms/{ROOM}")).await;
    assert_eq!(
        (status, shape(&body)),
        (StatusCode::OK, documented(ACTIVE_ROOM))
    );
    assert_eq!(body["session"]["peers"], json!([peer.id]));

    sim.sim
        .set_metadata(ROOM, &peer.id, WireMetadata::text("{}"))
        .unwrap();
    let (status, body) = sim.get(&format!("/active-rooms/{ROOM}/peers")).await;
    assert_eq!((status, shape(&body)), (StatusCode::OK, documented(LIST)));

    let session = format!("/sessions/{}", peer.session_id);
    let (_, body) = sim.get(&session).await;
    assert_eq!(body["active"], true);
    assert_eq!(body["peers"][&peer.id]["left_at"], "0001-01-01T00:00:00Z");
    sim.sim.leave(ROOM, &peer.id).unwrap();
    let (status, body) = sim.get(&session).await;
    assert_eq!(
        (status, shape(&body)),
        (StatusCode::OK, documented(SESSION))
    );
    assert_eq!(body["active"], false);
    sim.stop().await;
}

#[tokio::test]
async fn what_is_not_there_is_404_in_the_documented_shape() {
    let sim = Running::start().await;
    let unknown = json!({ "code": 404, "message": "Not found", "details": ["not found"] });
    for path in ["", "/peers", "/peers/someone"] {
        assert_eq!(
            sim.get(&format!("/active-rooms/{ROOM}{path}")).await,
            (StatusCode::NOT_FOUND, unknown.clone())
        );
    }
    sim.sim.join(ROOM, Join::of("player-7")).unwrap();
    for path in [
        &format!("/active-rooms/{ROOM}/peers/someone"),
        "/sessions/633c22b420636a0cb361dea0",
        "/elsewhere",
    ] {
        assert_eq!(
            sim.get(path).await,
            (StatusCode::NOT_FOUND, unknown.clone()),
            "{path}"
        );
    }
    let list = |query: &str| format!("/active-rooms/{ROOM}/peers{query}");
    for nobody in [
        "?user_id=nobody",
        "?role=host",
        "?user_id=player-7&role=host",
    ] {
        assert_eq!(
            sim.get(&list(nobody)).await,
            (StatusCode::OK, json!({ "peers": {} }))
        );
    }
    let (_, body) = sim.get(&list("?user_id=player-7&role=player")).await;
    assert_eq!(body["peers"].as_object().unwrap().len(), 1);
    sim.stop().await;
}

#[tokio::test]
async fn tokens_are_verified() {
    let sim = Running::start().await;
    let peer = sim.sim.join(ROOM, Join::of("player-7")).unwrap();
    let url = format!("{}/v2/active-rooms/{ROOM}/peers/{}", sim.base, peer.id);
    let changed = |key: &str, value: Value| {
        let mut claims = claims(sim.now());
        claims[key] = value;
        token(&claims)
    };
    let now = sim.now().timestamp();
    let forged = {
        let key = jsonwebtoken::EncodingKey::from_secret(b"another secret");
        jsonwebtoken::encode(&jsonwebtoken::Header::default(), &claims(sim.now()), &key).unwrap()
    };
    let refused =
        json!({ "code": 401, "message": "Token validation error", "details": ["not found"] });
    for (what, token) in [
        ("key", changed("access_key", json!("other"))),
        ("version", changed("version", json!(1))),
        ("expired", changed("exp", json!(now - 2))),
        ("early", changed("nbf", json!(now + 30))),
        ("no jti", changed("jti", Value::Null)),
        ("no type", changed("type", Value::Null)),
        ("forged", forged),
        ("nonsense", "nonsense".to_owned()),
    ] {
        let answer = super::answer(sim.client.get(&url).bearer_auth(token)).await;
        assert_eq!(
            answer,
            (StatusCode::UNAUTHORIZED, refused.clone()),
            "{what}"
        );
    }
    assert_eq!(
        super::answer(sim.client.get(&url)).await,
        (StatusCode::UNAUTHORIZED, refused)
    );
    let (status, body) = super::answer(
        sim.client
            .get(&url)
            .bearer_auth(changed("type", json!("app"))),
    )
    .await;
    assert_eq!(
        (status, &body["code"]),
        (StatusCode::FORBIDDEN, &json!(403))
    );
    let (status, _) =
        super::answer(sim.client.get(&url).bearer_auth(token(&claims(sim.now())))).await;
    assert_eq!(status, StatusCode::OK);
    sim.stop().await;
}

#[tokio::test]
async fn revoked_tokens_are_refused_and_fresh_ones_are_not() {
    let sim = Running::start().await;
    sim.sim.join(ROOM, Join::of("player-7")).unwrap();
    let url = format!("{}/v2/active-rooms/{ROOM}", sim.base);
    let old = token(&claims(sim.now()));
    let status = async |token: &str| {
        sim.client
            .get(&url)
            .bearer_auth(token)
            .send()
            .await
            .unwrap()
            .status()
    };
    assert_eq!(status(&old).await, StatusCode::OK);
    sim.sim.revoke_tokens();
    assert_eq!(status(&old).await, StatusCode::UNAUTHORIZED);
    assert_eq!(status(&token(&claims(sim.now()))).await, StatusCode::OK);
    assert_eq!(sim.sim.token_count(), 2);
    sim.stop().await;
}

#[tokio::test]
async fn a_ghost_lingers_beside_the_new_peer_and_then_goes() {
    let sim = Running::start().await;
    let old = sim
        .sim
        .join(
            ROOM,
            Join::of("player-7").with_metadata(WireMetadata::text("cave-3")),
        )
        .unwrap();
    sim.sim
        .drop_peer(ROOM, &old.id, DropOptions::default())
        .unwrap();
    let new = sim.sim.join(ROOM, Join::of("player-7")).unwrap();
    sim.pass(Duration::from_secs(45));
    let list = format!("/active-rooms/{ROOM}/peers?user_id=player-7");
    let (_, body) = sim.get(&list).await;
    assert_eq!(body["peers"][&old.id]["metadata"], "cave-3");
    assert_eq!(body["peers"][&new.id]["metadata"], "");
    let (status, _) = sim
        .get(&format!("/active-rooms/{ROOM}/peers/{}", old.id))
        .await;
    assert_eq!(status, StatusCode::OK);

    sim.pass(Duration::from_secs(16));
    let (_, body) = sim.get(&list).await;
    assert_eq!(
        body["peers"]
            .as_object()
            .unwrap()
            .keys()
            .collect::<Vec<_>>(),
        [&new.id]
    );
    let (status, _) = sim
        .get(&format!("/active-rooms/{ROOM}/peers/{}", old.id))
        .await;
    assert_eq!(status, StatusCode::NOT_FOUND);
    sim.stop().await;
}

#[tokio::test]
async fn metadata_is_served_byte_for_byte() {
    let sim = Running::start().await;
    let peer = sim.sim.join(ROOM, Join::of("player-7")).unwrap();
    let digits = "7".repeat(400);
    for wire in [
        r#""\ud800""#,
        r#""a\u0000b\/\u00e9""#,
        r#"{ "b": 1,  "a": 2, "b": 3 }"#,
        &digits,
        "1e999",
        "null",
        r#""""#,
    ] {
        let (status, _) = sim
            .control(
                Method::PUT,
                &format!("/rooms/{ROOM}/peers/{}/metadata", peer.id),
                &format!(r#"{{"metadata": {wire}}}"#),
            )
            .await;
        assert_eq!(status, StatusCode::OK, "{wire}");
        for path in [String::new(), format!("/{}", peer.id)] {
            let request = sim.rest(Method::GET, &format!("/active-rooms/{ROOM}/peers{path}"));
            let body = request.send().await.unwrap().text().await.unwrap();
            assert!(
                body.contains(&format!(r#""metadata":{wire},"#)),
                "{wire}: {body}"
            );
        }
    }
    sim.sim
        .set_metadata(ROOM, &peer.id, WireMetadata::absent())
        .unwrap();
    let (_, body) = sim
        .get(&format!("/active-rooms/{ROOM}/peers/{}", peer.id))
        .await;
    assert_eq!(body.get("metadata"), None);
    sim.stop().await;
}

#[tokio::test]
async fn update_peer_takes_strings_and_the_last_writer_wins() {
    let sim = Running::start().await;
    let peer = sim.sim.join(ROOM, Join::of("player-7")).unwrap();
    let path = format!("/active-rooms/{ROOM}/peers/{}", peer.id);
    let update =
        async |body: &str| super::answer(sim.rest(Method::POST, &path).body(body.to_owned())).await;
    for bad in [
        r#"{"metadata": {"hp": 71}}"#,
        r#"{"metadata": null}"#,
        r#"{"name": 7}"#,
        "[]",
        "nonsense",
        "",
    ] {
        let (status, body) = update(bad).await;
        assert_eq!(
            (status, &body["code"]),
            (StatusCode::BAD_REQUEST, &json!(400)),
            "{bad}"
        );
        assert!(
            body["message"].is_string() && body["details"].is_array(),
            "{body}"
        );
    }
    let (status, body) = update(r#"{"metadata": "first", "name": "seven", "role": "host"}"#).await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!(
        (&body["name"], &body["role"], &body["metadata"]),
        (&json!("seven"), &json!("host"), &json!("first"))
    );
    let (_, body) = update(r#"{"metadata": "second"}"#).await;
    assert_eq!(
        (&body["name"], &body["metadata"]),
        (&json!("seven"), &json!("second"))
    );
    assert_eq!(sim.get(&path).await.1, body);
    let sent: Vec<_> = sim
        .sim
        .requests()
        .into_iter()
        .filter_map(|request| request.body)
        .collect();
    assert_eq!(sent.last().unwrap(), r#"{"metadata": "second"}"#);
    let (status, _) = super::answer(
        sim.rest(Method::POST, &format!("/active-rooms/{ROOM}/peers/x"))
            .body("{}"),
    )
    .await;
    assert_eq!(status, StatusCode::NOT_FOUND);
    sim.stop().await;
}
