//! One element of a state, shown to be in it.

use super::{Opening, OpeningError, StateTree, TensorLeaves, entry};
use crate::definition::{MAX_AXES, MAX_EXTENT};
use crate::encoding::{EncodingError, Reader, write_bytes, write_number};
use crate::merkle::{leaf_hash, prove_several, siblings_of_several, verify_several};
use crate::prf::Hash;
use crate::tensor::{Weights, elements};

/// The longest name of a tensor in a proof, in bytes.
pub const MAX_NAME: usize = 1024;
/// The most bytes of a proof: name, shape, leaf, and two paths of at most 64 hashes.
pub const MAX_PROOF: usize = 6 << 10;

/// Why a proof shows nothing about an element.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProofError {
    /// It does not open this element of this tensor.
    #[error("the proof does not open element {element} of {name:?}")]
    Element {
        /// The tensor asked for.
        name: String,
        /// The element asked for.
        element: usize,
    },
    /// The element does not lead to the tensor's root.
    #[error(transparent)]
    Tensor(#[from] OpeningError),
    /// The tensor does not lead to the state's root.
    #[error("{name:?} with its shape does not lead to the state's root")]
    State {
        /// The tensor.
        name: String,
    },
}

/// Shows the value of one element of a state, under the state's root.
#[derive(Clone, Debug, PartialEq)]
pub struct ElementProof {
    name: String,
    shape: Vec<usize>,
    root: Hash,
    opening: Opening,
    /// Position among the tensors, and their number.
    place: (u64, u64),
    siblings: Vec<Hash>,
}

impl StateTree {
    /// Opens one element of the state that this is the tree of; `None` where there is none, the tree lags behind
    /// `weights`, or the name is longer than [`MAX_NAME`].
    pub fn open(&self, weights: &Weights, name: &str, element: usize) -> Option<ElementProof> {
        let tensor = weights.get(name).filter(|_| name.len() <= MAX_NAME)?;
        let at = self.position(name)? as u64;
        let entries = self.entries();
        let place = (at, entries.len() as u64);
        let proof = ElementProof {
            name: name.to_owned(),
            shape: tensor.shape().to_vec(),
            root: self.tensor(name)?,
            opening: TensorLeaves::new(tensor.data()).open([element])?,
            place,
            siblings: prove_several(entries, &[at])?,
        };
        let whole = element < tensor.data().len() && proof.verify(&self.root(), name, element).is_ok();
        whole.then_some(proof)
    }
}

impl ElementProof {
    /// The shape of the tensor, as the state holds it where the proof verifies.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// The value of this element of this tensor in the state with this root.
    ///
    /// # Errors
    /// When the proof is about another element, or is none.
    pub fn verify(&self, state: &Hash, name: &str, element: usize) -> Result<f32, ProofError> {
        let value = self.opening.element(element).filter(|_| self.name == name);
        let (Some(value), Some(count), 1) = (value, elements(&self.shape), self.opening.leaves().len()) else {
            let name = name.to_owned();
            return Err(ProofError::Element { name, element });
        };
        self.opening.verify(&self.root, count)?;
        let leaf = leaf_hash(&entry(name, &self.shape, &self.root));
        let (at, tensors) = self.place;
        if verify_several(state, tensors, vec![(at, leaf)], &self.siblings) {
            Ok(value)
        } else {
            Err(ProofError::State { name: name.to_owned() })
        }
    }

