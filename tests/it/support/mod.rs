//! What scenarios stand on.

pub(crate) mod postgres;
pub(crate) mod scripted;
