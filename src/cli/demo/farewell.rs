//! What to try next: lines to paste into another terminal.

use super::page::Page;
use super::stage::Stage;
use super::steps::{ROOM, USER, resume_path, snapshots_of, snapshots_of_room};
use super::story::Present;

/// Prints the lines.
pub(super) fn say(stage: &Stage, page: &Page, present: &Present) {
    let (rejoin, hms, peer) = (stage.rejoin_url(), stage.hms_url(), &present.peer);
    page.title("Now you. It all stays up until Ctrl-C; paste these into another terminal.");
    let blocks = [
        ("First the key:", vec![format!("KEY={}", stage.key())]),
        ("Ada's state, and her history:", vec![get(&format!("{rejoin}{}", resume_path())), get(&history(&rejoin))]),
        (
            "Change her state at 100ms, and have it kept (one peer, or the whole room):",
            vec![
                format!(
                    "curl -s -X PUT \\\n  '{hms}/control/rooms/{ROOM}/peers/{peer}/metadata' \\\n  \
                     -d '{{\"metadata\": \"{{\\\"level\\\":6}}\"}}'; echo"
                ),
                post(&format!("{rejoin}{}", snapshots_of(peer))),
                post(&format!("{rejoin}{}", snapshots_of_room())),
            ],
        ),
        (
            "Drop her, let her come back, and look at the rooms (the ghost stays for 60 s):",
            vec![
                format!("curl -s -X POST \\\n  '{hms}/control/rooms/{ROOM}/peers/{peer}/drop'; echo"),
                format!("curl -s -X POST '{hms}/control/rooms/{ROOM}/peers' -d '{{\"user_id\": \"{USER}\"}}'; echo"),
                format!("curl -s '{hms}/control/state'; echo"),
            ],
        ),
        (
            "The database, as admins see it:",
            vec![
                format!("export DATABASE_URL={}", stage.database_url()),
                "psql \"$DATABASE_URL\" -c 'SELECT * FROM resume_state'".to_owned(),
            ],
        ),
    ];
    for (what, lines) in blocks {
        page.text("");
        page.text(what);
        for line in &lines {
            page.verbatim(line);
        }
    }
    page.text("");
    page.text(&format!("All of the API, in a browser: {rejoin}/docs"));
}

fn history(rejoin: &str) -> String {
    format!("{rejoin}/v1/users/{USER}/snapshots?limit=3")
}

fn get(url: &str) -> String {
    format!("curl -s -H \"Authorization: Bearer $KEY\" \\\n  '{url}'; echo")
}

fn post(url: &str) -> String {
    format!("curl -s -X POST -H \"Authorization: Bearer $KEY\" \\\n  '{url}'; echo")
}
