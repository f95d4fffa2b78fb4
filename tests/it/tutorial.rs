//! The commands of the tutorial, as they stand there, in an empty directory; on free ports.

use std::net::TcpListener;
use std::path::Path;
use std::process::Command;

const PAGE: &str = include_str!("../../docs/tutorial.md");

/// The commands, from the first in the empty directory on: what comes before installs the program.
fn commands() -> String {
    let blocks = PAGE.split("```sh\n").skip(2);
    let blocks = blocks.map(|rest| rest.split("```").next().unwrap());
    blocks.collect::<Vec<_>>().join("\n")
}

fn free_address() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().to_string()
}

#[test]
fn a_player_who_follows_the_tutorial_gets_both_states_back() {
    let (sim, service) = (free_address(), free_address());
    let commands = commands()
        .replace("rejoin sim", &format!("rejoin sim --listen {sim}"))
        .replace("rejoin serve", &format!("rejoin serve --listen {service}"))
        .replace("127.0.0.1:8100", &sim)
        .replace("127.0.0.1:8080", &service)
        // What has to have happened after some seconds may take longer on a busy machine.
        .replace("sleep 3\n", &format!("for i in $(seq 60); do curl -s http://{sim}/control/state | grep -q 'fourth.*owl.*second' && break; sleep 1; done\n"))
        .replace("do sleep 1; done", "do kill -0 $serve || exit 1; sleep 1; done");
    let directory = tempfile::tempdir().unwrap();
    let programs = Path::new(env!("CARGO_BIN_EXE_rejoin")).parent().unwrap();
    let path = format!("{}:{}", programs.display(), std::env::var("PATH").unwrap());
    // Whatever happens, nothing is left running.
    let script = format!("trap 'kill $sim $serve 2>/dev/null' EXIT\n{commands}");
    let output = Command::new("bash")
        .args(["-c", &script])
        .current_dir(&directory)
        .env("PATH", path)
        .env_remove("DATABASE_URL")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    let shown = format!("{said}\n{}", String::from_utf8_lossy(&output.stderr));
    assert!(
        said.contains(r#""metadata":{"level":4,"hp":71},"metadata_raw""#),
        "{shown}"
    );
    assert!(said.contains(r#""restored":true"#), "{shown}");
    assert!(said.contains("│ "), "no history: {shown}");
    let state = said.lines().last().unwrap();
    let (_, fourth) = state
        .split_once(r#""fourth":"#)
        .unwrap_or_else(|| panic!("{shown}"));
    let metadata = fourth.split("\"name\"").next().unwrap();
    assert!(metadata.contains("owl"), "{shown}");
    assert!(
        !directory.path().join("rejoin-tutorial").exists(),
        "{shown}"
    );
}
