//! Jobs that do not go as planned: money runs short, somebody is missing.

use color_eyre::eyre::{OptionExt, Result, ensure};
use trainyard_localnet::{Network, Plan};
use trainyard_proto::{coin::UTRAIN_PER_TRAIN, job::RoundPhase};

use super::{Alice, LIMIT, paid, settled};

#[tokio::test(flavor = "multi_thread")]
async fn a_budget_is_topped_up_and_an_absent_evaluator_replaced() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let small = Plan::small(folder.path());
    let each = 2000 * UTRAIN_PER_TRAIN;
    let mut network = Network::start(Plan {
        workers: vec![("worker1".into(), each), ("worker2".into(), each)],
        evaluators: ["eval1", "eval2", "eval3"].map(|name| (name.into(), each)).to_vec(),
        ..small
    })
    .await?;
    network.start_trainers().await?;
    let alice = Alice::prepare(&network, "test")?;
    // The budget of 1000 TRAIN buys two rounds of three.
    let more = [
        "--rounds",
        "3",
        "--round-price",
        "400TRAIN",
        "--local-steps",
        "40",
        "--batch-size",
        "16",
        "--lr",
        "0.1",
        "--workers",
        "2",
    ];
    let watched = alice.post(&network, "watched", 1, &more).await?;
    let job = network
        .job_until(1, "training", LIMIT, |j| j.round_phase() != RoundPhase::Unspecified)
        .await?;
    // One of the two who were drawn dies before there is anything to score; the third takes its place.
    let drawn: Vec<&str> = job.evaluators.iter().map(|e| e.address.as_str()).collect();
    let (mut absent, mut spare) = (None, None);
    for name in ["eval1", "eval2", "eval3"] {
        let address = network.address(name)?;
        if drawn.contains(&address.to_string().as_str()) {
            absent = Some((name, address));
        } else {
            spare = Some(address);
        }
    }
    let ((name, absent), spare) = (
        absent.ok_or_eyre("nobody was drawn")?,
        spare.ok_or_eyre("all were drawn")?,
    );
    network.take_trainer(name)?.kill()?;
    network.command("alice", &["job", "top-up", "1", "200TRAIN", "--from", "alice", "--yes"])?;

    let job = network.job_until(1, "the job to settle", LIMIT, settled).await?;
    drop(watched);
    let train = UTRAIN_PER_TRAIN;
    ensure!(
        job.completed == 3 && job.budget == 1200 * train && job.ended.is_empty(),
        "{} rounds of {} utrain, {:?}",
        job.completed,
        job.budget,
        job.ended
    );
    for worker in ["worker1", "worker2"] {
        assert_eq!(
            paid(&job, &network.address(worker)?, "worker"),
            1200 * train * 9 / 20,
            "{worker}"
        );
    }
    let out = job.evaluators.iter().find(|e| e.address == absent.to_string());
    ensure!(out.is_some_and(|e| e.dismissed), "{name} still serves");
    assert_eq!(paid(&job, &absent, "evaluator"), 0);
    assert_eq!(paid(&job, &spare, "evaluator"), 30 * train);
    let explained = network.command("alice", &["job", "explain", "1", &absent.to_string()])?;
    ensure!(
        explained.to_string().contains("committed to no score in time"),
        "{explained}"
    );
    network.stop()
}
