//! A job's folder: what a killed daemon finds again.
//!
//! ```text
//! jobs/<id>/model.onnx                  the graph
//!           state-<root>.safetensors    weights of an agreed root, the last two
//!           delta-<round>               this worker's delta of a round, the last two
//!           trace-<round>.json          what opens this worker's trace of a round, served when the job is over
//!           end-<round>                 in a contest: root of the weights that a round ended with, committed to and not yet told
//!           error-<round>.safetensors   what compressing that delta lost, to be carried on
//!           checkpoint                  where a round stands: steps, trace so far, weights and optimizer state
//!           evaluation.json             an evaluator's scores and salt, before they are committed
//! ```
//!
//! Every file appears whole or not at all: written beside its place, synced, renamed.

use std::{
    io::Write,
    path::{Path, PathBuf},
};

use color_eyre::eyre::{Context, Result, ensure};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use trainyard_exact::{
    Weights,
    weights_file::{Limits, from_safetensors, to_safetensors},
};

/// Largest file of weights or deltas that is fetched, bytes.
pub const MAX_WEIGHTS: u64 = 1 << 30;

/// The folder of one job.
#[derive(Debug, Clone)]
pub struct JobFiles {
    folder: PathBuf,
}

/// Where a round stands.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Checkpoint {
    /// The round.
    pub round: u32,
    /// Root it started from, hex.
    pub start_root: String,
    /// Beacon that seeds its batches, hex.
    pub beacon: String,
    /// Steps done.
    pub step: u32,
    /// State roots of the segments done, hex.
    pub states: Vec<String>,
}

impl JobFiles {
    /// The folder of job `id` under a daemon's home, made when it does not exist.
    pub fn open(home: &Path, id: u64) -> Result<Self> {
        let folder = home.join("jobs").join(id.to_string());
        std::fs::create_dir_all(&folder).wrap_err_with(|| format!("cannot create {}", folder.display()))?;
        Ok(Self { folder })
    }

    /// The path of a file in the folder.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// The path of the weights with a root.
    pub fn state(&self, root: &[u8]) -> PathBuf {
        self.path(&format!("state-{}.safetensors", hex::encode(root)))
    }

    /// The path of this worker's delta of a round.
    pub fn delta(&self, round: u32) -> PathBuf {
        self.path(&format!("delta-{round}"))
    }

    /// The path of what opens this worker's trace of a round.
    pub fn trace(&self, round: u32) -> PathBuf {
        self.path(&format!("trace-{round}.json"))
    }

    /// The path of the root of the weights that a round of a contest ended with.
    pub fn end(&self, round: u32) -> PathBuf {
        self.path(&format!("end-{round}"))
    }

    /// The path of what compressing the delta of a round lost.
    pub fn error(&self, round: u32) -> PathBuf {
        self.path(&format!("error-{round}.safetensors"))
    }

    /// The error carried into a round: that of this worker's last round before it. A round that is trained a second time
    /// starts from the same error.
    pub fn carried(&self, round: u32) -> Result<Option<Weights>> {
        let mut last = None;
        for entry in std::fs::read_dir(&self.folder)? {
            last = last.max(numbered(&entry?.path(), "error-").filter(|n| *n < round));
        }
        last.map_or(Ok(None), |n| self.read_weights(&self.error(n)))
    }

    /// Writes a file whole or not at all.
    pub fn write(&self, path: &Path, bytes: &[u8]) -> Result<()> {
        let temporary = path.with_extension("tmp");
        let written = || -> std::io::Result<()> {
            let mut file = std::fs::File::create(&temporary)?;
            file.write_all(bytes)?;
            file.sync_all()?;
            std::fs::rename(&temporary, path)?;
            std::fs::File::open(&self.folder)?.sync_all()
        };
        written().wrap_err_with(|| format!("cannot write {}", path.display()))
    }

    /// A file's bytes; `None` where there is none.
    pub fn read(&self, path: &Path) -> Result<Option<Vec<u8>>> {
        match std::fs::read(path) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(e).wrap_err_with(|| format!("cannot read {}", path.display())),
        }
    }

    /// Writes weights as safetensors; gives the bytes.
    pub fn write_weights(&self, path: &Path, weights: &Weights) -> Result<Vec<u8>> {
        let bytes = to_safetensors(weights)?;
        self.write(path, &bytes)?;
        Ok(bytes)
    }

    /// Weights from a file; `None` where there is none.
    pub fn read_weights(&self, path: &Path) -> Result<Option<Weights>> {
        self.read(path)?
            .map(|bytes| Ok(from_safetensors(&bytes, &Limits::default())?))
            .transpose()
    }

    /// Saves where a round stands, with everything that training needs to go on: layout is length and JSON of the
    /// [`Checkpoint`], safetensors, SHA-256 of all before.
    pub fn save(&self, checkpoint: &Checkpoint, weights: &Weights) -> Result<()> {
        let head = serde_json::to_vec(checkpoint)?;
        let mut bytes = u32::try_from(head.len())?.to_le_bytes().to_vec();
        bytes.extend_from_slice(&head);
        bytes.extend_from_slice(&to_safetensors(weights)?);
        let sum = Sha256::digest(&bytes);
        bytes.extend_from_slice(&sum);
        self.write(&self.path("checkpoint"), &bytes)
    }

    /// The saved checkpoint, if there is one and it is whole. A damaged one is as good as none: the round starts again.
    pub fn restore(&self) -> Result<Option<(Checkpoint, Weights)>> {
        let Some(bytes) = self.read(&self.path("checkpoint"))? else {
            return Ok(None);
        };
        match parse_checkpoint(&bytes) {
            Ok(found) => Ok(Some(found)),
            Err(e) => {
                tracing::warn!(error = %e, "the checkpoint is damaged; the round starts again");
                Ok(None)
            }
        }
    }

    /// Deletes files of earlier rounds: all states but the named roots, all deltas and
    /// errors before `round - 1`.
    pub fn forget(&self, keep: &[&[u8]], round: u32) -> Result<()> {
        let kept: Vec<PathBuf> = keep.iter().map(|root| self.state(root)).collect();
        for entry in std::fs::read_dir(&self.folder)? {
            let path = entry?.path();
            let name = path
                .file_name()
                .and_then(|n| n.to_str())
                .unwrap_or_default()
                .to_string();
            let old_state = name.starts_with("state-") && !kept.contains(&path);
            let of_round = numbered(&path, "delta-").or(numbered(&path, "error-"));
            if old_state || of_round.is_some_and(|n| n < round.saturating_sub(1)) {
                std::fs::remove_file(&path).wrap_err_with(|| format!("cannot remove {}", path.display()))?;
            }
        }
        Ok(())
    }
}

