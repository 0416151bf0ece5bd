//! A compressed delta: its bytes, its root, and the opening of one element.

use std::collections::BTreeMap;

use super::block::{BLOCK_ELEMENTS, Block, BlockError, MAX_BLOCK_BYTES, Quantum};
use crate::merkle;
use crate::prf::Hash;
use crate::tensor::{Tensor, Weights, elements};

/// Most tensors that an opening may come from; so its proofs, and the cost of checking them, are bounded.
pub const MAX_TENSORS: u64 = 1 << 14;

/// The quantised values of every tensor, in name order. Always canonical: equal deltas have equal bytes.
///
/// ```text
/// bytes    = block 0 ‖ block 1 ‖ …  of the first tensor, then of the next, in the byte order of their names
/// blocks   = merkle root over the tensor's blocks (an empty tensor has none)
/// entry(t) = name length as u32 le ‖ name ‖ rank as u32 le ‖ each dimension as u64 le ‖ blocks
/// root     = merkle root over entry(t)
/// ```
///
/// Names and shapes are not in the bytes, for they are those of the weights that the delta changes. Element `i` is in block
/// `i / 1024`, whose opening also shows that an element was not sent: it is 0 there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CompressedDelta {
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

/// Shows one element of a compressed delta, sent or not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Opening {
    /// The bytes of the block that holds the element.
    pub block: Vec<u8>,
    /// Shows the block in its tensor.
    pub in_tensor: merkle::Proof,
    /// Root over the tensor's blocks.
    pub blocks_root: Hash,
    /// Shows the tensor's entry in the delta.
    pub in_delta: merkle::Proof,
}

/// Why an opening shows nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OpeningError {
    /// There is no such element.
    #[error("element {index} of a tensor with shape {shape:?} is asked for")]
    Index {
        /// The index.
        index: usize,
        /// The tensor's shape.
        shape: Vec<usize>,
    },
    /// The delta has too many tensors.
    #[error("the delta has {0} tensors; an opening allows {MAX_TENSORS}")]
    Tensors(u64),
    /// The block is not where it should be.
    #[error("it opens block {found} of {found_of}, the element is in block {wanted} of {wanted_of}")]
    Place {
        /// The block opened.
        found: u64,
        /// The number of blocks it claims.
        found_of: u64,
        /// The element's block.
        wanted: usize,
        /// The number of the tensor's blocks.
        wanted_of: usize,
    },
    /// The block has too many bytes to be one.
    #[error("its block has {0} bytes, the longest has {MAX_BLOCK_BYTES}")]
    Long(usize),
    /// A proof does not lead to the root.
    #[error("its {0} proof does not lead to the root")]
    Proof(&'static str),
    /// The block is malformed. Its root is committed, so the delta as a whole is.
    #[error("its block is malformed: {0}")]
    Block(BlockError),
    /// Bytes follow the block.
    #[error("{0} bytes follow its block")]
    Trailing(usize),
}

impl CompressedDelta {
    /// Adds a tensor.
    pub(super) fn push(&mut self, name: String, shape: Vec<usize>, blocks: impl Iterator<Item = Block>) {
        let mut tensor = Blocks {
            shape,
            bytes: Vec::new(),
            ends: Vec::new(),
        };
        for block in blocks {
            block.encode(&mut tensor.bytes);
            tensor.ends.push(tensor.bytes.len());
        }
        self.tensors.insert(name, tensor);
    }

    /// The tensors, in name order.
    pub(super) fn tensors(&self) -> &BTreeMap<String, Blocks> {
        &self.tensors
    }

    /// The canonical bytes.
    pub fn to_bytes(&self) -> Vec<u8> {
        self.tensors
            .values()
            .flat_map(|tensor| tensor.bytes.iter().copied())
            .collect()
    }

    /// The compressed delta of weights with the names and shapes of `like`, from untrusted bytes.
    ///
    /// # Errors
    /// When the bytes are not the one encoding of such a delta. Costs no more memory than the bytes and `like` have.
    pub fn from_bytes(bytes: &[u8], like: &Weights) -> Result<Self, DecodeError> {
        let mut rest = bytes;
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
            Ok(Self { tensors })
        } else {
            Err(DecodeError::Trailing(rest.len()))
        }
    }

    /// The root that a worker commits to.
    pub fn root(&self) -> Hash {
        merkle::root(&self.entries())
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
            in_delta: merkle::prove(&self.entries(), place)?,
        })
    }

    fn entries(&self) -> Vec<Vec<u8>> {
        let entry = |(name, tensor): (&String, &Blocks)| entry(name, &tensor.shape, &tensor.root());
        self.tensors.iter().map(entry).collect()
    }
}

impl Blocks {
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

impl Opening {
    /// The element that the opening shows under `root`, in a tensor of this name and shape; 0 where it was not sent.
    ///
    /// # Errors
    /// When it does not show that element.
    pub fn check(&self, root: &Hash, tensor: &str, shape: &[usize], index: usize) -> Result<Quantum, OpeningError> {
        let missing = || OpeningError::Index {
            index,
            shape: shape.to_vec(),
        };
        let elements = elements(shape)
            .filter(|elements| index < *elements)
            .ok_or_else(missing)?;
        if self.in_delta.leaves > MAX_TENSORS {
            return Err(OpeningError::Tensors(self.in_delta.leaves));
        }
        let (wanted, wanted_of) = (index / BLOCK_ELEMENTS, elements.div_ceil(BLOCK_ELEMENTS));
        let (found, found_of) = (self.in_tensor.index, self.in_tensor.leaves);
        if (found, found_of) != (wanted as u64, wanted_of as u64) {
            return Err(OpeningError::Place {
                found,
                found_of,
                wanted,
                wanted_of,
            });
        }
        if self.block.len() > MAX_BLOCK_BYTES {
            return Err(OpeningError::Long(self.block.len()));
        }
        if !merkle::verify(&self.blocks_root, &self.block, &self.in_tensor) {
            return Err(OpeningError::Proof("block's"));
        }
        if !merkle::verify(root, &entry(tensor, shape, &self.blocks_root), &self.in_delta) {
            return Err(OpeningError::Proof("tensor's"));
        }
        let in_block = (elements - wanted * BLOCK_ELEMENTS).min(BLOCK_ELEMENTS);
        let (block, used) = Block::decode(&self.block, in_block).map_err(OpeningError::Block)?;
        if used != self.block.len() {
            return Err(OpeningError::Trailing(self.block.len() - used));
        }
        block.quantum(index % BLOCK_ELEMENTS).ok_or_else(missing)
    }
}

/// The leaf of one tensor.
fn entry(name: &str, shape: &[usize], blocks_root: &Hash) -> Vec<u8> {
    // Lengths beyond 2³² cannot be held in memory; saturating keeps this total.
    let length = |value: usize| u32::try_from(value).unwrap_or(u32::MAX).to_le_bytes();
    let mut bytes = Vec::with_capacity(name.len() + 8 * shape.len() + 40);
    bytes.extend_from_slice(&length(name.len()));
    bytes.extend_from_slice(name.as_bytes());
    bytes.extend_from_slice(&length(shape.len()));
    bytes.extend(shape.iter().flat_map(|dim| (*dim as u64).to_le_bytes()));
    bytes.extend_from_slice(blocks_root);
    bytes
}
