//! Whole jobs on real processes: CometBFT, libtorch, libp2p, IPFS, RocksDB, MNIST.

#[path = "e2e/liar.rs"]
mod liar;
#[path = "e2e/own.rs"]
mod own;
#[path = "e2e/rules.rs"]
mod rules;
#[path = "e2e/upkeep.rs"]
mod upkeep;

use std::{path::Path, time::Duration};

use color_eyre::eyre::{OptionExt, Result, ensure};
use serde_json::Value;
use trainyard_localnet::{Network, Plan, Process, mnist, wait_for};
use trainyard_proto::{
    address::Address,
    coin::UTRAIN_PER_TRAIN,
    job::{Job, JobState, RoundPhase, Standing},
};

const LIMIT: Duration = Duration::from_secs(120);

/// A client with a model and data: 10 000 digits, a fifth of them for the test.
struct Alice {
    model: String,
    train: String,
    test: String,
}

impl Alice {
    fn prepare(network: &Network, encrypt: &str) -> Result<Self> {
        let model = network.client_home("alice")?.join("mlp.onnx").display().to_string();
        network.command("alice", &["model", "new", "mlp", "--hidden", "32", "--out", &model])?;
        let files = mnist()?;
        let file = |name: &str| files.join(name).display().to_string();
        let input = format!(
            "idx:{},{}",
            file("t10k-images-idx3-ubyte"),
            file("t10k-labels-idx1-ubyte")
        );
        let packed = network.command(
            "alice",
            &["data", "pack", "digits", "--all", &input, "--encrypt", encrypt],
        )?;
        let cid = |split: &str| {
            packed[split]["manifest_cid"]
                .as_str()
                .map(String::from)
                .ok_or_eyre("no manifest")
        };
        Ok(Self {
            model,
            train: cid("train")?,
            test: cid("test")?,
        })
    }

    /// Posts a job in the background, watched to its end; gives the process and the job's number.
    async fn post(&self, network: &Network, log: &str, job: u64, more: &[&str]) -> Result<Process> {
        let listen = format!("/ip4/{}/tcp/27099", network.plan().base);
        let mut args = vec![
            "job",
            "post",
            "--model",
            &self.model,
            "--train",
            &self.train,
            "--test",
            &self.test,
            "--budget",
            "1000TRAIN",
            "--from",
            "alice",
            "--yes",
            "--watch",
            "--listen",
            &listen,
        ];
        if !network.bootstrap().is_empty() {
            args.extend(["--bootstrap", network.bootstrap()]);
        }
        args.extend(more);
        let mut process = network.command_in_background("alice", &args, log)?;
        wait_for("the job on chain", LIMIT, async || {
            process.check()?;
            Ok(network.job(job).await.is_ok().then_some(()))
        })
        .await?;
        Ok(process)
    }
}

fn paid(job: &Job, who: &Address, reason: &str) -> u64 {
    job.payments
        .iter()
        .filter(|p| p.recipient == who.to_string() && p.reason == reason)
        .map(|p| p.amount)
        .sum()
}

fn settled(job: &Job) -> bool {
    job.state() == JobState::Settled
}

/// The JSON lines of a daemon's log.
fn lines(process: &Process) -> Vec<Value> {
    process
        .output()
        .lines()
        .filter_map(|line| serde_json::from_str(line).ok())
        .collect()
}

/// The last step of a round that a worker has reported.
fn steps(process: &Process, round: u64) -> u64 {
    let own = lines(process)
        .into_iter()
        .filter(|l| l["message"] == "progress" && l["round"] == round);
    own.filter_map(|l| l["step"].as_u64()).max().unwrap_or(0)
}

