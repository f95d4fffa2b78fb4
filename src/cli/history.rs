//! `rejoin history`: the history of a user, from the database.

use comfy_table::{ContentArrangement, Table, presets};

use super::{Exit, Failure, print_out, store};
use crate::config::DatabaseArgs;
use crate::domain::{RoomId, Snapshot, Timestamp, UserId};
use crate::http::json::SnapshotJson;
use crate::store::{HistoryQuery, Span, Store};

const EXAMPLES: &str = "Examples:
  rejoin history player-7
  rejoin history player-7 --at 2026-03-01T14:03:00Z
  rejoin history player-7 --since 2026-03-01T00:00:00Z --format csv > player-7.csv";

/// Print the history of a user, newest first
#[derive(clap::Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    /// The user
    #[arg(value_name = "USER_ID")]
    user: UserId,
    /// Only of peers in this room
    #[arg(long, value_name = "ROOM_ID")]
    room: Option<RoomId>,
    /// Only what was first observed from this time on
    #[arg(long, value_name = "TIME")]
    since: Option<Timestamp>,
    /// Only what was first observed before this time
    #[arg(long, value_name = "TIME")]
    until: Option<Timestamp>,
    /// What was current at this time, one row for each peer
    #[arg(long, value_name = "TIME", conflicts_with_all = ["since", "until"])]
    at: Option<Timestamp>,
    /// How to print it
    #[arg(long, value_enum, default_value_t)]
    format: Format,
    #[command(flatten)]
    database: DatabaseArgs,
}

#[derive(clap::ValueEnum, Debug, Clone, Copy, Default)]
enum Format {
    /// For people; long metadata is cut
    #[default]
    Table,
    /// An array of snapshots, as the HTTP API gives them
    Json,
    /// One row a line, with the exact metadata
    Csv,
}

const PAGE: u16 = 500;

pub(super) async fn run(args: Args) -> Result<Exit, Failure> {
    let store = store(&args.database)?;
    let format = args.format;
    let rows = rows(&store, args).await?;
    if rows.is_empty() {
        return Err(Failure::new(
            Exit::NothingFound,
            "there is no such history of this user",
        ));
    }
    match format {
        Format::Table => print_out(&table(&rows)),
        Format::Json => {
            super::print_json(&rows.into_iter().map(SnapshotJson::from).collect::<Vec<_>>())
        }
        Format::Csv => print_out(&csv(&rows)),
    }
}

async fn rows(store: &Store, args: Args) -> Result<Vec<Snapshot>, Failure> {
    let span = match args.at {
        Some(at) => Span::At(at),
        None => Span::Between {
            since: args.since,
            until: args.until,
        },
    };
    let mut query = HistoryQuery {
        user_id: args.user,
        room_id: args.room,
        peer_id: None,
        span,
        limit: PAGE,
        after: None,
    };
    let mut rows = Vec::new();
    loop {
        let page = store.history(&query).await?;
        rows.extend(page.snapshots);
        query.after = page.next;
        if query.after.is_none() {
            return Ok(rows);
        }
    }
}

/// A table that a terminal can show: metadata is cut, and cannot send escape sequences.
fn table(rows: &[Snapshot]) -> String {
    const SHOWN: usize = 80;
    let mut table = Table::new();
    table
        .load_style(presets::UTF8_BORDERS_ONLY)
        .set_content_arrangement(ContentArrangement::Dynamic);
    table.set_header([
        "first observed",
        "last observed",
        "room",
        "peer",
        "role",
        "source",
        "metadata",
    ]);
    for row in rows {
        let raw = row.metadata.raw().unwrap_or("(none)");
        let cut = if raw.chars().nth(SHOWN).is_some() {
            "…"
        } else {
            ""
        };
        let metadata: String = raw
            .chars()
            .take(SHOWN)
            .map(printable)
            .chain(cut.chars())
            .collect();
        table.add_row([
            row.first_observed_at.to_string(),
            row.last_observed_at.to_string(),
            row.key.room_id.to_string(),
            row.key.peer_id.to_string(),
            row.role.as_ref().map_or_else(String::new, |role| {
                role.as_str().chars().map(printable).collect()
            }),
            row.source.as_str().to_owned(),
            metadata,
        ]);
    }
    table.to_string()
}

fn printable(character: char) -> char {
    if character.is_control() {
        '\u{fffd}'
    } else {
        character
    }
}

fn csv(rows: &[Snapshot]) -> String {
    let header = [
        "id",
        "user_id",
        "room_id",
        "peer_id",
        "name",
        "role",
        "metadata_raw",
        "tracks",
        "joined_at",
        "first_observed_at",
        "last_observed_at",
        "source",
    ];
    let mut lines = vec![csv_line(header)];
    lines.extend(rows.iter().map(|row| {
        csv_line([
            row.id.to_string().as_str(),
            row.key.user_id.as_str(),
            row.key.room_id.as_str(),
            row.key.peer_id.as_str(),
            row.name.as_ref().map_or("", |name| name.as_str()),
            row.role.as_ref().map_or("", |role| role.as_str()),
            row.metadata.raw().unwrap_or_default(),
            row.tracks.as_ref().map_or("", |tracks| tracks.as_str()),
            &row.joined_at.map(|at| at.to_string()).unwrap_or_default(),
            &row.first_observed_at.to_string(),
            &row.last_observed_at.to_string(),
            row.source.as_str(),
        ])
    }));
    lines.join("\n")
}

/// One record as RFC 4180 has it, without its line break: fields are quoted where they need it.
fn csv_line<const N: usize>(fields: [&str; N]) -> String {
    let fields = fields.map(|field| {
        if field.contains([',', '"', '\r', '\n']) {
            format!("\"{}\"", field.replace('"', "\"\""))
        } else {
            field.to_owned()
        }
    });
    fields.join(",")
}
