//! What the daemon serves to its jobs' members over direct streams.
//!
//! | key | content |
//! |---|---|
//! | `delta/<job>/<round>` | this worker's delta of a round: safetensors, or compressed where the job says so |
//! | `trace/<job>/<round>` | what opens this worker's trace of a round ([`crate::audit::OpenedTrace`]), for anyone, when the job is over |
//! | `state/<job>/<root>` | the weights of an agreed root (hex), safetensors |

use std::path::PathBuf;

use async_trait::async_trait;
use sha2::{Digest, Sha256};
pub use trainyard_client::members::state_key;
use trainyard_modules::job::competes;
use trainyard_overlay::{Body, Membership, PeerId, StreamBody, StreamHandler};

use crate::{chain::Chain, files::JobFiles};

/// Serves files of jobs.
pub struct Server {
    /// The daemon's home.
    pub home: PathBuf,
    /// Who may ask.
    pub chain: Chain,
}

impl Server {
    /// Whether a job's workers compete; a job that cannot be asked about is treated as such.
    async fn competes(&self, job: u64) -> bool {
        let spec = self.chain.job(job).await.ok().and_then(|job| job.spec);
        spec.is_none_or(|spec| competes(&spec))
    }
}

/// Key of a worker's delta.
pub fn delta_key(job: u64, round: u32) -> String {
    format!("delta/{job}/{round}")
}

/// Key of what opens a worker's trace.
pub fn trace_key(job: u64, round: u32) -> String {
    format!("trace/{job}/{round}")
}

fn parse(key: &str) -> Option<(u64, Wanted)> {
    let mut parts = key.split('/');
    let kind = parts.next()?;
    let job = parts.next()?.parse().ok()?;
    let last = parts.next()?;
    if parts.next().is_some() {
        return None;
    }
    match kind {
        "delta" => Some((job, Wanted::Delta(last.parse().ok()?))),
        "trace" => Some((job, Wanted::Trace(last.parse().ok()?))),
        "state" => Some((
            job,
            Wanted::State(hex::decode(last).ok().filter(|root| root.len() == 32)?),
        )),
        _ => None,
    }
}

#[derive(Debug, PartialEq)]
enum Wanted {
    Delta(u32),
    Trace(u32),
    State(Vec<u8>),
}

#[async_trait]
impl StreamHandler for Server {
    async fn open(&self, peer: PeerId, key: &str) -> Option<StreamBody> {
        let (job, wanted) = parse(key)?;
        let may = match wanted {
            // Before, an evaluator could copy what it has to find out.
            Wanted::Trace(_) => self.chain.job(job).await.is_ok_and(|job| job.closed_at > 0),
            // Who competes shows its weights to nobody before all have committed to theirs.
            Wanted::State(_) if self.competes(job).await => false,
            Wanted::Delta(_) | Wanted::State(_) => self.chain.may_publish(job, &peer).await.unwrap_or(false),
        };
        if !may {
            tracing::debug!(%peer, key, "refused: not a member of the job, or too early");
            return None;
        }
        // A folder is made only by jobs of our own; a stranger's number must not make one.
        if !self.home.join("jobs").join(job.to_string()).exists() {
            return None;
        }
        let files = JobFiles::open(&self.home, job).ok()?;
        let path = match wanted {
            Wanted::Delta(round) => files.delta(round),
            Wanted::Trace(round) => files.trace(round),
            Wanted::State(root) => files.state(&root),
        };
        let bytes = tokio::fs::read(&path).await.ok()?;
        Some(StreamBody {
            len: bytes.len() as u64,
            sha256: Sha256::digest(&bytes).into(),
            body: Body::Bytes(bytes.into()),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_read_back_and_strange_ones_are_not() {
        assert_eq!(parse(&delta_key(7, 3)), Some((7, Wanted::Delta(3))));
        assert_eq!(parse(&trace_key(7, 3)), Some((7, Wanted::Trace(3))));
        assert_eq!(parse(&state_key(7, &[9; 32])), Some((7, Wanted::State(vec![9; 32]))));
        for strange in [
            "",
            "delta",
            "delta/1",
            "delta/x/1",
            "delta/1/../x",
            "state/1/00",
            "state/1/zz",
            "delta/1/2/3",
        ] {
            assert_eq!(parse(strange), None, "{strange:?}");
        }
    }
}
