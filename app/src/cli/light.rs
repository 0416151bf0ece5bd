//! `trainyard light …`: queries that trust no node, and `trainyard receipt …`.
//!
//! What is trusted is one block: its height and hash are kept in the home, and move on with every use.

use std::path::PathBuf;

use clap::Subcommand;
use color_eyre::eyre::{OptionExt as _, Result, WrapErr as _, eyre};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use trainyard_client::light::{Light, Verified};
use trainyard_client::receipt;
use trainyard_modules::{bank, job};
use trainyard_proto::coin::DENOM;
use trainyard_proto::job::Job;
use trainyard_proto::prost::Message as _;

use super::Global;

/// The file in the home.
const FILE: &str = "light.json";

/// A block that is trusted.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Trust {
    height: u64,
    hash: String,
}

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Trust a block from now on: its height and the hash of its header, from someone you believe
    Trust {
        /// The block's height
        height: u64,
        /// The hash of its header, hex
        hash: String,
    },
    /// Verify the latest header
    Status,
    /// Verify what an account holds
    Balance {
        /// An address or a key's name
        account: String,
    },
    /// Verify a job's record
    Job {
        /// The job's number
        job: u64,
    },
    /// Verify a raw key of the state
    Key {
        /// The key, hex
        key: String,
    },
}

pub(super) async fn run(global: &Global, command: Command) -> Result<()> {
    if let Command::Trust { height, hash } = command {
        let trust = Trust { height, hash };
        let light = Light::start(global.client()?, trust.height, &trust.hash).await?;
        keep(global, &light)?;
        return global.print(&trusted(&light));
    }
    let light = latest(global).await?;
    let mut shown = trusted(&light);
    let (name, value) = match command {
        Command::Trust { .. } | Command::Status => return global.print(&shown),
        Command::Balance { account } => {
            let owner = global.account(&account)?;
            let found = light.get(&bank::BALANCES.raw_key(&(owner, DENOM.into()))).await?;
            let amount = match &found.value {
                Some(value) => u64::decode(value.as_slice()).wrap_err("the balance cannot be read")?,
                None => 0,
            };
            ("balance", json!({ "amount": amount.to_string(), "denom": DENOM }))
        }
        Command::Job { job } => ("job", serde_json::to_value(job_of(&light, job).await?)?),
        Command::Key { key } => {
            let key = hex::decode(key).wrap_err("the key is not hex")?;
            let Verified { value, .. } = light.get(&key).await?;
            ("value", json!(value.map(hex::encode)))
        }
    };
    shown[name] = value;
    global.print(&shown)
}

/// A light client at the node's latest block, which it trusts from now on.
pub(super) async fn latest(global: &Global) -> Result<Light> {
    let path = global.home()?.join(FILE);
    let text = std::fs::read_to_string(&path).map_err(|_| {
        eyre!("no block is trusted yet: take the height and hash of one from someone you believe, and give them to `trainyard light trust`")
    })?;
    let trust: Trust = serde_json::from_str(&text).wrap_err_with(|| path.display().to_string())?;
    let mut light = Light::start(global.client()?, trust.height, &trust.hash).await?;
    light.advance_to_latest().await?;
    keep(global, &light)?;
    Ok(light)
}

/// A job's record, verified.
pub(super) async fn job_of(light: &Light, job: u64) -> Result<Job> {
    let found = light.get(&job::JOBS.raw_key(&job)).await?;
    let value = found
        .value
        .ok_or_else(|| eyre!("there is no job {job} at height {}", found.height))?;
    Job::decode(value.as_slice()).wrap_err("the job cannot be read")
}

fn keep(global: &Global, light: &Light) -> Result<()> {
    let home = global.home()?;
    let trust = Trust {
        height: light.trusted().height(),
        hash: light.trusted().hash(),
    };
    let path = home.join(FILE);
    std::fs::create_dir_all(&home)
        .and_then(|()| std::fs::write(&path, serde_json::to_string(&trust).unwrap_or_default()))
        .wrap_err_with(|| path.display().to_string())
}

fn trusted(light: &Light) -> Value {
    let block = light.trusted();
    let header = &block.signed.header;
    json!({
        "chain_id": header.chain_id.as_str(),
        "height": block.height(),
        "hash": block.hash(),
        "time": header.time.to_rfc3339(),
        "app_hash": header.app_hash.to_string(),
        "validators_hash": header.validators_hash.to_string(),
    })
}

#[derive(Debug, Subcommand)]
pub(super) enum Receipts {
    /// Write a file that proves a job's result to anyone who knows the validators' hash
    Export {
        /// The job's number
        job: u64,
        /// The file to write
        #[arg(long, value_name = "FILE", default_value = "job.receipt")]
        out: PathBuf,
    },
    /// Check such a file, without a node
    Verify {
        /// The file
        file: PathBuf,
        /// The job's number
        #[arg(long)]
        job: u64,
        /// The hash of the validators that are trusted, hex
        #[arg(long, value_name = "HASH")]
        validators_hash: String,
    },
}

pub(super) async fn receipts(global: &Global, command: Receipts) -> Result<()> {
    match command {
        Receipts::Export { job, out } => {
            let (bytes, validators_hash) = receipt::export(&global.client()?, &job::JOBS.raw_key(&job)).await?;
            std::fs::write(&out, &bytes).wrap_err_with(|| out.display().to_string())?;
            global.print(&json!({ "file": out, "bytes": bytes.len(), "validators_hash": validators_hash }))
        }
        Receipts::Verify {
            file,
            job,
            validators_hash,
        } => {
            let length = std::fs::metadata(&file)
                .wrap_err_with(|| file.display().to_string())?
                .len();
            let fits = usize::try_from(length).is_ok_and(|length| length <= receipt::MAX_RECEIPT);
            fits.then_some(())
                .ok_or_eyre(format!("{} has {length} bytes: too much for a receipt", file.display()))?;
            let bytes = std::fs::read(&file).wrap_err_with(|| file.display().to_string())?;
            let proven = receipt::verify(&bytes, &validators_hash, &job::JOBS.raw_key(&job))?;
            let record = Job::decode(proven.value.as_slice()).wrap_err("the job cannot be read")?;
            global.print(&json!({
                "chain_id": proven.chain_id,
                "height": proven.height,
                "time": proven.time,
                "state": job::state_name(record.state()),
                "job": record,
            }))
        }
    }
}
