//! Who belongs to a job: what the overlay asks the chain before it lets a peer speak.

use trainyard_proto::{
    job::{Job, QueryJobRequest, QueryJobResponse},
    registry::{Node, QueryNodeByPeerRequest, QueryNodeResponse},
};

use crate::rpc::{Client, Error};

/// Code of what does not exist.
const NOT_FOUND: (&str, u32) = ("sdk", 38);

/// Whether an account posted a job, works on it or evaluates it.
#[must_use]
pub fn is_member(job: &Job, account: &str) -> bool {
    job.client == account
        || job.workers.iter().any(|w| w.address == account)
        || job.evaluators.iter().any(|e| e.address == account)
}

/// Under which key a worker serves the weights with a root, by direct stream to its job's members.
#[must_use]
pub fn state_key(job: u64, root: &[u8]) -> String {
    format!("state/{job}/{}", hex::encode(root))
}

/// The registered node with a peer id.
///
/// # Errors
/// The chain does not answer.
pub async fn node_by_peer(client: &Client, peer_id: &str) -> Result<Option<Node>, Error> {
    let request = QueryNodeByPeerRequest {
        peer_id: peer_id.into(),
    };
    match client
        .query::<_, QueryNodeResponse>("/trainyard.registry.v1.Query/NodeByPeer", &request)
        .await
    {
        Ok(answer) => Ok(answer.node),
        Err(e) if e.code() == Some(NOT_FOUND) => Ok(None),
        Err(e) => Err(e),
    }
}

/// Whether a peer may speak on a job's topic and fetch its tensors: its client's provider, its workers, its evaluators.
///
/// # Errors
/// The chain does not answer.
pub async fn may_speak(client: &Client, job_id: u64, peer_id: &str) -> Result<bool, Error> {
    let request = QueryJobRequest { job_id };
    let job = match client
        .query::<_, QueryJobResponse>("/trainyard.job.v1.Query/Job", &request)
        .await
    {
        Ok(answer) => answer.job.unwrap_or_default(),
        Err(e) if e.code() == Some(NOT_FOUND) => return Ok(false),
        Err(e) => return Err(e),
    };
    let provider = job.spec.as_ref().and_then(|s| s.provider.as_ref());
    if provider.is_some_and(|p| p.peer_id == peer_id) {
        return Ok(true);
    }
    Ok(node_by_peer(client, peer_id)
        .await?
        .is_some_and(|node| is_member(&job, &node.owner)))
}

/// The capability hash that the chain has for a peer.
///
/// # Errors
/// The chain does not answer.
pub async fn capability_hash(client: &Client, peer_id: &str) -> Result<Option<[u8; 32]>, Error> {
    Ok(node_by_peer(client, peer_id)
        .await?
        .and_then(|node| node.capability_hash.try_into().ok()))
}
