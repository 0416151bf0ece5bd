//! `trainyard job repost`: a failed or cancelled job once more, from its start or from its last agreed weights.

use color_eyre::eyre::{Result, WrapErr as _, ensure, eyre};
use trainyard_client::{members::state_key, rpc::Client};
use trainyard_exact::{
    state_root,
    weights_file::{Limits, from_safetensors},
};
use trainyard_overlay::{Overlay, PeerId};
use trainyard_proto::{
    any, coin,
    job::{Job, MsgRepostJob, MsgRepostJobResponse, Provider},
};

use super::{job_of, mesh, node_of, post::posted};
use crate::cli::{Global, tx};

/// Largest weights fetched, bytes.
const MAX_WEIGHTS: u64 = 4 << 30;

#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Repost {
    /// The job's number
    job: u64,
    /// What the job may cost, as 1000TRAIN [default: what it was before]
    #[arg(long, value_parser = tx::amount)]
    budget: Option<u64>,
    /// Start from the weights that its last completed round agreed on; a worker of it must still serve them
    #[arg(long)]
    from_checkpoint: bool,
    /// Serve model and data, follow the job and grant its keys until it ends
    #[arg(long)]
    watch: bool,
    #[command(flatten)]
    mesh: mesh::MeshOptions,
    #[command(flatten)]
    options: tx::TxOptions,
}

pub(super) async fn run(global: &Global, repost: Repost) -> Result<()> {
    let client = global.client()?;
    let old = job_of(&client, repost.job).await?;
    let overlay = mesh::join(global, &repost.mesh).await?;
    let start_cid = if repost.from_checkpoint {
        let bytes = checkpoint(&client, &overlay, &old).await?;
        overlay.add_bytes(bytes).await?.cid.to_string()
    } else {
        String::new()
    };
    let message = MsgRepostJob {
        client: String::new(),
        job_id: old.id,
        budget: Some(coin::utrain(repost.budget.unwrap_or(old.budget))),
        start_cid,
        provider: Some(Provider {
            peer_id: overlay.peer_id().to_string(),
            addresses: mesh::addresses(&overlay, &repost.mesh),
        }),
    };
    let build = |client: trainyard_proto::address::Address| {
        let client = client.to_string();
        Ok(vec![any::pack(&MsgRepostJob { client, ..message })])
    };
    let Some(outcome) = tx::send(global, &repost.options, build).await? else {
        return Ok(());
    };
    let job_id = outcome.response::<MsgRepostJobResponse>(0)?.job_id;
    posted(global, job_id, overlay, repost.watch, &repost.options).await
}

/// The weights that the last completed round agreed on, from a worker that still serves them.
async fn checkpoint(client: &Client, overlay: &Overlay, job: &Job) -> Result<Vec<u8>> {
    ensure!(job.completed > 0, "job {} completed no round to start from", job.id);
    let key = state_key(job.id, &job.round_root);
    for worker in &job.workers {
        let fetched = async {
            let peer: PeerId = node_of(client, &worker.address).await?.peer_id.parse()?;
            let bytes = overlay.fetch_stream(peer, &key, MAX_WEIGHTS).await?;
            let root = state_root(&from_safetensors(&bytes, &Limits::default())?);
            ensure!(root.as_slice() == job.round_root, "its root is {}", hex::encode(root));
            Ok(bytes)
        };
        match fetched
            .await
            .wrap_err_with(|| format!("no weights from {}", worker.address))
        {
            Ok(bytes) => return Ok(bytes),
            Err(e) => tracing::debug!("{e:#}"),
        }
    }
    Err(eyre!(
        "no worker of job {} serves the weights {} any more; repost it without --from-checkpoint",
        job.id,
        hex::encode(&job.round_root)
    ))
}
