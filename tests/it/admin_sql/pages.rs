//! The pages of SQL: every block runs as it is, and answers what the page promises.

use std::collections::BTreeMap;

use serde_json::value::RawValue;
use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, PgConnection};

use super::odd_rows;
use super::roles::Roles;
use crate::support::store::saved_state;

pub(super) const OPERATIONS: &str = include_str!("../../../docs/operations.md");
const ADMIN_SQL: &str = include_str!("../../../docs/admin-sql.md");

/// The SQL blocks of a page, each with its heading.
fn blocks(page: &str) -> Vec<(&str, String)> {
    let (mut found, mut heading, mut open) = (Vec::new(), "", None::<String>);
    for line in page.lines() {
        match &mut open {
            Some(sql) if line.starts_with("```") => {
                found.push((heading, std::mem::take(sql)));
                open = None;
            }
            Some(sql) => *sql = format!("{sql}{line}\n"),
            None if line == "```sql" => open = Some(String::new()),
            None => heading = line.strip_prefix("## ").unwrap_or(heading),
        }
    }
    found
}

/// The SQL blocks under a heading.
pub(super) fn sql(page: &str, heading: &str) -> Vec<String> {
    let found: Vec<String> = blocks(page)
        .into_iter()
        .filter(|(of, _)| *of == heading)
        .map(|(_, sql)| sql)
        .collect();
    assert!(!found.is_empty(), "no SQL under {heading:?}");
    found
}

/// The rows of a query, each as a JSON object by column.
async fn rows(connection: &mut PgConnection, sql: &str) -> Vec<Value> {
    // First as it is; then as JSON, which also reads every column.
    sqlx::raw_sql(AssertSqlSafe(sql.to_owned()))
        .execute(&mut *connection)
        .await
        .unwrap_or_else(|e| panic!("{sql}: {e}"));
    let wrapped = format!(
        "SELECT to_jsonb(answer)::text FROM ({}) AS answer",
        sql.trim_end().trim_end_matches(';')
    );
    let rows: Vec<String> = sqlx::query_scalar(AssertSqlSafe(wrapped))
        .fetch_all(connection)
        .await
        .unwrap_or_else(|error| panic!("{sql}: {error}"));
    rows.iter().map(|row| read(row)).collect()
}

/// Reads a row. A number with more digits than this JSON parser accepts becomes its text.
fn read(row: &str) -> Value {
    let columns: BTreeMap<String, Box<RawValue>> =
        serde_json::from_str(row).expect("Postgres writes JSON");
    let value =
        |raw: &RawValue| serde_json::from_str(raw.get()).unwrap_or_else(|_| Value::from(raw.get()));
    columns
        .into_iter()
        .map(|(name, raw)| (name, value(&raw)))
        .collect()
}

async fn answer(connection: &mut PgConnection, heading: &str) -> Vec<Value> {
    let [sql] =
        <[String; 1]>::try_from(sql(ADMIN_SQL, heading)).expect("one query under each question");
    rows(connection, &sql).await
}

/// These columns of each row.
fn columns(rows: &[Value], names: &[&str]) -> Vec<Value> {
    rows.iter()
        .map(|row| names.iter().map(|&name| row[name].clone()).collect())
        .collect()
}

#[tokio::test]
async fn every_query_runs_as_the_reader_and_finds_something() {
    let roles = Roles::new().await;
    odd_rows::save(&roles.store("rejoin_service")).await;
    let mut reader = roles.connect(Some("rejoin_reader")).await;
    let blocks = blocks(ADMIN_SQL);
    assert!(blocks.len() > 15);
    for (heading, sql) in blocks {
        assert!(
            !rows(&mut reader, &sql).await.is_empty(),
            "{heading}: no row"
        );
    }
}

