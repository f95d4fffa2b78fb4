//! The client of 100ms's REST API.
//!
//! `client` has one method for each question, `send` is the one way a request leaves the process
//! (token, retries, rate limit, body limits), `token` signs the management token, `rate_limit` is
//! the gate that a 429 closes, `lane` keeps the background apart from what somebody waits for, `peer`,
//! `list`, `session` and `replay` read what their names say, `memory` bounds what large lists take, and
//! `url` builds the paths.

mod client;
mod lane;
mod list;
mod memory;
mod peer;
mod rate_limit;
mod replay;
mod send;
mod session;
mod token;
mod url;

pub use client::{Client, Fetched, PeerUpdate};
pub use list::PeerList;
pub use memory::ListPermit;
pub use peer::UpstreamPeer;
#[cfg(test)]
pub(super) use peer::read_peer;
pub use replay::{Replay, ReplayState};
pub use session::{ActiveSession, Attendance, Session, SessionPage};
pub use token::authorization;
