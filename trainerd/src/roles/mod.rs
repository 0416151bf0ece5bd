//! What a node does in each phase of a job.
//!
//! A role looks at the job as the chain has it and at its own files, does the one thing that is due, and waits for the next
//! block. Nothing else is remembered, so a killed daemon goes on where it was.

pub mod evaluator;
pub mod worker;

use std::{path::PathBuf, sync::Arc};

use trainyard_client::data::SealingKey;
use trainyard_overlay::{Cid, Overlay};
use trainyard_proto::overlay::{JobMessage, job_message::Body};

use crate::{chain::Chain, config::Config};

/// What every role works with. Cheap to clone.
#[derive(Clone)]
pub struct Node {
    /// The chain.
    pub chain: Chain,
    /// The mesh.
    pub overlay: Overlay,
    /// What the operator set.
    pub config: Arc<Config>,
    /// The daemon's home.
    pub home: PathBuf,
    /// Opens granted data keys.
    pub sealing: SealingKey,
    /// Seeds the salts of traces.
    pub salt_secret: [u8; 32],
    /// The capability record as it is registered, encoded; empty before the node is.
    pub capability: Arc<[u8]>,
}

impl Node {
    /// Tells the DHT that this node has a file. Not waited for: an unresponsive peer takes its time, and who needs the file
    /// asks this node anyway.
    pub fn announce(&self, cid: Cid) {
        let overlay = self.overlay.clone();
        tokio::spawn(async move {
            if let Err(e) = overlay.provide(cid).await {
                tracing::debug!(%cid, error = %e, "not announced in the DHT");
            }
        });
    }

    /// A message of this node on a job's topic.
    pub fn message(&self, job_id: u64, body: Body) -> JobMessage {
        JobMessage {
            job_id,
            sender: self.chain.address().to_string(),
            body: Some(body),
        }
    }
}

/// What a role is to do after a look at its job.
#[derive(Debug, PartialEq, Eq)]
pub enum Next {
    /// Wait for the next block.
    Wait(&'static str),
    /// Something was done; look again at once.
    Again,
    /// The job asks nothing more of this node.
    Over,
}
