//! Restores by request: the saved state is sent to the new peer, once, and is no new change there.

mod automatic;
mod claims;
mod dates;
mod knowledge;
mod overwriting;
mod process;

use hms_sim::{Fault, FaultRule, Operation, Update, WireMetadata};
use insta::assert_json_snapshot;
use reqwest::Method;
use serde_json::{Value, json};
use sqlx::Row;

use crate::support::problem::problem;
use crate::support::world::{Answer, ROOM, Replica, Setup, World};

const STATE: &str = r#"{"hp":71,"hp":71,"n":1000000000000000000000000000000000000001}"#;

async fn restore(app: &Replica, body: &Value) -> Answer {
    app.post_json("/v1/users/player-7/resume", body).await
}

/// `old` plays, is saved, and drops. A few seconds later `new` joins with this metadata.
async fn dropped_and_back(state: &str, at_join: &str) -> (World, Replica) {
    let (world, app) = World::with_app().await;
    play_and_drop(&world, &app, state).await;
    world.join("player-7", "new", at_join);
    (world, app)
}

async fn play_and_drop(world: &World, app: &Replica, state: &str) {
    world.join("player-7", "old", "");
    world.set("old", state);
    app.snapshot("old").await.expect(201);
    world.drop_peer("old");
    world.clock.advance(std::time::Duration::from_secs(5));
}

/// `kind`, `to_peer_id`, `outcome` and `problem` of each row of `resumes`, oldest first.
async fn rows(world: &World) -> Vec<Value> {
    let sql = "SELECT jsonb_build_array(kind, to_peer_id, outcome, problem)::text FROM resumes ORDER BY at, id";
    let rows = sqlx::query(sql)
        .fetch_all(&world.database.pool().await)
        .await
        .unwrap();
    rows.iter()
        .map(|row| serde_json::from_str(row.get(0)).unwrap())
        .collect()
}

fn to(peer: &str) -> Value {
    json!({"room_id": ROOM, "peer_id": peer})
}

