//! One proof for several leaves: what they share is not repeated.

use super::{parent, seal};
use crate::prf::Hash;

/// The hashes that show the leaves `indices` (ascending) to be in the tree whose leaves have the hashes `level`: the
/// neighbours that cannot be computed, level by level, each from left to right. `None` where an index is not in the
/// tree or not above the one before it, or there is none.
pub fn prove_several(mut level: Vec<Hash>, indices: &[u64]) -> Option<Vec<Hash>> {
    let width = level.len() as u64;
    let ascending = indices.windows(2).all(|pair| pair[0] < pair[1]);
    if !ascending || indices.last().is_none_or(|last| *last >= width) {
        return None;
    }
    let mut known = indices.to_vec();
    let mut siblings = Vec::new();
    while level.len() > 1 {
        for position in &known {
            let sibling = position ^ 1;
            if known.binary_search(&sibling).is_err() {
                siblings.extend(usize::try_from(sibling).ok().and_then(|at| level.get(at)));
            }
        }
        level = level.chunks(2).map(parent).collect();
        known.iter_mut().for_each(|position| *position /= 2);
        known.dedup();
    }
    Some(siblings)
}

/// How many hashes such a proof has; no more than `indices` times the tree's height.
pub fn siblings_of_several(leaves: u64, indices: &[u64]) -> usize {
    let mut known = indices.to_vec();
    let (mut width, mut count) = (leaves, 0);
    while width > 1 {
        let missing = |position: &&u64| (**position ^ 1) < width && known.binary_search(&(**position ^ 1)).is_err();
        count += known.iter().filter(missing).count();
        known.iter_mut().for_each(|position| *position /= 2);
        known.dedup();
        width = width.div_ceil(2);
    }
    count
}

/// Whether `siblings` shows the leaves with these indices (ascending) and hashes to be in the tree of `leaves` leaves
/// with this root. It uses every sibling, so there is one such list only.
pub fn verify_several(root: &Hash, leaves: u64, mut known: Vec<(u64, Hash)>, siblings: &[Hash]) -> bool {
    let ascending = known.windows(2).all(|pair| pair[0].0 < pair[1].0);
    if !ascending || known.last().is_none_or(|(last, _)| *last >= leaves) {
        return false;
    }
    let mut siblings = siblings.iter();
    let mut width = leaves;
    while width > 1 {
        // Parents take the place of their children, from the left.
        let (mut read, mut written) = (0, 0);
        while let Some((position, hash)) = known.get(read).copied() {
            let neighbour = known
                .get(read + 1)
                .filter(|(next, _)| *next == position ^ 1)
                .map(|(_, hash)| *hash);
            read += 1 + usize::from(neighbour.is_some());
            let top = if position ^ 1 >= width {
                hash
            } else {
                let Some(other) = neighbour.or_else(|| siblings.next().copied()) else {
                    return false;
                };
                parent(&if position % 2 == 0 {
                    [hash, other]
                } else {
                    [other, hash]
                })
            };
            known[written] = (position / 2, top);
            written += 1;
        }
        known.truncate(written);
        width = width.div_ceil(2);
    }
    siblings.next().is_none() && known.len() == 1 && seal(leaves, known.first().map(|(_, top)| top)) == *root
}

#[cfg(test)]
mod tests {
    use super::super::{leaf_hash, root_of_hashes};
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn several_leaves_prove_themselves_and_nothing_else(
            count in 1usize..70,
            picked in proptest::collection::btree_set(0u64..70, 1..12),
            flip: usize,
        ) {
            let hashes: Vec<Hash> = (0..count as u64).map(|i| leaf_hash(&i.to_le_bytes())).collect();
            let root = root_of_hashes(hashes.clone());
            let width = count as u64;
            let indices: Vec<u64> = picked.into_iter().filter(|index| *index < width).collect();
            let Some(proof) = prove_several(hashes.clone(), &indices) else {
                prop_assert!(indices.is_empty());
                return Ok(());
            };
            prop_assert_eq!(proof.len(), siblings_of_several(width, &indices));
            let known: Vec<(u64, Hash)> = indices.iter().map(|index| (*index, leaf_hash(&index.to_le_bytes()))).collect();
            prop_assert!(verify_several(&root, width, known.clone(), &proof));
            let mut wrong = known.clone();
            let at = flip % wrong.len();
            wrong[at].1[flip % 32] ^= 1;
            prop_assert!(!verify_several(&root, width, wrong, &proof));
            let mut moved = known.clone();
            moved[at].0 ^= 1;
            prop_assert!(!verify_several(&root, width, moved, &proof));
            prop_assert!(!verify_several(&root, width + 1, known.clone(), &proof));
            prop_assert!(!verify_several(&root, width, vec![], &proof));
            let mut longer = proof.clone();
            longer.push([0; 32]);
            prop_assert!(!verify_several(&root, width, known.clone(), &longer));
            if !proof.is_empty() {
                let mut bad = proof.clone();
                bad[flip % proof.len()][flip % 32] ^= 1;
                prop_assert!(!verify_several(&root, width, known.clone(), &bad));
                prop_assert!(!verify_several(&root, width, known, &proof[1..]));
            }
        }
    }

    #[test]
    fn what_is_not_in_the_tree_has_no_proof() {
        let hashes = vec![[1; 32]; 5];
        for indices in [&[][..], &[5], &[1, 1], &[2, 1]] {
            assert_eq!(prove_several(hashes.clone(), indices), None);
        }
    }
}
