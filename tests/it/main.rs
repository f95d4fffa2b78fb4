//! The integration tests: one binary, against a real Postgres and real HTTP servers.

#![allow(
    clippy::disallowed_methods,
    reason = "tests call the service with clients of their own, and read the machine's clock"
)]

mod admin_sql;
mod alarms;
mod api;
mod architecture;
mod commands;
mod compaction;
mod databases;
#[cfg(feature = "demo")]
mod demo;
mod deployment;
mod distributed;
mod documentation;
mod exact;
mod expectations;
mod failures;
mod forwards;
mod ghosts;
mod hot_updates;
mod interrupted;
mod limits;
mod managed;
mod metrics;
mod migrations;
mod partitions;
mod poolers;
mod presence;
mod problems;
mod reconciling;
mod restores;
mod rule_settings;
mod rules;
mod settings;
mod stories;
mod support;
mod traces;
#[cfg(feature = "demo")]
mod tutorial;
mod unseen;
mod upstream;
mod watches;
mod webhooks;
