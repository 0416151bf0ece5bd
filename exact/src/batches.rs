//! Which samples a worker trains on in a round: known to nobody before the beacon, to everybody after.
//!
//! ```text
//! stream(tag…)  = prf stream keyed by SHA-256(20 ‖ beacon ‖ job as u64 le ‖ round as u32 le ‖ epoch as u32 le ‖ worker as u32 le)
//! dealt         = 0..samples shuffled by the stream of (epoch 0, worker 2³² − 1)
//! shard of w    = dealt[w·samples/workers .. (w+1)·samples/workers]
//! order of w    = its shard in the dealt order, then (epoch 1, 2, …) shuffled anew by the stream of (epoch, w)
//! ```
//!
//! A shuffle is Fisher–Yates from the last element down, each index drawn without bias ([`Stream::below`]). Batches are
//! cut from the order one after another and run on over the end of an epoch, so each has exactly `batch` samples.

use crate::prf::{Hash, Stream, Tag};

/// Why there is no such plan.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BatchError {
    /// The worker's index is not below the number of workers.
    #[error("worker index {index} is not below the number of workers, {workers}")]
    Worker {
        /// The index found.
        index: u32,
        /// Its bound.
        workers: u32,
    },
    /// A worker would get no sample, or a sample has no 32-bit index.
    #[error("{samples} samples for {workers} workers: there must be at least one for each and at most {max}", max = u32::MAX)]
    Samples {
        /// Samples in the training set.
        samples: u64,
        /// Workers to deal them to.
        workers: u32,
    },
    /// A batch without samples.
    #[error("a batch has no samples: the batch size must be at least 1")]
    EmptyBatch,
}

/// An endless iterator over a worker's batches in a round; each holds the indices of `batch` samples.
#[derive(Clone, Debug)]
pub struct Batches {
    key: Vec<u8>,
    worker: u32,
    batch: usize,
    shard: Vec<u32>,
    next: usize,
    epoch: u32,
}

impl Batches {
    /// Batches of worker `worker` (0-based, of `workers`) in a round of a job, given the beacon at the round's start.
    ///
    /// Takes O(samples) time and memory (4 bytes a sample).
    ///
    /// # Errors
    /// When the worker is not one of `workers`, there are fewer samples than workers or more than 2³² − 1, or the batch
    /// is empty.
    pub fn new(
        beacon: &Hash,
        job: u64,
        round: u32,
        worker: u32,
        workers: u32,
        samples: u64,
        batch: u32,
    ) -> Result<Self, BatchError> {
        if worker >= workers {
            return Err(BatchError::Worker { index: worker, workers });
        }
        if batch == 0 {
            return Err(BatchError::EmptyBatch);
        }
        let count = match u32::try_from(samples) {
            Ok(count) if count >= workers => count,
            _ => return Err(BatchError::Samples { samples, workers }),
        };
        let key = [&beacon[..], &job.to_le_bytes(), &round.to_le_bytes()].concat();
        let mut dealt: Vec<u32> = (0..count).collect();
        shuffle(&mut dealt, &key, 0, u32::MAX);
        let cut = |w: u32| usize::try_from(u64::from(w) * samples / u64::from(workers)).unwrap_or(dealt.len());
        let shard = dealt[cut(worker)..cut(worker + 1)].to_vec();
        Ok(Self {
            key,
            worker,
            batch: batch as usize,
            shard,
            next: 0,
            epoch: 0,
        })
    }

    /// Number of samples in the worker's shard.
    pub fn shard_len(&self) -> usize {
        self.shard.len()
    }
}

impl Iterator for Batches {
    type Item = Vec<u32>;

    fn next(&mut self) -> Option<Vec<u32>> {
        let mut batch = Vec::with_capacity(self.batch);
        while batch.len() < self.batch {
            if self.next == self.shard.len() {
                self.epoch = self.epoch.wrapping_add(1);
                shuffle(&mut self.shard, &self.key, self.epoch, self.worker);
                self.next = 0;
            }
            let end = (self.next + self.batch - batch.len()).min(self.shard.len());
            batch.extend_from_slice(&self.shard[self.next..end]);
            self.next = end;
        }
        Some(batch)
    }
}

