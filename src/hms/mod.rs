//! The client of 100ms's REST API: peers in, [`HmsError`]s that say what to do out.
//!
//! `client` has one method per question, `send` the one way a request leaves the process (token, retries, rate limit, body
//! caps), `token` the management token, `limits` the gate that a 429 closes, `peer` the reading of peers, `url` the paths.
//! Knows neither axum nor sqlx, and keeps nothing but the token and the gate.

mod client;
mod config;
mod error;
mod limits;
mod peer;
mod send;
mod token;
mod url;
pub mod webhook;
mod wire;

pub use client::{Client, Fetched, PeerUpdate};
pub use config::{ClientConfig, Credentials, InvalidConfig};
pub use error::HmsError;
pub use peer::UpstreamPeer;
pub use token::authorization;
