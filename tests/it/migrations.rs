//! Migrations: what they may do to a database that is in use.

use std::fs;
use std::path::Path;

use crate::support::postgres;
use crate::support::store::store;

/// The last of those from before the rule. What they block is in `migrations/README.md`.
const LAST_WITHOUT_RULE: &str = "20261125000001_restores.sql";

/// Why a migration may keep readers waiting, if it may.
fn complaint(sql: &str) -> Option<&'static str> {
    let is_comment = |line: &&str| line.trim_start().starts_with("--");
    let lines: Vec<&str> = sql.lines().filter(|line| !is_comment(line)).collect();
    let code = lines.join("\n").to_uppercase();
    let statements = code.split(';').filter(|text| !text.trim().is_empty());
    if sql.starts_with("-- no-transaction") {
        let is_concurrent = code.contains(" CONCURRENTLY ");
        return (statements.count() != 1 || !is_concurrent)
            .then_some("without a transaction there is one statement, which is CONCURRENTLY");
    }
    let Some(timeout) = code.find("SET LOCK_TIMEOUT") else {
        return Some("it sets no lock_timeout");
    };
    if code[..timeout].contains(';') {
        return Some("lock_timeout is not set first");
    }
    statements
        .map(str::trim)
        .find_map(|statement| builds_index(statement, &code))
}

fn builds_index(statement: &str, code: &str) -> Option<&'static str> {
    let is_index = ["CREATE INDEX ", "CREATE UNIQUE INDEX ", "DROP INDEX "]
        .iter()
        .any(|start| statement.starts_with(start));
    let table = statement
        .split_once(" ON ")
        .map(|(_, rest)| rest.split([' ', '(']).next().unwrap_or_default());
    let is_new = table.is_some_and(|table| code.contains(&format!("CREATE TABLE {table} ")));
    (is_index && !is_new).then_some(
        "it builds or drops an index of a table in use; do so CONCURRENTLY, in a file of its own",
    )
}

#[test]
fn new_migrations_keep_nobody_waiting() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("migrations");
    let mut checked = 0;
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap();
        let is_migration = path.extension().is_some_and(|extension| extension == "sql");
        if is_migration && name > LAST_WITHOUT_RULE {
            let complaint = complaint(&fs::read_to_string(&path).unwrap());
            assert_eq!(complaint, None, "{name}");
            checked += 1;
        }
    }
    assert!(checked > 0);
}

#[test]
fn what_the_rule_refuses() {
    for (sql, is_refused) in [
        ("SET lock_timeout = '5s';\nALTER TABLE t ADD c text;", false),
        ("ALTER TABLE t ADD c text;", true),
        ("ALTER TABLE t ADD c text;\nSET lock_timeout = '5s';", true),
        (
            "-- SET lock_timeout = '5s';\nALTER TABLE t ADD c text;",
            true,
        ),
        ("SET lock_timeout = '5s';\nCREATE INDEX i ON t (c);", true),
        ("SET lock_timeout = '5s';\nDROP INDEX i;", true),
        (
            "SET lock_timeout = '5s';\nCREATE TABLE t (\n c text);\nCREATE INDEX i ON t (c);",
            false,
        ),
        (
            "-- no-transaction\nCREATE INDEX CONCURRENTLY i ON t (c);",
            false,
        ),
        ("-- no-transaction\nDROP INDEX CONCURRENTLY i;", false),
        ("-- no-transaction\nCREATE INDEX i ON t (c);", true),
        (
            "-- no-transaction\nDROP INDEX CONCURRENTLY i;\nCREATE INDEX CONCURRENTLY j ON t (c);",
            true,
        ),
    ] {
        assert_eq!(complaint(sql).is_some(), is_refused, "{sql}");
    }
}

#[tokio::test]
async fn an_index_whose_build_was_interrupted_is_built_again() {
    let database = postgres::database().await;
    let pool = database.pool().await;
    for statement in [
        "UPDATE pg_index SET indisvalid = false WHERE indexrelid IN (
             SELECT oid FROM pg_class WHERE relname IN ('peers_live', 'peers_live_in_room', 'session_ends_to_check', 'forwards_failing', 'peers_ended', 'snapshots_default_by_time', 'peers_ended_with_session', 'forwards_aside_by_room'))",
        "DELETE FROM _sqlx_migrations WHERE version >= 20261126000031 AND version <= 20261126000033 OR version IN (20261126000061, 20261127000031, 20261127002001, 20261127002201, 20261127003000)",
    ] {
        sqlx::query(statement).execute(&pool).await.unwrap();
    }
    let store = store(database.url());
    store.migrate().await.unwrap();
    let invalid = "SELECT count(*) FROM pg_index WHERE NOT indisvalid";
    let all = "SELECT count(*) FROM pg_class WHERE relname IN ('peers_live', 'peers_live_in_room', 'session_ends_to_check', 'forwards_failing', 'peers_ended', 'snapshots_default_by_time', 'peers_ended_with_session', 'forwards_aside_by_room')";
    for (query, expected) in [(invalid, 0), (all, 8)] {
        let count: i64 = sqlx::query_scalar(query).fetch_one(&pool).await.unwrap();
        assert_eq!(count, expected, "{query}");
    }
}

#[test]
fn every_index_that_is_built_concurrently_can_be_built_again() {
    let schema = include_str!("../../src/store/schema.rs");
    for entry in fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("migrations")).unwrap() {
        let sql = fs::read_to_string(entry.unwrap().path()).unwrap();
        if let Some((_, rest)) = sql.split_once("\nCREATE INDEX CONCURRENTLY ") {
            let name = rest
                .strip_prefix("IF NOT EXISTS ")
                .expect("it may run twice");
            let name = name.split(' ').next().unwrap();
            assert!(schema.contains(&format!("\"{name}\"")), "{name}");
        }
    }
}