/// The number in a file's name after `prefix`.
fn numbered(path: &Path, prefix: &str) -> Option<u32> {
    let name = path.file_name()?.to_str()?;
    name.strip_prefix(prefix)?.split('.').next()?.parse().ok()
}

fn parse_checkpoint(bytes: &[u8]) -> Result<(Checkpoint, Weights)> {
    ensure!(bytes.len() > 36, "it has {} bytes", bytes.len());
    let (body, sum) = bytes.split_at(bytes.len() - 32);
    ensure!(Sha256::digest(body).as_slice() == sum, "its checksum does not match");
    let (length, rest) = body.split_at(4);
    let length = usize::try_from(u32::from_le_bytes(length.try_into()?))?;
    ensure!(length <= rest.len(), "its head claims {length} bytes");
    let (head, tensors) = rest.split_at(length);
    Ok((
        serde_json::from_slice(head)?,
        from_safetensors(tensors, &Limits::default())?,
    ))
}

#[cfg(test)]
mod tests {
    use trainyard_exact::Tensor;

    use super::*;

    fn checkpoint() -> (Checkpoint, Weights) {
        let checkpoint = Checkpoint {
            round: 3,
            start_root: "ab".into(),
            beacon: "cd".into(),
            step: 7,
            states: vec!["ef".into()],
        };
        let tensor = Tensor::new(vec![2], vec![1.5, -0.0]).unwrap();
        (checkpoint, Weights::from([("w".to_string(), tensor)]))
    }

    #[test]
    fn a_checkpoint_comes_back_whole() {
        let home = tempfile::tempdir().unwrap();
        let files = JobFiles::open(home.path(), 1).unwrap();
        assert_eq!(files.restore().unwrap(), None);
        let (checkpoint, weights) = checkpoint();
        files.save(&checkpoint, &weights).unwrap();
        assert_eq!(files.restore().unwrap(), Some((checkpoint, weights)));
    }

    #[test]
    fn a_damaged_checkpoint_is_none() {
        let home = tempfile::tempdir().unwrap();
        let files = JobFiles::open(home.path(), 1).unwrap();
        let (checkpoint, weights) = checkpoint();
        files.save(&checkpoint, &weights).unwrap();
        let path = files.path("checkpoint");
        let good = std::fs::read(&path).unwrap();
        for cut in [0, 3, 40, good.len() - 1] {
            std::fs::write(&path, &good[..cut]).unwrap();
            assert_eq!(
                files.restore().unwrap(),
                None,
                "{cut} bytes were taken for a checkpoint"
            );
        }
    }

    #[test]
    fn old_files_go() {
        let home = tempfile::tempdir().unwrap();
        let files = JobFiles::open(home.path(), 1).unwrap();
        for path in [
            files.state(&[1]),
            files.state(&[2]),
            files.delta(0),
            files.delta(1),
            files.delta(2),
            files.error(0),
            files.error(1),
        ] {
            files.write(&path, b"x").unwrap();
        }
        files.forget(&[&[2]], 2).unwrap();
        assert!(!files.state(&[1]).exists() && files.state(&[2]).exists());
        assert!(!files.delta(0).exists() && files.delta(1).exists() && files.delta(2).exists());
        assert!(!files.error(0).exists() && files.error(1).exists());
    }

    #[test]
    fn the_last_error_before_a_round_is_carried() {
        let home = tempfile::tempdir().unwrap();
        let files = JobFiles::open(home.path(), 1).unwrap();
        let of = |value| Weights::from([("w".to_string(), Tensor::scalar(value))]);
        for (round, value) in [(2, 2.0), (9, 9.0), (10, 10.0)] {
            files.write_weights(&files.error(round), &of(value)).unwrap();
        }
        let carried = [0, 2, 3, 9, 10, 11, 20].map(|round| files.carried(round).unwrap());
        let expected = [None, None, Some(2.0), Some(2.0), Some(9.0), Some(10.0), Some(10.0)];
        assert_eq!(carried, expected.map(|value| value.map(of)));
    }
}
