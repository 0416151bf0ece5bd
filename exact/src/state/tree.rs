//! The tree over a state, kept while the state changes.

use super::{CHUNK_ELEMENTS, LEAF_ELEMENTS, entry, hash_of_leaf, leaves};
use crate::merkle::{self, parent, seal};
use crate::prf::Hash;
use crate::tensor::{Tensor, Weights};
use std::collections::BTreeMap;
use std::ops::Range;

/// Chunks below which another thread costs more than it brings: 256 KiB.
const THREAD_CHUNKS: usize = 64;
const CHUNK_LEAVES: usize = CHUNK_ELEMENTS / LEAF_ELEMENTS;

/// The root of one tensor's tree, or of any list of numbers.
pub fn tensor_root(data: &[f32]) -> Hash {
    root_of_chunks(data.chunks(CHUNK_ELEMENTS).map(chunk_top).collect(), data.len())
}

/// The root of a tensor of `elements` elements whose chunks have these tops.
fn root_of_chunks(mut level: Vec<Hash>, elements: usize) -> Hash {
    while level.len() > 1 {
        level = level.chunks(2).map(parent).collect();
    }
    seal(leaves(elements) as u64, level.first())
}

/// The top of the subtree over one chunk.
fn chunk_top(chunk: &[f32]) -> Hash {
    let mut tops = [[0; 32]; CHUNK_LEAVES];
    let mut width = 0;
    for (top, leaf) in tops.iter_mut().zip(chunk.chunks(LEAF_ELEMENTS)) {
        *top = hash_of_leaf(leaf);
        width += 1;
    }
    while width > 1 {
        for at in 0..width / 2 {
            tops[at] = parent(&[tops[2 * at], tops[2 * at + 1]]);
        }
        if width % 2 == 1 {
            tops[width / 2] = tops[width - 1];
        }
        width = width.div_ceil(2);
    }
    tops[0]
}

/// One tensor's shape, root and tops of chunks.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Branch {
    shape: Vec<usize>,
    tops: Vec<Hash>,
    root: Hash,
}

/// The tree over a state, without the state: what is kept is 32 bytes for each 4 KiB of it. Threads change no bit.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StateTree {
    tensors: BTreeMap<String, Branch>,
}

impl StateTree {
    /// The tree of no tensors.
    pub fn new() -> Self {
        Self::default()
    }

    /// The tree of these tensors, hashed by at most `threads` threads.
    pub fn of(weights: &Weights, threads: usize) -> Self {
        let mut tree = Self::new();
        tree.update(weights, threads);
        tree
    }

    /// Takes in these tensors, new ones or new contents of known ones, hashed by at most `threads` threads.
    pub fn update<'a>(&mut self, tensors: impl IntoIterator<Item = (&'a String, &'a Tensor)>, threads: usize) {
        let tensors: Vec<(&String, &Tensor)> = tensors.into_iter().collect();
        let mut branches: Vec<Branch> = Vec::with_capacity(tensors.len());
        for (_, tensor) in &tensors {
            branches.push(Branch {
                shape: tensor.shape().to_vec(),
                tops: vec![[0; 32]; tensor.data().len().div_ceil(CHUNK_ELEMENTS)],
                root: [0; 32],
            });
        }
        let pairs = branches.iter_mut().zip(&tensors);
        let work: Vec<(&mut Hash, &[f32])> = pairs
            .flat_map(|(branch, (_, tensor))| branch.tops.iter_mut().zip(tensor.data().chunks(CHUNK_ELEMENTS)))
            .collect();
        hash_chunks(work, threads);
        for (mut branch, (name, tensor)) in branches.into_iter().zip(tensors) {
            branch.root = root_of_chunks(branch.tops.clone(), tensor.data().len());
            self.tensors.insert(name.clone(), branch);
        }
    }

    /// Takes in a tensor of which only these elements changed: hashes the chunks they lie in. A tensor that is new, or
    /// of another shape, is hashed as a whole.
    pub fn update_elements(&mut self, name: &str, tensor: &Tensor, changed: Range<usize>) {
        match self
            .tensors
            .get_mut(name)
            .filter(|branch| branch.shape == tensor.shape())
        {
            Some(branch) => {
                let first = changed.start / CHUNK_ELEMENTS;
                let count = changed.end.div_ceil(CHUNK_ELEMENTS).saturating_sub(first);
                let chunks = tensor.data().chunks(CHUNK_ELEMENTS);
                for (top, chunk) in branch.tops.iter_mut().zip(chunks).skip(first).take(count) {
                    *top = chunk_top(chunk);
                }
                branch.root = root_of_chunks(branch.tops.clone(), tensor.data().len());
            }
            None => self.update([(&name.to_owned(), tensor)], 1),
        }
    }

    /// Forgets a tensor.
    pub fn remove(&mut self, name: &str) {
        self.tensors.remove(name);
    }

    /// The root of one tensor.
    pub fn tensor(&self, name: &str) -> Option<Hash> {
        self.tensors.get(name).map(|branch| branch.root)
    }

    /// The hashes of the tensors' entries in name order: the leaves of the state's tree.
    pub fn entries(&self) -> Vec<Hash> {
        let entries = self.tensors.iter();
        entries
            .map(|(name, branch)| merkle::leaf_hash(&entry(name, &branch.shape, &branch.root)))
            .collect()
    }

    /// Where a tensor stands among the entries.
    pub(super) fn position(&self, name: &str) -> Option<usize> {
        self.tensors.keys().position(|other| other == name)
    }

    /// The state's root.
    pub fn root(&self) -> Hash {
        merkle::root_of_hashes(self.entries())
    }
}

