//! The integration tests: one binary, against a real Postgres and real HTTP servers.

mod databases;
mod demo;
mod embedded;
mod rules;
mod sim;
mod support;
mod upstream;