    /// Its bytes, at most [`MAX_PROOF`].
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        write_bytes(&mut out, self.name.as_bytes());
        write_number(&mut out, self.shape.len() as u64);
        self.shape.iter().for_each(|dim| write_number(&mut out, *dim as u64));
        out.extend_from_slice(&self.root);
        self.opening.encode(&mut out);
        write_number(&mut out, self.place.0);
        write_number(&mut out, self.place.1);
        self.siblings.iter().for_each(|sibling| out.extend_from_slice(sibling));
        out
    }

    /// The proof with these bytes.
    ///
    /// # Errors
    /// When they are not exactly what [`ElementProof::encode`] gives for some proof.
    pub fn decode(bytes: &[u8]) -> Result<Self, EncodingError> {
        let mut reader = Reader::new(bytes, MAX_PROOF)?;
        let name = std::str::from_utf8(reader.bytes("name", MAX_NAME)?);
        let name = name.map_err(|_| EncodingError::Form { what: "name" })?.to_owned();
        let axes = reader.count("number of axes", MAX_AXES)?;
        let shape: Vec<usize> = (0..axes)
            .map(|_| reader.count("extent", MAX_EXTENT))
            .collect::<Result<_, _>>()?;
        let count = elements(&shape).ok_or(EncodingError::Number {
            what: "number of elements",
            bound: isize::MAX as u64 / 4,
        })?;
        let root = reader.hash()?;
        let opening = Opening::decode(&mut reader, count, 1)?;
        let at = reader.number("position", u64::MAX)?;
        let tensors = reader.number("number of tensors", u64::MAX)?;
        let siblings = reader.take(32 * siblings_of_several(tensors, &[at]))?;
        let siblings = siblings.as_chunks::<32>().0.to_vec();
        reader.finish()?;
        Ok(Self {
            name,
            shape,
            root,
            opening,
            place: (at, tensors),
            siblings,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::state_root;
    use super::*;
    use crate::tensor::Tensor;
    use proptest::prelude::*;

    fn weights() -> Weights {
        let tensor = |shape: Vec<usize>| {
            let count = shape.iter().product();
            Tensor::new(shape, (0..count).map(|i: usize| i as f32 + 0.5).collect()).unwrap()
        };
        Weights::from([
            ("fc.bias".to_owned(), tensor(vec![10])),
            ("fc.weight".to_owned(), tensor(vec![10, 1000])),
            ("none".to_owned(), tensor(vec![3, 0])),
            ("opt/scale".to_owned(), tensor(vec![])),
        ])
    }

    #[test]
    fn every_element_opens() {
        let weights = weights();
        let (tree, root) = (StateTree::of(&weights, 1), state_root(&weights));
        for (name, tensor) in &weights {
            for element in (0..tensor.data().len()).step_by(37) {
                let proof = tree.open(&weights, name, element).unwrap();
                assert_eq!(proof.verify(&root, name, element), Ok(tensor.data()[element]));
                assert!(proof.verify(&root, name, element + 64).is_err());
                assert!(proof.verify(&root, "fc", element).is_err());
                assert!(proof.verify(&[1; 32], name, element).is_err());
                let bytes = proof.encode();
                // A few hundred bytes.
                assert!(bytes.len() < 700, "{} bytes", bytes.len());
                assert_eq!(ElementProof::decode(&bytes), Ok(proof));
            }
            assert_eq!(tree.open(&weights, name, tensor.data().len()), None);
        }
        assert_eq!(tree.open(&weights, "fc", 0), None);
        let mut ahead = weights.clone();
        ahead.get_mut("fc.weight").unwrap().data_mut()[0] = 9.0;
        assert_eq!(tree.open(&ahead, "fc.weight", 0), None);
    }

    proptest! {
        #[test]
        fn changed_bytes_prove_nothing_else(element in 0usize..10_000, at: usize, flip in 1u8.., cut: bool) {
            let weights = weights();
            let tree = StateTree::of(&weights, 1);
            let mut bytes = tree.open(&weights, "fc.weight", element).unwrap().encode();
            let at = at % bytes.len();
            if cut { bytes.truncate(at) } else { bytes[at] ^= flip }
            if let Ok(proof) = ElementProof::decode(&bytes) {
                prop_assert!(proof.verify(&tree.root(), "fc.weight", element).is_err());
            }
        }

        #[test]
        fn any_bytes_are_harmless(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
            if let Ok(proof) = ElementProof::decode(&bytes) {
                prop_assert!(proof.verify(&[0; 32], "", 0).is_err());
            }
        }
    }
}
