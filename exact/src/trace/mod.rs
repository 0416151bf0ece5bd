//! What a worker commits to at the end of a round: the states it passed through, each blinded.
//!
//! ```text
//! salt i     = SHA-256(11 ‖ secret ‖ job as u64 le ‖ round as u32 le ‖ i as u32 le)
//! leaf i     = SHA-256(10 ‖ i as u32 le ‖ state root i ‖ salt i)
//! trace root = merkle root over job as u64 le ‖ round as u32 le, leaf 0, leaf 1, …
//! ```
//!
//! Leaf 0 blinds the state the round starts from, leaf *i* the state after segment *i*. A salt keeps an evaluator from
//! guessing a state before it is opened; opening one leaf reveals nothing of the others.
//!
//! A [`Segment`] is everything that determines where its steps end. Within a step the values of the program have tensor
//! roots, and the *prefix* of *n* values is the Merkle root over the first *n* of them
//! ([`crate::merkle::Frontier`]). None of this is stored: a [`Replay`] computes it again when it is asked for.

mod replay;
mod segment;

pub use replay::{Execution, Replay};
pub use segment::{Batch, BatchLeaf, Segment, batches_root};

use crate::merkle;
use crate::prf::{Hash, Tag, hash};

/// The salt of leaf `index`, from the worker's secret.
pub fn salt(secret: &[u8; 32], job: u64, round: u32, index: u32) -> Hash {
    hash(
        Tag::Salt,
        &[secret, &job.to_le_bytes(), &round.to_le_bytes(), &index.to_le_bytes()],
    )
}

/// The salts of leaves `0..count`.
pub fn salts(secret: &[u8; 32], job: u64, round: u32, count: u32) -> Vec<Hash> {
    (0..count).map(|index| salt(secret, job, round, index)).collect()
}

/// Blinded leaf `index`.
pub fn leaf(index: u32, state_root: &Hash, salt: &Hash) -> Hash {
    hash(Tag::Trace, &[&index.to_le_bytes(), state_root, salt])
}

/// What `trace_root` was given does not fit together.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a trace needs one salt for each of at most {max} states, found {states} states and {salts} salts", max = u32::MAX)]
pub struct TraceError {
    states: usize,
    salts: usize,
}

/// The root over a round's blinded states.
///
/// # Errors
/// When there is not one salt for each state.
pub fn trace_root(job: u64, round: u32, states: &[Hash], salts: &[Hash]) -> Result<Hash, TraceError> {
    if states.len() != salts.len() || u32::try_from(states.len()).is_err() {
        return Err(TraceError {
            states: states.len(),
            salts: salts.len(),
        });
    }
    let mut leaves = Vec::with_capacity(states.len() + 1);
    leaves.push([&job.to_le_bytes()[..], &round.to_le_bytes()].concat());
    leaves.extend(
        (0..)
            .zip(states.iter().zip(salts))
            .map(|(index, (state, salt))| leaf(index, state, salt).to_vec()),
    );
    Ok(merkle::root(&leaves))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_is_bound() {
        let states: Vec<Hash> = (0..5).map(|i| [i; 32]).collect();
        let salted = salts(&[7; 32], 1, 2, 5);
        let root = trace_root(1, 2, &states, &salted).unwrap();
        assert_eq!(trace_root(1, 2, &states, &salted), Ok(root));
        let mut swapped = states.clone();
        swapped.swap(1, 2);
        assert_ne!(trace_root(1, 2, &swapped, &salted), Ok(root));
        assert_ne!(trace_root(2, 2, &states, &salted), Ok(root));
        assert_ne!(trace_root(1, 3, &states, &salted), Ok(root));
        for other in [
            salts(&[8; 32], 1, 2, 5),
            salts(&[7; 32], 2, 2, 5),
            salts(&[7; 32], 1, 3, 5),
        ] {
            assert_ne!(trace_root(1, 2, &states, &other), Ok(root));
        }
        let error = trace_root(1, 2, &states, &salted[..4]).unwrap_err().to_string();
        assert!(error.contains("5 states and 4 salts"), "{error}");
    }

    #[test]
    fn a_leaf_opens() {
        let states: Vec<Hash> = (0..3).map(|i| [i; 32]).collect();
        let salted = salts(&[7; 32], 1, 2, 3);
        let mut leaves = vec![[&1u64.to_le_bytes()[..], &2u32.to_le_bytes()].concat()];
        leaves.extend((0..3u32).map(|i| leaf(i, &states[i as usize], &salt(&[7; 32], 1, 2, i)).to_vec()));
        let root = trace_root(1, 2, &states, &salted).unwrap();
        let proof = merkle::prove(&leaves, 2).unwrap();
        assert!(merkle::verify(&root, &leaf(1, &states[1], &salted[1]), &proof));
        assert!(!merkle::verify(&root, &leaf(1, &states[2], &salted[1]), &proof));
    }
}
