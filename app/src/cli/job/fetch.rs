//! `trainyard job fetch`: downloads a job's artifact and checks everything that can be checked about it.

use std::path::PathBuf;

use color_eyre::eyre::{OptionExt, Result, WrapErr as _, ensure, eyre};
use serde_json::json;
use sha2::{Digest as _, Sha256};
use trainyard_client::keys::verify_digest;
use trainyard_exact::{
    state_root,
    weights_file::{Limits, from_safetensors},
};
use trainyard_overlay::{Cid, PeerId};
use trainyard_proto::{
    address::Address,
    attest,
    job::{Artifact, Attestation, Job, JobState},
};

use super::{job_of, mesh, node_of};
use crate::cli::{Global, light};

/// Largest artifact fetched, bytes.
const MAX_ARTIFACT: u64 = 1 << 30;

#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Fetch {
    /// The job's number
    job: u64,
    /// The file to write
    #[arg(long, default_value = "model.safetensors", value_name = "FILE")]
    out: PathBuf,
    /// Trust no node: take the job's record through the light client (see `trainyard light trust`)
    #[arg(long)]
    verify: bool,
    #[command(flatten)]
    mesh: mesh::MeshOptions,
}

pub(super) async fn run(global: &Global, fetch: Fetch) -> Result<()> {
    let client = global.client()?;
    let chain_id = global.chain_id(&client).await?;
    let (chain_id, job) = if fetch.verify {
        let light = light::latest(global).await?;
        let chain_id = light.trusted().signed.header.chain_id.to_string();
        (chain_id, light::job_of(&light, fetch.job).await?)
    } else {
        (chain_id, job_of(&client, fetch.job).await?)
    };
    let state = trainyard_modules::job::state_name(job.state());
    ensure!(
        job.state() == JobState::Settled,
        "job {} is {state}; there is a model when it has settled",
        job.id
    );
    let artifact = job.artifact.clone().ok_or_eyre("the job has no artifact")?;
    let signers = check_attestations(&chain_id, &job, &artifact)?;

    let overlay = mesh::join(global, &fetch.mesh).await?;
    let mut peers = Vec::new();
    for member in job
        .evaluators
        .iter()
        .map(|e| &e.address)
        .chain(job.workers.iter().map(|w| &w.address))
    {
        if let Ok(node) = node_of(&client, member).await
            && let Ok(peer) = node.peer_id.parse::<PeerId>()
        {
            peers.push(peer);
        }
    }
    let cid: Cid = artifact
        .model_cid
        .parse()
        .map_err(|e| eyre!("the artifact's CID {:?}: {e}", artifact.model_cid))?;
    let got = overlay.get_bytes(cid, MAX_ARTIFACT, &peers).await;
    overlay.shutdown().await;
    let bytes = got.wrap_err("cannot download the model")?;

    let sha256 = Sha256::digest(&bytes);
    ensure!(
        sha256.as_slice() == artifact.model_sha256,
        "the model's SHA-256 is {}, the chain says {}",
        hex::encode(sha256),
        hex::encode(&artifact.model_sha256)
    );
    let weights = from_safetensors(&bytes, &Limits::default())?;
    let root = state_root(&weights);
    ensure!(
        root.as_slice() == artifact.state_root,
        "the model's state root is {}, the chain says {}",
        hex::encode(root),
        hex::encode(&artifact.state_root)
    );
    std::fs::write(&fetch.out, &bytes).wrap_err_with(|| fetch.out.display().to_string())?;
    global.print(&json!({
        "file": fetch.out,
        "bytes": bytes.len(),
        "tensors": weights.len(),
        "cid": artifact.model_cid,
        "sha256": hex::encode(sha256),
        "state_root": hex::encode(root),
        "score_ppm": job.score_ppm,
        "signed_by": signers,
        "verified": fetch.verify,
        "checked": "CID, SHA-256, state root and the evaluators' signatures match the chain",
    }))
}

/// Checks the accepted attestations: key, signature, model.
fn check_attestations(chain_id: &str, job: &Job, artifact: &Artifact) -> Result<Vec<String>> {
    let accepted: Vec<&Attestation> = job
        .evaluators
        .iter()
        .filter_map(|e| e.attestation.as_ref())
        .filter(|a| a.accepted)
        .collect();
    for attestation in &accepted {
        let who = &attestation.evaluator;
        let key =
            <[u8; 33]>::try_from(attestation.public_key.as_slice()).map_err(|_| eyre!("{who} has no public key"))?;
        ensure!(
            Address::from_public_key(&key).to_string() == *who,
            "the public key is not that of {who}"
        );
        ensure!(
            attestation.model_sha256 == artifact.model_sha256,
            "{who} attests to another model"
        );
        let fixed = |bytes: &[u8]| <[u8; 32]>::try_from(bytes).map_err(|_| eyre!("{who}'s attestation is malformed"));
        let (model, metrics) = (fixed(&attestation.model_sha256)?, fixed(&attestation.metrics_hash)?);
        let digest = attest::attestation(chain_id, job.id, &model, &metrics, attestation.score_ppm);
        ensure!(
            verify_digest(&key, &digest, &attestation.signature),
            "the signature of {who} is not valid"
        );
    }
    Ok(accepted.iter().map(|a| a.evaluator.clone()).collect())
}
