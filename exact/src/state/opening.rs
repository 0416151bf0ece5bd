//! Some leaves of one tensor, shown to be in its tree.

use super::{LEAF_ELEMENTS, hash_of_leaf, leaves};
use crate::encoding::{EncodingError, Reader, write_number};
use crate::merkle::{prove_several, siblings_of_several, verify_several};
use crate::prf::Hash;

/// The most leaves of one tensor that are opened at once.
pub const MAX_OPENED_LEAVES: usize = 4096;

/// Why an opening does not show what it should.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OpeningError {
    /// A leaf of the wrong length, or that the tensor does not have.
    #[error("leaf {leaf} has {found} elements, {needed} belong there")]
    Leaf {
        /// Its number.
        leaf: u64,
        /// Its length in elements.
        found: usize,
        /// The length it should have.
        needed: usize,
    },
    /// Leaves that do not lead to the tensor's root.
    #[error("the {leaves} leaves do not lead to the tensor's root")]
    Root {
        /// How many there are.
        leaves: usize,
    },
}

/// The tree of one tensor, with all hashes of its leaves, to make openings from.
#[derive(Clone, Debug)]
pub struct TensorLeaves<'a> {
    data: &'a [f32],
    hashes: Vec<Hash>,
}

impl<'a> TensorLeaves<'a> {
    /// The tree of these elements.
    pub fn new(data: &'a [f32]) -> Self {
        let hashes = data.chunks(LEAF_ELEMENTS).map(hash_of_leaf).collect();
        Self { data, hashes }
    }

    /// The hashes of its leaves.
    pub fn hashes(&self) -> &[Hash] {
        &self.hashes
    }

    /// The opening of the leaves that hold these elements; `None` where one is not in the tensor, or they lie in more
    /// than [`MAX_OPENED_LEAVES`].
    pub fn open(&self, elements: impl IntoIterator<Item = usize>) -> Option<Opening> {
        let mut indices: Vec<u64> = elements.into_iter().map(|at| (at / LEAF_ELEMENTS) as u64).collect();
        indices.sort_unstable();
        indices.dedup();
        if indices.len() > MAX_OPENED_LEAVES {
            return None;
        }
        let siblings = if indices.is_empty() {
            Vec::new()
        } else {
            prove_several(self.hashes.clone(), &indices)?
        };
        let mut chunks = self.data.chunks(LEAF_ELEMENTS).zip(0u64..);
        let opened = indices.into_iter().filter_map(|index| {
            let (leaf, _) = chunks.find(|(_, at)| *at == index)?;
            Some((index, leaf.to_vec()))
        });
        Some(Opening {
            leaves: opened.collect(),
            siblings,
        })
    }
}

/// Leaves of one tensor, in ascending order, and the hashes that lead from them to its root. Without leaves it shows
/// nothing, and needs no hashes.
#[derive(Clone, Debug, PartialEq)]
pub struct Opening {
    leaves: Vec<(u64, Vec<f32>)>,
    siblings: Vec<Hash>,
}

impl Opening {
    /// Checks every leaf against the root of a tensor of `elements` elements.
    ///
    /// # Errors
    /// When a leaf does not belong to such a tensor, or the leaves do not lead to the root by exactly these hashes.
    pub fn verify(&self, root: &Hash, elements: usize) -> Result<(), OpeningError> {
        for (leaf, data) in &self.leaves {
            let start = usize::try_from(*leaf)
                .ok()
                .and_then(|leaf| leaf.checked_mul(LEAF_ELEMENTS));
            let needed = start.map_or(0, |start| elements.saturating_sub(start).min(LEAF_ELEMENTS));
            if data.len() != needed || needed == 0 {
                let (leaf, found) = (*leaf, data.len());
                return Err(OpeningError::Leaf { leaf, found, needed });
            }
        }
        let none = self.leaves.is_empty() && self.siblings.is_empty();
        let known = self.leaves.iter().map(|(leaf, data)| (*leaf, hash_of_leaf(data)));
        if none || verify_several(root, leaves(elements) as u64, known.collect(), &self.siblings) {
            Ok(())
        } else {
            Err(OpeningError::Root {
                leaves: self.leaves.len(),
            })
        }
    }

    /// An element, if its leaf is open.
    pub fn element(&self, index: usize) -> Option<f32> {
        let leaf = self.leaf_of(index)?;
        self.leaves[leaf].1.get(index % LEAF_ELEMENTS).copied()
    }

