//! ICS23 proofs out of the tree: that a key has a value, or that it has none.

use ics23::{CommitmentProof, ExistenceProof, HashOp, InnerOp, NonExistenceProof, commitment_proof};
use rocksdb::DB;
use trainyard_client::proof::{INNER, leaf_op, provable};

use super::columns::{PREIMAGES, VALUES, handle};
use super::tree::{self, BRANCHES, Branches, Child, Hash, Leaf, Lone, Node, branch};
use super::{StoreError, key_hash, keys};

/// The value of a key at `height` and a proof of it, or of its absence.
pub(super) fn prove(db: &DB, key: &[u8], height: u64) -> Result<(Option<Vec<u8>>, CommitmentProof), StoreError> {
    let root = tree::root(db, height)?;
    if root == Node::Empty {
        return Err(StoreError::EmptyTree { height });
    }
    let prover = Prover { db, root };
    let hash = key_hash(key);
    let (value, proof) = if let Some((leaf, path)) = prover.find(&hash)? {
        let (value, proof) = prover.existence(&leaf, path)?;
        (Some(value), commitment_proof::Proof::Exist(proof))
    } else {
        let neighbour = |side| prover.neighbour(&hash, side);
        let absence = NonExistenceProof {
            key: key.to_vec(),
            left: neighbour(Side::Left)?,
            right: neighbour(Side::Right)?,
        };
        (None, commitment_proof::Proof::Nonexist(absence))
    };
    Ok((value, CommitmentProof { proof: Some(proof) }))
}

/// The hash beside the way, and whether it lies on the left.
type Step = (Hash, bool);

#[derive(Clone, Copy, PartialEq, Eq)]
enum Side {
    Left,
    Right,
}

struct Prover<'a> {
    db: &'a DB,
    root: Node,
}

impl Prover<'_> {
    /// The leaf of a key and the way to it from the root, if it is there.
    fn find(&self, key: &Hash) -> Result<Option<(Leaf, Vec<Step>)>, StoreError> {
        let mut path = Vec::new();
        let mut branches = match &self.root {
            Node::Empty => return Ok(None),
            Node::Leaf(leaf) => return Ok((leaf.key == *key).then_some((*leaf, path))),
            Node::Inner(branches) => *branches,
        };
        for depth in 0.. {
            match descend(&branches, branch(key, depth), &mut path) {
                Some(Child::Leaf(leaf)) => return Ok((leaf.key == *key).then_some((leaf, path))),
                Some(Child::Node { version, .. }) => {
                    branches = tree::inner(self.db, &keys::node(version, key, depth + 1))?;
                }
                None => break,
            }
        }
        Ok(None)
    }

    fn existence(&self, leaf: &Leaf, path: Vec<Step>) -> Result<(Vec<u8>, ExistenceProof), StoreError> {
        let missing =
            |what| StoreError::Damaged(format!("the {what} of a leaf of version {} is missing", leaf.version));
        let preimages = handle(self.db, PREIMAGES)?;
        let key = self.db.get_cf(preimages, leaf.key)?.ok_or_else(|| missing("key"))?;
        let row = keys::value(&keys::escape(&key), leaf.version);
        let row = self.db.get_pinned_cf(handle(self.db, VALUES)?, row)?;
        let value = row.map(|row| keys::decode_value(&row)).transpose()?.flatten();
        let value = value.ok_or_else(|| missing("value"))?;
        let proof = ExistenceProof {
            key,
            value: provable(&value).to_vec(),
            leaf: Some(leaf_op()),
            path: path.into_iter().rev().map(inner_op).collect(),
        };
        Ok((value, proof))
    }

    /// The proof of the key nearest to an absent one on a side, if there is one.
    fn neighbour(&self, key: &Hash, side: Side) -> Result<Option<ExistenceProof>, StoreError> {
        let nearest = match &self.root {
            Node::Empty => None,
            Node::Leaf(leaf) => beyond(leaf, Some(key), side).then_some(leaf.key),
            Node::Inner(branches) => self.nearest(branches, key, true, 0, side)?,
        };
        let Some(nearest) = nearest else { return Ok(None) };
        let (leaf, path) = self
            .find(&nearest)?
            .ok_or_else(|| StoreError::Damaged("a leaf of the tree is not found".into()))?;
        Ok(Some(self.existence(&leaf, path)?.1))
    }

    /// The nearest key on a side of `key` below a node at `depth`. `bounded`: `key` lies below this node; else all of it
    /// lies on that side, and `way` only leads here.
    fn nearest(
        &self,
        branches: &Branches,
        key: &Hash,
        bounded: bool,
        depth: usize,
        side: Side,
    ) -> Result<Option<Hash>, StoreError> {
        let own = branch(key, depth);
        let order: Vec<usize> = match (side, bounded) {
            (Side::Right, true) => (own..BRANCHES).collect(),
            (Side::Right, false) => (0..BRANCHES).collect(),
            (Side::Left, true) => (0..=own).rev().collect(),
            (Side::Left, false) => (0..BRANCHES).rev().collect(),
        };
        for index in order {
            let bounded = bounded && index == own;
            let found = match &branches[index] {
                None => None,
                Some(Child::Leaf(leaf)) => beyond(leaf, bounded.then_some(key), side).then_some(leaf.key),
                Some(Child::Node { version, .. }) => {
                    let way = with_branch(key, depth, index);
                    let below = tree::inner(self.db, &keys::node(*version, &way, depth + 1))?;
                    self.nearest(&below, &way, bounded, depth + 1, side)?
                }
            };
            if found.is_some() {
                return Ok(found);
            }
        }
        Ok(None)
    }
}

fn beyond(leaf: &Leaf, key: Option<&Hash>, side: Side) -> bool {
    key.is_none_or(|key| match side {
        Side::Left => leaf.key < *key,
        Side::Right => leaf.key > *key,
    })
}

/// `key` with another branch at `depth`.
fn with_branch(key: &Hash, depth: usize, index: usize) -> Hash {
    let mut way = *key;
    let byte = &mut way[depth / 2];
    // A branch has four bits.
    let nibble = u8::try_from(index).unwrap_or(0) & 0xf;
    *byte = if depth.is_multiple_of(2) {
        nibble << 4 | *byte & 0xf
    } else {
        *byte & 0xf0 | nibble
    };
    way
}

/// Goes through a node's four levels towards a branch, noting the hashes beside the way; ends early where one leaf is all
/// that is left.
fn descend(branches: &Branches, index: usize, path: &mut Vec<Step>) -> Option<Child> {
    let (mut low, mut width) = (0, BRANCHES);
    loop {
        match tree::lone(&branches[low..low + width]) {
            Lone::None => return None,
            Lone::One(child) => return Some(child),
            Lone::Many => {}
        }
        width /= 2;
        let right = index >= low + width;
        let beside = if right { low } else { low + width };
        path.push((tree::subtree(&branches[beside..beside + width]), right));
        if right {
            low += width;
        }
    }
}

fn inner_op((beside, on_the_left): Step) -> InnerOp {
    let mut prefix = INNER.to_vec();
    let mut suffix = Vec::new();
    if on_the_left {
        prefix.extend_from_slice(&beside);
    } else {
        suffix.extend_from_slice(&beside);
    }
    InnerOp {
        hash: HashOp::Sha256.into(),
        prefix,
        suffix,
    }
}
