//! `trainyard job post`: a spec from files and flags.

use std::path::PathBuf;

use color_eyre::eyre::{Result, bail, ensure};
use serde_json::json;
use trainyard_client::data::{Encryption, Manifest, Split};
use trainyard_overlay::Overlay;
use trainyard_proto::{
    any, coin,
    job::{
        DataRef, Deadlines, JobSpec, MsgPostJob, MsgPostJobResponse, Optimizer, Paradigm, Provider, Requirements,
        Schedule, Task,
    },
    registry::VerificationClass,
};

use super::{computation::Computation, job_of, mesh, watch};
use crate::cli::{Global, data, tx};

#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Post {
    /// The model, an ONNX file; a variant may name another
    #[arg(long, value_name = "FILE")]
    model: Option<PathBuf>,
    /// `federated` (workers train one model together) or `competitive` (each trains a variant alone, the best one wins)
    #[arg(long, default_value = "federated")]
    paradigm: String,
    /// A variant of a competitive job: what it changes of these flags, as `lr=0.1,batch-size=32` or `model=cnn.onnx`;
    /// repeatable. Without any, workers bring their own
    #[arg(long = "variant", value_name = "KEY=VALUE,…")]
    variants: Vec<String>,
    /// The least score that wins a competitive job, like `90%`
    #[arg(long, value_parser = floor, default_value = "0")]
    floor: u32,
    /// Training data: the CID of a manifest packed here
    #[arg(long, value_name = "CID")]
    train: String,
    /// Test data: the CID of a manifest packed here
    #[arg(long, value_name = "CID")]
    test: String,
    /// What the job may cost, as 1000TRAIN
    #[arg(long, value_parser = tx::amount)]
    budget: u64,
    /// What one round costs, as 10TRAIN: only rounds that the budget covers are trained, and only completed ones are paid
    /// [default: the budget divided by the rounds]
    #[arg(long, value_parser = tx::amount, default_value = "0")]
    round_price: u64,
    /// The metric at which training ends early, as 97% or 97.5%: measured by the workers on the first samples of the
    /// training data, at most 1000; rounds that are not trained are not paid
    #[arg(long, value_parser = target)]
    target: Option<u32>,
    /// A name for people
    #[arg(long, default_value = "")]
    name: String,
    /// Workers; the job starts when so many have joined [default: one for each variant, otherwise 3]
    #[arg(long)]
    workers: Option<u32>,
    /// Workers that are enough at the deadline [default: all]
    #[arg(long)]
    min_workers: Option<u32>,
    /// Evaluators drawn by lot
    #[arg(long, default_value_t = 2)]
    evaluators: u32,
    /// Rounds
    #[arg(long, default_value_t = 5)]
    rounds: u32,
    /// Steps of one worker in one round
    #[arg(long, default_value_t = 100)]
    local_steps: u32,
    /// Samples of one step
    #[arg(long, default_value_t = 64)]
    batch_size: u32,
    /// `cross_entropy`, `mse` or `bce_with_logits`
    #[arg(long, default_value = "cross_entropy")]
    loss: String,
    /// `sgd`, `adam` or `adamw`
    #[arg(long, default_value = "sgd")]
    optimizer: String,
    /// Learning rate
    #[arg(long, default_value = "0.05")]
    lr: String,
    /// Momentum of SGD
    #[arg(long, default_value = "0.9")]
    momentum: String,
    /// Weight decay
    #[arg(long, default_value = "")]
    weight_decay: String,
    /// How the learning rate changes: `constant`, `step` or `cosine`
    #[arg(long, default_value = "constant")]
    schedule: String,
    /// Steps over which the learning rate rises to its value
    #[arg(long, default_value_t = 0)]
    warmup: u64,
    /// Steps between two changes (`step`), or until the floor (`cosine`)
    #[arg(long, default_value_t = 0)]
    schedule_steps: u64,
    /// What the rate is multiplied by (`step`), or its floor as a share of the rate (`cosine`)
    #[arg(long, default_value = "")]
    schedule_factor: String,
    /// Largest norm of the gradients, to which greater ones are scaled down
    #[arg(long, default_value = "")]
    clip_norm: String,
    /// Share of a cross-entropy's targets that is spread over the classes
    #[arg(long, default_value = "")]
    label_smoothing: String,
    /// Draws dropout
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Start weights, a safetensors file [default: the model's own]
    #[arg(long, value_name = "FILE")]
    start: Option<PathBuf>,
    /// Start from the result of a settled job, by its number
    #[arg(long, value_name = "JOB", default_value_t = 0, conflicts_with = "start")]
    start_job: u64,
    /// How workers exchange their deltas: `none` (whole, as f32), `int8` (every element as an 8-bit integer), or the share
    /// of elements to send as such, like `1%` or `0.25%`
    #[arg(long, value_parser = delta_share, default_value = "none")]
    compression: u32,
    /// Least reputation of a worker
    #[arg(long, default_value_t = 0)]
    min_reputation: u32,
    /// GPUs of a worker
    #[arg(long, default_value_t = 0)]
    gpus: u32,
    /// Memory of each GPU, MiB
    #[arg(long, default_value_t = 0, requires = "gpus")]
    gpu_memory_mib: u32,
    /// Subnet tag
    #[arg(long, default_value = "")]
    subnet: String,
    /// `exact` (the same bits everywhere), `pinned` or `tolerant`
    #[arg(long, default_value = "pinned")]
    verification: String,
    /// Share of a completed round's pay owed when the job fails, basis points
    #[arg(long, default_value_t = 5000)]
    partial_share_bp: u32,
    /// Blocks for workers to join
    #[arg(long, default_value_t = 600)]
    open_blocks: u32,
    /// Blocks for the client to grant a key
    #[arg(long, default_value_t = 100)]
    grant_blocks: u32,
    /// Blocks for a round's traces, and again for its merged roots
    #[arg(long, default_value_t = 600)]
    round_blocks: u32,
    /// Blocks for the result
    #[arg(long, default_value_t = 100)]
    submit_blocks: u32,
    /// Serve model and data, follow the job and grant its keys until it ends
    #[arg(long)]
    watch: bool,
    #[command(flatten)]
    mesh: mesh::MeshOptions,
    #[command(flatten)]
    options: tx::TxOptions,
}

