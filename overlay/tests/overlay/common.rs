//! Nodes on loopback for the tests.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use tempfile::TempDir;
use trainyard_overlay::{Config, Keypair, Limits, Membership, Overlay, PeerId};

/// A chain that lists whom it is told to.
#[derive(Default)]
pub(crate) struct Chain {
    pub(crate) strangers: Mutex<HashSet<PeerId>>,
    pub(crate) hashes: Mutex<HashMap<PeerId, [u8; 32]>>,
}

#[async_trait]
impl Membership for Chain {
    async fn may_publish(&self, _job: u64, peer: &PeerId) -> Result<bool, String> {
        Ok(!self.strangers.lock().unwrap().contains(peer))
    }

    async fn capability_hash(&self, peer: &PeerId) -> Result<Option<[u8; 32]>, String> {
        Ok(self.hashes.lock().unwrap().get(peer).copied())
    }
}

pub(crate) struct Node {
    pub(crate) overlay: Overlay,
    pub(crate) dir: TempDir,
}

pub(crate) fn config(dir: &TempDir, limits: Limits) -> Config {
    let listen = vec!["/ip4/127.0.0.1/tcp/0".parse().unwrap()];
    Config {
        limits,
        ..Config::new(Keypair::generate_ed25519(), dir.path(), listen, vec![])
    }
}

pub(crate) fn quick() -> Limits {
    Limits {
        stall: Duration::from_secs(5),
        stream_idle: Duration::from_secs(2),
        ..Limits::default()
    }
}

pub(crate) async fn node_with(chain: &Arc<Chain>, limits: Limits) -> Node {
    let dir = TempDir::new().unwrap();
    let overlay = Overlay::start(config(&dir, limits), chain.clone()).await.unwrap();
    Node { overlay, dir }
}

pub(crate) async fn node(chain: &Arc<Chain>) -> Node {
    node_with(chain, quick()).await
}

/// Connects `from` to `to` and waits until both see it.
pub(crate) async fn connect(from: &Overlay, to: &Overlay) {
    let addr = to.listen_addrs()[0].clone();
    assert_eq!(from.dial(addr).await.unwrap(), to.peer_id());
    to.until_connected(from.peer_id(), true).await.unwrap();
    from.until_connected(to.peer_id(), true).await.unwrap();
}

/// Bytes that do not repeat.
pub(crate) fn noise(len: usize, seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut bytes = Vec::with_capacity(len + 8);
    while bytes.len() < len {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend(state.to_le_bytes());
    }
    bytes.truncate(len);
    bytes
}

/// Fails the test when it takes longer than `seconds`.
pub(crate) async fn within<T>(seconds: u64, future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(seconds), future)
        .await
        .expect("in time")
}
