//! The integration tests: one binary, against a real Postgres and real HTTP servers.

mod databases;
mod embedded;
mod rules;
mod settings;
mod sim;
mod support;
mod upstream;
