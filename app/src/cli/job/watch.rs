//! `trainyard job watch`: follows a job to its end, and grants the data keys it waits for when the client's key is at hand.

use std::collections::BTreeMap;

use color_eyre::eyre::{OptionExt, Result, WrapErr as _, eyre};
use prost::Message as _;
use serde_json::json;
use trainyard_client::{
    data::{Grant, KeyVault, Split, seal_key},
    events::{BlockStream, Event},
    rpc::Client,
    signer::Signer,
};
use trainyard_modules::job::{standing_name, variant_of};
use trainyard_overlay::{Overlay, Topic};
use trainyard_proto::{
    any, coin,
    job::{DataSplit, Job, JobState, KeyGrant, MsgGrantKeys, RoundPhase},
    overlay::{JobMessage, job_message::Body},
};

use super::{is_over, job_of, mesh, node_of};
use crate::cli::{Global, tx};

#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Watch {
    /// The job's number
    job: u64,
    /// Also serve model and data, and listen to the workers' progress
    #[arg(long)]
    serve: bool,
    #[command(flatten)]
    mesh: mesh::MeshOptions,
    #[command(flatten)]
    options: tx::TxOptions,
}

pub(super) async fn run(global: &Global, watch: Watch) -> Result<()> {
    let signer = if watch.options.has_signer() {
        Some(tx::signer(global, &watch.options).await?)
    } else {
        None
    };
    let overlay = if watch.serve {
        Some(mesh::join(global, &watch.mesh).await?)
    } else {
        None
    };
    let followed = follow(global, watch.job, overlay.as_ref(), signer.as_ref()).await;
    if let Some(overlay) = overlay {
        overlay.shutdown().await;
    }
    followed
}

/// Follows a job to its end, telling what happens.
///
/// # Errors
/// The node is gone, the keys cannot be granted, or the job did not settle.
pub(super) async fn follow(global: &Global, id: u64, overlay: Option<&Overlay>, signer: Option<&Signer>) -> Result<()> {
    let client = global.client()?;
    let teller = Teller { json: global.is_json() };
    let mut job = job_of(&client, id).await?;
    teller.job(&job);
    let mut blocks = BlockStream::new(client.clone(), 0);
    let mut topic: Option<Topic> = None;
    while !is_over(&job) {
        if let Some(signer) = signer.filter(|s| s.address().to_string() == job.client) {
            grant(global, &client, signer, &job).await?;
        }
        // The topic exists from the start of the training on.
        if let (Some(overlay), None, JobState::Training) = (overlay, &topic, job.state()) {
            topic = Some(overlay.join(id).await.wrap_err("cannot join the job's topic")?);
        }
        tokio::select! {
            block = blocks.next() => {
                let block = block.ok_or_eyre("the stream of blocks has ended")?;
                let id_text = id.to_string();
                let own = block.events.iter().filter(|e| e.attribute("job_id") == Some(&id_text));
                for event in own {
                    teller.event(block.height, event);
                }
                job = job_of(&client, id).await?;
            }
            Some(message) = next(&mut topic) => {
                if let Ok(message) = JobMessage::decode(message.as_slice()) {
                    teller.message(&message);
                }
            }
        }
    }
    teller.end(&job);
    if job.state() == JobState::Settled {
        Ok(())
    } else {
        Err(eyre!("job {id} ended without a result: {}", job.reason))
    }
}

async fn next(topic: &mut Option<Topic>) -> Option<Vec<u8>> {
    match topic {
        Some(topic) => topic.next().await.map(|m| m.bytes),
        None => std::future::pending().await,
    }
}

