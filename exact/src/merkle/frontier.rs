//! A tree that grows at its end.

use super::{parent, seal};
use crate::prf::Hash;

/// The least one must keep of a tree to append to it and know its root: the tops of its full subtrees, at most 64.
///
/// It is also the proof that one tree continues another: whoever holds both roots checks that the frontier has the
/// first, appends the leaves in question and compares with the second.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Frontier {
    leaves: u64,
    /// One for each binary one of `leaves`, the largest subtree first.
    tops: Vec<Hash>,
}

impl Frontier {
    /// The frontier of the empty tree.
    pub fn new() -> Self {
        Self::default()
    }

    /// The frontier with these tops, largest subtree first; `None` unless there is one for each binary one of `leaves`.
    pub fn of(leaves: u64, tops: Vec<Hash>) -> Option<Self> {
        (tops.len() == leaves.count_ones() as usize).then_some(Self { leaves, tops })
    }

    /// How many leaves the tree has.
    pub fn leaves(&self) -> u64 {
        self.leaves
    }

    /// The tops of the full subtrees, the largest first.
    pub fn tops(&self) -> &[Hash] {
        &self.tops
    }

    /// Appends the leaf with this hash ([`super::leaf_hash`]). A tree of 2⁶⁴ leaves cannot be had, so their number
    /// stays where it is there.
    pub fn push(&mut self, leaf: Hash) {
        let mut top = leaf;
        for _ in 0..self.leaves.trailing_ones() {
            if let Some(left) = self.tops.pop() {
                top = parent(&[left, top]);
            }
        }
        self.tops.push(top);
        self.leaves = self.leaves.saturating_add(1);
    }

    /// The root of the tree.
    pub fn root(&self) -> Hash {
        let top = self
            .tops
            .iter()
            .rev()
            .copied()
            .reduce(|right, left| parent(&[left, right]));
        seal(self.leaves, top.as_ref())
    }
}

#[cfg(test)]
mod tests {
    use super::super::{leaf_hash, root_of_hashes};
    use super::*;

    #[test]
    fn growing_gives_the_roots_of_whole_trees() {
        let mut frontier = Frontier::new();
        let mut hashes = Vec::new();
        for i in 0..70u8 {
            assert_eq!(frontier.root(), root_of_hashes(hashes.clone()), "{i} leaves");
            assert_eq!(
                Frontier::of(u64::from(i), frontier.tops().to_vec()).as_ref(),
                Some(&frontier)
            );
            assert_eq!(Frontier::of(u64::from(i) + 1, vec![[0; 32]; 9]), None);
            hashes.push(leaf_hash(&[i]));
            frontier.push(leaf_hash(&[i]));
        }
    }
}
