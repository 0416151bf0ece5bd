//! How workers train together.

pub mod delta;
pub mod federated;
