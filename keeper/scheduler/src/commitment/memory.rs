//! What was hashed for the snapshot before: most of a market is the same from one round to the next, and a hash takes
//! longer than to see that.

use std::collections::BTreeMap;

use keeper_types::{Felt, JobId, WorkerId, poseidon};

use super::{root_by, word};
use crate::{RunningJob, Snapshot, WorkerView};

/// Hashes one snapshot after the other. Remembers the last one only.
#[derive(Clone, Debug, Default)]
pub struct SnapshotHasher {
    pub(super) workers: Leaves<WorkerId, WorkerView>,
    pub(super) running: Leaves<JobId, RunningJob>,
    pub(super) pairs: Pairs,
}

impl SnapshotHasher {
    /// The same as [`snapshot_root`](crate::snapshot_root), whatever was hashed before.
    pub fn root(&mut self, snapshot: &Snapshot) -> Felt {
        root_by(self, snapshot)
    }
}

/// Leaves of one kind, with what they were made from.
#[derive(Clone, Debug)]
pub(super) struct Leaves<K, V>(BTreeMap<K, (V, Felt)>);

impl<K, V> Default for Leaves<K, V> {
    fn default() -> Self {
        Self(BTreeMap::new())
    }
}

impl<K: Ord + Copy, V: Clone + PartialEq> Leaves<K, V> {
    /// The leaves of these, in their order. No key may come twice.
    pub(super) fn hashes<'a>(&mut self, values: impl Iterator<Item = (K, &'a V)>, leaf: fn(&V) -> Felt) -> Vec<Felt>
    where
        V: 'a,
    {
        let mut before = std::mem::take(&mut self.0);
        let mut leaves = Vec::new();
        for (key, value) in values {
            let kept = before.remove(&key).filter(|(known, _)| known == value);
            let entry = kept.unwrap_or_else(|| (value.clone(), leaf(value)));
            leaves.push(entry.1);
            self.0.insert(key, entry);
        }
        leaves
    }
}

/// Pairs of the tree. Where as many jobs wait as before, the others stand where they stood.
#[derive(Clone, Debug, Default)]
pub(super) struct Pairs(BTreeMap<[Felt; 2], Felt>);

impl Pairs {
    pub(super) fn root(&mut self, mut level: Vec<Felt>) -> Felt {
        let before = std::mem::take(&mut self.0);
        while level.len() > 1 {
            level = level
                .chunks(2)
                .map(|pair| match *pair {
                    [left, right] => {
                        let known = before.get(&[left, right]).copied();
                        let hash = known.unwrap_or_else(|| poseidon(&[word(b"ciro-node-v1"), left, right]));
                        self.0.insert([left, right], hash);
                        hash
                    }
                    ref alone => alone.iter().copied().sum(),
                })
                .collect();
        }
        level.first().copied().unwrap_or_default()
    }
}