#[tokio::test]
#[expect(
    clippy::too_many_lines,
    reason = "each query of the page, one after the other"
)]
async fn the_answers_are_the_ones_promised() {
    let roles = Roles::new().await;
    odd_rows::save(&roles.store("rejoin_service")).await;
    let reader = &mut roles.connect(Some("rejoin_reader")).await;

    let state = answer(reader, "What would this user resume?").await;
    let cave_3 = json!({"checkpoint": "cave-3", "hp": 71});
    assert_eq!(
        columns(&state, &["peer_id", "metadata"]),
        [json!(["old-7", cave_3])]
    );

    let dropped = answer(reader, "Who dropped to what state?").await;
    let drops_of_peers = columns(
        &dropped,
        &["user_id", "peer_id", "reason", "state_of", "metadata"],
    );
    assert_eq!(
        drops_of_peers,
        [json!([
            "player-7",
            "old-7",
            "websocket closed",
            "old-7",
            cave_3
        ])]
    );

    let connected = answer(reader, "Who is connected now?").await;
    assert_eq!(
        columns(&connected, &["room_id", "peers", "users"]),
        [json!(["cave", 1, 1])]
    );

    let drops = answer(reader, "Who dropped most, and why?").await;
    assert_eq!(
        columns(&drops, &["user_id", "drops"]),
        [json!(["player-7", 1])]
    );

    let away = answer(reader, "How long were they away?").await;
    assert_eq!(
        columns(&away, &["away", "came_back_as"]),
        [json!(["-00:00:30", "new-7"])]
    );

    let until = answer(reader, "How long until they had their state back?").await;
    assert_eq!(
        columns(&until, &["kind", "resumes", "half_within"]),
        [
            json!(["restore", 1, "00:00:40"]),
            json!(["claim", 1, "00:00:30"])
        ]
    );
    let failed = answer(reader, "Which restores failed, and why?").await;
    assert_eq!(
        columns(&failed, &["user_id", "problem"]),
        [json!(["player-7", "upstream-unavailable"])]
    );
    let claims = answer(reader, "Who has claimed this user's state?").await;
    assert_eq!(
        columns(&claims, &["claimed_by", "requested_by"]),
        [json!(["server-1", "game"])]
    );
    let of_seven = answer(reader, "What happened to this user's drops?").await;
    let outcomes = ["claimed", "failed", "restored"].map(|outcome| json!([outcome, cave_3]));
    assert_eq!(columns(&of_seven, &["outcome", "metadata"]), outcomes);

    let last_observed = answer(
        reader,
        "Who was last observed some time ago, and with what state?",
    )
    .await;
    let seven: Vec<Value> = last_observed
        .into_iter()
        .filter(|row| row["user_id"] == "player-7")
        .collect();
    assert_eq!(
        columns(&seven, &["last_peer", "state_of", "metadata"]),
        [json!(["new-7", "old-7", cave_3])]
    );

    let twice = answer(reader, "Who is present twice?").await;
    assert_eq!(
        columns(&twice, &["user_id", "peer_ids"]),
        [json!(["player-7", ["old-7", "new-7"]])]
    );

    let then = answer(reader, "What did this user have at 14:03?").await;
    assert_eq!(
        columns(&then, &["peer_id", "metadata"]),
        [json!(["old-7", cave_3])]
    );

    let changes = answer(reader, "Which keys changed from one row to the next?").await;
    let of_hp: Vec<Value> = changes
        .into_iter()
        .filter(|row| row["key"] == "hp")
        .collect();
    // 85 arrived out of order, and splits the row of 90.
    assert_eq!(
        columns(&of_hp, &["before", "after"]),
        [
            json!([null, 90]),
            json!([90, 85]),
            json!([85, 90]),
            json!([90, 71])
        ]
    );

    let microphone = answer(reader, "Was the microphone muted at 14:03?").await;
    assert_eq!(
        columns(&microphone, &["track_id", "muted"]),
        [json!(["mic", "true"])]
    );

    let on_stage = answer(reader, "Who was on stage between 14:00 and 14:10?").await;
    assert_eq!(columns(&on_stage, &["user_id"]), [json!(["host-1"])]);

    let weak = answer(reader, "Who has little health left?").await;
    assert_eq!(
        columns(&weak, &["user_id", "hp"]),
        [json!(["player-7", 71])]
    );

    let cleared = answer(reader, "Who has nothing to resume because it was cleared?").await;
    assert_eq!(columns(&cleared, &["user_id"]), [json!(["cleared-1"])]);
    let before = answer(reader, "What did they have before it was cleared?").await;
    assert_eq!(columns(&before, &["metadata"]), [json!([{"coins": 3}])]);

    let never = answer(reader, "Who was observed, but never had metadata?").await;
    assert_eq!(
        columns(&never, &["user_id"]),
        [json!(["empty-null"]), json!(["empty-text"])]
    );

    let odd = answer(reader, "Whose metadata is not JSON?").await;
    assert_eq!(
        columns(&odd, &["user_id", "why"]),
        [
            json!(["odd-bell", "is not JSON for Postgres"]),
            json!(["odd-deep", "is not JSON for Postgres"]),
            json!(["odd-escaped-nul", "is not JSON for Postgres"]),
            json!(["odd-exponent", "is not JSON for Postgres"]),
            json!(["odd-half-pair", "is not JSON for Postgres"]),
            json!(["odd-nul", "holds a NUL"]),
            json!(["odd-text", "is not JSON for Postgres"]),
        ]
    );

    let largest = answer(reader, "Whose metadata is the largest?").await;
    assert_eq!(
        columns(&largest[..1], &["user_id", "bytes"]),
        [json!(["odd-deep", 200_000])]
    );

    let months = answer(reader, "How much history does each partition have?").await;
    let names: Vec<&str> = months
        .iter()
        .filter_map(|row| row["partition"].as_str())
        .collect();
    assert!(
        names.contains(&"snapshots_2026_03") && names.contains(&"snapshots_default"),
        "{names:?}"
    );
}

#[tokio::test]
async fn a_partition_is_dropped_as_the_page_says() {
    let roles = Roles::new().await;
    let store = roles.store("rejoin_service");
    let user = odd_rows::save(&store).await;
    for block in sql(OPERATIONS, "Dropping history") {
        roles.run(Some("rejoin_owner"), &block).await.unwrap();
    }
    let left: i64 = sqlx::query_scalar("SELECT count(*) FROM snapshots")
        .fetch_one(&mut roles.connect(None).await)
        .await
        .unwrap();
    assert_eq!(left, 0);
    // The state stays, and peers that are observed again are saved again.
    assert!(saved_state(&store, &user).await.is_some());
    odd_rows::save(&store).await;
}
