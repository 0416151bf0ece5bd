//! State sync from peers that lie.

use std::path::PathBuf;

use trainyard_app::node::comet_config::StateSync;
use trainyard_app::node::gentx;
use trainyard_app::testing::network::{Network, Node};
use trainyard_proto::address::Address;
use trainyard_proto::coin::UTRAIN_PER_TRAIN;

use super::operate::{configure, header};
use super::{LONG_PATIENCE, balance, send, signer, wait_for};

/// Takes snapshots every ten blocks and keeps them all, or takes none and keeps what is there.
const EVERY: (&str, &str) = ("snapshot_interval = 1000", "snapshot_interval = 10");
const NO_MORE: (&str, &str) = ("snapshot_interval = 10\n", "snapshot_interval = 0\n");
const ALL: (&str, &str) = ("snapshot_keep = 2", "snapshot_keep = 10000");

/// Files of the chunks that a node offers; what is being written is none of them.
fn chunks(node: &Node) -> Vec<PathBuf> {
    let entries = |folder: PathBuf| std::fs::read_dir(folder).into_iter().flatten().flatten();
    let finished = entries(node.home.snapshots()).filter(|entry| entry.path().extension().is_none());
    let files = finished.flat_map(|snapshot| entries(snapshot.path()));
    files
        .map(|file| file.path())
        .filter(|path| !path.ends_with("metadata"))
        .collect()
}

#[tokio::test]
async fn a_bad_chunk_is_refused_by_name_and_taken_from_an_honest_peer() {
    let mut network = Network::make(env!("CARGO_BIN_EXE_trainyard"), 1, |plan| {
        plan.accounts = vec![("alice".into(), 1000 * UTRAIN_PER_TRAIN)];
    });
    configure(&network.nodes[0].home, &[EVERY, ALL]);
    network.nodes[0].start(&[]);
    network.wait_height(1, LONG_PATIENCE).await;
    let bob = Address([5; 20]);
    let alice = signer(&network, network.client(), "alice");
    alice.send(send(alice.address(), bob, 77)).await.unwrap();

    // An honest node has the same snapshots.
    let honest = network.add_full_node();
    configure(&honest.home, &[EVERY, ALL]);
    honest.start(&[]);
    honest.wait_height(21, LONG_PATIENCE).await;
    wait_for("a snapshot", LONG_PATIENCE, async || {
        (!chunks(honest).is_empty()).then_some(())
    })
    .await;
    assert_eq!(honest.stop().code(), Some(0));

    // The other one takes none any more, and those it offers go bad on its disk: a bit of every chunk.
    let liar = &mut network.nodes[0];
    liar.wait_height(21, LONG_PATIENCE).await;
    assert_eq!(liar.stop().code(), Some(0));
    configure(&liar.home, &[NO_MORE]);
    let offered = chunks(liar);
    assert!(!offered.is_empty());
    for path in offered {
        let mut bytes = std::fs::read(&path).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        std::fs::write(path, bytes).unwrap();
    }
    liar.start(&[]);
    liar.wait_height(22, LONG_PATIENCE).await;
    let (hash, _) = header(liar, 2).await;
    let servers = vec![liar.rpc.clone(); 2];

    let peers: Vec<_> = network
        .nodes
        .iter()
        .map(|node| gentx::peer(&node.home, None).unwrap())
        .collect();
    let late = network.add_full_node();
    late.home
        .set_state_sync(&StateSync {
            servers,
            height: 2,
            hash,
        })
        .unwrap();
    late.home.set_peers(&peers).unwrap();
    late.start(&[]);
    let liars_id = peers[0].split('@').next().unwrap();
    let refused = wait_for("the refusal", LONG_PATIENCE, async || {
        let log = late.log();
        log.lines()
            .find(|line| line.contains("refused a chunk"))
            .map(str::to_owned)
    })
    .await;
    assert!(
        refused.contains("chunk=0") && refused.contains(liars_id) && refused.contains("its SHA-256 is not"),
        "{refused}"
    );
    assert!(!late.log().contains("snapshot restored"), "{}", late.log());

    // With an honest peer the same node goes on.
    let both = [peers[0].clone(), gentx::peer(&network.nodes[2].home, None).unwrap()];
    network.nodes[1].home.set_peers(&both).unwrap();
    network.nodes[1].start(&[]);
    let late = &mut network.nodes[2];
    late.wait_height(30, LONG_PATIENCE).await;
    let log = late.log();
    assert!(log.contains("snapshot restored") && !log.contains("height=3 "), "{log}");
    assert_eq!(balance(&late.client(), bob).await, 77);
    network.wait_height(32, LONG_PATIENCE).await;
    let (ours, theirs) = (&network.nodes[0], &network.nodes[2]);
    assert_eq!(header(ours, 31).await, header(theirs, 31).await);
}
