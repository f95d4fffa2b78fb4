//! The integration tests: one binary, against a real Postgres and real HTTP servers.

mod admin_sql;
mod databases;
mod embedded;
mod rules;
mod sim;
mod support;
mod upstream;
