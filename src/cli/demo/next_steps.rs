//! What to try next: lines to paste into another terminal.

use super::environment::Environment;
use super::page::Page;
use super::steps::{ROOM, USER, resume_path, snapshots_of, snapshots_of_room};
use super::story::Ending;

/// Prints the lines.
pub(super) fn show(environment: &Environment, page: &Page, ending: &Ending) {
    page.title("Now you. It all stays up until Ctrl-C; paste these into another terminal.");
    let resume = resume_path();
    let blocks = [
        (
            "Where everything is, and the key:",
            vec![
                format!("KEY={}", environment.key()),
                format!("REJOIN={}", environment.rejoin_url()),
                format!("SIM={}/control", environment.hms_url()),
                format!("PEER={}", ending.peer),
            ],
        ),
        (
            "Ada's state, and her history:",
            vec![
                with_key("", &resume),
                with_key("", &format!("/v1/users/{USER}/snapshots?limit=3")),
            ],
        ),
        (
            "Change her state at 100ms, and have it saved (her peer, or the whole room):",
            vec![
                format!("curl -s -X PUT $SIM/rooms/{ROOM}/peers/$PEER/metadata \\"),
                r#"  -d '{"metadata": "{\"level\":6}"}'; echo"#.to_owned(),
                with_key("-X POST ", &snapshots_of("$PEER")),
                with_key("-X POST ", &snapshots_of_room()),
            ],
        ),
        (
            "Drop her, and let her come back. (After 60 s 100ms reports the drop, and her state is restored automatically.)",
            vec![
                format!("curl -s -X POST $SIM/rooms/{ROOM}/peers/$PEER/drop; echo"),
                format!(
                    "curl -s -X POST $SIM/rooms/{ROOM}/peers -d '{{\"user_id\": \"{USER}\"}}'; echo"
                ),
                "curl -s $SIM/state; echo".to_owned(),
            ],
        ),
        (
            "Or put it back at once, on the peer that is printed first, claimed by one server only:",
            vec![
                format!(
                    "NEW=$(curl -s -X POST $SIM/rooms/{ROOM}/peers -d '{{\"user_id\": \"{USER}\"}}' \\"
                ),
                r#"  | sed 's/.*"id":"\([^"]*\)".*/\1/'); echo $NEW"#.to_owned(),
                "curl -s -X POST -H \"Authorization: Bearer $KEY\" \\".to_owned(),
                format!(
                    "  -d '{{\"room_id\": \"{ROOM}\", \"peer_id\": \"'$NEW'\", \"claimed_by\": \"server-1\"}}' \\"
                ),
                format!("  \"$REJOIN{resume}\"; echo"),
            ],
        ),
        (
            "The database, as admins see it:",
            vec![
                format!("export DATABASE_URL='{}'", environment.database_url()),
                "psql \"$DATABASE_URL\" -xc 'SELECT * FROM resume_state'".to_owned(),
            ],
        ),
    ];
    for (what, lines) in blocks {
        page.text("");
        page.text(what);
        for line in lines {
            page.verbatim(&line);
        }
    }
    page.text("");
    page.text(&format!(
        "All of the API, in a browser: {}/docs",
        environment.rejoin_url()
    ));
}

/// A call to rejoin.
fn with_key(method: &str, path: &str) -> String {
    format!("curl -s {method}-H \"Authorization: Bearer $KEY\" \\\n  \"$REJOIN{path}\"; echo")
}
