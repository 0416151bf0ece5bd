//! What a job is made of, fetched and checked before anybody stakes money on it.

use std::collections::BTreeSet;

use color_eyre::eyre::{Context, OptionExt, Result, ensure, eyre};
use trainyard_client::data::Manifest;
use trainyard_exact::{
    Weights,
    compress::check_model,
    lower::training,
    onnx::{self, Graph},
    state_root,
    weights_file::{Limits, from_safetensors},
};
use trainyard_modules::job::parse_task;
use trainyard_overlay::{Cid, Multiaddr, Overlay, PeerId};
use trainyard_proto::{
    job::{Job, JobSpec},
    registry::VerificationClass,
};

use crate::{chain::Chain, dataset::fetch_manifest, files::MAX_WEIGHTS};

/// A job's graph and start weights.
pub struct Inputs {
    /// The spec.
    pub spec: JobSpec,
    /// The graph.
    pub graph: Graph,
    /// The start weights.
    pub start: Weights,
    /// Manifest of the training data.
    pub train: Manifest,
}

impl Inputs {
    /// Fetches graph, start weights and train manifest, and checks them against the spec; in a contest against that of one
    /// of its workers.
    ///
    /// # Errors
    /// What cannot be had, or does not match: a reason not to join.
    pub async fn fetch(overlay: &Overlay, spec: &JobSpec, providers: &[PeerId]) -> Result<Self> {
        let spec = spec.clone();
        let limits = onnx::Limits::default();
        let bytes = overlay
            .get_bytes(cid(&spec.model_cid)?, limits.bytes, providers)
            .await
            .wrap_err("cannot fetch the model")?;
        let mut graph = onnx::decode(&bytes, &limits).wrap_err("the model cannot be trained")?;
        ensure!(
            graph.macs() == spec.macs_per_sample,
            "the model takes {} multiply-accumulates a sample, the job says {}",
            graph.macs(),
            spec.macs_per_sample
        );
        if spec.verification() == VerificationClass::Exact {
            let task = spec.task.clone().unwrap_or_default();
            let program = training(&graph, &parse_task(&task)?, task.batch_size as usize)?;
            let root = program.root()?;
            ensure!(
                root.as_slice() == spec.program_root,
                "the model and the task are lowered to a program with the root {}, the job says {}",
                hex::encode(root),
                hex::encode(&spec.program_root)
            );
        }
        if spec.delta_share_ppm > 0 {
            check_model(&graph)?;
        }
        let start = if spec.start_cid.is_empty() {
            std::mem::take(&mut graph.weights)
        } else {
            let bytes = overlay
                .get_bytes(cid(&spec.start_cid)?, MAX_WEIGHTS, providers)
                .await
                .wrap_err("cannot fetch the start weights")?;
            let given = from_safetensors(&bytes, &Limits::default())?;
            check_same_tensors(&graph.weights, &given)?;
            given
        };
        graph.weights = start.clone();
        let root = state_root(&start);
        ensure!(
            root.as_slice() == spec.start_root,
            "the start weights' root is {}, the job says {}",
            hex::encode(root),
            hex::encode(&spec.start_root)
        );
        let train = fetch_manifest(
            overlay,
            spec.train.as_ref().ok_or_eyre("the job has no training data")?,
            providers,
        )
        .await
        .wrap_err("training data")?;
        ensure!(
            train.shape == graph.sample,
            "the data's samples have shape {:?}, the model takes {:?}",
            train.shape,
            graph.sample
        );
        Ok(Self {
            spec,
            graph,
            start,
            train,
        })
    }
}

/// A CID from a spec.
pub fn cid(text: &str) -> Result<Cid> {
    text.parse().map_err(|e| eyre!("{text:?} is no CID: {e}"))
}

fn check_same_tensors(expected: &Weights, found: &Weights) -> Result<()> {
    let names = |w: &Weights| {
        w.iter()
            .map(|(n, t)| (n.clone(), t.shape().to_vec()))
            .collect::<BTreeSet<_>>()
    };
    let (expected, found) = (names(expected), names(found));
    if let Some((name, shape)) = expected.symmetric_difference(&found).next() {
        return Err(eyre!(
            "the start weights and the model differ in tensor {name:?} of shape {shape:?}"
        ));
    }
    Ok(())
}

/// Who may have a job's data: the client's provider, dialled at the addresses in the spec, the other workers, and the members
/// of the job that it starts from.
pub async fn providers(overlay: &Overlay, chain: &Chain, job: &Job) -> Vec<PeerId> {
    let mut peers = Vec::new();
    let provider = job.spec.as_ref().and_then(|s| s.provider.clone()).unwrap_or_default();
    if let Ok(peer) = provider.peer_id.parse::<PeerId>()
        && peer != overlay.peer_id()
    {
        connect(overlay, peer, &provider.addresses).await;
        peers.push(peer);
    }
    let mut holders: Vec<String> = job.workers.iter().map(|w| w.address.clone()).collect();
    let start = job.spec.as_ref().map_or(0, |s| s.start_job);
    if start > 0 {
        match chain.job(start).await {
            // The evaluators of the job it starts from have pinned the weights.
            Ok(from) => {
                holders.extend(from.evaluators.into_iter().map(|e| e.address));
                holders.extend(from.workers.into_iter().map(|w| w.address));
            }
            Err(e) => tracing::debug!(job = start, error = %e, "the job to start from is unknown"),
        }
    }
    for holder in holders {
        if holder == chain.address().to_string() {
            continue;
        }
        match chain.peer_of(&holder).await {
            Ok(peer) if !peers.contains(&peer) => peers.push(peer),
            Ok(_) => {}
            Err(e) => tracing::debug!(holder, error = %e, "a peer id is unknown"),
        }
    }
    peers
}

async fn connect(overlay: &Overlay, peer: PeerId, addresses: &[String]) {
    if overlay.connected().contains(&peer) {
        return;
    }
    for address in addresses {
        let Ok(address) = address.parse::<Multiaddr>() else {
            continue;
        };
        let Ok(address) = address.with_p2p(peer) else { continue };
        match overlay.dial(address).await {
            Ok(_) => return,
            Err(e) => tracing::debug!(%peer, error = %e, "the provider was not reached at an address from the spec"),
        }
    }
}
