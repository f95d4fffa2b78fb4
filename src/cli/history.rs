//! `rejoin history`: the history of a user, from the database.

use comfy_table::{ColumnConstraint, ContentArrangement, Row, Table, presets};
use terminal_size::{Width, terminal_size_of};

use super::{Exit, Failure, print_out, store};
use crate::config::DatabaseArgs;
use crate::domain::{Label, RoomId, Snapshot, Timestamp, Tracks, UserId};
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
    /// For people: as wide as the terminal, or as COLUMNS says
    #[default]
    Table,
    /// An array of snapshots, as the HTTP API gives them
    Json,
    /// One row a line, with the exact metadata; null is nothing, and an empty text ""
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
        Format::Table => print_out(&table(&rows, width())),
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

/// A table that fits the terminal, after what is the same in all rows. Metadata
/// is cut, and cannot send escape sequences.
fn table(rows: &[Snapshot], width: Option<u16>) -> String {
    let times: [Column; 2] = [
        ("first observed", |row| seconds(row.first_observed_at)),
        ("last observed", |row| seconds(row.last_observed_at)),
    ];
    let details: [Column; 4] = [
        ("room", |row| row.key.room_id.to_string()),
        ("peer", |row| row.key.peer_id.to_string()),
        ("role", |row| {
            row.role
                .as_ref()
                .map_or_else(String::new, |role| role.as_str().to_owned())
        }),
        ("source", |row| row.source.as_str().to_owned()),
    ];
    let is_constant = |(_, cell): &Column| rows.iter().all(|row| cell(row) == cell(&rows[0]));
    let (constant, varying): (Vec<Column>, Vec<Column>) =
        details.into_iter().partition(is_constant);
    let columns = [
        &times[..],
        &varying,
        &[("metadata", metadata as fn(&Snapshot) -> String)],
    ];
    let columns = columns.concat();
    let caption: Vec<String> = constant
        .iter()
        .map(|(name, cell)| format!("{name}: {}\n", printable(&cell(&rows[0]))))
        .collect();
    let mut table = Table::new();
    table.load_style(presets::UTF8_BORDERS_ONLY);
    if let Some(width) = width {
        table
            .set_content_arrangement(ContentArrangement::Dynamic)
            .set_width(width);
    }
    table.set_header(columns.iter().map(|(name, _)| *name));
    for row in rows {
        let cells = columns.iter().map(|(_, cell)| printable(&cell(row)));
        let mut line = Row::from(cells);
        line.max_height(1);
        table.add_row(line);
    }
    let times = table.column_iter_mut().take(times.len());
    times.for_each(|column| {
        column.set_constraint(ColumnConstraint::ContentWidth);
    });
    format!("{}{table}", caption.concat())
}

/// A column of the table: its name, and what it shows of a row.
type Column = (&'static str, fn(&Snapshot) -> String);

/// A time to the second: the table is for people, and the other formats are exact.
fn seconds(at: Timestamp) -> String {
    at.to_utc().format("%F %TZ").to_string()
}

fn metadata(row: &Snapshot) -> String {
    const SHOWN: usize = 80;
    let raw = row.metadata.raw().unwrap_or("(none)");
    let cut = if raw.chars().nth(SHOWN).is_some() {
        "…"
    } else {
        ""
    };
    raw.chars().take(SHOWN).chain(cut.chars()).collect()
}

/// The width of the output: that of `COLUMNS`, else of the terminal; none where it is a pipe.
fn width() -> Option<u16> {
    let columns = std::env::var("COLUMNS").ok();
    let columns = columns.and_then(|columns| columns.parse().ok());
    columns.filter(|columns| *columns > 0).or_else(|| {
        let (Width(columns), _) = terminal_size_of(std::io::stdout())?;
        Some(columns)
    })
}

fn printable(text: &str) -> String {
    let printable = |character: char| match character {
        character if character.is_control() => '\u{fffd}',
        character => character,
    };
    text.chars().map(printable).collect()
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
    let mut lines = vec![csv_line(header.map(Some))];
    lines.extend(rows.iter().map(|row| {
        csv_line([
            Some(row.id.to_string().as_str()),
            Some(row.key.user_id.as_str()),
            Some(row.key.room_id.as_str()),
            Some(row.key.peer_id.as_str()),
            row.name.as_ref().map(Label::as_str),
            row.role.as_ref().map(Label::as_str),
            row.metadata.raw(),
            row.tracks.as_ref().map(Tracks::as_str),
            row.joined_at.map(|at| at.to_string()).as_deref(),
            Some(&row.first_observed_at.to_string()),
            Some(&row.last_observed_at.to_string()),
            Some(row.source.as_str()),
        ])
    }));
    lines.join("\n")
}

/// One record as RFC 4180 has it, without its line break: fields are quoted where they need it. An
/// empty text is quoted and null is not, as in the CSV of Postgres.
fn csv_line<const N: usize>(fields: [Option<&str>; N]) -> String {
    let fields = fields.map(|field| match field {
        None => String::new(),
        Some(field) if field.is_empty() || field.contains([',', '"', '\r', '\n']) => {
            format!("\"{}\"", field.replace('"', "\"\""))
        }
        Some(field) => field.to_owned(),
    });
    fields.join(",")
}
