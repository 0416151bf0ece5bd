//! The mesh beside the chain: discovery, job topics, tensor streams, IPFS blocks.
//!
//! One libp2p swarm over TCP, driven by one event loop. An [`Overlay`] is a cheap handle to it.
//!
//! | file | subject |
//! |---|---|
//! | `overlay.rs` | the handle: starting, stopping |
//! | `swarm.rs` | the behaviours, the event loop and its commands |
//! | `discovery.rs` | bootstrap, Kademlia, capability records |
//! | `topics.rs` | one gossipsub topic per job, checked against the chain |
//! | `streams.rs` | direct streams for tensors |
//! | `inbound.rs` | accepts the streams that peers open |
//! | `exchange.rs`, `bitswap.rs` | the block exchange `/ipfs/bitswap/1.2.0`: whom to ask for which block |
//! | `serve.rs`, `wire.rs` | its streams and messages: answering, framing |
//! | `unixfs.rs` | DAG nodes to files |
//! | `blocks.rs` | blocks and pins on disk; opens without a swarm, too |
//! | `ipfs.rs` | add, get, provide, pin |
//! | `sources.rs` | `ipfs://`, `https://…#sha256=`, `file://` |
//!
//! The chain is asked through [`Membership`], never depended upon.

mod bitswap;
mod blocks;
mod config;
mod discovery;
mod error;
mod exchange;
mod inbound;
mod ipfs;
mod overlay;
mod serve;
mod sources;
mod streams;
mod swarm;
mod topics;
mod unixfs;
mod wire;

pub use blocks::{Added, BlockStore};
pub use cid::Cid;
pub use config::{Config, Limits, load_or_create_key};
pub use discovery::Filter;
pub use error::Error;
pub use ipfs::Progress;
pub use libp2p::identity::Keypair;
pub use libp2p::{Multiaddr, PeerId};
pub use overlay::{Overlay, Traffic};
pub use sources::Source;
pub use streams::{Body, StreamBody, StreamHandler};

pub use topics::{MAX_MESSAGE, Membership, Message, Topic};
