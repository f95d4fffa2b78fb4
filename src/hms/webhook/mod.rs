//! Events that 100ms sends as webhooks: what they are, and how one is read.
//!
//! What an event means for presence and the saved state is decided in `service::webhook`.

mod event;
mod parse;

pub use event::{EventType, PeerEvent, PeerEventKind, WebhookEvent};
pub use parse::{NotAnEvent, parse, room_id};

/// The reasons of a leave that mean that the connection was lost, as 100ms documents them.
pub const DROP_REASONS: [&str; 3] = [
    "websocket closed",
    "ice connection state closed",
    "server removed peer",
];
