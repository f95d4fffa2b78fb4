//! The integration tests: one binary, against a real Postgres and real HTTP servers.

mod databases;
mod embedded;
mod support;
