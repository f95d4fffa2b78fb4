//! Each form for one user restricts every table that is distributed to that user, as the plan of Postgres has it: so it goes to
//! one node.

use std::fs;
use std::path::Path;

use serde_json::Value;
use sqlx::postgres::PgConnection;
use sqlx::{AssertSqlSafe, Connection, Executor};

use crate::support::postgres;

const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/src/store/queries/one_user");

/// Whether Citus distributes this table, or the table that it is a partition of.
fn is_distributed(table: &str) -> bool {
    ["peers", "resumes", "announced_states"].contains(&table) || table.starts_with("snapshots")
}

/// The parts of a plan that read or write a table, with the table.
fn parts<'a>(plan: &'a Value, found: &mut Vec<(&'a str, &'a Value)>) {
    if let Some(table) = plan["Relation Name"].as_str() {
        found.push((table, plan));
    }
    for part in plan["Plans"].as_array().into_iter().flatten() {
        parts(part, found);
    }
}

/// Whether the part reads rows of the first parameter's user alone, or writes what another part has read.
fn is_restricted(part: &Value, sql: &str) -> bool {
    if part["Node Type"] == "ModifyTable" {
        return part["Operation"] != "Insert" || sql.contains("VALUES ($1");
    }
    let conditions = ["Index Cond", "Filter", "Recheck Cond"];
    conditions.iter().any(|name| {
        let condition = part[*name].as_str().unwrap_or_default();
        condition.contains("user_id = $1") || condition.contains("user_id)::text = $1")
    })
}

async fn plan(connection: &mut PgConnection, sql: &str) -> Value {
    let prepare = AssertSqlSafe(format!("PREPARE checked AS {sql}"));
    connection.execute(prepare).await.unwrap();
    let types = "SELECT array_length(parameter_types, 1) FROM pg_prepared_statements WHERE name = 'checked'";
    let parameters: i32 = sqlx::query_scalar(types)
        .fetch_one(&mut *connection)
        .await
        .unwrap();
    let nulls = vec!["NULL"; parameters.unsigned_abs() as usize].join(", ");
    let explain = format!("EXPLAIN (FORMAT JSON) EXECUTE checked({nulls})");
    let plan: Value = sqlx::query_scalar(AssertSqlSafe(explain))
        .fetch_one(&mut *connection)
        .await
        .unwrap();
    connection.execute("DEALLOCATE checked").await.unwrap();
    plan[0]["Plan"].clone()
}

#[tokio::test]
async fn each_form_for_one_user_reads_and_writes_rows_of_that_user_alone() {
    let database = postgres::database().await;
    let mut connection = PgConnection::connect(database.url()).await.unwrap();
    connection
        .execute("SET plan_cache_mode = force_generic_plan")
        .await
        .unwrap();
    let mut checked = 0;
    for file in fs::read_dir(Path::new(FOLDER)).unwrap() {
        let path = file.unwrap().path();
        let sql = fs::read_to_string(&path).unwrap();
        let plan = plan(&mut connection, &sql).await;
        let mut found = Vec::new();
        parts(&plan, &mut found);
        for (table, part) in found {
            if is_distributed(table) {
                assert!(is_restricted(part, &sql), "{}: {part:#}", path.display());
                checked += 1;
            }
        }
    }
    assert!(checked > 30, "{checked}");
}
