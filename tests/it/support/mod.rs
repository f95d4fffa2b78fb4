//! What scenarios stand on.

pub(crate) mod logs;
pub(crate) mod scripted;
