//! What scenarios stand on.

pub(crate) mod command;
pub(crate) mod logs;
pub(crate) mod postgres;
pub(crate) mod program;
pub(crate) mod proxy;
pub(crate) mod scripted;
pub(crate) mod world;