pub(super) async fn run(global: &Global, post: Post) -> Result<()> {
    let train = manifest(global, &post.train, Split::Train)?;
    let test = manifest(global, &post.test, Split::Test)?;
    let verification = match post.verification.as_str() {
        "exact" => VerificationClass::Exact,
        "pinned" => VerificationClass::Pinned,
        "tolerant" => VerificationClass::Tolerant,
        other => bail!("--verification {other:?} is none of exact, pinned and tolerant"),
    };
    let paradigm = match post.paradigm.as_str() {
        "federated" => Paradigm::Federated,
        "competitive" => Paradigm::Competitive,
        other => bail!("--paradigm {other:?} is none of federated and competitive"),
    };
    ensure!(
        paradigm == Paradigm::Competitive || post.variants.is_empty(),
        "--variant is for --paradigm competitive"
    );
    let task = Task {
        loss: post.loss,
        metric: "accuracy".into(),
        optimizer: Some(Optimizer {
            momentum: if post.optimizer == "sgd" {
                post.momentum
            } else {
                String::new()
            },
            name: post.optimizer,
            learning_rate: post.lr,
            weight_decay: post.weight_decay,
            ..Optimizer::default()
        }),
        batch_size: post.batch_size,
        local_steps: post.local_steps,
        seed: post.seed,
        schedule: Some(Schedule {
            name: post.schedule,
            warmup: post.warmup,
            steps: post.schedule_steps,
            factor: post.schedule_factor,
        }),
        clip_norm: post.clip_norm,
        label_smoothing: post.label_smoothing,
    };
    let base = Computation {
        name: String::new(),
        model: post.model,
        start: post.start,
        task,
    };
    let mut computations = Vec::new();
    for changes in &post.variants {
        computations.push(base.with(changes)?);
    }
    if paradigm == Paradigm::Federated {
        computations.push(base);
    }
    let (exact, compressed) = (verification == VerificationClass::Exact, post.compression > 0);
    let data = [("training", &train), ("test", &test)];
    let loaded: Vec<_> = computations
        .iter()
        .map(|c| c.load(exact, compressed, data))
        .collect::<Result<_>>()?;
    // The mesh is joined before anything is paid: who cannot serve should not post.
    let overlay = mesh::join(global, &post.mesh).await?;
    let mut variants = Vec::new();
    for loaded in loaded {
        variants.push(loaded.offer(&overlay).await?);
    }
    let provider = Provider {
        peer_id: overlay.peer_id().to_string(),
        addresses: mesh::addresses(&overlay, &post.mesh),
    };
    let workers = match (post.workers, post.variants.len()) {
        (Some(workers), _) => workers,
        (None, 0) => 3,
        (None, variants) => u32::try_from(variants)?,
    };
    let mut spec = JobSpec {
        name: post.name,
        train: Some(reference(&train, post.train)),
        test: Some(reference(&test, post.test)),
        provider: Some(provider),
        paradigm: paradigm.into(),
        verification: verification.into(),
        requirements: Some(Requirements {
            min_workers: post.min_workers.unwrap_or(workers),
            max_workers: workers,
            evaluators: post.evaluators,
            gpus: post.gpus,
            gpu_memory_mib: post.gpu_memory_mib,
            min_reputation: post.min_reputation,
            subnet: post.subnet,
        }),
        rounds: post.rounds,
        deadlines: Some(Deadlines {
            open: post.open_blocks,
            grant: post.grant_blocks,
            round: post.round_blocks,
            submit: post.submit_blocks,
        }),
        partial_share_bp: post.partial_share_bp,
        delta_share_ppm: post.compression,
        round_price: post.round_price,
        target_ppm: post.target.unwrap_or(0),
        start_job: post.start_job,
        floor_ppm: post.floor,
        ..JobSpec::default()
    };
    if paradigm == Paradigm::Competitive {
        spec.variants = variants;
    } else if let Some(only) = variants.pop() {
        spec.model_cid = only.model_cid;
        spec.start_cid = only.start_cid;
        spec.start_root = if post.start_job > 0 {
            Vec::new()
        } else {
            only.start_root
        };
        spec.task = only.task;
        spec.program_root = only.program_root;
        spec.macs_per_sample = only.macs_per_sample;
    }
    let budget = Some(coin::utrain(post.budget));
    let build = |client: trainyard_proto::address::Address| {
        Ok(vec![any::pack(&MsgPostJob {
            client: client.to_string(),
            spec: Some(spec),
            budget,
        })])
    };
    let Some(outcome) = tx::send(global, &post.options, build).await? else {
        return Ok(());
    };
    let job_id = outcome.response::<MsgPostJobResponse>(0)?.job_id;
    posted(global, job_id, overlay, post.watch, &post.options).await
}

