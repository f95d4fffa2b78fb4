//! The HTTP API when all goes well: whole bodies, filters, entity tags and pages.

mod history;
mod lines;
mod resume;

use std::time::Duration;

use hms_sim::{Join, NewTrack, WireMetadata};
use insta::assert_json_snapshot;

use crate::support::world::{ROOM, Setup, World};

#[tokio::test]
async fn a_snapshot_is_created_extended_and_created_anew_when_the_peer_changed() {
    let (world, app) = World::with_app().await;
    let microphone = NewTrack {
        id: Some("mic".into()),
        kind: "audio".into(),
        source: None,
        mute: true,
    };
    world.join_as(Join {
        peer_id: Some("peer-1".into()),
        name: Some("Seven of Nine".into()),
        tracks: vec![microphone],
        ..Join::of("player-7").with_metadata(WireMetadata::text(r#"{"hp": 71, "at": [3, 4]}"#))
    });
    world.clock.advance(Duration::from_secs(5));

    let created = app.snapshot("peer-1").await.expect(201).json();
    assert_json_snapshot!(created, {".id" => "(digest)", ".tracks.mic.stream_id" => "(random)"}, @r#"
    {
      "first_observed_at": "2026-12-01T12:00:05.000000Z",
      "id": "(digest)",
      "joined_at": "2026-12-01T12:00:00.000000Z",
      "last_observed_at": "2026-12-01T12:00:05.000000Z",
      "metadata": {
        "at": [
          3,
          4
        ],
        "hp": 71
      },
      "metadata_raw": "{\"hp\": 71, \"at\": [3, 4]}",
      "name": "Seven of Nine",
      "peer_id": "peer-1",
      "role": "player",
      "room_id": "627cda81ab4f3b56a077dc33",
      "source": "peer",
      "tracks": {
        "mic": {
          "description": "",
          "id": "mic",
          "mute": true,
          "source": "regular",
          "started_at": "2026-12-01T12:00:00.000000000Z",
          "stream_id": "(random)",
          "type": "audio"
        }
      },
      "user_id": "player-7"
    }
    "#);

    world.clock.advance(Duration::from_secs(5));
    let extended = app.snapshot("peer-1").await.expect(200).json();
    let mut expected = created.clone();
    expected["last_observed_at"] = "2026-12-01T12:00:10.000000Z".into();
    assert_eq!(extended, expected);

    world.set("peer-1", "on the stairs");
    let changed = app.snapshot("peer-1").await.expect(201).json();
    assert_ne!(changed["id"], created["id"]);
    assert_eq!(changed["metadata"], "on the stairs");
    assert_eq!(changed["first_observed_at"], "2026-12-01T12:00:11.000000Z");
    assert_eq!(changed["last_observed_at"], "2026-12-01T12:00:11.000000Z");
}

#[tokio::test]
async fn each_part_of_the_content_makes_a_new_snapshot_and_a_source_without_tracks_does_not() {
    let (world, app) = World::with_app().await;
    let microphone = NewTrack {
        id: Some("mic".into()),
        kind: "audio".into(),
        source: None,
        mute: false,
    };
    world.join_as(Join {
        peer_id: Some("p".into()),
        tracks: vec![microphone],
        ..Join::of("player-7")
    });
    app.snapshot("p").await.expect(201);
    world.clock.advance(Duration::from_secs(1));
    world.sim.mute(ROOM, "p", "mic", true).unwrap();
    app.snapshot("p").await.expect(201);
    world.clock.advance(Duration::from_mins(1));
    app.snapshot_room().await.expect(200);
    let change = |name: Option<&str>, role: Option<&str>| hms_sim::Update {
        name: name.map(ToOwned::to_owned),
        role: role.map(ToOwned::to_owned),
        metadata: None,
        ..hms_sim::Update::default()
    };
    for update in [change(Some("Seven"), None), change(None, Some("host"))] {
        world.clock.advance(Duration::from_secs(1));
        world.sim.update(ROOM, "p", update).unwrap();
        app.snapshot("p").await.expect(201);
    }
    let rows = app.history("player-7").await.expect(200).json();
    assert_eq!(rows["snapshots"].as_array().unwrap().len(), 4);
    assert_eq!(
        rows["snapshots"][2]["last_observed_at"],
        "2026-12-01T12:01:01.000000Z"
    );
}

/// One that changed, or whose answer is of one user, has the exact time all the same.
#[tokio::test]
async fn a_room_that_is_unchanged_for_less_than_a_minute_writes_nothing() {
    let (world, app) = World::with_app().await;
    for number in 0..20 {
        let (user, peer) = (format!("player-{number}"), format!("peer-{number}"));
        world.join(&user, &peer, "1");
    }
    app.snapshot_room().await.expect(200);
    let pool = world.database.pool().await;
    let rows = async || {
        let rows = "SELECT string_agg(xmin::text || ' ' || ctid::text, ',' ORDER BY user_id) FROM ";
        let of = async |table: &str| {
            let rows = sqlx::AssertSqlSafe(format!("{rows}{table}"));
            let rows = sqlx::query_scalar::<_, String>(rows);
            rows.fetch_one(&pool).await.unwrap()
        };
        (of("peers").await, of("snapshots").await)
    };
    let written = rows().await;
    world.clock.advance(Duration::from_secs(59));
    let answer = app.snapshot_room().await.expect(200).json();
    assert_eq!(answer["snapshots"].as_array().unwrap().len(), 20);
    assert_eq!(
        answer["snapshots"][0]["last_observed_at"],
        "2026-12-01T12:00:00.000000Z"
    );
    assert_eq!(answer["observed_at"], "2026-12-01T12:00:59.000000Z");
    assert_eq!(rows().await, written);

    let of_user = format!("/v1/rooms/{ROOM}/snapshots?user_id=player-7");
    let answer = app.post(&of_user).await.expect(200).json();
    assert_eq!(
        answer["snapshots"][0]["last_observed_at"],
        "2026-12-01T12:00:59.000000Z"
    );
    world.clock.advance(Duration::from_secs(1));
    app.snapshot_room().await.expect(200);
    let observed =
        "SELECT to_char(last_observed_at AT TIME ZONE 'UTC', 'MI:SS') || ' ' || count(*) FROM peers
                    GROUP BY last_observed_at ORDER BY 1";
    let observed: Vec<String> = sqlx::query_scalar(observed).fetch_all(&pool).await.unwrap();
    assert_eq!(observed, ["00:59 1", "01:00 19"]);
}

#[tokio::test]
async fn a_room_is_kept_as_far_as_it_can_be() {
    let world = World::new().await;
    let app = world.replica(Setup::with_max_metadata_bytes(20)).await;
    world.join("player-1", "a-fine", r#"{"hp": 71}"#);
    world.join("", "b-no-user", "x");
    world.join("player-3", "c-too-large", &"x".repeat(21));
    let lone = WireMetadata::json(r#""\ud800""#).unwrap();
    world.join_with("player-4", "d-lone", lone);
    world.join("player-5", "e-fine-too", &"x".repeat(20));
    world.join(&"u".repeat(257), "f-odd-user", "x");
    assert_json_snapshot!(app.snapshot_room().await.expect(200).json(), @r#"
    {
      "observed_at": "2026-12-01T12:00:00.000000Z",
      "room_id": "627cda81ab4f3b56a077dc33",
      "skipped": [
        {
          "code": "peer-without-user-id",
          "detail": "The peer has no user_id, so its metadata cannot be stored for a user.",
          "peer_id": "b-no-user"
        },
        {
          "code": "metadata-too-large",
          "detail": "The metadata has 21 bytes; at most 20 can be stored (REJOIN_MAX_METADATA_BYTES).",
          "peer_id": "c-too-large"
        },
        {
          "code": "metadata-not-representable",
          "detail": "The metadata contains a lone UTF-16 surrogate, which no Unicode text can represent.",
          "peer_id": "d-lone"
        },
        {
          "code": "peer-without-user-id",
          "detail": "The peer's user_id cannot be stored: it is longer than 256 characters.",
          "peer_id": "f-odd-user"
        }
      ],
      "snapshots": [
        {
          "first_observed_at": "2026-12-01T12:00:00.000000Z",
          "id": "01a23179-de00-7e42-87ed-e12f130b00ef",
          "joined_at": "2026-12-01T12:00:00.000000Z",
          "last_observed_at": "2026-12-01T12:00:00.000000Z",
          "metadata": {
            "hp": 71
          },
          "metadata_raw": "{\"hp\": 71}",
          "name": "player-1",
          "peer_id": "a-fine",
          "role": "player",
          "room_id": "627cda81ab4f3b56a077dc33",
          "source": "room",
          "tracks": null,
          "user_id": "player-1"
        },
        {
          "first_observed_at": "2026-12-01T12:00:00.000000Z",
          "id": "01a23179-de00-70ae-9826-5b5d2e8b8afc",
          "joined_at": "2026-12-01T12:00:00.000000Z",
          "last_observed_at": "2026-12-01T12:00:00.000000Z",
          "metadata": "xxxxxxxxxxxxxxxxxxxx",
          "metadata_raw": "xxxxxxxxxxxxxxxxxxxx",
          "name": "player-5",
          "peer_id": "e-fine-too",
          "role": "player",
          "room_id": "627cda81ab4f3b56a077dc33",
          "source": "room",
          "tracks": null,
          "user_id": "player-5"
        }
      ]
    }
    "#);
}

#[tokio::test]
async fn a_room_can_be_filtered_as_upstream_does() {
    let (world, app) = World::with_app().await;
    for (user, peer, role) in [
        ("u 1", "a", "host"),
        ("u 1", "b", "on stage"),
        ("u&2", "c", "host"),
    ] {
        world.join_as(Join {
            peer_id: Some(peer.into()),
            role: Some(role.into()),
            ..Join::of(user)
        });
    }
    let cases = [
        ("", vec!["a", "b", "c"], None),
        ("?user_id=u%201", vec!["a", "b"], Some("user_id=u+1")),
        ("?user_id=u+1", vec!["a", "b"], Some("user_id=u+1")),
        ("?user_id=u%262", vec!["c"], Some("user_id=u%262")),
        ("?role=host", vec!["a", "c"], Some("role=host")),
        (
            "?role=on%20stage&user_id=u%201",
            vec!["b"],
            Some("user_id=u+1&role=on+stage"),
        ),
        ("?user_id=nobody", vec![], Some("user_id=nobody")),
    ];
    for (query, peers, sent) in cases {
        let answer = app
            .post(&format!("/v1/rooms/{ROOM}/snapshots{query}"))
            .await
            .expect(200)
            .json();
        let snapshots = answer["snapshots"].as_array().unwrap();
        assert_eq!(
            snapshots
                .iter()
                .map(|row| &row["peer_id"])
                .collect::<Vec<_>>(),
            peers,
            "{query}"
        );
        assert_eq!(answer["skipped"], serde_json::json!([]));
        assert_eq!(world.sim.requests().last().unwrap().query.as_deref(), sent);
    }
    let nobody = app
        .post(&format!("/v1/rooms/{ROOM}/snapshots?user_id=nobody"))
        .await
        .expect(200);
    assert_json_snapshot!(nobody.json(), @r#"
    {
      "observed_at": "2026-12-01T12:00:00.000000Z",
      "room_id": "627cda81ab4f3b56a077dc33",
      "skipped": [],
      "snapshots": []
    }
    "#);
}

#[tokio::test]
async fn probes_and_metrics_need_no_key() {
    let world = World::new().await;
    let key = rejoin::keys::new_key("any", "admin").unwrap();
    let app = world
        .replica(Setup {
            keys: key.entry,
            ..Setup::default()
        })
        .await;
    assert_eq!(
        app.get("/health/live").await.expect(200).text,
        r#"{"status":"ok"}"#
    );
    assert_eq!(
        app.get("/health/ready").await.expect(200).text,
        r#"{"status":"ok"}"#
    );
    let metrics = app.get("/metrics").await.expect(200);
    assert!(metrics.header("content-type").starts_with("text/plain"));
    assert!(
        metrics.text.contains(
            r#"rejoin_http_requests_total{method="GET",route="/health/ready",status="200""#
        )
    );
    let sent = app
        .request(reqwest::Method::GET, "/health/live")
        .header("x-request-id", "mine-1");
    assert_eq!(
        crate::support::world::Answer::to(sent)
            .await
            .header("x-request-id"),
        "mine-1"
    );
}
