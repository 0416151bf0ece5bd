//! The Merkle tree: its nodes, how they are hashed, stored and read.
//!
//! Sixteen branches (four levels of the binary tree that [`trainyard_client::proof`] describes) are one node of storage. A
//! leaf has no row of its own: it stands in its parent, with the height that wrote it. A node never changes; a height that
//! touches it writes another one under its own version.

use rocksdb::DB;
use sha2::{Digest, Sha256};
use trainyard_client::proof::{EMPTY, INNER, LEAF};

use super::columns::{NODES, handle};
use super::{StoreError, keys};

/// A SHA-256 hash: of a key, a value or a node.
pub(super) type Hash = [u8; 32];

/// Branches of a node.
pub(super) const BRANCHES: usize = 16;

/// A key and its value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Leaf {
    /// Hash of the key: where it lies.
    pub(super) key: Hash,
    /// Hash of the value.
    pub(super) value: Hash,
    /// The height that wrote it.
    pub(super) version: u64,
}

/// What is below one branch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Child {
    Leaf(Leaf),
    /// A node of that version.
    Node {
        hash: Hash,
        version: u64,
    },
}

/// A node's branches, by the next four bits of the keys' hashes.
pub(super) type Branches = [Option<Child>; BRANCHES];

/// A row of `nodes`.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(clippy::large_enum_variant)] // Nearly all are inner nodes, and none lives long.
pub(super) enum Node {
    /// Only as a root.
    Empty,
    /// Only as a root.
    Leaf(Leaf),
    Inner(Branches),
}

impl Leaf {
    fn hash(&self) -> Hash {
        let hash = Sha256::new().chain_update(LEAF).chain_update(self.key);
        hash.chain_update(self.value).finalize().into()
    }
}

impl Child {
    pub(super) fn hash(&self) -> Hash {
        match self {
            Self::Leaf(leaf) => leaf.hash(),
            Self::Node { hash, .. } => *hash,
        }
    }
}

impl Node {
    pub(super) fn hash(&self) -> Hash {
        match self {
            Self::Empty => EMPTY,
            Self::Leaf(leaf) => leaf.hash(),
            Self::Inner(branches) => subtree(branches),
        }
    }
}

/// The hash of the binary tree over neighbouring branches.
pub(super) fn subtree(branches: &[Option<Child>]) -> Hash {
    match lone(branches) {
        Lone::None => EMPTY,
        Lone::One(child) => child.hash(),
        Lone::Many => {
            let (left, right) = branches.split_at(branches.len() / 2);
            let hash = Sha256::new().chain_update(INNER).chain_update(subtree(left));
            hash.chain_update(subtree(right)).finalize().into()
        }
    }
}

/// What neighbouring branches amount to: a subtree with one leaf is that leaf.
pub(super) enum Lone {
    None,
    One(Child),
    Many,
}

pub(super) fn lone(branches: &[Option<Child>]) -> Lone {
    let mut found = branches.iter().flatten();
    match (found.next(), found.next()) {
        (None, _) => Lone::None,
        (Some(child), None) if branches.len() == 1 || matches!(child, Child::Leaf(_)) => Lone::One(*child),
        _ => Lone::Many,
    }
}

/// The branch of a key's hash at a depth, counted in nodes from the root.
pub(super) fn branch(key: &Hash, depth: usize) -> usize {
    let byte = key[depth / 2];
    usize::from(if depth.is_multiple_of(2) { byte >> 4 } else { byte & 0xf })
}

const TAG_EMPTY: u8 = 0;
const TAG_LEAF: u8 = 1;
const TAG_INNER: u8 = 2;

/// A row of `nodes`: a tag; of an inner node two bitmaps (u16), which branches there are and which of them are leaves;
/// then key, value and version of every leaf, hash and version of every node.
pub(super) fn encode(node: &Node) -> Vec<u8> {
    match node {
        Node::Empty => vec![TAG_EMPTY],
        Node::Leaf(leaf) => {
            let mut row = vec![TAG_LEAF];
            put_leaf(&mut row, leaf);
            row
        }
        Node::Inner(branches) => encode_inner(branches),
    }
}