/// Tells of a job that was posted; where it is to be watched, follows it to its end.
pub(super) async fn posted(
    global: &Global,
    job_id: u64,
    overlay: Overlay,
    watches: bool,
    options: &tx::TxOptions,
) -> Result<()> {
    if !watches {
        overlay.shutdown().await;
        let job = job_of(&global.client()?, job_id).await?;
        let home = global.home()?;
        return global.print(&json!({
            "job": job_id,
            "budget": coin::show(job.budget),
            "posting_fee": coin::show(job.posting_fee),
            "next": format!("trainyard job watch {job_id} --serve --from … --home {}", home.display()),
        }));
    }
    let signer = tx::signer(global, options).await?;
    watch::follow(global, job_id, Some(&overlay), Some(&signer)).await?;
    overlay.shutdown().await;
    Ok(())
}

/// The least score that wins, in parts per million.
fn floor(text: &str) -> Result<u32, String> {
    match text {
        "0" => Ok(0),
        _ => share(text).ok_or_else(|| "0, or a score between 0.0001% and 100%".into()),
    }
}

/// Parts per million of a delta that are sent; 0 where it is sent whole.
fn delta_share(text: &str) -> Result<u32, String> {
    match text {
        "none" => Ok(0),
        "int8" => Ok(1_000_000),
        _ => share(text).ok_or_else(|| "none, int8, or a share between 0.0001% and 100%".into()),
    }
}

/// Parts per million at which training ends.
fn target(text: &str) -> Result<u32, String> {
    share(text).ok_or_else(|| "a share between 0.0001% and 100%".into())
}

/// A share such as `0.25%`, in parts per million: more than nothing, at most the whole.
fn share(text: &str) -> Option<u32> {
    let text = text.strip_suffix('%')?;
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let digits = |s: &str| s.bytes().all(|b| b.is_ascii_digit());
    if whole.is_empty() || fraction.len() > 4 || !digits(whole) || !digits(fraction) {
        return None;
    }
    let ppm = format!("{whole}{fraction:0<4}").parse().ok()?;
    (1..=1_000_000).contains(&ppm).then_some(ppm)
}

fn manifest(global: &Global, cid: &str, split: Split) -> Result<Manifest> {
    let manifest = Manifest::open(&data::read_manifest(&global.home()?, cid)?)?;
    let found = manifest.split;
    ensure!(
        found == split,
        "{cid} is the manifest of the {found} split, expected {split}"
    );
    Ok(manifest)
}

fn reference(manifest: &Manifest, cid: String) -> DataRef {
    DataRef {
        manifest_cid: cid,
        plaintext_root: manifest.plaintext_root.to_vec(),
        samples: manifest.samples,
        encrypted: manifest.encryption != Encryption::None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_read_exactly() {
        let table = [
            ("none", 0),
            ("int8", 1_000_000),
            ("100%", 1_000_000),
            ("1%", 10_000),
            ("0.25%", 2_500),
            ("0.0001%", 1),
        ];
        for (text, ppm) in table {
            assert_eq!(delta_share(text), Ok(ppm), "{text:?}");
        }
        for text in [
            "",
            "1",
            "%",
            ".5%",
            "0%",
            "0.0000%",
            "0.00001%",
            "100.0001%",
            "-1%",
            "1e1%",
            "99999999999%",
        ] {
            assert!(delta_share(text).is_err(), "{text:?} was taken");
        }
        assert_eq!((floor("0"), floor("97.5%")), (Ok(0), Ok(975_000)));
        assert!(floor("97.5").is_err() && floor("101%").is_err());
    }
}
