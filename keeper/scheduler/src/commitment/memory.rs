//! What was hashed for the snapshots before: most of a market is the same from one round to the next, and a hash takes
//! longer than to see that.

use keeper_types::{Felt, PoseidonSponge, RunningJob};

use super::{job_leaf, root_of, running_leaf, said, tree::Tree, worker_fixed, worker_load};
use crate::{PendingJob, Snapshot, WorkerView};

/// How two things are done that know nothing of each other. There are no threads here; whoever has some may use them.
pub trait Both {
    /// Does the one and the other.
    fn both<A, B: Send>(&self, here: impl FnOnce() -> A, beside: impl FnOnce() -> B + Send) -> (A, B);
}

/// One after the other.
#[derive(Clone, Copy, Debug)]
struct InTurn;

impl Both for InTurn {
    fn both<A, B: Send>(&self, here: impl FnOnce() -> A, beside: impl FnOnce() -> B + Send) -> (A, B) {
        (here(), beside())
    }
}

/// Hashes one snapshot after the other. Remembers the leaves of the last one, and the trees over them.
#[derive(Clone, Debug, Default)]
pub struct SnapshotHasher {
    jobs: Leaves<PendingJob, Felt>,
    workers: Leaves<WorkerView, WorkerHash>,
    running: Leaves<RunningJob, Felt>,
}

impl SnapshotHasher {
    /// The same as [`snapshot_root`](crate::snapshot_root), whatever was hashed before.
    pub fn root(&mut self, snapshot: &Snapshot) -> Felt {
        self.root_by(snapshot, &InTurn)
    }

    /// The same, with the jobs that wait hashed here, and workers and running jobs beside.
    pub fn root_by(&mut self, snapshot: &Snapshot, order: &impl Both) -> Felt {
        let (jobs, workers, running) = super::contents(snapshot);
        let jobs = jobs.into_iter().map(|job| (job.job_id.0, job));
        let workers = workers.into_iter().map(|worker| (u64::from(worker.worker_id.0), worker));
        let running = running.into_iter().map(|job| (job.job_id.0, job));
        let Self { jobs: of_jobs, workers: of_workers, running: of_running } = self;
        let hash_jobs = || of_jobs.update(jobs, |job, _| job_leaf(job), |leaf| *leaf);
        let hash_others = || {
            let workers = of_workers.update(workers, WorkerHash::of, |hash| hash.leaf);
            (workers, of_running.update(running, |job, _| running_leaf(job), |leaf| *leaf))
        };
        let (jobs, (workers, running)) = order.both(hash_jobs, hash_others);
        root_of(snapshot, [jobs, workers, running])
    }
}

/// Leaves of one kind by ascending number, with what they were made from, and the tree over them.
#[derive(Clone, Debug)]
struct Leaves<V, H> {
    entries: Vec<(u64, V, H)>,
    tree: Tree,
}

impl<V, H> Default for Leaves<V, H> {
    fn default() -> Self {
        Self { entries: Vec::new(), tree: Tree::default() }
    }
}

impl<V: Clone + PartialEq, H: Copy> Leaves<V, H> {
    /// Makes these the leaves, and tells their number and their tree's hash. Numbers are ascending, and none comes twice.
    /// Where a value has changed, `hash` gets the one before with its hash.
    fn update<'a>(
        &mut self,
        values: impl Iterator<Item = (u64, &'a V)>,
        hash: impl Fn(&V, Option<(&V, H)>) -> H,
        leaf: impl Fn(&H) -> Felt,
    ) -> (usize, Felt)
    where
        V: 'a,
    {
        let Self { entries, tree } = self;
        let mut before = std::mem::replace(entries, Vec::with_capacity(entries.len())).into_iter().peekable();
        for (number, value) in values {
            while let Some((gone, ..)) = before.next_if(|(earlier, ..)| *earlier < number) {
                tree.remove(gone);
            }
            let entry = match before.next_if(|(same, ..)| *same == number) {
                Some(entry) if entry.1 == *value => entry,
                known => {
                    let hash = hash(value, known.as_ref().map(|(_, known, hash)| (known, *hash)));
                    tree.set(number, leaf(&hash));
                    (number, value.clone(), hash)
                }
            };
            entries.push(entry);
        }
        before.for_each(|(gone, ..)| tree.remove(gone));
        (entries.len(), tree.root())
    }
}

/// A worker's leaf, with what its hash was on the way: what a worker has changes never, its load often, and what is
/// measured of its agent most often, so that is how it is laid out.
#[derive(Clone, Copy, Debug)]
struct WorkerHash {
    leaf: Felt,
    said: Felt,
    of_fixed: PoseidonSponge,
}

impl WorkerHash {
    fn of(worker: &WorkerView, before: Option<(&WorkerView, Self)>) -> Self {
        let has = |worker: &WorkerView| (worker.worker_id, worker.status, worker.capabilities.clone());
        let of_fixed = match before {
            Some((earlier, hash)) if has(earlier) == has(worker) => hash.of_fixed,
            _ => PoseidonSponge::default().absorb(&worker_fixed(worker)),
        };
        let said = match before {
            Some((earlier, hash)) if earlier.agent == worker.agent => hash.said,
            _ => said(&worker.agent),
        };
        let leaf = of_fixed.absorb(&[worker_load(worker), said]).hash();
        Self { leaf, said, of_fixed }
    }
}
