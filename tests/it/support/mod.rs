//! What scenarios stand on.

pub(crate) mod scripted;
