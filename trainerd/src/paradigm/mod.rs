//! How workers train: together in federated rounds, or against each other in competitive ones.

pub mod competitive;
pub mod delta;
pub mod federated;
