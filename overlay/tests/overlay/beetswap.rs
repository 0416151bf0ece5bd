//! Against another implementation of bitswap, in a plain swarm of its own.

use std::sync::Arc;

use blockstore::{Blockstore as _, InMemoryBlockstore};
use futures::StreamExt as _;
use libp2p::swarm::{NetworkBehaviour, SwarmEvent};
use libp2p::{Swarm, SwarmBuilder, identify, noise, tcp, yamux};
use trainyard_overlay::{BlockStore, Cid, Limits, Overlay};

use crate::common::{Chain, node, node_with, noise as random, quick, within};

const MIB: usize = 1 << 20;

#[derive(NetworkBehaviour)]
struct Behaviour {
    bitswap: beetswap::Behaviour<64, InMemoryBlockstore<64>>,
    identify: identify::Behaviour,
}

/// A swarm with beetswap over `store`, connected to `overlay`.
async fn peer(store: Arc<InMemoryBlockstore<64>>, overlay: &Overlay) -> Swarm<Behaviour> {
    let mut swarm = SwarmBuilder::with_new_identity()
        .with_tokio()
        .with_tcp(tcp::Config::default(), noise::Config::new, yamux::Config::default)
        .unwrap()
        .with_behaviour(|key| Behaviour {
            bitswap: beetswap::Behaviour::new(store),
            identify: identify::Behaviour::new(identify::Config::new("test".into(), key.public())),
        })
        .unwrap()
        .with_swarm_config(|c| c.with_idle_connection_timeout(std::time::Duration::from_secs(60)))
        .build();
    swarm.dial(overlay.listen_addrs()[0].clone()).unwrap();
    while !matches!(swarm.select_next_some().await, SwarmEvent::ConnectionEstablished { .. }) {}
    swarm
}

/// Every block of a file, the root last.
fn blocks_of(content: &[u8]) -> Vec<(Cid, Vec<u8>)> {
    let mut adder = rust_unixfs::file::adder::FileAdder::default();
    let (mut blocks, mut rest) = (Vec::new(), content);
    while !rest.is_empty() {
        let (ready, consumed) = adder.push(rest);
        blocks.extend(ready);
        rest = &rest[consumed..];
    }
    blocks.extend(adder.finish());
    blocks
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_comes_from_beetswap() {
    within(60, async {
        // Beetswap answers all wants in one message, whatever the size; over 4 MiB nobody may take it.
        let node = node_with(&Arc::new(Chain::default()), Limits { window: 12, ..quick() }).await;
        let content = random(10 * MIB, 1);
        let store = Arc::new(InMemoryBlockstore::new());
        let mut root = None;
        for (cid, block) in blocks_of(&content) {
            store.put_keyed(&cid, &block).await.unwrap();
            root = Some(cid);
        }
        let mut swarm = peer(store, &node.overlay).await;
        let serving = tokio::spawn(async move {
            loop {
                swarm.select_next_some().await;
            }
        });
        assert!(node.overlay.get_bytes(root.unwrap(), 64 << 20, &[]).await.unwrap() == content);
        serving.abort();
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn beetswap_gets_a_files_blocks_from_us() {
    within(60, async {
        let node = node(&Arc::new(Chain::default())).await;
        let content = random(10 * MIB, 2);
        let added = node.overlay.add_bytes(content.clone()).await.unwrap();
        let blocks = blocks_of(&content);
        assert_eq!(blocks.last().unwrap().0, added.cid);
        let mut swarm = peer(Arc::new(InMemoryBlockstore::new()), &node.overlay).await;
        let mut wanted = std::collections::HashMap::new();
        for (cid, block) in blocks {
            wanted.insert(swarm.behaviour_mut().bitswap.get(&cid), block);
        }
        while !wanted.is_empty() {
            match swarm.select_next_some().await {
                SwarmEvent::Behaviour(BehaviourEvent::Bitswap(beetswap::Event::GetQueryResponse {
                    query_id,
                    data,
                })) => assert!(wanted.remove(&query_id).unwrap() == data),
                SwarmEvent::Behaviour(BehaviourEvent::Bitswap(beetswap::Event::GetQueryError { error, .. })) => {
                    panic!("{error}")
                }
                _ => {}
            }
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn beetswap_that_asks_too_early_is_answered_when_the_block_appears() {
    within(30, async {
        let node = node(&Arc::new(Chain::default())).await;
        let content = random(1000, 3);
        let scratch = tempfile::TempDir::new().unwrap();
        let cid = BlockStore::open(scratch.path()).unwrap().add_bytes(&content).unwrap().cid;
        let mut swarm = peer(Arc::new(InMemoryBlockstore::new()), &node.overlay).await;
        swarm.behaviour_mut().bitswap.get(&cid);
        let mut added = false;
        loop {
            tokio::select! {
                event = swarm.select_next_some() => {
                    if let SwarmEvent::Behaviour(BehaviourEvent::Bitswap(beetswap::Event::GetQueryResponse { data, .. })) = event {
                        assert!(added && data == content);
                        return;
                    }
                }
                // Beetswap never asks again on its own, so the answer must come unprompted.
                () = tokio::time::sleep(std::time::Duration::from_millis(300)), if !added => {
                    added = true;
                    node.overlay.add_bytes(content.clone()).await.unwrap();
                }
            }
        }
    })
    .await;
}
