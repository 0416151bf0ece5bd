//! One element of a merge, or of a worker's delta, judged alone: from a few kilobytes that a root binds.
//!
//! A merge is judged by [`MergeWitness`]: the element before and after it, and what every worker sent of it. A worker's
//! delta is judged by [`DeltaWitness`]: the element before and after training, the errors carried in and out, and
//! what was sent. Then `(end − start) + carried = sent + error`, and `sent` is rounded as it must be; so a worker can
//! neither lose nor invent a part of its delta. *Which* elements it sent, an element alone cannot show.

use super::block::MAX_BLOCK_BYTES;
use super::delta::CompressedDelta;
use super::merging::{Contribution, merged_element};
use super::opening::{MAX_TENSORS, Opening, OpeningError, read_proof, write_proof};
use crate::average::MergeError;
use crate::definition::MAX_AXES;
use crate::encoding::{EncodingError, Reader, write_bytes, write_number};
use crate::merkle;
use crate::prf::Hash;
use crate::state::{ElementProof, MAX_NAME, MAX_PROOF, ProofError, StateTree};
use crate::tensor::Weights;

/// The most bytes of an encoded [`Opening`]: a block, a root, and two proofs of at most 64 hashes.
const MAX_OPENING: usize = MAX_BLOCK_BYTES + 32 + 2 * (20 + 64 * 32) + 2;

/// Why a witness shows nothing.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum WitnessError {
    /// An element of a state is not shown.
    #[error("the element {of}: {error}")]
    Element {
        /// `before`, `after`, `carried in` or `carried on`.
        of: &'static str,
        /// What is wrong with it.
        error: ProofError,
    },
    /// A worker's opening shows nothing.
    #[error("what worker {worker} sent: {error}")]
    Sent {
        /// The worker's place in the list; 0 where there is but one.
        worker: usize,
        /// What is wrong with it.
        error: OpeningError,
    },
    /// Not one opening for each worker.
    #[error("there are openings of {found} workers, the round has {expected}")]
    Workers {
        /// Openings.
        found: usize,
        /// Workers.
        expected: usize,
    },
    /// An error's root is not in the delta it should be carried by.
    #[error("the root of the error {0} is not in the delta")]
    ErrorRoot(&'static str),
    /// An error carried in is shown where none can be, or the other way round.
    #[error("an error carried in is shown: {shown}; a delta before: {before}")]
    Carried {
        /// Whether the witness shows one.
        shown: bool,
        /// Whether there is an earlier delta.
        before: bool,
    },
    /// The element cannot be merged.
    #[error(transparent)]
    Merge(#[from] MergeError),
}

/// A state of training, and its tree.
pub type State<'a> = (&'a StateTree, &'a Weights);

fn open(state: State<'_>, tensor: &str, index: usize) -> Option<ElementProof> {
    state.0.open(state.1, tensor, index)
}

fn check(of: &'static str, proof: &ElementProof, root: &Hash, tensor: &str, index: usize) -> Result<f32, WitnessError> {
    proof
        .verify(root, tensor, index)
        .map_err(|error| WitnessError::Element { of, error })
}

fn read_element(reader: &mut Reader<'_>) -> Result<ElementProof, EncodingError> {
    ElementProof::decode(reader.bytes("length of an element's proof", MAX_PROOF)?)
}

/// What one element of a merge is judged by.
#[derive(Clone, Debug, PartialEq)]
pub struct MergeWitness {
    /// The element before the merge.
    pub before: ElementProof,
    /// The element after it.
    pub after: ElementProof,
    /// What each worker sent of it.
    pub sent: Vec<Opening>,
}

impl MergeWitness {
    /// The witness of one element; `None` where there is no such element.
    pub fn open(
        before: State<'_>,
        after: State<'_>,
        deltas: &[&CompressedDelta],
        tensor: &str,
        index: usize,
    ) -> Option<Self> {
        Some(Self {
            before: open(before, tensor, index)?,
            after: open(after, tensor, index)?,
            sent: deltas
                .iter()
                .map(|delta| delta.open(tensor, index))
                .collect::<Option<_>>()?,
        })
    }

    /// Whether the element was merged rightly, given the roots before and after, and each worker's samples and delta root.
    /// Hashes at most [`MergeWitness::verification_bytes`].
    ///
    /// # Errors
    /// When the witness shows nothing about the element.
    pub fn verify(
        &self,
        before: &Hash,
        after: &Hash,
        workers: &[(u64, Hash)],
        tensor: &str,
        index: usize,
    ) -> Result<bool, WitnessError> {
        if self.sent.len() != workers.len() {
            return Err(WitnessError::Workers {
                found: self.sent.len(),
                expected: workers.len(),
            });
        }
        let start = check("before", &self.before, before, tensor, index)?;
        let end = check("after", &self.after, after, tensor, index)?;
        let shape = self.before.shape();
        let mut contributions = Vec::with_capacity(workers.len());
        for (worker, ((samples, root), opening)) in workers.iter().zip(&self.sent).enumerate() {
            let quantum = opening
                .check(root, tensor, shape, index)
                .map_err(|error| WitnessError::Sent { worker, error })?;
            contributions.push(Contribution {
                samples: *samples,
                quantum,
            });
        }
        let expected = merged_element(start, &contributions)?;
        Ok(expected.to_bits() == end.to_bits() && self.after.shape() == shape)
    }

    /// The bytes that judging a merge of so many workers hashes at most.
    pub fn verification_bytes(workers: usize) -> u64 {
        // A tag byte each; a node hashes two hashes, a root a count and a hash, an entry two lengths and a hash besides.
        let entry = 1 + 8 + MAX_NAME as u64 + 8 * MAX_AXES as u64 + 32;
        let element = 1 + 256 + entry + 2 * (65 * 64 + 41);
        let levels = 64 + u64::from(MAX_TENSORS.trailing_zeros());
        let sent = 1 + MAX_BLOCK_BYTES as u64 + entry + 65 * levels + 2 * 41;
        sent.saturating_mul(workers as u64).saturating_add(2 * element)
    }

    /// Its bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        write_bytes(&mut out, &self.before.encode());
        write_bytes(&mut out, &self.after.encode());
        write_number(&mut out, self.sent.len() as u64);
        self.sent.iter().for_each(|opening| opening.encode(&mut out));
        out
    }

    /// The witness with these bytes, for a round of at most `workers` workers.
    ///
    /// # Errors
    /// When they are not exactly what [`MergeWitness::encode`] gives for some witness.
    pub fn decode(bytes: &[u8], workers: usize) -> Result<Self, EncodingError> {
        let bound = MAX_OPENING.saturating_mul(workers).saturating_add(2 * MAX_PROOF + 30);
        let mut reader = Reader::new(bytes, bound)?;
        let before = read_element(&mut reader)?;
        let after = read_element(&mut reader)?;
        let count = reader.count("number of workers", workers)?;
        let sent = (0..count)
            .map(|_| Opening::decode(&mut reader))
            .collect::<Result<_, _>>()?;
        reader.finish()?;
        Ok(Self { before, after, sent })
    }
}

