//! A binary SHA-256 Merkle tree over a list of byte strings.
//!
//! ```text
//! leaf(bytes)       = SHA-256(00 ‖ bytes)
//! node(left, right) = SHA-256(01 ‖ left ‖ right)
//! root(leaves)      = SHA-256(02 ‖ number of leaves as u64 le ‖ top)
//! ```
//!
//! `top` of one leaf is the leaf's hash; of more, `node(top(first k), top(rest))` with `k` the largest power of two below
//! their number (the shape of RFC 9162); of none, 32 zero bytes. The root binds the number of leaves, so a proof
//! cannot lie about a leaf's position.
//!
//! [`Frontier`] is a tree that grows at its end; [`prove_several`] proves several leaves at once.

mod frontier;
mod several;

pub use frontier::Frontier;
pub use several::{prove_several, siblings_of_several, verify_several};

use crate::prf::{Hash, Tag, hash};

/// Shows that a leaf is at an index of a tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proof {
    /// Position of the leaf, from 0.
    pub index: u64,
    /// Number of leaves of the tree.
    pub leaves: u64,
    /// Hashes of the neighbouring subtrees, from the leaf upward.
    pub siblings: Vec<Hash>,
}

/// The root of the tree over `leaves`.
pub fn root<L: AsRef<[u8]>>(leaves: &[L]) -> Hash {
    root_of_hashes(leaves.iter().map(|leaf| leaf_hash(leaf.as_ref())).collect())
}

/// The hash of one leaf.
pub fn leaf_hash(leaf: &[u8]) -> Hash {
    hash(Tag::Leaf, &[leaf])
}

/// The root of the tree whose leaves have these hashes.
pub fn root_of_hashes(mut level: Vec<Hash>) -> Hash {
    let count = level.len();
    // Pairing neighbours level by level, an odd one rising unchanged, gives the same tree as splitting at powers of two.
    while level.len() > 1 {
        level = level.chunks(2).map(parent).collect();
    }
    seal(count as u64, level.first())
}

/// The proof that leaf `index` is in the tree over `leaves`, or `None` where there is no such leaf.
pub fn prove<L: AsRef<[u8]>>(leaves: &[L], index: usize) -> Option<Proof> {
    if index >= leaves.len() {
        return None;
    }
    let mut level: Vec<Hash> = leaves.iter().map(|leaf| leaf_hash(leaf.as_ref())).collect();
    let mut siblings = Vec::new();
    let mut position = index;
    while level.len() > 1 {
        siblings.extend(level.get(position ^ 1));
        level = level.chunks(2).map(parent).collect();
        position /= 2;
    }
    Some(Proof {
        index: index as u64,
        leaves: leaves.len() as u64,
        siblings,
    })
}

/// Whether `proof` shows `leaf` to be in the tree with this root.
pub fn verify(root: &Hash, leaf: &[u8], proof: &Proof) -> bool {
    if proof.index >= proof.leaves {
        return false;
    }
    let mut siblings = proof.siblings.iter();
    let mut top = leaf_hash(leaf);
    let (mut position, mut width) = (proof.index, proof.leaves);
    while width > 1 {
        // The last node of an odd level has no neighbour and rises unchanged.
        if position % 2 == 1 || position + 1 < width {
            let Some(sibling) = siblings.next() else { return false };
            top = if position % 2 == 1 {
                parent(&[*sibling, top])
            } else {
                parent(&[top, *sibling])
            };
        }
        position /= 2;
        width = width.div_ceil(2);
    }
    siblings.next().is_none() && seal(proof.leaves, Some(&top)) == *root
}

pub(crate) fn parent(pair: &[Hash]) -> Hash {
    match pair {
        [left, right] => hash(Tag::Node, &[left, right]),
        [alone] => *alone,
        _ => [0; 32],
    }
}

pub(crate) fn seal(leaves: u64, top: Option<&Hash>) -> Hash {
    hash(Tag::Root, &[&leaves.to_le_bytes(), top.unwrap_or(&[0; 32])])
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn split_top(hashes: &[Hash]) -> Hash {
        match hashes {
            [] => [0; 32],
            [one] => *one,
            many => {
                let half = many.len().next_power_of_two() / 2;
                hash(Tag::Node, &[&split_top(&many[..half]), &split_top(&many[half..])])
            }
        }
    }

    fn numbered(count: usize) -> Vec<Vec<u8>> {
        (0u8..).take(count).map(|i| vec![i; usize::from(i) % 5]).collect()
    }

    #[test]
    fn levels_and_splits_give_the_same_tree() {
        for count in 0..70 {
            let leaves = numbered(count);
            let hashes: Vec<Hash> = leaves.iter().map(|leaf| leaf_hash(leaf)).collect();
            assert_eq!(
                root(&leaves),
                seal(count as u64, Some(&split_top(&hashes))),
                "{count} leaves"
            );
        }
    }

    #[test]
    fn the_empty_tree_is_defined_and_differs_from_an_empty_leaf() {
        let none: [&[u8]; 0] = [];
        assert_eq!(root(&none), hash(Tag::Root, &[&[0; 40]]));
        assert_ne!(root(&none), root(&[b""]));
        assert_eq!(prove(&none, 0), None);
    }

    proptest! {
        #[test]
        fn every_leaf_proves_itself_and_nothing_else(count in 1usize..40, at in 0usize..40, flip in 0usize..1000) {
            let leaves: Vec<Vec<u8>> = (0u8..).take(count).map(|i| vec![i]).collect();
            let top = root(&leaves);
            let at = at % count;
            let proof = prove(&leaves, at).unwrap();
            prop_assert!(verify(&top, &leaves[at], &proof));
            prop_assert!(!verify(&top, b"other", &proof));
            for (index, width) in [(proof.index + 1, proof.leaves), (proof.index, proof.leaves + 1), (0, 0)] {
                let moved = Proof { index, leaves: width, siblings: proof.siblings.clone() };
                prop_assert!(!verify(&top, &leaves[at], &moved));
            }
            let mut longer = proof.clone();
            longer.siblings.push([0; 32]);
            prop_assert!(!verify(&top, &leaves[at], &longer));
            if !proof.siblings.is_empty() {
                let mut bad = proof.clone();
                let which = flip % bad.siblings.len();
                bad.siblings[which][flip % 32] ^= 1;
                prop_assert!(!verify(&top, &leaves[at], &bad));
                bad.siblings.pop();
                prop_assert!(!verify(&top, &leaves[at], &bad));
            }
        }
    }
}
