//! The integration tests: one binary, against a real Postgres and real HTTP servers.

mod sim;
