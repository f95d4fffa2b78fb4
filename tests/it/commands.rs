//! The commands, with the real program.

use crate::support::command::{rejoin, settings};
use crate::support::postgres;
use crate::support::world::{ROOM, World};

#[tokio::test]
async fn the_backend_job_keeps_a_room_and_the_others_read_it() {
    let world = World::new().await;
    // The program has the machine's clock, and so must who checks its tokens.
    world.clock.back(world.clock.now() - chrono::Utc::now());
    let base = format!("{}/v2", world.sim_url);
    let env = settings(&world, &base);
    world.join("player-7", "peer-1", "{\"hp\":71}");
    world.join("player-8", "peer-2", "two\u{1b}[31m");

    let kept = rejoin(&["snapshot", "--room", ROOM], &env).await.expect(0);
    assert_eq!(kept.out.lines().count(), 2, "{kept:?}");
    assert!(kept.err.contains("2 peers kept, 2 of them changed; 0 skipped"), "{kept:?}");
    let one = rejoin(&["snapshot", "--room", ROOM, "--peer", "peer-1"], &env).await.expect(0);
    assert!(one.out.contains("\"source\": \"peer\""), "{one:?}");
    rejoin(&["snapshot", "--room", ROOM, "--user", "player-8"], &env).await.expect(0);

    let resumed = rejoin(&["resume", "player-7", "--room", ROOM], &env).await.expect(0);
    let resumed: serde_json::Value = serde_json::from_str(&resumed.out).unwrap();
    assert_eq!(resumed["metadata_raw"], "{\"hp\":71}");
    let table = rejoin(&["history", "player-8"], &env).await.expect(0);
    assert!(table.out.contains("two") && !table.out.contains('\u{1b}'), "{table:?}");
    let json = rejoin(&["history", "player-8", "--format", "json"], &env).await.expect(0);
    let json: serde_json::Value = serde_json::from_str(&json.out).unwrap();
    assert_eq!(json[0]["metadata_raw"], "two\u{1b}[31m");
    let csv = rejoin(&["history", "player-7", "--format", "csv"], &env).await.expect(0);
    assert!(csv.out.starts_with("id,user_id,room_id,peer_id,") && csv.out.contains("\"{\"\"hp\"\":71}\""), "{csv:?}");
}

#[tokio::test]
async fn exit_codes_tell_failures_apart() {
    let world = World::new().await;
    // The program has the machine's clock, and so must who checks its tokens.
    world.clock.back(world.clock.now() - chrono::Utc::now());
    let base = format!("{}/v2", world.sim_url);
    let env = settings(&world, &base);
    let with = |name: &'static str, value: &'static str| {
        let mut env = env.clone();
        env.retain(|(known, _)| *known != name);
        env.push((name, value));
        env
    };
    world.join("", "nobody", "x");
    rejoin(&["snapshot", "--room", ROOM, "--peer", "nobody"], &env).await.expect(1);
    rejoin(&["snapshot", "--room", ".."], &env).await.expect(2);
    rejoin(&["snapshot", "--room", ROOM], &with("REJOIN_UPSTREAM_TIMEOUT", "soon")).await.expect(2);
    rejoin(&["snapshot", "--room", "another"], &env).await.expect(3);
    rejoin(&["snapshot", "--room", ROOM, "--user", "stranger"], &env).await.expect(3);
    rejoin(&["resume", "stranger"], &env).await.expect(3);
    rejoin(&["snapshot", "--room", ROOM], &with("HMS_SECRET", "another-secret-of-some-length")).await.expect(4);
    rejoin(&["snapshot", "--room", ROOM], &with("HMS_BASE_URL", "http://127.0.0.1:1/v2")).await.expect(4);
    rejoin(&["resume", "player-7"], &with("DATABASE_URL", "postgres://nobody@127.0.0.1:1/nowhere")).await.expect(5);
}

#[tokio::test]
async fn every_command_s_help_has_an_example() {
    let commands = [
        vec!["serve"],
        vec!["migrate"],
        vec!["snapshot"],
        vec!["resume"],
        vec!["history"],
        vec!["key"],
        vec!["key", "new"],
        vec!["sim"],
        vec!["demo"],
        vec!["openapi"],
        vec!["healthcheck"],
        vec!["completions"],
    ];
    for mut command in commands {
        command.push("--help");
        let help = rejoin(&command, &[]).await.expect(0);
        assert!(help.out.contains("Example"), "{command:?}: {}", help.out);
    }
}

#[tokio::test]
async fn what_needs_no_service_prints_and_ends() {
    let openapi = rejoin(&["openapi"], &[]).await.expect(0);
    let openapi: serde_json::Value = serde_json::from_str(&openapi.out).unwrap();
    assert!(openapi["paths"]["/v1/users/{user_id}/resume"].is_object());
    let new = rejoin(&["key", "new", "--name", "game", "--scopes", "snapshot+resume"], &[]).await.expect(0);
    let lines: Vec<&str> = new.out.lines().collect();
    assert!(lines[0].starts_with("rejoin_") && lines[1].starts_with("game:snapshot+resume:"), "{lines:?}");
    rejoin(&["key", "new", "--name", "game", "--scopes", "everything"], &[]).await.expect(2);
    assert!(rejoin(&["completions", "bash"], &[]).await.expect(0).out.contains("_rejoin"));
}

#[tokio::test]
async fn migrate_brings_an_empty_database_up_to_date_and_again_changes_nothing() {
    let database = postgres::empty_database().await;
    let env = [("DATABASE_URL", database.url())];
    rejoin(&["migrate"], &env).await.expect(0);
    rejoin(&["migrate"], &env).await.expect(0);
    rejoin(&["resume", "player-7"], &env).await.expect(3);
}
