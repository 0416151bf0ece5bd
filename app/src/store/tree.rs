//! The Merkle tree's view of the columns.

use jmt::storage::{HasPreimage, LeafNode, Node, NodeKey, TreeReader};
use jmt::{KeyHash, OwnedValue, Version};
use rocksdb::DB;

use super::columns::{NODES, PREIMAGES, handle};
use super::{StoreError, keys, snapshot};

/// What the tree commits to in place of an empty value: ICS23 can prove neither an empty value nor the absence of its
/// neighbours.
const EMPTY_VALUE: &[u8] = b"trainyard/empty-value";

/// The value a proof speaks of when `value` is stored: `value` itself, unless it is empty.
pub fn provable(value: &[u8]) -> &[u8] {
    if value.is_empty() { EMPTY_VALUE } else { value }
}

/// Reads the tree out of the columns.
pub(super) struct Tree<'a> {
    pub(super) db: &'a DB,
    /// A version whose root is the empty tree although nothing is stored: the one before the first height.
    pub(super) before_first: Option<Version>,
}

impl Tree<'_> {
    fn node(&self, key: &NodeKey) -> Result<Option<Node>, StoreError> {
        if key.nibble_path().is_empty() && Some(key.version()) == self.before_first {
            return Ok(Some(Node::Null));
        }
        let row = self.db.get_pinned_cf(handle(self.db, NODES)?, keys::node(key))?;
        row.map(|row| decode_node(&row)).transpose()
    }

    fn key_of(&self, hash: KeyHash) -> Result<Option<Vec<u8>>, StoreError> {
        Ok(self.db.get_cf(handle(self.db, PREIMAGES)?, hash.0)?)
    }

    fn value(&self, version: Version, hash: KeyHash) -> Result<Option<OwnedValue>, StoreError> {
        let Some(key) = self.key_of(hash)? else { return Ok(None) };
        let found = snapshot::newest(self.db, &keys::escape(&key), version)?;
        Ok(found
            .and_then(|(_, value)| value)
            .map(|value| provable(&value).to_vec()))
    }
}

/// Decodes a row of `nodes`.
pub(super) fn decode_node(row: &[u8]) -> Result<Node, StoreError> {
    borsh::from_slice(row).map_err(|error| StoreError::Damaged(format!("a node of the tree: {error}")))
}

impl TreeReader for Tree<'_> {
    fn get_node_option(&self, key: &NodeKey) -> anyhow::Result<Option<Node>> {
        Ok(self.node(key)?)
    }

    fn get_value_option(&self, version: Version, hash: KeyHash) -> anyhow::Result<Option<OwnedValue>> {
        Ok(self.value(version, hash)?)
    }

    fn get_rightmost_leaf(&self) -> anyhow::Result<Option<(NodeKey, LeafNode)>> {
        anyhow::bail!("a tree is never restored from its leaves here")
    }
}

impl HasPreimage for Tree<'_> {
    fn preimage(&self, hash: KeyHash) -> anyhow::Result<Option<Vec<u8>>> {
        Ok(self.key_of(hash)?)
    }
}
