//! What callers prove themselves with: API keys, and the secrets of webhooks.
//!
//! The service knows only SHA-256 digests of them, and compares them in constant time: see
//! `digest`. Which request needs what is decided in [`crate::http`].

mod api_key;
mod digest;
mod new_key;
mod scope;
mod webhook;

pub use api_key::{InvalidKeyEntry, KeyEntry, KeyRing};
pub use new_key::{NewKey, new_key};
pub use scope::Scope;
pub use webhook::WebhookSecrets;
