//! Real nodes on loopback sockets.

mod boxo;
mod cids;
mod common;
mod discovery;
mod ipfs;
mod kubo;
mod liars;
mod relay;
mod sources;
mod streams;
mod topics;
