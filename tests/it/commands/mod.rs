//! The real binary: what it prints, and the exit codes that scripts go by.

mod serving;

use hms_sim::{Fault, FaultRule, Operation, WireMetadata};
use serde_json::Value;

use crate::support::command::{Ended, rejoin, settings};
use crate::support::postgres::{self, Database};
use crate::support::program::Upstream;
use crate::support::webhooks::{join_event, leave_event, send_event};
use crate::support::world::{ROOM, Setup, World};

/// Arguments, settings, and what the refusal names.
type Misuse<'a> = (&'a [&'a str], &'a [(&'a str, &'a str)], &'a str);

/// The program knows only the machine's time: so does its 100ms.
async fn scene() -> (Database, Upstream) {
    (postgres::database().await, Upstream::start().await)
}

async fn snapshot(
    database: &Database,
    upstream: &Upstream,
    arguments: &[&str],
    changed: &[(&str, &str)],
) -> Ended {
    let mut variables = settings(database.url(), upstream);
    variables.extend(changed);
    rejoin(&[&["snapshot"], arguments].concat(), &variables).await
}

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

/// The commands, but for those of the feature `demo`.
const COMMANDS: [&str; 13] = [
    "serve",
    "migrate",
    "snapshot",
    "watch",
    "reconcile",
    "forward",
    "resume",
    "history",
    "key",
    "openapi",
    "healthcheck",
    "completions",
    "man",
];

#[tokio::test]
async fn migrate_makes_the_schema_and_may_run_again() {
    let database = postgres::empty_database().await;
    let variables = [("DATABASE_URL", database.url())];
    rejoin(&["resume", "player-7"], &variables).await.expect(5);
    for _ in 0..2 {
        let migrated = rejoin(&["migrate"], &variables).await.expect(0);
        assert_eq!(
            (migrated.out.as_str(), migrated.err.as_str()),
            ("", "the schema is up to date\n")
        );
    }
    rejoin(&["resume", "player-7"], &variables).await.expect(3);
}

#[tokio::test]
async fn snapshot_keeps_a_peer_a_user_or_a_room() {
    let (database, upstream) = scene().await;
    upstream.join("player-7", "peer-1", r#"{"b": 1, "a": 2}"#);
    upstream.join("player-8", "peer-2", "eight");
    upstream.join("", "peer-3", "nobody's");

    let peer = snapshot(
        &database,
        &upstream,
        &["--room", ROOM, "--peer", "peer-1"],
        &[],
    )
    .await
    .expect(0);
    assert!(
        peer.out.contains(r#""metadata": {"b": 1, "a": 2},"#),
        "untouched: {}",
        peer.out
    );
    assert_eq!(
        (&json(&peer.out)["source"], &json(&peer.out)["user_id"]),
        (&"peer".into(), &"player-7".into())
    );

    let user = snapshot(
        &database,
        &upstream,
        &["--room", ROOM, "--user", "player-8"],
        &[],
    )
    .await
    .expect(0);
    assert_eq!(
        (user.out.lines().count(), &json(&user.out)["peer_id"]),
        (1, &"peer-2".into())
    );

    let room = snapshot(&database, &upstream, &["--room", ROOM], &[])
        .await
        .expect(0);
    let peers: Vec<Value> = room
        .out
        .lines()
        .map(|line| json(line)["peer_id"].clone())
        .collect();
    assert_eq!(peers, ["peer-1", "peer-2"]);
    assert!(
        room.err
            .contains("2 peers saved, 0 of them changed; 1 skipped"),
        "{}",
        room.err
    );
    assert!(
        room.err.contains("skipped peer-3: the peer has no user_id"),
        "{}",
        room.err
    );

    let resumed = rejoin(&["resume", "player-8"], &[("DATABASE_URL", database.url())])
        .await
        .expect(0);
    assert_eq!(json(&resumed.out)["metadata_raw"], "eight");
}

#[tokio::test]
async fn the_exit_codes_of_snapshot_tell_apart_what_went_wrong() {
    let (database, upstream) = scene().await;
    upstream.join("", "nobody's", "x");
    upstream.join("player-7", "peer-1", "x");
    let room = ["--room", ROOM];
    let peer = ["--room", ROOM, "--peer", "peer-1"];
    let with = |more: &[&'static str]| [&room[..], more].concat();

    let failed = snapshot(&database, &upstream, &with(&["--peer", "nobody's"]), &[])
        .await
        .expect(1);
    assert_eq!(
        failed.err,
        "error: the peer has no user_id, so its metadata cannot be stored for a user\n"
    );
    snapshot(
        &database,
        &upstream,
        &peer,
        &[("REJOIN_MAX_METADATA_BYTES", "0")],
    )
    .await
    .expect(2);

    let usage: [Misuse; 7] = [
        (&[], &[], "--room"),
        (&["--room", ".."], &[], "`.` or `..`"),
        (
            &["--room", ROOM, "--peer", "p", "--user", "u"],
            &[],
            "--user",
        ),
        (&peer, &[("DATABASE_URL", "")], "DATABASE_URL"),
        (&peer, &[("DATABASE_URL", "mysql://x")], "DATABASE_URL"),
        (&peer, &[("HMS_SECRET", "")], "HMS_SECRET"),
        (&peer, &[("HMS_BASE_URL", "nonsense")], "HMS_BASE_URL"),
    ];
    for (arguments, changed, named) in usage {
        let refused = snapshot(&database, &upstream, arguments, changed)
            .await
            .expect(2);
        assert!(
            refused.err.contains(named) && refused.out.is_empty(),
            "{refused:?}"
        );
    }

    for nothing in [
        &with(&["--peer", "gone"])[..],
        &with(&["--user", "player-8"]),
        &["--room", "empty"],
    ] {
        snapshot(&database, &upstream, nothing, &[]).await.expect(3);
    }

    snapshot(
        &database,
        &upstream,
        &peer,
        &[("HMS_BASE_URL", "http://127.0.0.1:1")],
    )
    .await
    .expect(4);
    snapshot(&database, &upstream, &peer, &[("HMS_SECRET", "another")])
        .await
        .expect(4);
    upstream
        .sim
        .set_faults([FaultRule::times(Operation::Any, 1, Fault::Garbage)]);
    snapshot(&database, &upstream, &room, &[]).await.expect(4);

    let nowhere = ("DATABASE_URL", "postgres://nobody@127.0.0.1:1/none");
    for arguments in [&room[..], &peer] {
        let failed = snapshot(&database, &upstream, arguments, &[nowhere])
            .await
            .expect(5);
        assert!(
            failed.err.contains("the database does not answer"),
            "{failed:?}"
        );
    }
}

#[tokio::test]
async fn resume_and_history_print_what_is_saved() {
    let (world, app) = World::with_app().await;
    let database = [("DATABASE_URL", world.database.url())];
    rejoin(&["resume", "player-7"], &database).await.expect(3);
    rejoin(&["history", "player-7"], &database).await.expect(3);
    world.join("player-7", "peer-1", "in \u{1b}[31mthe\tcave");
    app.snapshot("peer-1").await.expect(201);
    world.clock.advance(std::time::Duration::from_secs(1));
    world.join_in("tower", "player-7", "peer-2", r#"{"z":1,"a":2}"#);
    app.post("/v1/rooms/tower/snapshots").await.expect(200);

    let resumed = rejoin(&["resume", "player-7"], &database).await.expect(0);
    let mut served = app.resume("player-7").await.json();
    served["age_seconds"] = json(&resumed.out)["age_seconds"].clone();
    assert_eq!(json(&resumed.out), served);
    let cave = rejoin(&["resume", "player-7", "--room", ROOM], &database)
        .await
        .expect(0);
    assert_eq!(json(&cave.out)["peer_id"], "peer-1");
    rejoin(&["resume", "player-7", "--room", "elsewhere"], &database)
        .await
        .expect(3);

    let history =
        async |more: &[&str]| rejoin(&[&["history", "player-7"], more].concat(), &database).await;
    let all = history(&["--format", "json"]).await.expect(0);
    assert_eq!(
        json(&all.out),
        app.history("player-7").await.json()["snapshots"]
    );
    let table = history(&[]).await.expect(0).out;
    assert!(
        table.contains("in \u{fffd}[31mthe\u{fffd}cave") && !table.contains('\u{1b}'),
        "{table}"
    );
    let csv = history(&["--format", "csv"]).await.expect(0).out;
    insta::assert_snapshot!(csv.lines().next().unwrap(), @"id,user_id,room_id,peer_id,name,role,metadata_raw,tracks,joined_at,first_observed_at,last_observed_at,source");
    assert_eq!(csv.lines().count(), 3);

    let peers = async |more: &[&str]| {
        let rows = json(
            &history(&[&["--format", "json"], more].concat())
                .await
                .expect(0)
                .out,
        );
        rows.as_array()
            .unwrap()
            .iter()
            .map(|row| row["peer_id"].as_str().unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    assert_eq!(peers(&["--room", "tower"]).await, ["peer-2"]);
    assert_eq!(
        peers(&["--since", "2026-12-01T12:00:01Z"]).await,
        ["peer-2"]
    );
    assert_eq!(
        peers(&["--until", "2026-12-01T12:00:01Z"]).await,
        ["peer-1"]
    );
    assert_eq!(peers(&["--at", "2026-12-01T12:00:00.5Z"]).await, ["peer-1"]);
    history(&["--since", "2027-01-01T00:00:00Z"])
        .await
        .expect(3);
    history(&["--since", "yesterday"]).await.expect(2);
    history(&[
        "--at",
        "2026-12-01T12:00:00Z",
        "--since",
        "2026-12-01T12:00:00Z",
    ])
    .await
    .expect(2);
    history(&["--format", "xml"]).await.expect(2);
}

#[tokio::test]
async fn openapi_is_what_the_service_serves() {
    let (_world, app) = World::with_app().await;
    let printed = rejoin(&["openapi"], &[]).await.expect(0);
    assert_eq!(
        json(&printed.out),
        app.get("/openapi.json").await.expect(200).json()
    );
}

#[tokio::test]
async fn completions_are_printed_for_every_shell() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = rejoin(&["completions", shell], &[]).await.expect(0).out;
        assert!(
            script.contains("rejoin") && script.contains("snapshot"),
            "{shell}: {script}"
        );
    }
    rejoin(&["completions", "cmd"], &[]).await.expect(2);
}

/// All of them, as `rejoin --help` lists them.
#[tokio::test]
async fn the_help_of_each_command_has_an_example() {
    let help = rejoin(&["--help"], &[]).await.expect(0).out;
    let listed = help
        .split("Commands:\n")
        .nth(1)
        .unwrap()
        .split("\n\n")
        .next()
        .unwrap();
    let mut commands: Vec<Vec<&str>> = listed
        .lines()
        .filter_map(|line| line.split_whitespace().next())
        .map(|name| vec![name])
        .collect();
    for expected in COMMANDS.iter().chain(&["sim", "demo"]) {
        assert!(commands.contains(&vec![*expected]), "{help}");
    }
    commands.retain(|command| command != &["help"]);
    commands.push(vec!["key", "new"]);
    for command in commands {
        let help = rejoin(&[&command[..], &["--help"]].concat(), &[])
            .await
            .expect(0)
            .out;
        let example = format!("rejoin {}", command.join(" "));
        let examples = help
            .split_once("Example")
            .unwrap_or_else(|| panic!("{help}"))
            .1;
        assert!(examples.contains(&example), "{help}");
    }
    let nothing = rejoin(&[], &[]).await.expect(2);
    assert!(nothing.err.contains("Examples:"), "{}", nothing.err);
}

#[tokio::test]
async fn history_fits_the_terminal_and_resume_takes_what_the_endpoint_takes() {
    let world = World::new().await;
    let app = world.replica(Setup::with_webhooks()).await;
    let join = join_event("peer-1", 0, "saved");
    send_event(&app, &join).await.expect(200);
    let leave = leave_event("peer-1", 0, 1, "websocket closed", &"long ".repeat(50));
    send_event(&app, &leave).await.expect(200);

    let url = world.database.url();
    for columns in ["60", "80", "160"] {
        let variables = [("DATABASE_URL", url), ("COLUMNS", columns)];
        let table = rejoin(&["history", "player-7"], &variables)
            .await
            .expect(0)
            .out;
        let width: usize = columns.parse().unwrap();
        assert!(
            table.lines().all(|line| line.chars().count() <= width),
            "{table}"
        );
        assert_eq!(table.lines().count(), 10, "{table}");
    }
    let database = [("DATABASE_URL", url)];
    let piped = rejoin(&["history", "player-7"], &database)
        .await
        .expect(0)
        .out;
    let caption = format!("room: {ROOM}\npeer: peer-1\nrole: player\nsource: webhook\n");
    assert!(piped.starts_with(&caption), "{piped}");
    assert!(
        piped.contains("2026-12-01 12:00:01Z") && piped.contains("long long"),
        "{piped}"
    );

    let resumed = rejoin(&["resume", "player-7"], &database).await.expect(0);
    let presence = &json(&resumed.out)["presence"];
    assert_eq!(presence["status"], "dropped");
    assert_eq!(presence, &app.resume("player-7").await.json()["presence"]);
    let resume =
        async |more: &[&str]| rejoin(&[&["resume", "player-7"], more].concat(), &database).await;
    resume(&["--only", "dropped"]).await.expect(0);
    resume(&["--max-age", "4000000000"]).await.expect(0);
    resume(&["--exclude-peer", "peer-1"]).await.expect(3);
    resume(&["--only", "connected"]).await.expect(2);
    world.clock.advance(std::time::Duration::from_mins(1));
    send_event(&app, &join_event("peer-1", 30, "back"))
        .await
        .expect(200);
    resume(&["--only", "dropped"]).await.expect(3);
}

#[tokio::test]
async fn csv_tells_null_from_an_empty_text() {
    let world = World::new().await;
    let app = world.replica(Setup::default()).await;
    world.join("player-7", "peer-1", "");
    app.snapshot("peer-1").await.expect(201);
    world.clock.advance(std::time::Duration::from_secs(1));
    world.join_with("player-7", "peer-2", WireMetadata::absent());
    app.snapshot("peer-2").await.expect(201);
    let database = [("DATABASE_URL", world.database.url())];
    let csv = rejoin(&["history", "player-7", "--format", "csv"], &database)
        .await
        .expect(0)
        .out;
    let metadata: Vec<&str> = csv
        .lines()
        .skip(1)
        .map(|line| line.split(',').nth(6).unwrap())
        .collect();
    assert_eq!(metadata, ["", "\"\""], "{csv}");
}

#[tokio::test]
async fn man_pages_and_help_name_every_exit_code() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("man1");
    rejoin(&["man", path.to_str().unwrap()], &[])
        .await
        .expect(0);
    let page = std::fs::read_to_string(path.join("rejoin-resume.1")).unwrap();
    assert!(page.contains("Exit codes: 0 done, 1 anything else, 2 a bad argument or setting, 3 nothing found, 5 the database failed."), "{page}");
    for command in COMMANDS {
        let help = rejoin(&[command, "--help"], &[]).await.expect(0).out;
        assert!(help.contains("Exit codes: 0 "), "{command}: {help}");
        assert!(path.join(format!("rejoin-{command}.1")).exists());
    }
    let bash = rejoin(&["completions", "bash"], &[]).await.expect(0).out;
    for values in [
        "off dropped always",
        "cautious trust",
        "room any",
        "table json csv",
    ] {
        assert!(bash.contains(values), "{values}");
    }
}
