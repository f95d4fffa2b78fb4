//! The endpoint that events are passed on to.
//!
//! | file | what |
//! |---|---|
//! | `endpoint` | where it is, and what its requests carry |
//! | `address` | the addresses that a name may lead to |
//! | `headers` | which headers of an event are passed on |
//! | `signature` | signatures by Standard Webhooks 1.0 |
//! | `client` | one attempt to send an event |
//!
//! When and in which order events are sent is decided in `service::forward`.

mod address;
mod client;
mod endpoint;
mod headers;
mod signature;

pub use client::{Client, SendError};
pub use endpoint::Endpoint;
pub use headers::passed_on;
pub use signature::SigningSecret;
