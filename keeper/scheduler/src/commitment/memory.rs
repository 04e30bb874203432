//! What was hashed for the snapshots before: most of a market is the same from one round to the next, and a hash takes
//! longer than to see that.

use std::collections::BTreeMap;

use keeper_types::{Felt, JobId, PoseidonSponge, WorkerId, poseidon};

use super::{WorkerFelts, head, job_leaf, portion_leaf, running_felts, said, usage_felts, word, worker_felts};
use crate::{PendingJob, RunningJob, Snapshot, WorkerView};

/// Snapshots for which a pair of the tree is kept without being met again. When jobs come and go, what follows them in
/// the tree moves, and meets the neighbours that it had some rounds ago.
const KEPT_ROUNDS: u32 = 16;

/// Hashes one snapshot after the other. Remembers leaves of the last one, and pairs of the last few.
#[derive(Clone, Debug, Default)]
pub struct SnapshotHasher {
    jobs: Leaves<JobId, PendingJob, Felt>,
    workers: Leaves<WorkerId, WorkerView, WorkerHash>,
    running: Leaves<JobId, RunningJob, Felt>,
    pairs: Pairs,
}

impl SnapshotHasher {
    /// The same as [`snapshot_root`](crate::snapshot_root), whatever was hashed before.
    pub fn root(&mut self, snapshot: &Snapshot) -> Felt {
        let (jobs, workers, running) = super::contents(snapshot);
        let mut leaves = vec![head(snapshot, [jobs.len(), workers.len(), running.len()])];
        leaves.extend(snapshot.portion.as_ref().map(portion_leaf));
        self.jobs.update(jobs.into_iter().map(|job| (job.job_id, job)), |job, _| job_leaf(job));
        leaves.extend(self.jobs.hashes());
        self.workers.update(workers.into_iter().map(|worker| (worker.worker_id, worker)), WorkerHash::of);
        leaves.extend(self.workers.hashes().map(|hash| hash.leaf));
        self.running.update(running.into_iter().map(|job| (job.job_id, job)), |job, _| poseidon(&running_felts(job)));
        leaves.extend(self.running.hashes());
        leaves.extend(snapshot.used_milli.iter().map(|(client, used)| poseidon(&usage_felts(*client, *used))));
        self.pairs.root(leaves)
    }
}

/// Leaves of one kind by ascending key, with what they were made from.
#[derive(Clone, Debug)]
struct Leaves<K, V, H>(Vec<(K, V, H)>);

impl<K, V, H> Default for Leaves<K, V, H> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<K: Ord + Copy, V: Clone + PartialEq, H: Copy> Leaves<K, V, H> {
    /// Makes these the leaves. Keys are ascending, and none comes twice. Where a value has changed, `hash` gets the one
    /// before with its hash.
    fn update<'a>(&mut self, values: impl Iterator<Item = (K, &'a V)>, hash: impl Fn(&V, Option<(&V, H)>) -> H)
    where
        V: 'a,
    {
        let mut before = std::mem::take(&mut self.0).into_iter().peekable();
        for (key, value) in values {
            while before.next_if(|(earlier, ..)| *earlier < key).is_some() {}
            let entry = match before.next_if(|(same, ..)| *same == key) {
                Some(entry) if entry.1 == *value => entry,
                Some((_, known, known_hash)) => (key, value.clone(), hash(value, Some((&known, known_hash)))),
                None => (key, value.clone(), hash(value, None)),
            };
            self.0.push(entry);
        }
    }

    fn hashes(&self) -> impl Iterator<Item = H> {
        self.0.iter().map(|(.., hash)| *hash)
    }
}

/// A worker's leaf, with what its hash was on the way: what a worker has changes never, its load often, and what is
/// measured of its agent most often, so that is how it is laid out.
#[derive(Clone, Copy, Debug)]
struct WorkerHash {
    leaf: Felt,
    said: Felt,
    of_fixed: PoseidonSponge,
    of_load: PoseidonSponge,
}

impl WorkerHash {
    fn of(worker: &WorkerView, before: Option<(&WorkerView, Self)>) -> Self {
        let WorkerFelts { fixed, load } = worker_felts(worker);
        let known = before.map(|(earlier, hash)| (worker_felts(earlier), earlier, hash));
        let same_fixed = known.as_ref().filter(|(felts, ..)| felts.fixed == fixed);
        let of_fixed = match same_fixed {
            Some((.., hash)) => hash.of_fixed,
            None => PoseidonSponge::default().absorb(&fixed),
        };
        let of_load = match same_fixed.filter(|(felts, ..)| felts.load == load) {
            Some((.., hash)) => hash.of_load,
            None => of_fixed.absorb(&load),
        };
        let said = match &known {
            Some((_, earlier, hash)) if earlier.agent == worker.agent => hash.said,
            _ => said(&worker.agent),
        };
        let leaf = of_load.absorb(&[Felt::from(u8::from(worker.online)), said]).hash();
        Self { leaf, said, of_fixed, of_load }
    }
}

/// Pairs of the tree.
#[derive(Clone, Debug, Default)]
struct Pairs {
    /// By a number made of both.
    known: BTreeMap<u64, Pair>,
    round: u32,
}

#[derive(Clone, Copy, Debug)]
struct Pair {
    sides: [Felt; 2],
    hash: Felt,
    /// When it was met last.
    round: u32,
}

impl Pairs {
    fn root(&mut self, mut level: Vec<Felt>) -> Felt {
        self.round = self.round.wrapping_add(1);
        while level.len() > 1 {
            level = self.next_level(&level);
        }
        if self.round.is_multiple_of(KEPT_ROUNDS) {
            let round = self.round;
            self.known.retain(|_, pair| round.wrapping_sub(pair.round) <= KEPT_ROUNDS);
        }
        level.first().copied().unwrap_or_default()
    }

    fn next_level(&mut self, level: &[Felt]) -> Vec<Felt> {
        let (sides, alone) = level.as_chunks::<2>();
        let pairs = sides.iter().map(|sides| self.pair(sides));
        let mut hashes: Vec<Felt> = pairs.collect();
        hashes.extend(alone);
        hashes
    }

    fn pair(&mut self, sides: &[Felt; 2]) -> Felt {
        let round = self.round;
        let [left, right] = *sides;
        let anew = || Pair { sides: *sides, hash: poseidon(&[word(b"ciro-node-v1"), left, right]), round };
        let pair = self.known.entry(number(sides)).or_insert_with(anew);
        if pair.sides != *sides {
            *pair = anew();
        }
        pair.round = round;
        pair.hash
    }
}

/// Two that have the same number are told apart by what they are; one of them is then hashed anew each time.
fn number(sides: &[Felt; 2]) -> u64 {
    let [left, right] = sides.map(|side| side.to_raw()[0]);
    left ^ right.rotate_left(32)
}
