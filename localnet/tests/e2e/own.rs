//! Contests of what workers bring, and jobs that are posted again.

use color_eyre::eyre::{OptionExt, Result, ensure};
use nix::sys::signal::Signal;
use trainyard_localnet::{Network, Plan, wait_for};
use trainyard_proto::{
    coin::UTRAIN_PER_TRAIN,
    job::{JobState, RoundPhase, Standing},
};

use super::{Alice, LIMIT, lines, paid, settled, steps};

const WORKERS: [&str; 2] = ["worker1", "worker2"];

/// Lets a worker bring a variant with a learning rate.
fn bring(network: &mut Network, name: &str, model: &str, rate: &str) -> Result<()> {
    let variant = format!(
        "checkpoint_steps = 20\n\n[variant]\nname = \"{name}'s\"\nmodel = \"{model}\"\nlearning_rate = \"{rate}\"\nbatch_size = \
         16\nlocal_steps = 6000\n"
    );
    network.configure(name, &[("checkpoint_steps = 20", &variant)])
}

#[tokio::test(flavor = "multi_thread")]
async fn workers_bring_their_own_variants_and_a_failed_job_goes_on_from_its_checkpoint() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let small = Plan::small(folder.path());
    let train = UTRAIN_PER_TRAIN;
    let mut network = Network::start(Plan {
        workers: WORKERS.map(|name| (name.into(), 3000 * train)).to_vec(),
        ..small
    })
    .await?;
    let alice = Alice::prepare(&network, "none")?;
    bring(&mut network, "worker1", &alice.model, "0.02")?;
    bring(&mut network, "worker2", &alice.model, "0.0000001")?;
    network.start_trainers().await?;
    let more = [
        "--paradigm",
        "competitive",
        "--workers",
        "2",
        "--floor",
        "50%",
        "--rounds",
        "1",
        "--round-blocks",
        "200",
    ];
    let watched = alice.post(&network, "contest", 1, &more).await?;

    // Killed in the middle of its round, a worker of a contest goes on from its checkpoint too.
    wait_for("steps of worker1", LIMIT, async || {
        Ok((steps(network.trainer("worker1")?, 0) >= 60).then_some(()))
    })
    .await?;
    network.take_trainer("worker1")?.kill()?;
    network.start_trainer("worker1", &[])?;
    let resumed = wait_for("worker1 to go on", LIMIT, async || {
        let found = lines(network.trainer("worker1")?)
            .into_iter()
            .find(|l| l["message"] == "goes on from its checkpoint");
        Ok(found.and_then(|l| l["step"].as_u64()))
    })
    .await?;
    ensure!(resumed >= 20, "it went on from step {resumed}");
    let job = network.job_until(1, "the contest to settle", LIMIT, settled).await?;
    drop(watched);
    let one = network.address("worker1")?;
    let standing = |name: &str| {
        let own = job
            .workers
            .iter()
            .find(|w| w.variant.as_ref().is_some_and(|v| v.name == name));
        own.map(|w| (w.standing(), w.samples))
    };
    assert_eq!(job.winner, one.to_string());
    assert_eq!(standing("worker1's"), Some((Standing::Won, 96_000)));
    assert_eq!(standing("worker2's"), Some((Standing::BelowFloor, 96_000)));
    assert_eq!(paid(&job, &one, "winner"), 675 * train);
    assert_eq!(paid(&job, &network.address("worker2")?, "compensation"), 225 * train);

    // A job whose workers all fall silent after its first round fails; posted again, it goes on from what that round agreed on.
    let more = [
        "--workers",
        "2",
        "--rounds",
        "2",
        "--local-steps",
        "400",
        "--batch-size",
        "16",
        "--lr",
        "0.05",
        "--round-blocks",
        "25",
    ];
    let watched = alice.post(&network, "silent", 2, &more).await?;
    network
        .job_until(2, "its second round", LIMIT, |j| {
            j.round == 1 && j.round_phase() == RoundPhase::Train
        })
        .await?;
    for name in WORKERS {
        network.trainer(name)?.signal(Signal::SIGSTOP)?;
    }
    let failed = network
        .job_until(2, "the job to fail", LIMIT, |j| j.state() == JobState::Failed)
        .await?;
    drop(watched);
    for name in WORKERS {
        network.trainer(name)?.signal(Signal::SIGCONT)?;
    }
    ensure!(
        failed.completed == 1 && failed.reason == "no worker committed a trace in time",
        "{} rounds: {}",
        failed.completed,
        failed.reason
    );
    // Half of what one of two rounds costs, at the partial share of one half, between two; nobody was held to the silence.
    assert_eq!(paid(&failed, &one, "worker"), 900 * train / 2 / 2 / 2);
    assert_eq!(network.node("worker1").await?.node.ok_or_eyre("no node")?.penalties, 0);
    let listen = format!("/ip4/{}/tcp/27099", network.plan().base);
    let args = [
        "job",
        "repost",
        "2",
        "--from-checkpoint",
        "--budget",
        "400TRAIN",
        "--from",
        "alice",
        "--yes",
        "--watch",
        "--listen",
        &listen,
        "--bootstrap",
        network.bootstrap(),
    ];
    let again = network.command_in_background("alice", &args, "again")?;
    wait_for("the new job", LIMIT, async || Ok(network.job(3).await.ok())).await?;
    let job = network.job_until(3, "the new job to settle", LIMIT, settled).await?;
    drop(again);
    let spec = job.spec.clone().ok_or_eyre("no spec")?;
    assert_eq!((job.repost_of, spec.start_root), (2, failed.round_root.clone()));
    assert_eq!(network.job(2).await?.reposted_as, 3);
    assert_eq!((job.budget, job.completed), (400 * train, 2));
    ensure!(job.score_ppm > 500_000, "it scores {} ppm", job.score_ppm);
    network.stop()
}