    /// Which of the open leaves holds an element.
    pub fn leaf_of(&self, index: usize) -> Option<usize> {
        let leaf = (index / LEAF_ELEMENTS) as u64;
        self.leaves.binary_search_by_key(&leaf, |(leaf, _)| *leaf).ok()
    }

    /// The open leaves by number, ascending.
    pub fn leaves(&self) -> &[(u64, Vec<f32>)] {
        &self.leaves
    }

    /// Appends its bytes: the number of leaves; of each its number and its elements; the hashes. How many elements and
    /// hashes there are follows from the tensor's number of elements.
    pub fn encode(&self, out: &mut Vec<u8>) {
        write_number(out, self.leaves.len() as u64);
        for (leaf, data) in &self.leaves {
            write_number(out, *leaf);
            for value in data {
                out.extend_from_slice(&value.to_le_bytes());
            }
        }
        for sibling in &self.siblings {
            out.extend_from_slice(sibling);
        }
    }

    /// Reads the opening of a tensor of `elements` elements. What it allocates is bounded by the bytes there are.
    ///
    /// # Errors
    /// When the bytes end early, there are more than `bound` leaves (or [`MAX_OPENED_LEAVES`]), or their numbers do not
    /// ascend within the tensor.
    pub fn decode(reader: &mut Reader<'_>, elements: usize, bound: usize) -> Result<Self, EncodingError> {
        let width = leaves(elements);
        let count = reader.count("number of leaves", bound.min(MAX_OPENED_LEAVES).min(width))?;
        let mut opened: Vec<(u64, Vec<f32>)> = Vec::new();
        for _ in 0..count {
            let leaf = reader.count("leaf", width - 1)?;
            let length = (elements - leaf * LEAF_ELEMENTS).min(LEAF_ELEMENTS);
            if opened.last().is_some_and(|(last, _)| *last >= leaf as u64) {
                return Err(EncodingError::Form {
                    what: "order of leaves",
                });
            }
            let bytes = reader.take(4 * length)?.as_chunks::<4>().0.iter();
            opened.push((leaf as u64, bytes.map(|bytes| f32::from_le_bytes(*bytes)).collect()));
        }
        let indices: Vec<u64> = opened.iter().map(|(leaf, _)| *leaf).collect();
        let needed = siblings_of_several(width as u64, &indices);
        let siblings = reader.take(32 * needed)?.as_chunks::<32>().0.to_vec();
        Ok(Self {
            leaves: opened,
            siblings,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::tensor_root;
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn an_opening_shows_its_elements_and_no_others(
            count in 1usize..3000,
            wanted in proptest::collection::vec(0usize..3000, 0..9),
            at: usize,
            flip in 1u8..,
        ) {
            let data: Vec<f32> = (0..count).map(|i| i as f32).collect();
            let root = tensor_root(&data);
            let wanted: Vec<usize> = wanted.into_iter().map(|index| index % count).collect();
            let tree = TensorLeaves::new(&data);
            let opening = tree.open(wanted.iter().copied()).unwrap();
            prop_assert_eq!(tree.open([count / 64 * 64 + 64]), None);
            opening.verify(&root, count).unwrap();
            for index in &wanted {
                prop_assert_eq!(opening.element(*index), Some(data[*index]));
            }
            prop_assert_eq!(opening.element(count / 64 * 64 + 64), None);
            let mut bytes = Vec::new();
            opening.encode(&mut bytes);
            let decode = |bytes: &[u8], elements| {
                let mut reader = Reader::new(bytes, 100_000)?;
                let opening = Opening::decode(&mut reader, elements, 100)?;
                reader.finish()?;
                Ok::<_, EncodingError>(opening)
            };
            prop_assert_eq!(decode(&bytes, count).unwrap(), opening.clone());
            let at = at % bytes.len();
            bytes[at] ^= flip;
            if let Ok(other) = decode(&bytes, count) {
                prop_assert!(other.verify(&root, count).is_err());
            }
            if !wanted.is_empty() {
                prop_assert!(opening.verify(&root, count + 64).is_err());
                prop_assert!(opening.verify(&[7; 32], count).is_err());
            }
        }
    }

    #[test]
    fn too_many_leaves_are_refused() {
        let data = vec![0.0; 64 * 3];
        let mut bytes = Vec::new();
        TensorLeaves::new(&data).open([0, 64, 128]).unwrap().encode(&mut bytes);
        let mut reader = Reader::new(&bytes, 1000).unwrap();
        let error = Opening::decode(&mut reader, data.len(), 2).unwrap_err();
        assert_eq!(error.to_string(), "number of leaves is above its bound 2");
    }
}
