//! A memory of bounded size.

use std::borrow::Borrow;
use std::collections::HashMap;
use std::hash::Hash;

/// Values by key: when the newer generation is full it becomes the older one, which is forgotten.
pub(crate) struct Generations<K, V> {
    newer: HashMap<K, V>,
    older: HashMap<K, V>,
    /// What the newer one weighs, and from what weight on it is full.
    weight: usize,
    room: usize,
}

impl<K: Eq + Hash, V> Generations<K, V> {
    /// Empty ones, of which each is full at the weight `room`.
    pub(crate) fn new(room: usize) -> Self {
        Self {
            newer: HashMap::new(),
            older: HashMap::new(),
            weight: 0,
            room,
        }
    }

    /// What was put under a key last, unless it is forgotten.
    pub(crate) fn get<Q: Eq + Hash + ?Sized>(&self, key: &Q) -> Option<&V>
    where
        K: Borrow<Q>,
    {
        self.newer.get(key).or_else(|| self.older.get(key))
    }

    /// Puts a value under a key, whether there is room or not.
    pub(crate) fn put(&mut self, key: K, value: V, weight: usize) {
        self.weight += weight;
        self.newer.insert(key, value);
    }

    /// Whether the newer generation is full.
    pub(crate) fn is_full(&self) -> bool {
        self.weight >= self.room
    }

    /// Where the newer generation is full, makes it the older one.
    pub(crate) fn turn(&mut self) {
        if self.is_full() {
            self.older = std::mem::take(&mut self.newer);
            self.weight = 0;
        }
    }

    /// Forgets everything.
    pub(crate) fn clear(&mut self) {
        *self = Self::new(self.room);
    }
}
