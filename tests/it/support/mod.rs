//! What scenarios share: databases, a simulated 100ms, replicas and programs, and ways to break
//! them.
//!
//! `tests/README.md` says which is for what.

mod clock;
pub(crate) mod command;
pub(crate) mod documented;
pub(crate) mod generated;
pub(crate) mod logs;
pub(crate) mod pgbouncer;
pub(crate) mod postgres;
pub(crate) mod problem;
pub(crate) mod program;
pub(crate) mod proxy;
pub(crate) mod raw;
mod replica;
pub(crate) mod scrape;
pub(crate) mod scripted;
pub(crate) mod store;
pub(crate) mod temp;
pub(crate) mod wait;
pub(crate) mod webhooks;
pub(crate) mod world;
