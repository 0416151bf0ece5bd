//! The client's own peer on the overlay.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use color_eyre::eyre::{Result, WrapErr as _, eyre};
use trainyard_client::{members, rpc::Client};
use trainyard_overlay::{Cid, Config, Membership, Multiaddr, Overlay, PeerId, load_or_create_key};

use crate::cli::Global;

/// How the client joins the mesh.
#[derive(Clone, Debug, clap::Args)]
pub(in crate::cli) struct MeshOptions {
    /// Addresses to listen on
    #[arg(long, value_name = "MULTIADDR", default_value = "/ip4/0.0.0.0/tcp/26671")]
    listen: Vec<Multiaddr>,
    /// Peers to join through, each ending in /p2p/…; repeatable
    #[arg(long, env = "TRAINYARD_BOOTSTRAP", value_name = "MULTIADDR", value_delimiter = ',')]
    bootstrap: Vec<Multiaddr>,
    /// Addresses under which others reach this peer, when they differ from those listened on
    #[arg(long, value_name = "MULTIADDR")]
    external: Vec<Multiaddr>,
}

/// Asks the chain who may speak.
struct Members(Client);

#[async_trait]
impl Membership for Members {
    async fn may_publish(&self, job: u64, peer: &PeerId) -> Result<bool, String> {
        members::may_speak(&self.0, job, &peer.to_string())
            .await
            .map_err(|e| e.to_string())
    }

    async fn capability_hash(&self, peer: &PeerId) -> Result<Option<[u8; 32]>, String> {
        members::capability_hash(&self.0, &peer.to_string())
            .await
            .map_err(|e| e.to_string())
    }
}

/// Joins the mesh with the home's key and block store.
pub(super) async fn join(global: &Global, options: &MeshOptions) -> Result<Overlay> {
    let home = global.home()?;
    std::fs::create_dir_all(&home).wrap_err_with(|| format!("cannot create {}", home.display()))?;
    let key = load_or_create_key(home.join("peer.key"))?;
    let mut config = Config::new(
        key,
        home.join("ipfs"),
        options.listen.clone(),
        options.bootstrap.clone(),
    );
    config.external.clone_from(&options.external);
    Overlay::start(config, Arc::new(Members(global.client()?)))
        .await
        .wrap_err("cannot join the mesh")
}

/// Addresses to tell others: the external ones, else those listened on that can be dialled.
pub(super) fn addresses(overlay: &Overlay, options: &MeshOptions) -> Vec<String> {
    let known = if options.external.is_empty() {
        overlay.listen_addrs()
    } else {
        options.external.clone()
    };
    known
        .iter()
        .map(ToString::to_string)
        .filter(|a| a.len() <= 128)
        .take(8)
        .collect()
}

/// What `data serve` takes.
#[derive(Clone, Debug, clap::Args)]
pub(in crate::cli) struct Serve {
    /// Stop when so many others hold each manifest given, instead of when interrupted
    #[arg(long, value_name = "PEERS", requires = "manifests")]
    until_held: Option<usize>,
    /// Manifests that must be held, by CID; workers and evaluators announce one when they have all of its shards
    manifests: Vec<Cid>,
    #[command(flatten)]
    mesh: MeshOptions,
}

/// Pause between two looks at who holds the manifests.
const LOOK: Duration = Duration::from_secs(5);

/// `data serve`: offers what lies in the home's block store until it is stopped, or until others hold it.
pub(in crate::cli) async fn serve(global: &Global, options: &Serve) -> Result<()> {
    let overlay = join(global, &options.mesh).await?;
    for address in addresses(&overlay, &options.mesh) {
        println!("serving at {address}/p2p/{}", overlay.peer_id());
    }
    for cid in overlay.pins().await? {
        if let Err(e) = overlay.provide(cid).await {
            tracing::debug!(%cid, error = %e, "not announced");
        }
    }
    println!("press Ctrl-C to stop");
    tokio::select! {
        interrupted = tokio::signal::ctrl_c() => interrupted.map_err(|e| eyre!("cannot wait for Ctrl-C: {e}"))?,
        held = until_held(&overlay, options) => held?,
    }
    let traffic = overlay.bytes_transferred();
    overlay.shutdown().await;
    println!("served: {traffic:?}");
    Ok(())
}

/// Done when enough others announce every manifest; never, where that was not asked for.
async fn until_held(overlay: &Overlay, options: &Serve) -> Result<()> {
    let Some(wanted) = options.until_held else {
        return std::future::pending().await;
    };
    for cid in &options.manifests {
        let mut told = None;
        loop {
            let holders = overlay
                .providers(*cid)
                .await?
                .into_iter()
                .filter(|p| *p != overlay.peer_id())
                .count();
            if told != Some(holders) {
                println!("{cid} is held by {holders} of {wanted}");
                told = Some(holders);
            }
            if holders >= wanted {
                break;
            }
            tokio::time::sleep(LOOK).await;
        }
    }
    Ok(())
}
