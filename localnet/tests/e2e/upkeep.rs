//! Nodes that help themselves: after a penalty, and from epoch to epoch.

use color_eyre::eyre::{Result, ensure};
use serde_json::json;
use trainyard_localnet::{Network, Plan, wait_for};
use trainyard_proto::coin::UTRAIN_PER_TRAIN;

use super::{Alice, LIMIT, paid, settled, steps};

/// Blocks of an epoch: a hash that was stated in one lapses at the end of the next.
const EPOCH: u64 = 10;

/// A missed duty costs a tenth of the bond and jails at once.
fn strict(genesis: &mut serde_json::Value) {
    let params = &mut genesis["app_state"]["registry"]["params"];
    params["missed_duty_bp"] = json!(1_000);
    params["max_missed"] = json!(1);
    params["jail_blocks"] = json!("15");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_penalized_node_tops_up_leaves_the_jail_and_works_again() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let small = Plan::small(folder.path());
    let train = UTRAIN_PER_TRAIN;
    let mut network = Network::start(Plan {
        epoch_blocks: EPOCH,
        workers: ["worker1", "worker2"].map(|name| (name.into(), 2000 * train)).to_vec(),
        genesis: strict,
        ..small
    })
    .await?;
    // One miss takes 10.5 of 105 TRAIN; by itself `trainerd` would stop at a tenth of the least bond.
    network.configure("worker2", &[("penalty_limit = \"\"", "penalty_limit = \"20TRAIN\"")])?;
    network.start_trainers().await?;
    let bond = |node: trainyard_proto::registry::Node| node.bond;
    assert_eq!(network.node("worker2").await?.node.map(bond), Some(105 * train));
    assert_eq!(network.node("eval1").await?.node.map(bond), Some(1050 * train));

    let alice = Alice::prepare(&network, "none")?;
    let more = [
        "--workers",
        "2",
        "--rounds",
        "1",
        "--local-steps",
        "6000",
        "--batch-size",
        "16",
        "--lr",
        "0.02",
        "--round-blocks",
        "60",
    ];
    let watched = alice.post(&network, "first", 1, &more).await?;
    wait_for("steps of worker2", LIMIT, async || {
        Ok((steps(network.trainer("worker2")?, 0) >= 40).then_some(()))
    })
    .await?;
    network.take_trainer("worker2")?.kill()?;
    network.job_until(1, "the first job to settle", LIMIT, settled).await?;
    drop(watched);
    let fallen = network.node("worker2").await?.node.unwrap_or_default();
    ensure!(
        fallen.bond == 94_500_000 && fallen.jailed_until > 0,
        "{} utrain, jailed until {}",
        fallen.bond,
        fallen.jailed_until
    );

    network.start_trainer("worker2", &[])?;
    let raised = wait_for("worker2 to help itself", LIMIT, async || {
        let node = network.node("worker2").await?.node.unwrap_or_default();
        Ok(Some(node).filter(|node| node.jailed_until == 0))
    })
    .await?;
    assert_eq!(raised.bond, 105 * train);

    // Some epochs on, everybody is still free to work: each has stated its hash anew in every one of them.
    network.until_height(network.height().await?.max(5 * EPOCH + 1)).await?;
    for name in ["worker1", "worker2", "eval1", "eval2"] {
        let height = network.height().await?;
        let found = network.node(name).await?;
        let (stated, lapses_at) = (found.node.unwrap_or_default().capability_epoch, found.lapses_at);
        ensure!(
            stated >= 3 && lapses_at > height,
            "{name} stated its hash in epoch {stated}; it lapses at {lapses_at}, it is {height}"
        );
    }
    let more = [
        "--workers",
        "2",
        "--rounds",
        "1",
        "--local-steps",
        "20",
        "--batch-size",
        "16",
        "--lr",
        "0.1",
    ];
    let watched = alice.post(&network, "second", 2, &more).await?;
    let job = network.job_until(2, "the second job to settle", LIMIT, settled).await?;
    drop(watched);
    for name in ["worker1", "worker2"] {
        assert_eq!(paid(&job, &network.address(name)?, "worker"), 450 * train, "{name}");
    }
    network.stop()
}
