//! The training daemon: worker and evaluator of Trainyard jobs.
//!
//! ```text
//! daemon.rs        joins mesh and chain, gives every job a task of its own
//! registration.rs  the daemon's record, on chain and in the DHT
//! upkeep.rs        renews the capability hash, tops up the bond, leaves the jail
//! roles/           worker, evaluator: what is due in each phase of a job
//! paradigm/        how workers train: federated rounds, competitive rounds
//! engine/          computes an ONNX graph: forward, backward, optimizer
//! inputs.rs        a job's graph, start weights and manifest, checked before money moves
//! dataset.rs       a split in memory
//! files.rs         a job's folder: what a killed daemon finds again
//! audit.rs         trains a job again and compares every root
//! variant.rs       the variant that a worker brings to contests
//! score.rs         an auditor's own evaluation of a model
//! serve.rs         deltas and weights for the other members
//! chain.rs         questions to the chain, transactions, the next block
//! config.rs, identity.rs, metrics.rs
//! ```

pub mod audit;
pub mod chain;
pub mod config;
pub mod daemon;
pub mod dataset;
pub mod engine;
pub mod files;
pub mod identity;
pub mod inputs;
pub mod metrics;
pub mod paradigm;
pub mod registration;
pub mod roles;
pub mod score;
pub mod serve;
pub mod upkeep;
pub mod variant;
