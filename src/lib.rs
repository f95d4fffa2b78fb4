//! rejoin gives a player their state back.

pub mod domain;
pub mod sim;
