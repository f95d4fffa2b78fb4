//! Tables that Citus distributes by user. There is no Citus here: its catalogue is imitated, and both forms of the
//! statements run on one server.

use crate::support::command::{rejoin, settings};
use crate::support::postgres::{self, Database};
use crate::support::program::Upstream;

/// As if Citus had distributed the tables.
async fn pretend_to_be_distributed(database: &Database) {
    let mut connection = database.pool().await.acquire().await.unwrap();
    for statement in [
        "SET allow_system_table_mods = on",
        "CREATE TABLE pg_catalog.pg_dist_partition (logicalrelid regclass, partmethod \"char\")",
        "INSERT INTO pg_dist_partition VALUES ('peers', 'h')",
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
async fn the_service_refuses_tables_that_it_cannot_serve() {
    let (database, upstream) = (postgres::database().await, Upstream::start().await);
    pretend_to_be_distributed(&database).await;
    let ended = rejoin(&["serve"], &settings(database.url(), &upstream)).await;
    let sentence = "the tables are distributed by Citus";
    assert!(ended.err.contains(sentence), "{}", ended.err);
    ended.expect(5);
}