fn hash_chunks(mut work: Vec<(&mut Hash, &[f32])>, threads: usize) {
    let threads = threads.clamp(1, work.len().div_ceil(THREAD_CHUNKS).max(1));
    let share = work.len().div_ceil(threads).max(1);
    let run = |part: &mut [(&mut Hash, &[f32])]| part.iter_mut().for_each(|(top, chunk)| **top = chunk_top(chunk));
    let mut parts = work.chunks_mut(share);
    let own = parts.next();
    std::thread::scope(|scope| {
        for part in parts {
            scope.spawn(move || run(part));
        }
        own.map(run);
    });
}

#[cfg(test)]
mod tests {
    use super::super::state_root;
    use super::*;

    fn ramp(count: usize) -> Tensor {
        Tensor::new(vec![count], (0..count).map(|i| i as f32).collect()).unwrap()
    }

    #[test]
    fn a_tensor_is_a_tree_over_leaves_of_64_elements() {
        for count in [0, 1, 63, 64, 65, 1023, 1024, 1025, 1100, 3000, 5 * 1024, 70_001] {
            let tensor = ramp(count);
            let bytes = tensor.to_le_bytes();
            let leaves: Vec<&[u8]> = bytes.chunks(256).collect();
            assert_eq!(tensor_root(tensor.data()), merkle::root(&leaves), "{count} elements");
        }
    }

    #[test]
    fn the_tree_follows_its_state() {
        let mut weights = Weights::from([
            ("big".to_owned(), ramp(200_000)),
            ("empty".to_owned(), Tensor::new(vec![0], vec![]).unwrap()),
            ("small".to_owned(), ramp(10)),
        ]);
        let mut tree = StateTree::of(&weights, 1);
        assert_eq!(tree.root(), state_root(&weights));
        for threads in [0, 2, 3, 8] {
            assert_eq!(StateTree::of(&weights, threads), tree);
        }
        weights.get_mut("big").unwrap().data_mut()[1024..2049].fill(-1.0);
        weights.insert("a".to_owned(), ramp(1));
        tree.update_elements("big", &weights["big"], 1024..2049);
        tree.update_elements("a", &weights["a"], 0..0);
        assert_eq!(tree.root(), state_root(&weights));
        weights.remove("small");
        tree.remove("small");
        weights.insert("empty".to_owned(), ramp(65));
        tree.update_elements("empty", &weights["empty"], 64..65);
        assert_eq!(tree, StateTree::of(&weights, 2));
        assert_eq!(tree.tensor("empty"), Some(tensor_root(ramp(65).data())));
        // Only the chunks named are looked at.
        weights.get_mut("big").unwrap().data_mut()[5000] = 0.5;
        tree.update_elements("big", &weights["big"], 0..4096);
        assert_ne!(tree.root(), state_root(&weights));
    }
}