#[tokio::test]
async fn the_state_is_restored_byte_for_byte_and_is_no_new_change() {
    let (world, app) = dropped_and_back(STATE, "").await;
    let before = app.resume("player-7").await.expect(200).json();
    let answer = restore(&app, &to("new")).await.expect(200);
    assert!(
        answer.text.contains(&format!("\"metadata\":{STATE}")),
        "unchanged: {}",
        answer.text
    );
    assert_json_snapshot!(answer.json(), {".metadata" => "(see above)"}, @r#"
    {
      "age_seconds": 5,
      "changed_at": "2026-12-01T12:00:01.000000Z",
      "claim": null,
      "connected_peers": [],
      "joined_at": "2026-12-01T12:00:00.000000Z",
      "last_observed_at": "2026-12-01T12:00:01.000000Z",
      "metadata": "(see above)",
      "metadata_raw": "{\"hp\":71,\"hp\":71,\"n\":1000000000000000000000000000000000000001}",
      "name": "player-7",
      "peer_id": "old",
      "presence": {
        "reason": null,
        "since": null,
        "status": "unknown"
      },
      "restored": true,
      "role": "player",
      "room_id": "627cda81ab4f3b56a077dc33",
      "snapshot_id": "01a23179-e1e8-7f86-ae29-75315120f604",
      "user_id": "player-7",
      "why": null
    }
    "#);
    assert_eq!(world.metadata_of("new"), STATE);
    assert_eq!(world.updates(), [json!({"metadata": STATE})]);

    // The state is now the new peer's, with the time of its change, however the peers are observed.
    for _ in 0..2 {
        let now = app.resume("player-7").await.expect(200).json();
        assert_eq!(
            (&now["peer_id"], &now["metadata_raw"]),
            (&json!("new"), &json!(STATE))
        );
        assert_eq!(now["changed_at"], before["changed_at"]);
        world.clock.advance(std::time::Duration::from_secs(1));
        app.snapshot_room().await.expect(200);
        app.snapshot("new").await.expect(200);
    }
    world.set("new", "later");
    app.snapshot("new").await.expect(201);
    assert_eq!(
        app.resume("player-7").await.expect(200).json()["metadata_raw"],
        "later"
    );
    assert_eq!(
        rows(&world).await,
        [json!(["restore", "new", "restored", null])]
    );
}

#[tokio::test]
async fn odd_metadata_is_restored_as_it_was() {
    let texts = [
        "a\0b",
        r#"{"a":"\u0000"}"#,
        "{\"b\":1, \"a\":2,\n \"b\":3}",
        "not json",
        "ünï ⚔",
        "null",
        "[1.000]",
    ];
    let (world, app) = World::with_app().await;
    for (index, text) in texts.iter().enumerate() {
        let (user, old, new) = (
            format!("user-{index}"),
            format!("old-{index}"),
            format!("new-{index}"),
        );
        world.join(&user, &old, text);
        app.snapshot(&old).await.expect(201);
        world.join(&user, &new, "");
        let path = format!("/v1/users/{user}/resume");
        let answer = app.post_json(&path, &to(&new)).await.expect(200).json();
        assert_eq!(
            (&answer["restored"], &answer["metadata_raw"]),
            (&json!(true), &json!(text))
        );
        assert_eq!(&world.metadata_of(&new), text);
    }
}

#[tokio::test]
async fn the_state_can_be_restored_to_a_peer_that_joined_earlier() {
    let (world, app) = World::with_app().await;
    world.join("player-7", "tablet", "");
    app.snapshot("tablet").await.expect(201);
    world.clock.advance(std::time::Duration::from_secs(1));
    play_and_drop(&world, &app, "hp 71").await;
    assert_eq!(
        restore(&app, &to("tablet")).await.expect(200).json()["restored"],
        true
    );
    app.snapshot_room().await.expect(200);
    assert_eq!(
        app.resume("player-7").await.expect(200).json()["peer_id"],
        "tablet"
    );
    let in_room = app
        .get(&format!("/v1/users/player-7/resume?room_id={ROOM}"))
        .await
        .expect(200)
        .json();
    assert_eq!(in_room["peer_id"], "tablet");
    let view: String = sqlx::query_scalar("SELECT peer_id FROM resume_state")
        .fetch_one(&world.database.pool().await)
        .await
        .unwrap();
    assert_eq!(view, "tablet");
}

#[tokio::test]
async fn an_answer_says_why_nothing_was_restored() {
    let (world, app) = dropped_and_back("hp 71", "defaults").await;
    world.join("player-8", "other", "");
    let not = async |body: Value, why: &str| {
        let answer = restore(&app, &body).await.expect(200).json();
        assert_eq!(
            (&answer["restored"], &answer["why"]),
            (&json!(false), &json!(why)),
            "{answer}"
        );
        answer
    };
    assert_eq!(not(to("old"), "same-peer").await["peer_id"], "old");
    assert_eq!(
        not(to("new"), "already-has-metadata").await["metadata_raw"],
        "hp 71"
    );
    assert_eq!(world.updates(), [] as [Value; 0]);
    problem(restore(&app, &to("other")).await, 409, "peer-not-of-user");
    assert_eq!(
        restore(&app, &to("nobody")).await.expect(404).code(),
        "peer-not-found"
    );
    let path = "/v1/users/player-8/resume";
    let nothing = app.post_json(path, &to("other")).await.expect(200);
    let expected =
        json!({"user_id": "player-8", "restored": false, "why": "nothing-saved", "claim": null});
    assert_eq!(nothing.json(), expected);
    let alone = app
        .post_json(path, &json!({"claimed_by": "server-1"}))
        .await;
    assert_eq!(alone.expect(404).code(), "no-saved-metadata");
    // Without a peer and a claimant the request is a plain resume.
    let plain = restore(&app, &json!({})).await.expect(200).json();
    assert_json_snapshot!(plain, @r#"
    {
      "age_seconds": 0,
      "changed_at": "2026-12-01T12:00:06.000000Z",
      "claim": null,
      "connected_peers": [],
      "joined_at": "2026-12-01T12:00:06.000000Z",
      "last_observed_at": "2026-12-01T12:00:06.000000Z",
      "metadata": "defaults",
      "metadata_raw": "defaults",
      "name": "player-7",
      "peer_id": "new",
      "presence": {
        "reason": null,
        "since": null,
        "status": "unknown"
      },
      "restored": false,
      "role": "player",
      "room_id": "627cda81ab4f3b56a077dc33",
      "snapshot_id": "01a23179-f570-7bd2-a894-9b174050e57e",
      "user_id": "player-7",
      "why": null
    }
    "#);
}

#[tokio::test]
async fn overwriting_disregards_the_defaults_of_the_new_peer_but_not_what_the_player_sets_later() {
    let (world, app) = dropped_and_back("hp 71", "defaults").await;
    app.snapshot("new").await.expect(201);
    assert_eq!(
        app.resume("player-7").await.expect(200).json()["metadata_raw"],
        "defaults",
        "the latest change"
    );
    let body = json!({"room_id": ROOM, "peer_id": "new", "overwrite": true, "role": true});
    let spectator = Update {
        role: Some("spectator".to_owned()),
        ..Update::default()
    };
    world.sim.update(ROOM, "new", spectator).unwrap();
    assert_eq!(
        restore(&app, &body).await.expect(200).json()["restored"],
        true
    );
    assert_eq!(
        world.updates(),
        [json!({"metadata": "hp 71", "role": "player"})]
    );
    assert_eq!(world.sim.peer(ROOM, "new").unwrap().role, "player");
    let now = app.resume("player-7").await.expect(200).json();
    assert_eq!(
        (&now["peer_id"], &now["metadata_raw"]),
        (&json!("new"), &json!("hp 71"))
    );

    world.set("new", "hp 99");
    let again = restore(&app, &body).await.expect(200).json();
    assert_eq!(
        (&again["restored"], &again["why"]),
        (&json!(false), &json!("same-peer")),
        "it is the player's own by now"
    );
    assert_eq!(world.metadata_of("new"), "hp 99");
    assert_eq!(
        app.resume("player-7").await.expect(200).json()["metadata_raw"],
        "hp 99"
    );
}

#[tokio::test]
async fn the_room_of_the_peer_is_found_where_the_request_does_not_name_it() {
    let (_world, app) = dropped_and_back("hp 71", "").await;
    // First by the state's room, then by the room where the peer was observed.
    for expected in [true, false] {
        let answer = restore(&app, &json!({"peer_id": "new"}))
            .await
            .expect(200)
            .json();
        assert_eq!(answer["restored"], expected);
    }
    let path = "/v1/users/stranger/resume";
    let answer = Answer::to(
        app.request(Method::POST, path)
            .json(&json!({"peer_id": "new"})),
    )
    .await
    .expect(400);
    assert_eq!(answer.code(), "invalid-request");
}

#[tokio::test]
async fn the_problem_of_a_bad_body_names_the_part_that_is_wrong() {
    let (_world, app) = dropped_and_back("hp 71", "").await;
    for (body, part) in [
        (json!({"peer": "new"}), "peer"),
        (json!({"overwrite": "yes", "peer_id": "new"}), "overwrite"),
        (json!({"peer_id": ".."}), "peer_id"),
        (json!({"claimed_by": ""}), "claimed_by"),
        (json!({"role": true}), "role"),
        (json!([]), "body"),
    ] {
        let answer = restore(&app, &body).await.expect(400);
        assert_eq!(answer.code(), "invalid-request");
        assert!(
            answer.json()["detail"].as_str().unwrap().contains(part),
            "{}",
            answer.text
        );
    }
    let large = json!({"claimed_by": "x".repeat(70_000)});
    assert_eq!(
        restore(&app, &large).await.expect(413).code(),
        "payload-too-large"
    );
}

#[tokio::test]
async fn a_failed_update_is_reported_and_recorded_and_can_be_retried() {
    let (world, app) = dropped_and_back("hp 71", "").await;
    world
        .sim
        .set_faults([FaultRule::always(Operation::Update, Fault::Status(503))]);
    assert_eq!(
        restore(&app, &to("new")).await.expect(502).code(),
        "upstream-unavailable"
    );
    assert_eq!(
        app.resume("player-7").await.expect(200).json()["peer_id"],
        "old"
    );
    world.sim.set_faults([]);
    assert_eq!(
        restore(&app, &to("new")).await.expect(200).json()["restored"],
        true
    );
    let failed = json!(["restore", "new", "failed", "upstream-unavailable"]);
    assert_eq!(
        rows(&world).await,
        [failed, json!(["restore", "new", "restored", null])]
    );
}

/// An update whose answer is lost may have taken effect. The mark on the peer says what it is to
/// whoever observes the peer next.
#[tokio::test]
async fn an_update_whose_answer_was_lost_is_no_new_change() {
    let (world, app) = dropped_and_back("hp 71", "").await;
    let changed_at = app.resume("player-7").await.expect(200).json()["changed_at"].clone();
    world
        .sim
        .set_faults([FaultRule::always(Operation::Update, Fault::CutBody)]);
    restore(&app, &to("new")).await.expect(502);
    world.clock.advance(std::time::Duration::from_secs(1));
    app.snapshot("new").await.expect(201);
    let now = app.resume("player-7").await.expect(200).json();
    assert_eq!(
        (&now["peer_id"], &now["changed_at"]),
        (&json!("new"), &changed_at)
    );
}

#[tokio::test]
async fn metadata_that_cannot_be_stored_counts_as_metadata() {
    let world = World::new().await;
    let app = world.replica(Setup::with_max_metadata_bytes(20)).await;
    play_and_drop(&world, &app, "hp 71").await;
    let lone = WireMetadata::json(r#""a\udc00b""#).unwrap();
    world.join_with("player-7", "lone", lone);
    assert_eq!(
        restore(&app, &to("lone")).await.expect(200).json()["why"],
        "already-has-metadata"
    );
    let body = json!({"room_id": ROOM, "peer_id": "lone", "overwrite": true});
    assert_eq!(
        restore(&app, &body).await.expect(200).json()["restored"],
        true
    );
    assert_eq!(world.metadata_of("lone"), "hp 71");
}