/// Reads a safetensors file as Python's `safetensors` does: length, JSON header, then data up to the last byte.
fn tensors(path: &Path) -> Result<usize> {
    let bytes = std::fs::read(path)?;
    let length = usize::try_from(u64::from_le_bytes(bytes[..8].try_into()?))?;
    let header: Value = serde_json::from_slice(&bytes[8..8 + length])?;
    let header = header.as_object().ok_or_eyre("the header is no object")?;
    let end = header
        .values()
        .filter_map(|t| t["data_offsets"][1].as_u64())
        .max()
        .ok_or_eyre("no tensors")?;
    ensure!(
        8 + length + usize::try_from(end)? == bytes.len(),
        "the data does not end with the file"
    );
    Ok(header.len())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_settles_one_is_cancelled_and_one_expires() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let mut network = Network::start(Plan::small(folder.path())).await?;
    let alice = Alice::prepare(&network, "both")?;
    let client = network.address("alice")?;
    let train = UTRAIN_PER_TRAIN;
    let supply = network.supply().await?;

    // Nobody is there to work: one job is cancelled, the next expires; both give the budget back, not the fee.
    let before = network.balance(&client).await?;
    let cancelled = alice.post(&network, "cancelled", 1, &[]).await?;
    network.command("alice", &["job", "cancel", "1", "--from", "alice", "--yes"])?;
    let job = network.job(1).await?;
    ensure!(
        job.state() == JobState::Cancelled && job.reason == "cancelled by its client",
        "job 1: {}",
        job.reason
    );
    drop(cancelled);
    let expired = alice.post(&network, "expired", 2, &["--open-blocks", "5"]).await?;
    let job = network
        .job_until(2, "the job's deadline", LIMIT, |j| j.state() == JobState::Cancelled)
        .await?;
    ensure!(
        job.reason.contains("0 workers joined in time, 3 were needed"),
        "job 2: {}",
        job.reason
    );
    drop(expired);
    let spent = before - network.balance(&client).await?;
    ensure!(
        spent >= 20 * train && spent < 21 * train,
        "two posting fees and gas came to {spent}utrain"
    );

    network.start_trainers().await?;
    let fees = [
        "--rounds",
        "2",
        "--local-steps",
        "30",
        "--batch-size",
        "32",
        "--lr",
        "0.1",
    ];
    let watched = alice.post(&network, "settled", 3, &fees).await?;
    let job = network.job_until(3, "the job to settle", LIMIT, settled).await?;
    network.check()?;
    drop(watched);
    for worker in ["worker1", "worker2", "worker3"] {
        let who = network.address(worker)?;
        assert_eq!(
            (paid(&job, &who, "worker"), paid(&job, &who, "stake")),
            (300 * train, 900 * train),
            "{worker}"
        );
    }
    for evaluator in ["eval1", "eval2"] {
        assert_eq!(
            paid(&job, &network.address(evaluator)?, "evaluator"),
            25 * train,
            "{evaluator}"
        );
    }
    assert_eq!(network.balance(&Address::of_module("treasury")).await?, 50 * train);
    assert_eq!(network.balance(&Address::of_module("job_escrow")).await?, 0);
    assert_eq!(network.supply().await?, supply);
    for number in 0..2 {
        let round = network.round(3, number).await?;
        assert!(
            round.votes.len() == 3 && round.votes.iter().all(|v| v.end_root == round.end_root),
            "round {number}"
        );
    }
    ensure!(
        job.score_ppm > 500_000,
        "an accuracy of {} ppm is not much better than guessing",
        job.score_ppm
    );

    let out = folder.path().join("model.safetensors");
    let listen = format!("/ip4/{}/tcp/0", network.plan().base);
    let out_text = out.display().to_string();
    let args = [
        "job",
        "fetch",
        "3",
        "--out",
        &out_text,
        "--listen",
        &listen,
        "--bootstrap",
        network.bootstrap(),
    ];
    let fetched = network.command("alice", &args)?;
    assert_eq!(fetched["signed_by"].as_array().map(Vec::len), Some(2));
    assert_eq!(tensors(&out)?, 4);
    liar::fetch_without_trust(&network, 3, folder.path(), &fetched).await?;

    // The next job starts from that model, and ends with its first round, for its target is reached.
    let more = [
        "--start-job",
        "3",
        "--rounds",
        "4",
        "--target",
        "10%",
        "--local-steps",
        "30",
        "--batch-size",
        "32",
        "--lr",
        "0.1",
    ];
    let watched = alice.post(&network, "chained", 4, &more).await?;
    let chained = network
        .job_until(4, "the chained job to settle", LIMIT, settled)
        .await?;
    drop(watched);
    let (spec, artifact) = (chained.spec.clone(), job.artifact.clone());
    assert_eq!(spec.map(|s| s.start_cid), artifact.map(|a| a.model_cid));
    ensure!(
        chained.completed == 1 && chained.ended.contains("the target of 100000 ppm is reached"),
        "{} rounds: {}",
        chained.completed,
        chained.ended
    );
    assert_eq!(paid(&chained, &client, "refund"), 750 * train);

    // The workers hold the training data now: its client need not serve it any longer.
    let args = [
        "data",
        "serve",
        "--until-held",
        "3",
        &alice.train,
        "--listen",
        &listen,
        "--bootstrap",
        network.bootstrap(),
    ];
    let serving = network.command_in_background("alice", &args, "serve")?;
    wait_for("three holders of the training data", LIMIT, async || {
        Ok(serving.output().contains("is held by 3 of 3").then_some(()))
    })
    .await?;
    drop(serving);
    network.stop()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_exact_job_is_trained_again_to_the_same_roots() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let mut network = Network::start(Plan::small(folder.path())).await?;
    network.start_trainers().await?;
    let mut alice = Alice::prepare(&network, "both")?;
    alice.model = network.client_home("alice")?.join("cnn.onnx").display().to_string();
    network.command("alice", &["model", "new", "cnn", "--out", &alice.model])?;
    let more = [
        "--verification",
        "exact",
        "--rounds",
        "2",
        "--local-steps",
        "20",
        "--batch-size",
        "32",
        "--schedule",
        "cosine",
        "--schedule-steps",
        "40",
        "--compression",
        "5%",
    ];
    let watched = alice.post(&network, "watched", 1, &more).await?;
    let job = network.job_until(1, "the job to settle", LIMIT, settled).await?;
    drop(watched);
    let spec = job.spec.clone().ok_or_eyre("no spec")?;
    assert_eq!(spec.program_root.len(), 32);
    let scores: Vec<u32> = job
        .evaluators
        .iter()
        .filter_map(|e| e.attestation.as_ref().filter(|a| a.accepted).map(|a| a.score_ppm))
        .collect();
    assert_eq!(scores, [job.score_ppm; 2], "equal work has equal scores");

    // Whoever trains it again, with other instructions and another number of threads, finds every root.
    let printed = network.audit("alice", 1, &["--isa", "scalar", "--threads", "2"])?;
    for number in 0..2 {
        let round = network.round(1, number).await?;
        let merged = format!("merged    {}", hex::encode(&round.end_root));
        ensure!(printed.contains(&merged), "{printed}");
        for commit in &round.commits {
            let line = format!("{}  {}, 21 states", hex::encode(&commit.delta_root), commit.worker);
            ensure!(printed.contains(&line), "{line} is not in {printed}");
        }
    }
    ensure!(printed.contains("every root is reproduced"), "{printed}");
    network.stop()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_best_learning_rate_wins_a_contest() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let mut network = Network::start(Plan::small(folder.path())).await?;
    network.start_trainers().await?;
    let alice = Alice::prepare(&network, "both")?;
    let more = [
        "--paradigm",
        "competitive",
        "--variant",
        "lr=0.1",
        "--variant",
        "lr=0.02",
        "--variant",
        "name=hardly any,lr=0.0000001",
        "--floor",
        "50%",
        "--verification",
        "exact",
        "--rounds",
        "2",
        "--local-steps",
        "40",
        "--batch-size",
        "32",
    ];
    let watched = alice.post(&network, "watched", 1, &more).await?;
    let job = network.job_until(1, "the contest to settle", LIMIT, settled).await?;
    network.check()?;
    ensure!(watched.output().contains("3 artifacts are in"), "{}", watched.output());
    drop(watched);

    // Each worker took another variant; the one that hardly learns is below the floor, the best of the others has won.
    let mut taken: Vec<u32> = job.workers.iter().map(|w| w.variant_index).collect();
    taken.sort_unstable();
    assert_eq!(taken, [0, 1, 2]);
    let best = job
        .workers
        .iter()
        .max_by_key(|w| w.score_ppm)
        .ok_or_eyre("no workers")?;
    ensure!(
        best.address == job.winner && best.standing() == Standing::Won,
        "{:?}",
        job.workers
    );
    ensure!(
        job.score_ppm == best.score_ppm && job.score_ppm > 500_000,
        "it won with {} ppm",
        job.score_ppm
    );
    let idle = job
        .workers
        .iter()
        .find(|w| w.variant_index == 2)
        .ok_or_eyre("nobody trained the last variant")?;
    assert_eq!(idle.standing(), Standing::BelowFloor, "{} ppm", idle.score_ppm);
    let train = UTRAIN_PER_TRAIN;
    for worker in &job.workers {
        let who: Address = worker.address.parse()?;
        let won = worker.address == job.winner;
        let (reason, amount) = if won { ("winner", 600) } else { ("compensation", 150) };
        assert_eq!(paid(&job, &who, reason), amount * train, "{who}");
    }
    for evaluator in ["eval1", "eval2"] {
        let who = network.address(evaluator)?;
        assert_eq!(paid(&job, &who, "evaluator"), 25 * train, "{evaluator}");
    }

    // The winner's model is what the evaluators signed, and what its variant trains to.
    let out = folder.path().join("model.safetensors");
    let listen = format!("/ip4/{}/tcp/0", network.plan().base);
    let out_text = out.display().to_string();
    let bootstrap = network.bootstrap();
    let args = [
        "job",
        "fetch",
        "1",
        "--out",
        &out_text,
        "--listen",
        &listen,
        "--bootstrap",
        bootstrap,
    ];
    let fetched = network.command("alice", &args)?;
    assert_eq!(fetched["signed_by"].as_array().map(Vec::len), Some(2));
    assert_eq!(fetched["score_ppm"], job.score_ppm);
    let artifact = best.artifact.clone().ok_or_eyre("the winner has no artifact")?;
    assert_eq!(fetched["state_root"], hex::encode(&artifact.state_root));
    let printed = network.audit("alice", 1, &["--isa", "scalar", "--threads", "2"])?;
    for worker in &job.workers {
        let root = &worker.artifact.clone().ok_or_eyre("an artifact is missing")?.state_root;
        let line = format!("artifact    {}", hex::encode(root));
        ensure!(printed.contains(&line), "{line} is not in {printed}");
    }
    ensure!(printed.contains("every root is reproduced"), "{printed}");
    network.stop()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_worker_goes_on_from_its_checkpoint_and_a_dead_one_is_dropped() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let mut network = Network::start(Plan::small(folder.path())).await?;
    network.start_trainers().await?;
    let alice = Alice::prepare(&network, "none")?;
    let more = [
        "--rounds",
        "2",
        "--local-steps",
        "1500",
        "--batch-size",
        "16",
        "--lr",
        "0.02",
        "--round-blocks",
        "150",
        "--compression",
        "5%",
    ];
    let watched = alice.post(&network, "watched", 1, &more).await?;

    // Killed in the middle of round 0 and started again: it does not train the steps before its checkpoint a second time.
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
    network
        .job_until(1, "round 0 to close", LIMIT, |j| j.round == 1)
        .await?;
    let round = network.round(1, 0).await?;
    assert_eq!(
        (round.commits.len(), round.votes.len()),
        (3, 3),
        "all three finished round 0"
    );

    // Killed for good in round 1: the others wait for the deadline, then go on without it.
    wait_for("steps of worker2", LIMIT, async || {
        Ok((steps(network.trainer("worker2")?, 1) >= 40).then_some(()))
    })
    .await?;
    network.take_trainer("worker2")?.kill()?;
    let job = network.job_until(1, "the job to settle", LIMIT, settled).await?;
    drop(watched);
    let dropped = network.address("worker2")?;
    let samples = |who: &Address| {
        job.workers
            .iter()
            .find(|w| w.address == who.to_string())
            .map(|w| (w.samples, w.active))
    };
    assert_eq!(samples(&dropped), Some((24_000, false)));
    let train = UTRAIN_PER_TRAIN;
    assert_eq!(
        paid(&job, &dropped, "worker"),
        900 * train / 5 / 2,
        "one of five rounds' work is its own, at the partial share of one half"
    );
    assert_eq!(paid(&job, &dropped, "stake"), 900 * train);
    for worker in ["worker1", "worker3"] {
        let who = network.address(worker)?;
        assert_eq!(samples(&who), Some((48_000, true)), "{worker}");
        assert_eq!(paid(&job, &who, "worker"), 900 * train * 2 / 5, "{worker}");
    }
    network.stop()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_evaluator_that_never_reveals_is_not_paid() -> Result<()> {
    let folder = tempfile::tempdir()?;
    // Slower blocks: the second evaluator must still find time to commit within the window's twenty blocks.
    let mut network = Network::start(Plan {
        block_ms: 500,
        ..Plan::small(folder.path())
    })
    .await?;
    network.start_trainers().await?;
    let alice = Alice::prepare(&network, "test")?;
    let more = [
        "--rounds",
        "1",
        "--local-steps",
        "20",
        "--batch-size",
        "16",
        "--lr",
        "0.1",
        "--workers",
        "2",
    ];
    let watched = alice.post(&network, "watched", 1, &more).await?;
    let silent = network.address("eval1")?;
    let committed = |j: &Job| {
        let own = j.evaluators.iter().find(|e| e.address == silent.to_string());
        own.is_some_and(|e| !e.commitment.is_empty())
    };
    // The other one is held until the first has committed, so that the first cannot reveal before it is killed.
    network
        .job_until(1, "training", LIMIT, |j| j.round_phase() != RoundPhase::Unspecified)
        .await?;
    network.trainer("eval2")?.signal(nix::sys::signal::Signal::SIGSTOP)?;
    network.job_until(1, "eval1 to commit", LIMIT, committed).await?;
    network.take_trainer("eval1")?.kill()?;
    network.trainer("eval2")?.signal(nix::sys::signal::Signal::SIGCONT)?;
    let job = network.job_until(1, "the job to settle", LIMIT, settled).await?;
    drop(watched);
    let train = UTRAIN_PER_TRAIN;
    assert_eq!(paid(&job, &silent, "evaluator"), 0);
    assert_eq!(paid(&job, &network.address("eval2")?, "evaluator"), 25 * train);
    assert_eq!(paid(&job, &Address::of_module("treasury"), "treasury"), 75 * train);
    let explained = network.command("alice", &["job", "explain", "1", &silent.to_string()])?;
    ensure!(
        explained
            .to_string()
            .contains("revealed none in time: it missed a duty"),
        "{explained}"
    );
    network.stop()
}
