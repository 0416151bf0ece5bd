//! One element of a compressed delta, shown to be in it.

use super::block::{BLOCK_ELEMENTS, Block, BlockError, MAX_BLOCK_BYTES, Quantum};
use crate::encoding::{EncodingError, Reader, write_bytes, write_number};
use crate::merkle;
use crate::prf::Hash;
use crate::state::entry;
use crate::tensor::elements;

/// Most tensors that an opening may come from; so its proofs, and the cost of checking them, are bounded.
pub const MAX_TENSORS: u64 = 1 << 14;

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

    /// Appends the bytes.
    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        write_bytes(out, &self.block);
        write_proof(out, &self.in_tensor);
        out.extend_from_slice(&self.blocks_root);
        write_proof(out, &self.in_delta);
    }

    /// Reads what [`Opening::encode`] wrote.
    pub(super) fn decode(reader: &mut Reader<'_>) -> Result<Self, EncodingError> {
        Ok(Self {
            block: reader.bytes("length of a block", MAX_BLOCK_BYTES)?.to_vec(),
            in_tensor: read_proof(reader)?,
            blocks_root: reader.hash()?,
            in_delta: read_proof(reader)?,
        })
    }
}

/// Appends a proof: index, number of leaves, siblings.
pub(super) fn write_proof(out: &mut Vec<u8>, proof: &merkle::Proof) {
    write_number(out, proof.index);
    write_number(out, proof.leaves);
    out.extend(proof.siblings.iter().flatten());
}

/// Reads what [`write_proof`] wrote: as many siblings as the place needs, at most 64.
pub(super) fn read_proof(reader: &mut Reader<'_>) -> Result<merkle::Proof, EncodingError> {
    let index = reader.number("index of a leaf", u64::MAX)?;
    let leaves = reader.number("number of leaves", u64::MAX)?;
    let siblings = reader.take(32 * merkle::siblings_of_several(leaves, &[index]))?;
    let siblings = siblings.as_chunks::<32>().0.to_vec();
    Ok(merkle::Proof {
        index,
        leaves,
        siblings,
    })
}
