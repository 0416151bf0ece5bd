//! What a height changes in the tree: all of its changes in one walk, the branches of the root in parallel.

use rayon::prelude::*;
use rocksdb::DB;

use super::keys::{self, Stale};
use super::tree::{self, BRANCHES, Branches, Child, Hash, Leaf, Node, branch};
use super::{StaleRows, StoreError};

/// From how many changes on the branches of the root are computed in parallel.
const PARALLEL: usize = 64;

/// A key's new leaf, or its end.
#[derive(Clone, Copy)]
pub(super) struct Change {
    pub(super) key: Hash,
    /// Hash of the new value; `None` when the key is deleted.
    pub(super) value: Option<Hash>,
}

/// Rows to write and rows that readers of the new version do not need.
#[derive(Default)]
pub(super) struct Output {
    pub(super) rows: Vec<(Vec<u8>, Vec<u8>)>,
    pub(super) stale: StaleRows,
}

/// One run over the tree.
pub(super) struct Update<'a> {
    pub(super) db: &'a DB,
    /// The version that is made.
    pub(super) version: u64,
}

impl Update<'_> {
    /// The tree after `changes`, sorted by key, to the tree with `root`, of version `base`. Returns its root's hash. Changes
    /// must change something: delete only what is there.
    pub(super) fn run(&self, base: Option<u64>, changes: &[Change], output: &mut Output) -> Result<Hash, StoreError> {
        let root = base.map_or(Ok(Node::Empty), |base| tree::root(self.db, base))?;
        let root = if changes.is_empty() {
            root
        } else {
            match root {
                Node::Empty => self.plant(None, changes, 0, output),
                Node::Leaf(leaf) => self.plant(Some(leaf), changes, 0, output),
                Node::Inner(branches) => self.root(branches, changes, output)?,
            }
        };
        if let Some(base) = base.filter(|base| *base != self.version) {
            output.stale.push(Stale::Node, &keys::root(base));
        }
        output.rows.push((keys::root(self.version), tree::encode(&root)));
        Ok(root.hash())
    }

    /// The root after changes below it.
    fn root(&self, mut branches: Branches, changes: &[Change], output: &mut Output) -> Result<Node, StoreError> {
        let groups: Vec<_> = groups(changes, 0).collect();
        let below = |&(index, group): &(usize, &[Change])| {
            let mut output = Output::default();
            let child = self.below(branches[index], group, 1, &mut output)?;
            Ok::<_, StoreError>((index, child, output))
        };
        let done: Result<Vec<_>, _> = if changes.len() < PARALLEL {
            groups.iter().map(below).collect()
        } else {
            groups.par_iter().map(below).collect()
        };
        for (index, child, mut part) in done? {
            branches[index] = child;
            output.rows.append(&mut part.rows);
            output.stale.append(part.stale);
        }
        Ok(match tree::lone(&branches) {
            tree::Lone::None => Node::Empty,
            tree::Lone::One(Child::Leaf(leaf)) => Node::Leaf(leaf),
            _ => Node::Inner(branches),
        })
    }

    /// What is below a branch, at `depth`, after the changes there.
    fn below(
        &self,
        child: Option<Child>,
        changes: &[Change],
        depth: usize,
        output: &mut Output,
    ) -> Result<Option<Child>, StoreError> {
        let version = match child {
            None => return Ok(self.store(self.plant(None, changes, depth, output), changes, depth, output)),
            Some(Child::Leaf(leaf)) => {
                return Ok(self.store(self.plant(Some(leaf), changes, depth, output), changes, depth, output));
            }
            Some(Child::Node { version, .. }) => version,
        };
        let at = &changes[0].key;
        let row = keys::node(version, at, depth);
        let mut branches = tree::inner(self.db, &row)?;
        if version != self.version {
            output.stale.push(Stale::Node, &row);
        }
        for (index, group) in groups(changes, depth) {
            branches[index] = self.below(branches[index], group, depth + 1, output)?;
        }
        let node = match tree::lone(&branches) {
            tree::Lone::None => Node::Empty,
            tree::Lone::One(Child::Leaf(leaf)) => Node::Leaf(leaf),
            _ => Node::Inner(branches),
        };
        Ok(self.store(node, changes, depth, output))
    }

    /// A new subtree out of the changes and the one leaf that was there.
    fn plant(&self, old: Option<Leaf>, changes: &[Change], depth: usize, output: &mut Output) -> Node {
        let mut leaves: Vec<Leaf> = Vec::with_capacity(changes.len() + 1);
        let mut old = old;
        for change in changes {
            if let Some(leaf) = old.take_if(|leaf| leaf.key <= change.key)
                && leaf.key < change.key
            {
                leaves.push(leaf);
            }
            if let Some(value) = change.value {
                leaves.push(Leaf {
                    key: change.key,
                    value,
                    version: self.version,
                });
            }
        }
        leaves.extend(old);
        self.grow(&leaves, depth, output)
    }

    /// The subtree of some leaves, sorted by key; writes the nodes below it.
    fn grow(&self, leaves: &[Leaf], depth: usize, output: &mut Output) -> Node {
        match leaves {
            [] => Node::Empty,
            [leaf] => Node::Leaf(*leaf),
            _ => {
                let mut branches: Branches = [None; BRANCHES];
                for group in leaves.chunk_by(|a, b| branch(&a.key, depth) == branch(&b.key, depth)) {
                    let key = &group[0].key;
                    let node = self.grow(group, depth + 1, output);
                    branches[branch(key, depth)] = self.child(node, key, depth + 1, output);
                }
                Node::Inner(branches)
            }
        }
    }

    fn store(&self, node: Node, changes: &[Change], depth: usize, output: &mut Output) -> Option<Child> {
        self.child(node, &changes[0].key, depth, output)
    }

    /// A node as its parent knows it; an inner one gets a row.
    fn child(&self, node: Node, key: &Hash, depth: usize, output: &mut Output) -> Option<Child> {
        match node {
            Node::Empty => None,
            Node::Leaf(leaf) => Some(Child::Leaf(leaf)),
            Node::Inner(branches) => {
                let row = tree::encode_inner(&branches);
                output.rows.push((keys::node(self.version, key, depth), row));
                Some(Child::Node {
                    hash: tree::subtree(&branches),
                    version: self.version,
                })
            }
        }
    }
}

/// Neighbouring changes by their branch at a depth.
fn groups(changes: &[Change], depth: usize) -> impl Iterator<Item = (usize, &[Change])> {
    changes
        .chunk_by(move |a, b| branch(&a.key, depth) == branch(&b.key, depth))
        .map(move |group| (branch(&group[0].key, depth), group))
}