/// Grants the keys that the job waits for: train keys to its workers, test keys to its evaluators.
async fn grant(global: &Global, client: &Client, signer: &Signer, job: &Job) -> Result<()> {
    let spec = job.spec.clone().unwrap_or_default();
    let waits_for_train = job.state() == JobState::Training && job.round_phase() == RoundPhase::Keys;
    let (split, data, recipients): (_, _, Vec<String>) = if waits_for_train {
        let workers = job.workers.iter().filter(|w| w.active && !w.key_granted);
        (
            DataSplit::Train,
            spec.train,
            workers.map(|w| w.address.clone()).collect(),
        )
    } else if job.state() == JobState::Submitted {
        let evaluators = job.evaluators.iter().filter(|e| !e.dismissed && !e.key_granted);
        (
            DataSplit::Test,
            spec.test,
            evaluators.map(|e| e.address.clone()).collect(),
        )
    } else {
        return Ok(());
    };
    if recipients.is_empty() {
        return Ok(());
    }
    let manifest_cid = data.unwrap_or_default().manifest_cid;
    let key = KeyVault::open(&global.home()?).get(&manifest_cid)?;
    let key =
        key.ok_or_else(|| eyre!("the key of manifest {manifest_cid} is not in this home; it was packed elsewhere"))?;
    let chain_id = global.chain_id(client).await?;
    let mut grants = Vec::new();
    for recipient in recipients {
        let node = node_of(client, &recipient).await?;
        let public = <[u8; 32]>::try_from(node.x25519_key).map_err(|_| eyre!("{recipient} has no X25519 key"))?;
        let split = if split == DataSplit::Train {
            Split::Train
        } else {
            Split::Test
        };
        let grant = Grant {
            chain_id: &chain_id,
            job: job.id,
            recipient: &recipient,
            split,
        };
        let sealed_key = seal_key(&public, &key, &grant)?;
        grants.push(KeyGrant { recipient, sealed_key });
    }
    let message = MsgGrantKeys {
        client: job.client.clone(),
        job_id: job.id,
        split: split.into(),
        grants,
    };
    signer
        .send(vec![any::pack(&message)])
        .await
        .wrap_err("cannot grant the keys")?;
    Ok(())
}

/// Tells a person, or a program, what happens.
struct Teller {
    json: bool,
}

impl Teller {
    fn say(&self, height: u64, text: &str, value: serde_json::Value) {
        if self.json {
            println!("{value}");
        } else if height > 0 {
            println!("{height:>6}  {text}");
        } else {
            println!("        {text}");
        }
    }

    fn job(&self, job: &Job) {
        let state = trainyard_modules::job::state_name(job.state());
        let text = format!("job {} is {state}, with a budget of {}", job.id, coin::show(job.budget));
        self.say(0, &text, json!({ "job": job.id, "state": state, "budget": job.budget }));
    }

