//! Tables that Citus distributes by user. There is no Citus here: its catalogue is imitated, and both forms of the
//! statements run on one server.

mod forms;
mod restricts;

use serde_json::json;

use crate::support::command::{rejoin, settings};
use crate::support::postgres::{self, Database};
use crate::support::program::{Program, Upstream};

/// As if Citus had distributed the tables.
async fn pretend_to_be_distributed(database: &Database) {
    let mut connection = database.pool().await.acquire().await.unwrap();
    for statement in [
        "SET allow_system_table_mods = on",
        "CREATE TABLE pg_catalog.pg_dist_partition (logicalrelid regclass, partmethod \"char\")",
        "INSERT INTO pg_dist_partition VALUES ('peers', 'h')",
        "CREATE TABLE pg_catalog.pg_dist_node (nodename text, nodeport integer, isactive boolean, noderole text)",
        "INSERT INTO pg_dist_node VALUES ('one', 5432, true, 'primary'), ('two', 5432, true, 'primary')",
        "CREATE FUNCTION pg_catalog.citus_check_connection_to_node(text, integer) RETURNS boolean
         LANGUAGE sql AS 'SELECT $2 <> 1'",
        "CREATE FUNCTION pg_catalog.citus_is_coordinator() RETURNS boolean LANGUAGE sql AS 'SELECT true'",
        "RESET allow_system_table_mods",
    ] {
        sqlx::query(statement)
            .execute(&mut *connection)
            .await
            .unwrap();
    }
}

#[tokio::test]
async fn without_citus_nothing_is_distributed() {
    let database = postgres::empty_database().await;
    let variables = [("DATABASE_URL", database.url())];
    let distribute = ["migrate", "--distribute", "--shards", "8"];
    let ended = rejoin(&distribute, &variables).await.expect(5);
    let sentence = "the database has no Citus: install it on each node, and run CREATE EXTENSION \
                    citus in this database there";
    assert!(ended.err.contains(sentence), "{}", ended.err);
    rejoin(&["migrate", "--shards", "8"], &variables)
        .await
        .expect(2);
}

#[tokio::test]
async fn the_service_notices_that_tables_are_distributed_and_which_node_is_down() {
    let (database, upstream) = (postgres::database().await, Upstream::start().await);
    pretend_to_be_distributed(&database).await;
    let program = Program::start(&[], &settings(database.url(), &upstream)).await;
    let ready = async || program.app().get("/health/ready").await.expect(200).json();
    assert_eq!(
        ready().await,
        json!({"status": "ok", "database": "distributed"})
    );
    let pool = database.pool().await;
    sqlx::query("UPDATE pg_dist_node SET nodeport = 1 WHERE nodename = 'two'")
        .execute(&pool)
        .await
        .unwrap();
    assert_eq!(
        ready().await,
        json!({"status": "degraded", "database": "distributed", "nodes_down": ["two:1"]})
    );
    let (_, said) = program.stop().await;
    assert!(said.contains("tables distributed by Citus"), "{said}");
}

#[tokio::test]
async fn a_worker_of_a_cluster_is_refused_in_one_sentence() {
    let (database, upstream) = (postgres::database().await, Upstream::start().await);
    pretend_to_be_distributed(&database).await;
    let worker = "CREATE OR REPLACE FUNCTION pg_catalog.citus_is_coordinator() RETURNS boolean
                  LANGUAGE sql AS 'SELECT false'";
    let pool = database.pool().await;
    sqlx::query(worker).execute(&pool).await.unwrap();
    let ended = rejoin(&["serve"], &settings(database.url(), &upstream)).await;
    let ended = ended.expect(5);
    let sentence = "a worker of a Citus cluster: DATABASE_URL should lead to the coordinator";
    assert!(ended.err.contains(sentence), "{}", ended.err);
}
