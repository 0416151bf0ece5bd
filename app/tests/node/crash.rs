//! A node that is killed again and again.

use std::sync::Arc;
use std::time::Duration;

use rand::Rng as _;
use trainyard_app::node::open;
use trainyard_client::tx::Draft;
use trainyard_modules::upgrade;
use trainyard_proto::address::Address;

use super::replay::replay;
use super::{PATIENCE, network, send, signer, wait_comet_gone};

/// How often the node is killed.
const KILLS: usize = 20;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_killed_at_20_points_reaches_the_state_of_a_replay() {
    let mut network = network(1);
    network.wait_height(1, PATIENCE).await;
    let alice = Arc::new(signer(&network, network.client(), "alice"));
    let stream = {
        let alice = Arc::clone(&alice);
        tokio::spawn(async move {
            loop {
                let draft = Draft {
                    messages: send(alice.address(), Address([3; 20]), 1),
                    ..Draft::default()
                };
                // Refused while the node is away, or when what was waiting in its mempool is lost: the next one counts.
                if alice.broadcast(draft).await.is_err() {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
            }
        })
    };
    let mut heights = vec![1];
    for kill in 0..KILLS {
        let node = &mut network.nodes[0];
        let last = heights[heights.len() - 1];
        let within = if kill % 2 == 0 {
            // While it starts: before the first contact, in the handshake, in the replay.
            500
        } else {
            // At work.
            node.wait_height(last + 1, PATIENCE).await;
            200
        };
        tokio::time::sleep(Duration::from_millis(rand::thread_rng().gen_range(0..within))).await;
        heights.extend(node.height().await);
        node.kill();
        // Whether it was connected already or not: the child follows without help.
        wait_comet_gone(node, Duration::from_secs(10));
        node.start(&[]);
    }
    let last = heights[heights.len() - 1];
    network.wait_height(last + 3, PATIENCE).await;
    stream.abort();
    assert!(
        heights.is_sorted() && last > 10,
        "heights before the kills: {heights:?}"
    );
    let replayed = replay(&network.nodes[0]).await;
    assert!(
        replayed.heights >= last && replayed.txs > KILLS,
        "{} txs at {}, killed at {heights:?}",
        replayed.txs,
        replayed.heights
    );
    assert_eq!(network.nodes[0].stop().code(), Some(0), "{}", network.nodes[0].log());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_block_that_did_not_get_to_the_disk_is_replayed() {
    let mut network = network(1);
    network.wait_height(2, PATIENCE).await;
    let alice = signer(&network, network.client(), "alice");
    alice.send(send(alice.address(), Address([3; 20]), 1)).await.unwrap();
    let node = &mut network.nodes[0];
    assert_eq!(node.stop().code(), Some(0), "{}", node.log());
    // As if the power had gone after CometBFT wrote its block and before the application did.
    let app = open(&node.home, &upgrade::THIS).unwrap();
    let lost = app.store().latest().unwrap();
    app.rollback().unwrap();
    drop(app);
    node.start(&[]);
    network.wait_height(lost.height + 2, PATIENCE).await;
    let replayed = replay(&network.nodes[0]).await;
    assert!(
        replayed.heights > lost.height && replayed.txs == 1,
        "{} txs",
        replayed.txs
    );
    let node = &mut network.nodes[0];
    assert_eq!(node.stop().code(), Some(0), "{}", node.log());
    let app = open(&node.home, &upgrade::THIS).unwrap();
    assert_eq!(app.store().app_hash(lost.height).unwrap(), lost.app_hash);
}
