//! The workers that are left, static ones before dynamic ones.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet},
};

use keeper_types::{PreferenceSet, Rate, WorkerId, WorkerStatus};

use crate::{
    Policy, ScoreBreakdown, WorkerView,
    feasibility::RejectionCounts,
    matching::{Decision, Need, WorkerIndex},
};

/// Two indexes over the workers.
pub(super) struct Pools {
    /// Static workers, dynamic workers.
    pools: [WorkerIndex; 2],
    all: BTreeSet<WorkerId>,
}

/// Workers by which of a job's preferences they miss, those first that miss the least.
pub(super) type Tiers = BTreeMap<PreferenceSet, BTreeSet<WorkerId>>;

impl Pools {
    pub(super) fn new(workers: &BTreeMap<WorkerId, &WorkerView>, policy: &Policy) -> Self {
        let pool = |is_static| {
            let of_pool = workers.values().filter(move |worker| worker.is_static == is_static).copied();
            WorkerIndex::new(of_pool, policy)
        };
        let all = workers.values().filter(|worker| worker.status == WorkerStatus::Active);
        Self { pools: [pool(true), pool(false)], all: all.map(|worker| worker.worker_id).collect() }
    }

    pub(super) fn worker_count(&self) -> u32 {
        self.pools.iter().map(WorkerIndex::worker_count).sum()
    }

    /// The best worker that can take a job, and the next best, whatever the job prefers. `excluded` is ascending.
    pub(super) fn decide(&mut self, need: &Need, age: u16, excluded: &[WorkerId]) -> Option<Decision> {
        let mut found = None;
        self.look_through(need, age, excluded, PreferenceSet::NONE, &mut found);
        found.map(|(decision, _)| decision)
    }

    /// The same by a job's preferences, with those that the best one misses.
    pub(super) fn decide_by(
        &mut self,
        tiers: &Tiers,
        need: &Need,
        age: u16,
        excluded: &[WorkerId],
    ) -> Option<(Decision, PreferenceSet)> {
        let mut found = None;
        for (misses, tier) in tiers {
            let others = self.all.difference(tier).copied();
            let barred: BTreeSet<WorkerId> = excluded.iter().copied().chain(others).collect();
            let barred: Vec<_> = barred.into_iter().collect();
            if self.look_through(need, age, &barred, *misses, &mut found) {
                break;
            }
        }
        found
    }

    /// Looks for the best and the next best, one after the other; whether both are found.
    fn look_through(
        &mut self,
        need: &Need,
        age: u16,
        excluded: &[WorkerId],
        misses: PreferenceSet,
        found: &mut Option<(Decision, PreferenceSet)>,
    ) -> bool {
        for pool in &mut self.pools {
            let Some(decision) = pool.decide(need, age, excluded) else { continue };
            match found {
                None => *found = Some((decision, misses)),
                Some((best, _)) => best.runner_up = Some(decision.winner),
            }
            if found.is_some_and(|(best, _)| best.runner_up.is_some()) {
                return true;
            }
        }
        false
    }

    /// The workers of the same pool as this one that can take a job now, ascending.
    pub(super) fn ready_beside(&self, worker_id: WorkerId, need: &Need) -> Vec<WorkerId> {
        let own = self.pools.iter().find(|pool| pool.scored(worker_id, need, 0).is_some());
        own.map(|pool| pool.ready(need)).unwrap_or_default()
    }

    /// What a worker scores for a job, and what it asks.
    pub(super) fn scored(&self, worker_id: WorkerId, need: &Need, age: u16) -> Option<(ScoreBreakdown, Rate)> {
        self.pools.iter().find_map(|pool| pool.scored(worker_id, need, age))
    }

    /// The one of these that scores highest, the lowest id on a tie.
    pub(super) fn highest(&self, among: &[WorkerId], need: &Need, age: u16) -> Option<WorkerId> {
        let scored =
            among.iter().filter_map(|worker_id| Some((self.scored(*worker_id, need, age)?.0.total, *worker_id)));
        scored.min_by_key(|(total, worker_id)| (Reverse(*total), *worker_id)).map(|(_, worker_id)| worker_id)
    }

    /// Takes a slot and GPUs from a worker.
    pub(super) fn reserve(&mut self, worker_id: WorkerId, gpus: u8) {
        for pool in &mut self.pools {
            pool.reserve(worker_id, gpus);
        }
    }

    /// How many workers each requirement on chain speaks against.
    pub(super) fn rejections(&self, need: &Need, excluded: &[WorkerId]) -> RejectionCounts {
        let mut counts = RejectionCounts::default();
        for pool in &self.pools {
            counts.add_all(&pool.rejection_counts(need, excluded));
        }
        counts
    }

    /// Whether some worker meets the need, free and connected or not, and whether one that does is connected.
    pub(super) fn fits(&self, need: &Need, excluded: &[WorkerId]) -> (bool, bool) {
        let [first, second] = [0, 1].map(|pool| self.pools[pool].fits(need, excluded));
        (first.0 || second.0, first.1 || second.1)
    }

    /// The connected workers that meet the need, free or not.
    pub(super) fn connected_fits(&self, need: &Need) -> Vec<WorkerId> {
        self.pools.iter().flat_map(|pool| pool.connected_fits(need)).collect()
    }
}
