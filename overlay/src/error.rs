use std::path::PathBuf;
use std::time::Duration;

use cid::Cid;
use libp2p::{Multiaddr, PeerId};

/// What went wrong in the overlay: which peer, which CID, which bound.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The overlay was shut down, or its event loop ended.
    #[error("the overlay is shut down")]
    Closed,
    /// The swarm could not be built or could not listen.
    #[error("cannot start the overlay: {0}")]
    Start(String),
    /// A file could not be read or written.
    #[error("{}: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// The system's answer.
        source: std::io::Error,
    },
    /// The key file does not hold an ed25519 key.
    #[error("{}: not an ed25519 node key: {cause}", path.display())]
    Key {
        /// The key file.
        path: PathBuf,
        /// What is wrong with it.
        cause: String,
    },
    /// Another process has the block store open.
    #[error("the block store {} is in use by another process", path.display())]
    StoreInUse {
        /// The database file.
        path: PathBuf,
    },
    /// The block store failed, for instance because the disk is full.
    #[error("block store {}: {cause}", path.display())]
    Store {
        /// The database file.
        path: PathBuf,
        /// The database's answer.
        cause: String,
    },
    /// A connection could not be made.
    #[error("cannot connect to {target}: {cause}")]
    Dial {
        /// The address or peer that was dialled.
        target: String,
        /// Refused, timed out, wrong peer id, …
        cause: String,
    },
    /// No address of the peer is known, here or in the DHT.
    #[error("no address of peer {peer} found; {asked} peers in the routing table")]
    PeerNotFound {
        /// The peer that was looked for.
        peer: PeerId,
        /// Peers in the own routing table.
        asked: usize,
    },
    /// A DHT operation failed.
    #[error("DHT {what}: {cause}")]
    Dht {
        /// The operation.
        what: &'static str,
        /// What the query ended with.
        cause: String,
    },
    /// A capability record does not match the hash on the chain, or carries a wrong signature.
    #[error("capability record of {peer} refused: {cause}")]
    Record {
        /// The peer the record is said to be of.
        peer: PeerId,
        /// Why it was refused.
        cause: String,
    },
    /// The chain could not be asked, or does not list this node in the job.
    #[error("topic of job {job}: {cause}")]
    Topic {
        /// The job's number.
        job: u64,
        /// What happened.
        cause: String,
    },
    /// Something is larger than its bound.
    #[error("{what} is {found} bytes, more than the bound of {bound}")]
    TooLarge {
        /// What was measured.
        what: String,
        /// Bytes found.
        found: u64,
        /// Bytes allowed.
        bound: u64,
    },
    /// A direct stream failed.
    #[error("stream {key:?} from {peer}: {cause}")]
    Stream {
        /// The serving peer.
        peer: Box<PeerId>,
        /// The key asked for.
        key: String,
        /// What happened.
        cause: String,
    },
    /// The serving peer has nothing under this key.
    #[error("peer {peer} has no stream {key:?}")]
    StreamNotFound {
        /// The serving peer.
        peer: PeerId,
        /// The key asked for.
        key: String,
    },
    /// Bytes do not hash to what was promised.
    #[error("{what}: sha256 is {found}, expected {expected}")]
    Hash {
        /// What was hashed.
        what: String,
        /// The hash found, in hexadecimal.
        found: String,
        /// The hash promised, in hexadecimal.
        expected: String,
    },
    /// No peer delivered a block in time.
    #[error("no peer delivered block {block} of {root} within {waited:?}; {asked} peers asked, {connected} connected")]
    Stalled {
        /// The DAG's root.
        root: Box<Cid>,
        /// The block waited for.
        block: Box<Cid>,
        /// How long.
        waited: Duration,
        /// Peers asked for blocks of this DAG.
        asked: usize,
        /// Peers connected now.
        connected: usize,
    },
    /// A CID's hash or codec is not supported.
    #[error("{cid}: {cause}")]
    Cid {
        /// The text or CID.
        cid: String,
        /// What is not supported.
        cause: String,
    },
    /// A block is not a node of a UnixFS file.
    #[error("block {cid}: {cause}")]
    UnixFs {
        /// The block.
        cid: Box<Cid>,
        /// What is wrong with it.
        cause: String,
    },
    /// A source's text is not understood, or its server failed.
    #[error("source {uri}: {cause}")]
    Source {
        /// The source.
        uri: String,
        /// What happened.
        cause: String,
    },
    /// An address has no peer id where one is needed.
    #[error("address {0} does not end in /p2p/<peer id>")]
    NoPeerId(Multiaddr),
}

impl Error {
    pub(crate) fn file(path: &std::path::Path) -> impl FnOnce(std::io::Error) -> Error + use<'_> {
        move |source| Error::File {
            path: path.to_owned(),
            source,
        }
    }
}
