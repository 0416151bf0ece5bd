//! Wire types of Trainyard: protobuf messages, type URLs, addresses, coins.
//!
//! | module | what |
//! |---|---|
//! | [`registry`], [`job`], [`pouw`], [`fees`], [`overlay`], [`explain`] | our own packages `trainyard.<module>.v1`, generated from `proto/trainyard/` |
//! | [`cosmos`] | the Cosmos SDK's messages, as every Cosmos wallet and tool sends them |
//! | [`consensus`] | those of `cosmos.consensus.v1` |
//! | [`address`] | bech32 account and validator addresses |
//! | [`coin`] | denominations and checked amounts |
//! | [`dec`] | decimals with 18 places |
//! | [`keys`] | public keys of accounts, multisig ones too |
//! | [`amino`] | transactions as the JSON text that devices show and sign |
//! | [`any`] | packing messages into `google.protobuf.Any` by type URL |
//! | [`attest`] | the bytes that evaluators commit to and sign |
//! | [`capability`] | the hash of what a node offers |

pub mod address;
pub mod amino;
pub mod any;
pub mod attest;
pub mod capability;
pub mod coin;
pub mod consensus;
pub mod dec;
pub mod keys;

pub use cosmos_sdk_proto::cosmos;
pub use prost;
pub use tendermint_proto;

/// Every message of ours with its field names, as an encoded `FileDescriptorSet`: gRPC reflection and documents read it.
pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));

// Generated code names its neighbours by package path (`super::super::registry::v1`), so the tree stands here as in the files.
mod generated {
    #![allow(
        missing_docs,
        unreachable_pub,
        rust_2018_idioms,
        clippy::pedantic,
        clippy::all,
        clippy::restriction
    )]
    pub mod registry {
        pub mod v1 {
            include!(concat!(env!("OUT_DIR"), "/trainyard.registry.v1.rs"));
            include!(concat!(env!("OUT_DIR"), "/trainyard.registry.v1.serde.rs"));
        }
    }
    pub mod job {
        pub mod v1 {
            include!(concat!(env!("OUT_DIR"), "/trainyard.job.v1.rs"));
            include!(concat!(env!("OUT_DIR"), "/trainyard.job.v1.serde.rs"));
        }
    }
    pub mod explain {
        pub mod v1 {
            include!(concat!(env!("OUT_DIR"), "/trainyard.explain.v1.rs"));
            include!(concat!(env!("OUT_DIR"), "/trainyard.explain.v1.serde.rs"));
        }
    }
    pub mod overlay {
        pub mod v1 {
            include!(concat!(env!("OUT_DIR"), "/trainyard.overlay.v1.rs"));
            include!(concat!(env!("OUT_DIR"), "/trainyard.overlay.v1.serde.rs"));
        }
    }
    pub mod fees {
        pub mod v1 {
            include!(concat!(env!("OUT_DIR"), "/trainyard.fees.v1.rs"));
            include!(concat!(env!("OUT_DIR"), "/trainyard.fees.v1.serde.rs"));
        }
    }
    pub mod pouw {
        pub mod v1 {
            include!(concat!(env!("OUT_DIR"), "/trainyard.pouw.v1.rs"));
            include!(concat!(env!("OUT_DIR"), "/trainyard.pouw.v1.serde.rs"));
        }
    }
}

/// `trainyard.explain.v1`: why things stand as they stand.
pub use generated::explain::v1 as explain;
/// `trainyard.fees.v1`: the price of gas.
pub use generated::fees::v1 as fees;
/// `trainyard.job.v1`: jobs, rounds, evaluations.
pub use generated::job::v1 as job;
/// `trainyard.overlay.v1`: messages on a job's gossip topic.
pub use generated::overlay::v1 as overlay;
/// `trainyard.pouw.v1`: block header of useful work, epoch checkpoints.
pub use generated::pouw::v1 as pouw;
/// `trainyard.registry.v1`: workers and evaluators.
pub use generated::registry::v1 as registry;
