//! Everything of 100ms's wire: the client of its REST API, and the events that it sends.
//!
//! - `rest`: the client; requests out, answers in.
//! - [`webhook`]: reads events. What they mean for presence is decided in `service`.
//! - `wire`: the one lenient reader of JSON, for answers and events alike.
//! - `error`: why 100ms gave no usable answer, as actions for the caller.
//! - `config`: what the client needs to know.
//!
//! Nothing here knows axum or sqlx, and nothing is stored but the token and the rate limit's gate.

mod config;
mod error;
mod metrics;
mod rest;
#[cfg(test)]
mod tests;
pub mod webhook;
mod wire;

pub(crate) use self::metrics::METRICS;
pub use config::{ClientConfig, Credentials, InvalidConfig, UpstreamRate};
pub use error::{HmsError, TransientError};
pub use rest::{
    ActiveSession, Attendance, Client, Fetched, ListPermit, PeerList, PeerUpdate, Replay,
    ReplayState, Session, SessionPage, UpstreamPeer, authorization,
};
