//! The first leaf in which two Merkle trees of one shape differ, found from the top.

use super::DisputeError;
use super::bisection::PARTS;
use crate::merkle::{parent, seal};
use crate::prf::Hash;
use std::ops::Range;

/// Levels that are opened at a time: [`PARTS`] nodes.
const LEVELS: u32 = PARTS.ilog2();

/// A node that the defender claims and the challenger disputes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Descent {
    /// How many leaves the tree has.
    pub leaves: u64,
    /// The node's level; leaves are level 0. `None` is the root, which seals the top node.
    pub level: Option<u32>,
    /// The node's position in its level.
    pub index: u64,
    /// The node's hash.
    pub node: Hash,
    /// The nodes below, as the defender claims them; empty while it is his turn.
    pub posted: Vec<Hash>,
}

impl Descent {
    /// The tree with this root, which has at least one leaf.
    pub(super) fn new(root: Hash, leaves: u64) -> Self {
        Self {
            leaves,
            level: None,
            index: 0,
            node: root,
            posted: Vec::new(),
        }
    }

    /// The level whose nodes are opened next.
    pub fn below(&self) -> u32 {
        let level = self
            .level
            .unwrap_or_else(|| self.leaves.saturating_sub(1).checked_ilog2().map_or(0, |log| log + 1));
        level.saturating_sub(LEVELS)
    }

    /// The positions of the nodes that are opened next, in their level.
    pub fn range(&self) -> Range<u64> {
        let below = self.below();
        let width = self.leaves.div_ceil(1 << below);
        match self.level {
            None => 0..width,
            Some(level) => {
                let first = self.index << (level - below);
                first..width.min(first + (1 << (level - below)))
            }
        }
    }

    /// Whether the node is a leaf.
    pub(super) fn done(&self) -> bool {
        self.level == Some(0)
    }

    pub(super) fn post(&mut self, posted: Vec<Hash>) -> Result<(), DisputeError> {
        let Range { start, end } = self.range();
        let (found, needed) = (posted.len() as u64, end - start);
        if found != needed {
            return Err(DisputeError::Count {
                what: "nodes",
                found: posted.len(),
                needed: usize::try_from(needed).unwrap_or(usize::MAX),
            });
        }
        let mut level = posted.clone();
        while level.len() > 1 {
            level = level.chunks(2).map(parent).collect();
        }
        let top = match self.level {
            None => seal(self.leaves, level.first()),
            Some(_) => level.first().copied().unwrap_or_default(),
        };
        if top != self.node {
            return Err(DisputeError::Nodes);
        }
        self.posted = posted;
        if self.posted.len() == 1 {
            self.pick(0)?;
        }
        Ok(())
    }

    pub(super) fn pick(&mut self, pick: u64) -> Result<(), DisputeError> {
        let at = usize::try_from(pick).ok();
        let bound = self.posted.len().saturating_sub(1);
        let node = at.and_then(|at| self.posted.get(at)).copied();
        self.node = node.ok_or(DisputeError::Pick { found: pick, bound })?;
        self.index = self.range().start + pick;
        self.level = Some(self.below());
        self.posted.clear();
        Ok(())
    }
}

/// The nodes of a tree at a level, from the hashes of its leaves.
pub(super) fn nodes(mut level: Vec<Hash>, height: u32) -> Vec<Hash> {
    for _ in 0..height {
        level = level.chunks(2).map(parent).collect();
    }
    level
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::merkle::{leaf_hash, root_of_hashes};

    #[test]
    fn the_first_different_leaf_is_found() {
        for count in [1usize, 2, 3, 15, 16, 17, 31, 32, 33, 255, 256, 257, 300, 5000] {
            let ours: Vec<Hash> = (0..count).map(|i| leaf_hash(&i.to_le_bytes())).collect();
            for target in [0, count / 3, count / 2, count - 1] {
                let mut theirs = ours.clone();
                theirs[target] = [9; 32];
                let mut descent = Descent::new(root_of_hashes(theirs.clone()), count as u64);
                while !descent.done() {
                    let (below, range) = (descent.below(), descent.range());
                    let range = usize::try_from(range.start).unwrap()..usize::try_from(range.end).unwrap();
                    let own = nodes(ours.clone(), below)[range.clone()].to_vec();
                    assert!(own.len() <= 16);
                    assert_eq!(descent.post(own.clone()), Err(DisputeError::Nodes));
                    descent.post(nodes(theirs.clone(), below)[range].to_vec()).unwrap();
                    if !descent.posted.is_empty() {
                        let pick = own.iter().zip(&descent.posted).position(|(a, b)| a != b).unwrap();
                        assert!(descent.pick(16).is_err());
                        descent.pick(pick as u64).unwrap();
                    }
                }
                assert_eq!((descent.index, descent.node), (target as u64, [9; 32]));
            }
        }
    }
}