/// One element of the error that a delta carries on.
#[derive(Clone, Debug, PartialEq)]
pub struct ErrorProof {
    /// The error's state root.
    pub root: Hash,
    /// Shows that root in the delta.
    pub in_delta: merkle::Proof,
    /// The element.
    pub element: ElementProof,
}

impl ErrorProof {
    /// The proof of one element of `error`, which `delta` carries on.
    pub fn open(delta: &CompressedDelta, error: State<'_>, tensor: &str, index: usize) -> Option<Self> {
        Some(Self {
            root: *delta.error_root(),
            in_delta: delta.open_error_root()?,
            element: open(error, tensor, index)?,
        })
    }

    fn check(&self, of: &'static str, delta: &Hash, tensor: &str, index: usize) -> Result<f32, WitnessError> {
        if self.in_delta.index != 0 || !merkle::verify(delta, &self.root, &self.in_delta) {
            return Err(WitnessError::ErrorRoot(of));
        }
        check(of, &self.element, &self.root, tensor, index)
    }

    fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.root);
        write_proof(out, &self.in_delta);
        write_bytes(out, &self.element.encode());
    }

    fn decode(reader: &mut Reader<'_>) -> Result<Self, EncodingError> {
        Ok(Self {
            root: reader.hash()?,
            in_delta: read_proof(reader)?,
            element: read_element(reader)?,
        })
    }
}

/// What one element of a worker's compressed delta is judged by.
#[derive(Clone, Debug, PartialEq)]
pub struct DeltaWitness {
    /// The element before training.
    pub before: ElementProof,
    /// The element after it.
    pub after: ElementProof,
    /// What was sent of it.
    pub sent: Opening,
    /// What was lost of it, to be carried on.
    pub error: ErrorProof,
    /// What was carried in; none in a worker's first delta.
    pub carried: Option<ErrorProof>,
}

impl DeltaWitness {
    /// Whether the element of the delta with root `delta` is right, given the roots of the states before and after training, and
    /// of the worker's delta before, if there is one.
    ///
    /// # Errors
    /// When the witness shows nothing about the element.
    pub fn verify(
        &self,
        before: &Hash,
        after: &Hash,
        delta: &Hash,
        previous: Option<&Hash>,
        tensor: &str,
        index: usize,
    ) -> Result<bool, WitnessError> {
        let start = check("before", &self.before, before, tensor, index)?;
        let end = check("after", &self.after, after, tensor, index)?;
        let shape = self.before.shape();
        let sent = self
            .sent
            .check(delta, tensor, shape, index)
            .map_err(|error| WitnessError::Sent { worker: 0, error })?;
        let error = self.error.check("carried on", delta, tensor, index)?;
        let whole = match (&self.carried, previous) {
            (None, None) => end - start,
            (Some(carried), Some(previous)) => (end - start) + carried.check("carried in", previous, tensor, index)?,
            (carried, previous) => {
                return Err(WitnessError::Carried {
                    shown: carried.is_some(),
                    before: previous.is_some(),
                });
            }
        };
        let shapes = [&self.after, &self.error.element].map(|proof| proof.shape() == shape);
        let expected = sent.remainder(whole).map(f32::to_bits);
        Ok(shapes == [true; 2] && expected == Some(error.to_bits()))
    }

    /// Its bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        write_bytes(&mut out, &self.before.encode());
        write_bytes(&mut out, &self.after.encode());
        self.sent.encode(&mut out);
        self.error.encode(&mut out);
        if let Some(carried) = &self.carried {
            carried.encode(&mut out);
        }
        out
    }

    /// The witness with these bytes, for a worker's first delta or a later one.
    ///
    /// # Errors
    /// When they are not exactly what [`DeltaWitness::encode`] gives for some witness.
    pub fn decode(bytes: &[u8], first: bool) -> Result<Self, EncodingError> {
        let mut reader = Reader::new(bytes, MAX_OPENING + 4 * MAX_PROOF + 2 * (52 + 64 * 32) + 12)?;
        let witness = Self {
            before: read_element(&mut reader)?,
            after: read_element(&mut reader)?,
            sent: Opening::decode(&mut reader)?,
            error: ErrorProof::decode(&mut reader)?,
            carried: if first {
                None
            } else {
                Some(ErrorProof::decode(&mut reader)?)
            },
        };
        reader.finish()?;
        Ok(witness)
    }
}
