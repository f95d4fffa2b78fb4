//! The integration tests: one binary, against a real Postgres and real HTTP servers.

mod api;
mod databases;
mod embedded;
mod failures;
mod rules;
mod sim;
mod support;
mod upstream;
