//! What the workers of a round exchange: their deltas, whole as f32, or compressed to 8-bit integers.

use color_eyre::eyre::{OptionExt, Result, bail, ensure};
use trainyard_exact::{
    Weights, average,
    compress::{self, CompressedDelta, Share},
    state_root,
    weights_file::{Limits, from_safetensors, to_safetensors},
};
use trainyard_proto::job::JobSpec;

/// A worker's delta of a round.
#[derive(Debug, Clone, PartialEq)]
pub enum Delta {
    /// Whole; its bytes are safetensors, its root is their state root.
    Whole(Weights),
    /// Compressed.
    Compressed(CompressedDelta),
}

impl Delta {
    /// The delta from `start` to `end` in the form that the job asks for, and the error to carry to the next round, from the
    /// error carried here; none where nothing is compressed.
    ///
    /// # Errors
    /// When training diverged: a value is NaN, infinite or too large to be compressed.
    pub fn new(
        spec: &JobSpec,
        start: &Weights,
        end: &Weights,
        carried: Option<&Weights>,
    ) -> Result<(Self, Option<Weights>)> {
        let delta = average::delta(start, end)?;
        let Some(share) = share(spec)? else {
            return Ok((Self::Whole(delta), None));
        };
        let (compressed, error) = compress::compress(&delta, carried, share)?;
        Ok((Self::Compressed(compressed), Some(error)))
    }

    /// The bytes that go to the other workers.
    ///
    /// # Errors
    /// When the sizes overflow (never for tensors that are held in memory).
    pub fn to_bytes(&self) -> Result<Vec<u8>> {
        Ok(match self {
            Self::Whole(delta) => to_safetensors(delta)?,
            Self::Compressed(delta) => delta.to_bytes(),
        })
    }

    /// A delta of weights like `start` from another worker's bytes, in the form that the job asks for. Its root must be `root`.
    ///
    /// # Errors
    /// When the bytes are no such delta, or have another root.
    pub fn from_bytes(spec: &JobSpec, start: &Weights, bytes: &[u8], root: &[u8]) -> Result<Self> {
        let delta = match share(spec)? {
            None => Self::Whole(from_safetensors(bytes, &Limits::default())?),
            Some(_) => Self::Compressed(CompressedDelta::from_bytes(bytes, start)?),
        };
        let found = delta.root();
        ensure!(
            found.as_slice() == root,
            "the delta's root is {}, expected {}",
            hex::encode(found),
            hex::encode(root)
        );
        Ok(delta)
    }

    /// The root that the worker commits to.
    pub fn root(&self) -> [u8; 32] {
        match self {
            Self::Whole(delta) => state_root(delta),
            Self::Compressed(delta) => delta.root(),
        }
    }
}

/// `start` moved by the average of the deltas, weighted by samples. Whole deltas are added in the order given, which the
/// caller fixes; compressed ones in integers, where order cannot matter.
///
/// # Errors
/// When a delta does not fit `start`, or there is no sample.
pub fn merge(start: &Weights, deltas: &[(u64, Delta)]) -> Result<Weights> {
    let (mut whole, mut compressed) = (Vec::new(), Vec::new());
    for (samples, delta) in deltas {
        match delta {
            Delta::Whole(delta) => whole.push((*samples, delta.clone())),
            Delta::Compressed(delta) => compressed.push((*samples, delta)),
        }
    }
    match (whole.is_empty(), compressed.is_empty()) {
        (_, true) => Ok(average::merge(start, &whole)?),
        (true, false) => Ok(compress::merge(start, &compressed)?),
        (false, false) => bail!(
            "{} whole and {} compressed deltas do not mix",
            whole.len(),
            compressed.len()
        ),
    }
}

/// The share that the job compresses to; none where deltas are exchanged whole.
fn share(spec: &JobSpec) -> Result<Option<Share>> {
    match spec.delta_share_ppm {
        0 => Ok(None),
        ppm => Ok(Some(
            Share::new(ppm).ok_or_eyre(format!("the job's delta share is {ppm} ppm, more than all"))?,
        )),
    }
}

#[cfg(test)]
mod tests {
    use trainyard_exact::Tensor;

    use super::*;

    fn spec(delta_share_ppm: u32) -> JobSpec {
        JobSpec {
            delta_share_ppm,
            ..JobSpec::default()
        }
    }

    fn weights(values: &[f32]) -> Weights {
        let tensor = Tensor::new(vec![values.len()], values.to_vec()).unwrap();
        Weights::from([("w".to_string(), tensor)])
    }

    #[test]
    fn a_delta_comes_back_under_its_root_only() {
        let (start, end) = (weights(&[1.0, 2.0, -3.0]), weights(&[1.5, 2.0, -3.25]));
        for ppm in [0, 1, 1_000_000] {
            let (delta, error) = Delta::new(&spec(ppm), &start, &end, None).unwrap();
            assert_eq!(error.is_some(), ppm > 0);
            let (bytes, root) = (delta.to_bytes().unwrap(), delta.root());
            assert_eq!(Delta::from_bytes(&spec(ppm), &start, &bytes, &root).unwrap(), delta);
            let refused = Delta::from_bytes(&spec(ppm), &start, &bytes, &[0; 32])
                .unwrap_err()
                .to_string();
            assert!(refused.contains("the delta's root is"), "{refused}");
            for other in [0, 1, 1_000_000]
                .into_iter()
                .filter(|other| (*other == 0) != (ppm == 0))
            {
                assert!(Delta::from_bytes(&spec(other), &start, &bytes, &root).is_err());
            }
        }
        let refused = Delta::new(&spec(1_000_001), &start, &end, None)
            .unwrap_err()
            .to_string();
        assert!(refused.contains("1000001 ppm"), "{refused}");
        let diverged = Delta::new(&spec(1), &start, &weights(&[1.0, f32::NAN, 0.0]), None)
            .unwrap_err()
            .to_string();
        assert!(diverged.contains("NaN at element 1"), "{diverged}");
    }

    #[test]
    fn what_is_not_sent_in_one_round_is_sent_in_the_next() {
        let spec = spec(333_333);
        let mut at = weights(&[0.0; 3]);
        let mut carried = None;
        for _ in 0..3 {
            let end = weights(&[
                at["w"].data()[0] + 3.0,
                at["w"].data()[1] + 2.0,
                at["w"].data()[2] + 2.0,
            ]);
            let (delta, error) = Delta::new(&spec, &at, &end, carried.as_ref()).unwrap();
            at = merge(&at, &[(7, delta)]).unwrap();
            carried = error;
        }
        // 3 and 2 and 2; then 3 and 4 and 4; then 6 and 2 and 6: the first, the second, the first.
        assert_eq!(at["w"].data(), [9.0, 4.0, 0.0]);
        assert_eq!(carried.unwrap()["w"].data(), [0.0, 2.0, 6.0]);
    }

    #[test]
    fn forms_do_not_mix() {
        let (start, end) = (weights(&[1.0]), weights(&[2.0]));
        let of = |ppm| Delta::new(&spec(ppm), &start, &end, None).unwrap().0;
        for ppm in [0, 1_000_000] {
            assert_eq!(merge(&start, &[(1, of(ppm)), (3, of(ppm))]).unwrap(), end);
        }
        let mixed = merge(&start, &[(1, of(0)), (1, of(1))]).unwrap_err().to_string();
        assert!(mixed.contains("1 whole and 1 compressed"), "{mixed}");
        assert!(merge(&start, &[]).unwrap_err().to_string().contains("0 samples"));
    }
}
