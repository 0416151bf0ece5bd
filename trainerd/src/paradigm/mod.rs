//! How workers train together.

pub mod federated;
