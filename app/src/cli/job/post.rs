//! `trainyard job post`: a spec from files and flags.

use std::path::PathBuf;

use color_eyre::eyre::{Result, WrapErr as _, bail, ensure};
use serde_json::json;
use trainyard_client::data::{Encryption, Manifest, Split};
use trainyard_exact::{
    compress::check_model,
    lower::training,
    onnx::{Limits, decode},
    state_root,
};
use trainyard_modules::job::parse_task;
use trainyard_overlay::Overlay;
use trainyard_proto::{
    any, coin,
    job::{
        DataRef, Deadlines, JobSpec, MsgPostJob, MsgPostJobResponse, Optimizer, Paradigm, Provider, Requirements,
        Schedule, Task,
    },
    registry::VerificationClass,
};

use super::{job_of, mesh, watch};
use crate::cli::{Global, data, model, tx};

#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Post {
    /// The model, an ONNX file
    #[arg(long, value_name = "FILE")]
    model: PathBuf,
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
    /// Workers; the job starts when so many have joined
    #[arg(long, default_value_t = 3)]
    workers: u32,
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
    let bytes = model::read(&post.model)?;
    let mut graph = decode(&bytes, &Limits::default()).wrap_err_with(|| post.model.display().to_string())?;
    let train = manifest(global, &post.train, Split::Train)?;
    let test = manifest(global, &post.test, Split::Test)?;
    for (name, manifest) in [("training", &train), ("test", &test)] {
        ensure!(
            manifest.shape == graph.sample,
            "the {name} data's samples have shape {:?}, the model takes {:?}",
            manifest.shape,
            graph.sample
        );
    }
    if post.compression > 0 {
        check_model(&graph)?;
    }
    let mut start_bytes = None;
    if let Some(path) = &post.start {
        let bytes = std::fs::read(path).wrap_err_with(|| path.display().to_string())?;
        graph.weights = trainyard_exact::weights_file::from_safetensors(&bytes, &Default::default())
            .wrap_err_with(|| path.display().to_string())?;
        start_bytes = Some(bytes);
    }
    // The mesh is joined before anything is paid: who cannot serve should not post.
    let overlay = mesh::join(global, &post.mesh).await?;
    let model_cid = overlay.add_bytes(bytes).await?.cid.to_string();
    let start_cid = match start_bytes {
        Some(bytes) => overlay.add_bytes(bytes).await?.cid.to_string(),
        None => String::new(),
    };
    let provider = Provider {
        peer_id: overlay.peer_id().to_string(),
        addresses: mesh::addresses(&overlay, &post.mesh),
    };
    let mut spec = JobSpec {
        name: post.name,
        model_cid,
        start_cid,
        start_root: if post.start_job > 0 {
            Vec::new()
        } else {
            state_root(&graph.weights).to_vec()
        },
        task: Some(Task {
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
        }),
        train: Some(reference(&train, post.train)),
        test: Some(reference(&test, post.test)),
        provider: Some(provider),
        paradigm: Paradigm::Federated.into(),
        verification: match post.verification.as_str() {
            "exact" => VerificationClass::Exact.into(),
            "pinned" => VerificationClass::Pinned.into(),
            "tolerant" => VerificationClass::Tolerant.into(),
            other => bail!("--verification {other:?} is none of exact, pinned and tolerant"),
        },
        requirements: Some(Requirements {
            min_workers: post.min_workers.unwrap_or(post.workers),
            max_workers: post.workers,
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
        macs_per_sample: graph.macs(),
        delta_share_ppm: post.compression,
        program_root: Vec::new(),
        round_price: post.round_price,
        target_ppm: post.target.unwrap_or(0),
        start_job: post.start_job,
    };
    if spec.verification() == VerificationClass::Exact {
        let task = spec.task.clone().unwrap_or_default();
        let program = training(&graph, &parse_task(&task)?, task.batch_size as usize)?;
        spec.program_root = program.root()?.to_vec();
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
    }
}
