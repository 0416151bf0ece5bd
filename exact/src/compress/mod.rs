//! Compressed deltas and their merging in integers: what workers exchange instead of f32 tensors, exactly checkable.
//!
//! A worker's delta, with the error carried from its earlier rounds added, keeps its largest elements (top-k), each as a
//! small integer on a power-of-two grid; what is lost is carried to the next round (error feedback: Seide et al. 2014;
//! Karimireddy et al. 2019, arXiv 1901.09847). Per tensor of `n` elements and a share of `p` parts per million:
//!
//! ```text
//! a[i]     = delta[i] + carried[i]                                        one f32 addition
//! k        = ⌈n·p / 10⁶⌉
//! chosen   = the k indices i with the largest |a[i]|; of equal ones the lowest indices
//! blocks   = the index space cut every 1024 elements; for each block:
//! s        = the smallest integer in −48 ..= 16 with |a[i]|/2^s < 127.5 for every chosen i of the block
//! q[i]     = a[i]/2^s rounded to an integer, half to even, where chosen; else 0
//! error[i] = a[i] − q[i]·2^s                                              exact in f32
//! ```
//!
//! So `a = dequantised + error` holds without rounding, element by element: nothing of a delta is ever lost but the one
//! rounding of the sum `a`. With `p = 10⁶` every element is chosen: dense int8. The bytes of a block are in [`Block`], the
//! root and its openings in [`CompressedDelta`], merging in [`merge()`], judging one element in [`MergeWitness`] and
//! [`DeltaWitness`].

mod block;
mod delta;
mod merging;
mod opening;
mod witness;

pub use block::{BLOCK_ELEMENTS, Block, BlockError, MAX_BLOCK_BYTES, MAX_EXPONENT, MIN_EXPONENT, Quantum};
pub use delta::{CompressedDelta, DecodeError};
pub use merging::{Contribution, merge, merged_element};
pub use opening::{MAX_TENSORS, Opening, OpeningError};
pub use witness::{DeltaWitness, ErrorProof, MergeWitness, State, WitnessError};

use std::collections::BTreeMap;

use crate::onnx::Graph;
use crate::state::state_root;
use crate::tensor::Weights;
use block::{LARGEST, fits};
use delta::Blocks;

/// How many elements of each tensor are sent, in parts per million, rounded up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Share(u32);

impl Share {
    /// Every element.
    pub const ALL: Self = Self(1_000_000);

    /// `ppm` parts per million, between 1 and 1 000 000.
    pub const fn new(ppm: u32) -> Option<Self> {
        if 1 <= ppm && ppm <= Self::ALL.0 {
            Some(Self(ppm))
        } else {
            None
        }
    }

    /// The number of elements chosen out of `elements`.
    pub fn of(self, elements: usize) -> usize {
        let chosen = (elements as u128 * u128::from(self.0)).div_ceil(1_000_000);
        // At most `elements`, so it always fits.
        usize::try_from(chosen).unwrap_or(elements)
    }
}

/// Why a delta cannot be compressed.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum CompressError {
    /// The carried error has other tensors than the delta.
    #[error("the carried error and the delta do not both have tensor {name:?} in one shape")]
    Layout {
        /// The tensor.
        name: String,
    },
    /// The model keeps running statistics.
    #[error(
        "the model keeps running statistics ({name:?}), and a variance that is rounded to 8 bits may become negative; \
         its deltas must be exchanged whole"
    )]
    Statistics {
        /// The first of them.
        name: String,
    },
    /// A value is NaN or infinite, or too large for the grid.
    #[error(
        "tensor {name:?}: the delta with the carried error is {value} at element {index}; \
         its magnitude must be below {LARGEST}"
    )]
    Value {
        /// The tensor.
        name: String,
        /// The element's row-major index.
        index: usize,
        /// The value found.
        value: f32,
    },
}

/// Whether deltas of a model's weights may be compressed.
///
/// # Errors
/// When it keeps running statistics.
pub fn check_model(graph: &Graph) -> Result<(), CompressError> {
    match graph.buffers.first() {
        Some(name) => Err(CompressError::Statistics { name: name.clone() }),
        None => Ok(()),
    }
}

/// Compresses `delta` with the error `carried` from the round before (`None` in the first): the compressed delta, and the
/// error to carry on, of the delta's shapes. Selection takes linear time.
///
/// # Errors
/// When the layouts differ, or a value is NaN, infinite or too large.
pub fn compress(
    delta: &Weights,
    carried: Option<&Weights>,
    share: Share,
) -> Result<(CompressedDelta, Weights), CompressError> {
    if let Some(carried) = carried {
        let alone = |these: &Weights, those: &Weights| {
            let mut names = these.keys();
            names
                .find(|name| those.get(*name).map(crate::Tensor::shape) != these.get(*name).map(crate::Tensor::shape))
                .cloned()
        };
        if let Some(name) = alone(delta, carried).or_else(|| alone(carried, delta)) {
            return Err(CompressError::Layout { name });
        }
    }
    let mut tensors = BTreeMap::new();
    let mut error = delta.clone();
    for (name, tensor) in &mut error {
        let shape = tensor.shape().to_vec();
        let values = tensor.data_mut();
        if let Some(carried) = carried.and_then(|carried| carried.get(name)) {
            for (value, carried) in values.iter_mut().zip(carried.data()) {
                *value += carried;
            }
        }
        if let Some((index, value)) = values.iter().enumerate().find(|(_, value)| !fits(**value)) {
            return Err(CompressError::Value {
                name: name.clone(),
                index,
                value: *value,
            });
        }
        let mut chosen = Chosen::new(values, share.of(values.len()));
        let mut sent = Vec::with_capacity(BLOCK_ELEMENTS);
        let blocks = values.chunks_mut(BLOCK_ELEMENTS).map(|values| {
            sent.clear();
            sent.extend(
                values
                    .iter()
                    .map(|value| if chosen.takes(*value) { *value } else { 0.0 }),
            );
            let block = Block::quantise(&sent);
            for (value, sent) in values.iter_mut().zip(block.dequantised()) {
                *value -= sent;
            }
            block
        });
        let blocks = Blocks::new(shape, blocks);
        tensors.insert(name.clone(), blocks);
    }
    Ok((CompressedDelta::new(state_root(&error), tensors), error))
}

/// The `k` largest magnitudes of a list, asked for element by element in index order.
struct Chosen {
    /// Bits of the least magnitude that is chosen.
    threshold: u32,
    /// How many elements of just this magnitude are still to be taken.
    ties: usize,
}

impl Chosen {
    fn new(values: &[f32], k: usize) -> Self {
        if k == 0 || k >= values.len() {
            return Self {
                threshold: 0,
                ties: values.len(),
            };
        }
        let mut keys: Vec<u32> = values.iter().map(|value| magnitude(*value)).collect();
        let (above, threshold, _) = keys.select_nth_unstable_by(k - 1, |left, right| right.cmp(left));
        let ties = k - above.iter().filter(|key| **key > *threshold).count();
        Self {
            threshold: *threshold,
            ties,
        }
    }

    fn takes(&mut self, value: f32) -> bool {
        let key = magnitude(value);
        if key == self.threshold && self.ties > 0 {
            self.ties -= 1;
            return true;
        }
        key > self.threshold
    }
}

/// Bits that order finite values by magnitude.
fn magnitude(value: f32) -> u32 {
    value.abs().to_bits()
}