/// The first `steps` batches of a worker in a round: [`Batches`], collected.
///
/// # Errors
/// Those of [`Batches::new`].
#[expect(
    clippy::too_many_arguments,
    reason = "each is a field of the job or of the chain's state"
)]
pub fn plan(
    beacon: &Hash,
    job: u64,
    round: u32,
    worker: u32,
    workers: u32,
    samples: u64,
    batch: u32,
    steps: u32,
) -> Result<Vec<Vec<u32>>, BatchError> {
    Ok(Batches::new(beacon, job, round, worker, workers, samples, batch)?
        .take(steps as usize)
        .collect())
}

fn shuffle(items: &mut [u32], key: &[u8], epoch: u32, worker: u32) {
    let mut stream = Stream::new(Tag::Batches, &[key, &epoch.to_le_bytes(), &worker.to_le_bytes()]);
    for last in (1..items.len()).rev() {
        // Never saturates: `Batches::new` refuses more samples.
        let bound = u32::try_from(last + 1).unwrap_or(u32::MAX);
        items.swap(last, stream.below(bound) as usize);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    #[test]
    fn the_order_is_fixed_forever() {
        let batches = plan(&[3; 32], 7, 1, 1, 2, 11, 4, 2).unwrap();
        assert_eq!(batches, GOLDEN.map(|batch| batch.to_vec()));
    }

    const GOLDEN: [[u32; 4]; 2] = [[10, 4, 3, 2], [9, 0, 10, 3]];

    #[test]
    fn job_round_beacon_and_epoch_change_the_order() {
        let first = plan(&[3; 32], 7, 1, 0, 1, 100, 100, 2).unwrap();
        assert_ne!(first[0], first[1]);
        for other in [
            plan(&[4; 32], 7, 1, 0, 1, 100, 100, 2),
            plan(&[3; 32], 8, 1, 0, 1, 100, 100, 2),
        ] {
            assert_ne!(other.unwrap(), first);
        }
        assert_ne!(plan(&[3; 32], 7, 2, 0, 1, 100, 100, 2).unwrap(), first);
    }

    #[test]
    fn nonsense_is_refused_with_its_value() {
        let of = |worker, workers, samples, batch| {
            Batches::new(&[0; 32], 1, 1, worker, workers, samples, batch).unwrap_err()
        };
        assert_eq!(of(3, 3, 10, 1), BatchError::Worker { index: 3, workers: 3 });
        assert_eq!(of(0, 0, 10, 1), BatchError::Worker { index: 0, workers: 0 });
        assert_eq!(of(0, 3, 2, 1), BatchError::Samples { samples: 2, workers: 3 });
        assert_eq!(
            of(0, 3, 1 << 32, 1),
            BatchError::Samples {
                samples: 1 << 32,
                workers: 3
            }
        );
        assert_eq!(of(0, 3, 10, 0), BatchError::EmptyBatch);
    }

    proptest! {
        #[test]
        fn shards_are_a_partition(workers in 1u32..9, extra in 0u64..50, batch in 1u32..9, seed: [u8; 32]) {
            let samples = u64::from(workers) + extra;
            let mut seen = BTreeSet::new();
            for worker in 0..workers {
                let batches = Batches::new(&seed, 1, 1, worker, workers, samples, batch).unwrap();
                let length = batches.shard_len();
                prop_assert!(length >= 1);
                let order: Vec<u32> = batches.take(4 * length).flatten().take(2 * length).collect();
                let epochs: Vec<BTreeSet<u32>> =
                    order.chunks(length).map(|epoch| epoch.iter().copied().collect()).collect();
                prop_assert_eq!(epochs[0].len(), length);
                prop_assert_eq!(&epochs[0], &epochs[1]);
                for sample in &epochs[0] {
                    prop_assert!(u64::from(*sample) < samples && seen.insert(*sample));
                }
            }
            prop_assert_eq!(seen.len() as u64, samples);
        }
    }
}
