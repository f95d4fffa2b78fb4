//! Claims: of many callers that want a state, one gets it.

use futures_util::future::join_all;
use insta::assert_json_snapshot;
use serde_json::{Value, json};

use super::{dropped_and_back, restore, rows, to};
use crate::support::world::{ROOM, Setup};

fn by(claimant: &str) -> Value {
    json!({"claimed_by": claimant})
}

#[tokio::test]
async fn of_fifty_claimants_through_two_replicas_one_wins_and_may_ask_again() {
    let (world, one) = dropped_and_back("hp 71", "").await;
    let two = world.replica(Setup::default()).await;
    let answers = join_all((0..50).map(async |server: usize| {
        let app = [&one, &two][server % 2];
        restore(app, &by(&format!("server-{server}"))).await
    }))
    .await;
    let (won, lost): (Vec<_>, Vec<_>) =
        answers.into_iter().partition(|answer| answer.status == 200);
    let [won] = won.as_slice() else {
        panic!("{} claimants won", won.len())
    };
    let claim = won.json()["claim"].clone();
    assert_eq!(won.json()["metadata_raw"], "hp 71");
    assert_eq!(lost.len(), 49);
    for answer in lost {
        let answer = answer.expect(409);
        assert_eq!(
            (&answer.json()["claim"], answer.code().as_str()),
            (&claim, "already-claimed")
        );
        let detail = answer.json()["detail"].as_str().unwrap().to_owned();
        assert!(
            ["claimed_by", "claimed_at"]
                .iter()
                .all(|part| detail.contains(claim[part].as_str().unwrap()))
        );
    }
    world.clock.advance(std::time::Duration::from_secs(3));
    let winner = claim["claimed_by"].as_str().unwrap();
    assert_eq!(
        restore(&two, &by(winner)).await.expect(200).json()["claim"],
        claim
    );
    assert_eq!(
        rows(&world).await,
        [json!(["claim", null, "claimed", null])]
    );
}

#[tokio::test]
async fn a_claim_stands_on_the_new_peer_until_the_state_changes() {
    let (world, app) = dropped_and_back("hp 71", "").await;
    let body = json!({"room_id": ROOM, "peer_id": "new", "claimed_by": "server-1"});
    let answer = restore(&app, &body).await.expect(200).json();
    assert_json_snapshot!(answer, @r#"
    {
      "age_seconds": 5,
      "changed_at": "2026-12-01T12:00:01.000000Z",
      "claim": {
        "claimed_at": "2026-12-01T12:00:06.000000Z",
        "claimed_by": "server-1"
      },
      "connected_peers": [],
      "joined_at": "2026-12-01T12:00:00.000000Z",
      "last_observed_at": "2026-12-01T12:00:01.000000Z",
      "metadata": "hp 71",
      "metadata_raw": "hp 71",
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
      "snapshot_id": "01a23179-e1e8-7aa4-a689-a260f10c7848",
      "user_id": "player-7",
      "why": null
    }
    "#);
    world.clock.advance(std::time::Duration::from_secs(1));
    app.snapshot("new").await.expect(200);
    let refused = restore(&app, &by("server-2")).await.expect(409).json();
    assert_json_snapshot!(refused, {".request_id" => "(random)"}, @r#"
    {
      "claim": {
        "claimed_at": "2026-12-01T12:00:06.000000Z",
        "claimed_by": "server-1"
      },
      "code": "already-claimed",
      "detail": "The state was claimed by server-1 at 2026-12-01T12:00:06.000000Z.",
      "request_id": "(random)",
      "status": 409,
      "title": "The saved state is already claimed",
      "type": "about:blank"
    }
    "#);

    // And on the peer after that.
    world.drop_peer("new");
    world.join("player-7", "third", "");
    assert_eq!(
        restore(&app, &to("third")).await.expect(200).json()["restored"],
        true
    );
    assert_eq!(
        app.resume("player-7").await.expect(200).json()["peer_id"],
        "third"
    );
    assert_eq!(
        restore(&app, &by("server-2")).await.expect(409).code(),
        "already-claimed"
    );

    world.set("third", "hp 50");
    app.snapshot("third").await.expect(201);
    assert_eq!(
        restore(&app, &by("server-2")).await.expect(200).json()["claim"]["claimed_by"],
        "server-2"
    );
}

#[tokio::test]
async fn nothing_is_sent_for_a_claimant_that_loses() {
    let (world, app) = dropped_and_back("hp 71", "").await;
    restore(&app, &by("server-1")).await.expect(200);
    let body = json!({"room_id": ROOM, "peer_id": "new", "claimed_by": "server-2"});
    restore(&app, &body).await.expect(409);
    assert_eq!(
        (world.metadata_of("new").as_str(), world.updates().len()),
        ("", 0)
    );
}
