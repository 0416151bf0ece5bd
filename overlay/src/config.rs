use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use libp2p::Multiaddr;
use libp2p::identity::Keypair;

use crate::Error;

/// How an overlay node is set up.
#[derive(Clone)]
pub struct Config {
    /// The node's ed25519 key; its public half is the peer id.
    pub key: Keypair,
    /// TCP addresses to listen on, such as `/ip4/0.0.0.0/tcp/26670`.
    pub listen: Vec<Multiaddr>,
    /// Peers to join the mesh through, each ending in `/p2p/<peer id>`.
    pub bootstrap: Vec<Multiaddr>,
    /// Folder of the block store.
    pub dir: PathBuf,
    /// Addresses under which others reach this node, when they differ from the ones listened on.
    pub external: Vec<Multiaddr>,
    /// Whether to relay connections for peers behind NAT.
    pub relay: bool,
    /// Bounds.
    pub limits: Limits,
}

impl Config {
    /// A node with default limits that listens on `listen` and joins through `bootstrap`.
    pub fn new(key: Keypair, dir: impl Into<PathBuf>, listen: Vec<Multiaddr>, bootstrap: Vec<Multiaddr>) -> Config {
        Config {
            key,
            listen,
            bootstrap,
            dir: dir.into(),
            external: vec![],
            relay: false,
            limits: Limits::default(),
        }
    }
}

/// Bounds on what peers may take.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Established connections in each direction.
    pub connections: u32,
    /// Established connections with one peer.
    pub connections_per_peer: u32,
    /// How long one dial may take.
    pub dial: Duration,
    /// Topic messages one peer may send or forward per second, over all topics.
    pub messages_per_second: u32,
    /// Topic messages a peer may send at once before the rate counts.
    pub message_burst: u32,
    /// Messages over the rate after which a peer is cut off.
    pub flood: u32,
    /// How long a peer that flooded stays blocked.
    pub block: Duration,
    /// Direct streams served at once, over all peers.
    pub streams: usize,
    /// Direct streams served to one peer at once.
    pub streams_per_peer: usize,
    /// How long a direct stream may stand still.
    pub stream_idle: Duration,
    /// How long a fetch may wait for its next block. A source that is silent for a quarter of it loses its blocks.
    pub stall: Duration,
    /// Blocks of one fetch in flight.
    pub window: usize,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            connections: 256,
            connections_per_peer: 8,
            dial: Duration::from_secs(10),
            messages_per_second: 64,
            message_burst: 256,
            flood: 512,
            block: Duration::from_secs(60),
            streams: 64,
            streams_per_peer: 8,
            stream_idle: Duration::from_secs(20),
            stall: Duration::from_secs(60),
            window: 32,
        }
    }
}

/// Reads the node's key from `path`, or makes one and writes it there, readable by its owner only.
pub fn load_or_create_key(path: impl AsRef<Path>) -> Result<Keypair, Error> {
    use std::os::unix::fs::OpenOptionsExt as _;
    let path = path.as_ref();
    let bad = |cause: String| Error::Key {
        path: path.to_owned(),
        cause,
    };
    match std::fs::read(path) {
        Ok(bytes) => {
            let key = Keypair::from_protobuf_encoding(&bytes).map_err(|e| bad(e.to_string()))?;
            match key.key_type() {
                libp2p::identity::KeyType::Ed25519 => Ok(key),
                other => Err(bad(format!("key type {other:?}"))),
            }
        }
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
            let key = Keypair::generate_ed25519();
            let bytes = key.to_protobuf_encoding().map_err(|e| bad(e.to_string()))?;
            if let Some(dir) = path.parent() {
                std::fs::create_dir_all(dir).map_err(Error::file(dir))?;
            }
            let mut file = std::fs::OpenOptions::new()
                .write(true)
                .create_new(true)
                .mode(0o600)
                .open(path)
                .map_err(Error::file(path))?;
            file.write_all(&bytes)
                .and_then(|()| file.sync_all())
                .map_err(Error::file(path))?;
            Ok(key)
        }
        Err(source) => Err(Error::File {
            path: path.to_owned(),
            source,
        }),
    }
}
