//! A compressed delta: its bytes, its root, and openings of both.

use std::collections::BTreeMap;

use super::block::{BLOCK_ELEMENTS, Block, BlockError};
use super::opening::Opening;
use crate::merkle;
use crate::prf::Hash;
use crate::state::entry;
use crate::tensor::{Tensor, Weights, elements};

/// The quantised values of every tensor, in name order. Always canonical: equal deltas have equal bytes.
///
/// ```text
/// error    = state root of the error that is carried on
/// bytes    = error ‖ block 0 ‖ block 1 ‖ …  of the first tensor, then of the next, in the byte order of their names
/// blocks   = merkle root over the tensor's blocks (an empty tensor has none)
/// entry(t) = name length as u32 le ‖ name ‖ rank as u32 le ‖ each dimension as u64 le ‖ blocks
/// root     = merkle root over error, entry(t) of the first tensor, of the next, …
/// ```
///
/// Names and shapes are not in the bytes, for they are those of the weights that the delta changes. Element `i` is in block
/// `i / 1024`, whose opening also shows that an element was not sent: it is 0 there. The error's root binds the worker to
/// what it must add to its next delta.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CompressedDelta {
    error_root: Hash,
    tensors: BTreeMap<String, Blocks>,
}

/// The blocks of one tensor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Blocks {
    shape: Vec<usize>,
    bytes: Vec<u8>,
    /// Where each block ends in `bytes`.
    ends: Vec<usize>,
}

/// Why bytes are not a compressed delta.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// The bytes are too few for the error's root.
    #[error("{0} bytes do not hold the error's root of 32")]
    Short(usize),
    /// A block is malformed.
    #[error("block {block} of tensor {tensor:?}: {error}")]
    Block {
        /// The tensor.
        tensor: String,
        /// The block's index in the tensor.
        block: usize,
        /// What is wrong with it.
        error: BlockError,
    },
    /// Bytes follow the last block.
    #[error("{0} bytes follow the last block")]
    Trailing(usize),
}

impl CompressedDelta {
    /// The delta of these tensors, whose error to carry on has the state root `error_root`.
    pub(super) fn new(error_root: Hash, tensors: BTreeMap<String, Blocks>) -> Self {
        Self { error_root, tensors }
    }

    /// State root of the error that the worker carries to its next delta.
    pub fn error_root(&self) -> &Hash {
        &self.error_root
    }

    /// The tensors, in name order.
    pub(super) fn tensors(&self) -> &BTreeMap<String, Blocks> {
        &self.tensors
    }

    /// The canonical bytes.
    pub fn to_bytes(&self) -> Vec<u8> {
        let blocks = self.tensors.values().map(|tensor| tensor.bytes.as_slice());
        std::iter::once(&self.error_root[..])
            .chain(blocks)
            .collect::<Vec<_>>()
            .concat()
    }

    /// The compressed delta of weights with the names and shapes of `like`, from untrusted bytes.
    ///
    /// # Errors
    /// When the bytes are not the one encoding of such a delta. Costs no more memory than the bytes and `like` have.
    pub fn from_bytes(bytes: &[u8], like: &Weights) -> Result<Self, DecodeError> {
        let (error_root, mut rest) = bytes.split_first_chunk().ok_or(DecodeError::Short(bytes.len()))?;
        let mut tensors = BTreeMap::new();
        for (name, tensor) in like {
            let mut ends = Vec::new();
            let mut used = 0;
            for (index, chunk) in tensor.data().chunks(BLOCK_ELEMENTS).enumerate() {
                let head = rest.get(used..).unwrap_or_default();
                let (_, length) = Block::decode(head, chunk.len()).map_err(|error| DecodeError::Block {
                    tensor: name.clone(),
                    block: index,
                    error,
                })?;
                used += length;
                ends.push(used);
            }
            let (bytes, behind) = rest.split_at(used);
            rest = behind;
            let blocks = Blocks {
                shape: tensor.shape().to_vec(),
                bytes: bytes.to_vec(),
                ends,
            };
            tensors.insert(name.clone(), blocks);
        }
        if rest.is_empty() {
            Ok(Self::new(*error_root, tensors))
        } else {
            Err(DecodeError::Trailing(rest.len()))
        }
    }

    /// The root that a worker commits to.
    pub fn root(&self) -> Hash {
        merkle::root(&self.leaves())
    }

    /// What the delta stands for, as f32; exact.
    pub fn dequantised(&self) -> Weights {
        let dense = |tensor: &Blocks| {
            let data = (0..tensor.len()).filter_map(|index| tensor.block(index));
            let data = data
                .flat_map(|block| block.dequantised().collect::<Vec<f32>>())
                .collect();
            Tensor::new(tensor.shape.clone(), data).ok()
        };
        let tensors = self.tensors.iter();
        tensors
            .filter_map(|(name, tensor)| Some((name.clone(), dense(tensor)?)))
            .collect()
    }

    /// The opening of element `index` (row-major) of a tensor, or `None` where there is no such element.
    pub fn open(&self, tensor: &str, index: usize) -> Option<Opening> {
        let place = self.tensors.keys().position(|name| name == tensor)?;
        let blocks = self.tensors.get(tensor)?;
        if index >= elements(&blocks.shape)? {
            return None;
        }
        let block = index / BLOCK_ELEMENTS;
        let bytes: Vec<&[u8]> = (0..blocks.len())
            .filter_map(|index| blocks.block_bytes(index))
            .collect();
        Some(Opening {
            block: bytes.get(block)?.to_vec(),
            in_tensor: merkle::prove(&bytes, block)?,
            blocks_root: merkle::root(&bytes),
            in_delta: merkle::prove(&self.leaves(), place + 1)?,
        })
    }

    /// Shows the error's root; `None` never.
    pub(super) fn open_error_root(&self) -> Option<merkle::Proof> {
        merkle::prove(&self.leaves(), 0)
    }

    fn leaves(&self) -> Vec<Vec<u8>> {
        let entry = |(name, tensor): (&String, &Blocks)| entry(name, &tensor.shape, &tensor.root());
        let error_root = std::iter::once(self.error_root.to_vec());
        error_root.chain(self.tensors.iter().map(entry)).collect()
    }
}

impl Blocks {
    /// The blocks of a tensor of `shape`.
    pub(super) fn new(shape: Vec<usize>, blocks: impl Iterator<Item = Block>) -> Self {
        let (mut bytes, mut ends) = (Vec::new(), Vec::new());
        for block in blocks {
            block.encode(&mut bytes);
            ends.push(bytes.len());
        }
        Self { shape, bytes, ends }
    }

    /// Dimensions, outermost first.
    pub(super) fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// Block `index`.
    pub(super) fn block(&self, index: usize) -> Option<Block> {
        let before = index * BLOCK_ELEMENTS;
        let elements = elements(&self.shape)?.checked_sub(before)?.min(BLOCK_ELEMENTS);
        Block::decode(self.block_bytes(index)?, elements)
            .ok()
            .map(|(block, _)| block)
    }

    fn len(&self) -> usize {
        self.ends.len()
    }

    fn block_bytes(&self, index: usize) -> Option<&[u8]> {
        let start = index.checked_sub(1).map_or(Some(&0), |before| self.ends.get(before))?;
        self.bytes.get(*start..*self.ends.get(index)?)
    }

    fn root(&self) -> Hash {
        let blocks: Vec<&[u8]> = (0..self.len()).filter_map(|index| self.block_bytes(index)).collect();
        merkle::root(&blocks)
    }
}