    fn event(&self, height: u64, event: &Event) {
        let get = |name| event.attribute(name).unwrap_or_default();
        let round = || get("round").parse::<u32>().map_or(0, |r| r + 1);
        let text = match event.kind.as_str() {
            "job_posted" => format!("posted by {}", get("client")),
            "job_reposted" => format!("posted again as job {}", get("new_job")),
            "job_topped_up" => format!("{} more, the budget is {} now", get("amount"), get("budget")),
            "job_training_ended" => format!("training ends after {} rounds: {}", get("rounds"), get("reason")),
            "job_evaluator_dismissed" => format!("{} is out: {}", get("evaluator"), get("reason")),
            "job_joined" if event.attribute("variant").is_some() => {
                format!(
                    "{} joins with a stake of {} to train {}",
                    get("worker"),
                    get("stake"),
                    get("variant")
                )
            }
            "job_joined" => format!("{} joins with a stake of {}", get("worker"), get("stake")),
            "job_left" => format!("{} leaves", get("worker")),
            "job_evaluator_drawn" => format!("{} is drawn as an evaluator", get("evaluator")),
            "job_started" => format!("training starts with {} workers", get("workers")),
            "job_keys_granted" => format!("the client grants {} {} keys", get("recipients"), get("split")),
            "job_round_opened" => format!("round {} opens", round()),
            "job_trace_committed" => {
                format!(
                    "round {}: {} commits its trace over {} samples",
                    round(),
                    get("worker"),
                    get("samples")
                )
            }
            "job_round_committed" => format!("round {}: all traces are in, workers merge", round()),
            "job_round_result" => {
                format!(
                    "round {}: {} states the merged root {}",
                    round(),
                    get("worker"),
                    short(get("end_root"))
                )
            }
            "job_round_closed" if event.attribute("end_root").is_none() => format!("round {} closes", round()),
            "job_round_closed" => format!("round {} closes on root {}", round(), short(get("end_root"))),
            "job_worker_dropped" => format!("{} is dropped: {}", get("worker"), get("reason")),
            "job_result_submitted" => format!("{} submits {}", get("worker"), get("model_cid")),
            "job_submitted" if event.attribute("artifacts").is_some() => {
                format!("{} artifacts are in", get("artifacts"))
            }
            "job_artifact_duplicate" => format!("{} has the same weights as an earlier one", get("worker")),
            "job_submitted" => format!("the result is in: {}", get("model_cid")),
            "job_evaluating" => "evaluators score what is in".into(),
            "job_evaluation_committed" => format!("{} commits to its score", get("evaluator")),
            "job_revealing" => "all scores are committed, evaluators reveal".into(),
            "job_evaluation_revealed" if event.attribute("artifacts").is_some() => {
                format!(
                    "{} reveals what it found of {} artifacts",
                    get("evaluator"),
                    get("artifacts")
                )
            }
            "job_artifact_judged" => {
                format!(
                    "{} scores {} %: {}",
                    get("worker"),
                    percent(get("score_ppm")),
                    get("standing")
                )
            }
            "job_evaluation_revealed" => format!("{} reveals {} %", get("evaluator"), percent(get("score_ppm"))),
            "job_payment" => format!("{} to {} ({})", get("amount"), get("recipient"), get("reason")),
            "job_settled" if !get("reason").is_empty() => format!("settled without a score: {}", get("reason")),
            "job_settled" => format!("settled with a score of {} %", percent(get("score_ppm"))),
            "job_failed" => format!("failed: {}", get("reason")),
            "job_cancelled" => format!("cancelled: {}", get("reason")),
            other => other.to_string(),
        };
        let attributes: BTreeMap<_, _> = event.attributes.iter().cloned().collect();
        self.say(
            height,
            &text,
            json!({ "height": height, "event": event.kind, "attributes": attributes }),
        );
    }

    fn message(&self, message: &JobMessage) {
        let sender = short(&message.sender);
        match &message.body {
            Some(Body::Progress(p)) => {
                let text = format!(
                    "round {}: {sender} step {:>4}/{}  loss {:.4}  {:.0} samples/s",
                    p.round + 1,
                    p.step,
                    p.steps,
                    p.loss,
                    p.samples_per_second
                );
                self.say(0, &text, json!({
                    "progress": {
                        "worker": message.sender, "round": p.round, "step": p.step, "steps": p.steps, "loss": p.loss,
                        "samples_per_second": p.samples_per_second,
                    }
                }));
            }
            Some(Body::Note(note)) => {
                let note = printable(&note.text);
                self.say(
                    0,
                    &format!("{sender}: {note}"),
                    json!({ "note": note, "sender": message.sender }),
                );
            }
            None => {}
        }
    }

    fn end(&self, job: &Job) {
        if self.json {
            println!("{}", serde_json::to_string(job).unwrap_or_default());
            return;
        }
        let spec = job.spec.clone().unwrap_or_default();
        for worker in &job.workers {
            let Some(variant) = variant_of(&spec, worker) else {
                continue;
            };
            let score = percent(&worker.score_ppm.to_string());
            let (name, standing) = (printable(&variant.name), standing_name(worker.standing()));
            println!(
                "        {score:>8} %  {standing:<15}  {}  {name}",
                short(&worker.address)
            );
        }
        for payment in &job.payments {
            println!(
                "        {:>14}  {:<9}  {}",
                coin::show(payment.amount),
                payment.reason,
                payment.recipient
            );
        }
    }
}

/// A text of another's: control characters must not reach the terminal.
fn printable(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(200).collect()
}

fn short(text: &str) -> String {
    if text.len() <= 14 || !text.is_ascii() {
        return text.chars().take(14).collect();
    }
    format!("{}…{}", &text[..7], &text[text.len() - 5..])
}

/// Parts per million as percent.
fn percent(ppm: &str) -> String {
    let ppm: u32 = ppm.parse().unwrap_or(0);
    format!("{}.{:02}", ppm / 10_000, ppm % 10_000 / 100)
}