pub(super) fn encode_inner(branches: &Branches) -> Vec<u8> {
    let (mut there, mut leaves) = (0_u16, 0_u16);
    let mut row = Vec::with_capacity(5 + BRANCHES * 40);
    row.extend_from_slice(&[TAG_INNER, 0, 0, 0, 0]);
    for (index, child) in branches.iter().enumerate() {
        match child {
            None => continue,
            Some(Child::Leaf(leaf)) => {
                leaves |= 1 << index;
                put_leaf(&mut row, leaf);
            }
            Some(Child::Node { hash, version }) => {
                row.extend_from_slice(hash);
                row.extend_from_slice(&version.to_be_bytes());
            }
        }
        there |= 1 << index;
    }
    row[1..3].copy_from_slice(&there.to_be_bytes());
    row[3..5].copy_from_slice(&leaves.to_be_bytes());
    row
}

fn put_leaf(row: &mut Vec<u8>, leaf: &Leaf) {
    row.extend_from_slice(&leaf.key);
    row.extend_from_slice(&leaf.value);
    row.extend_from_slice(&leaf.version.to_be_bytes());
}

/// Inverts [`encode`].
pub(super) fn decode(row: &[u8]) -> Result<Node, StoreError> {
    let mut rest = row;
    let node = read(&mut rest).filter(|_| rest.is_empty());
    node.ok_or_else(|| StoreError::Damaged(format!("a node of the tree with {} bytes", row.len())))
}

fn read(rest: &mut &[u8]) -> Option<Node> {
    match take::<1>(rest)? {
        [TAG_EMPTY] => Some(Node::Empty),
        [TAG_LEAF] => Some(Node::Leaf(read_leaf(rest)?)),
        [TAG_INNER] => {
            let there = u16::from_be_bytes(take(rest)?);
            let leaves = u16::from_be_bytes(take(rest)?);
            let mut branches = [None; BRANCHES];
            for (index, child) in branches.iter_mut().enumerate() {
                if there >> index & 1 == 0 {
                    continue;
                }
                *child = Some(if leaves >> index & 1 == 1 {
                    Child::Leaf(read_leaf(rest)?)
                } else {
                    Child::Node {
                        hash: take(rest)?,
                        version: u64::from_be_bytes(take(rest)?),
                    }
                });
            }
            Some(Node::Inner(branches))
        }
        _ => None,
    }
}

fn read_leaf(rest: &mut &[u8]) -> Option<Leaf> {
    Some(Leaf {
        key: take(rest)?,
        value: take(rest)?,
        version: u64::from_be_bytes(take(rest)?),
    })
}

fn take<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
    let (head, tail) = rest.split_first_chunk()?;
    *rest = tail;
    Some(*head)
}

/// The root at a version, which must be there.
pub(super) fn root(db: &DB, version: u64) -> Result<Node, StoreError> {
    let row = db.get_pinned_cf(handle(db, NODES)?, keys::root(version))?;
    let row = row.ok_or_else(|| StoreError::Damaged(format!("the tree of height {version} has no root")))?;
    decode(&row)
}

/// The branches of the node under a key of `nodes`, which must be there.
pub(super) fn inner(db: &DB, key: &[u8]) -> Result<Branches, StoreError> {
    let row = db.get_pinned_cf(handle(db, NODES)?, key)?;
    match row.map(|row| decode(&row)).transpose()? {
        Some(Node::Inner(branches)) => Ok(branches),
        other => Err(StoreError::Damaged(format!(
            "the tree has {} instead of a node under {key:02x?}",
            if other.is_some() { "a leaf" } else { "nothing" }
        ))),
    }
}
