//! What a plan has decided so far, and what that has left of the workers.

use std::collections::{BTreeMap, BTreeSet};

use keeper_types::{AllocationItem, JobId, PreferenceSet, Region, Strategy, WorkerId, WorkerStatus};

use super::{
    agents::{Agents, Barred},
    choosing::Chooser,
    is_emergency,
    nearness::Distances,
    pools::{Pools, Tiers},
    reservations::Reservations,
};
use crate::{
    ChosenBy, Explanation, Nearness, Outcome, PendingJob, Policy, Rejection, Snapshot, WorkerView,
    matching::{Decision, Need},
    queueing::Backfill,
    score::age,
};

/// So long before its deadline a job waits for nobody: the round that starts it has to be included in time.
const INCLUSION_S: u64 = 60;

/// A round of decisions.
pub(super) struct Round<'a> {
    pools: Pools,
    /// None where scores decide.
    chooser: Option<Chooser>,
    /// None where no job says where its client is.
    distances: Option<Distances>,
    agents: Agents<'a>,
    reservations: Reservations<'a>,
    /// Workers that get a replica of a group in this plan.
    replicas: BTreeMap<JobId, Vec<WorkerId>>,
    items: Vec<AllocationItem>,
    now: u64,
    policy: &'a Policy,
}

/// The registered workers by id, each once.
pub(super) fn registered(snapshot: &Snapshot) -> BTreeMap<WorkerId, &WorkerView> {
    let mut workers = BTreeMap::new();
    for worker in snapshot.workers.iter().filter(|worker| worker.status != WorkerStatus::Exited) {
        workers.entry(worker.worker_id).or_insert(worker);
    }
    workers
}

impl<'a> Round<'a> {
    pub(super) fn new(snapshot: &'a Snapshot, policy: &'a Policy) -> Self {
        let workers = registered(snapshot);
        Self {
            pools: Pools::new(&workers, policy),
            chooser: Chooser::new(snapshot, policy),
            distances: Distances::new(&workers, snapshot, policy),
            agents: Agents::new(&workers),
            reservations: Reservations::new(&workers, snapshot, policy.reservations),
            replicas: BTreeMap::new(),
            items: Vec::new(),
            now: snapshot.now,
            policy,
        }
    }

    /// Whether some worker that is connected could take the job, if it had nothing else to do.
    pub(super) fn could_place(&self, job: &PendingJob) -> bool {
        let unfit = union(&self.excluded(job), &self.agents.barred(job).workers);
        self.pools.fits(&Need::of(job), &unfit).1
    }

    /// Gives the job to the best worker that is left, if there is one and the batch has room, and says why. Where there
    /// is none now, one may be kept for it, beside which others start as `backfill` says.
    pub(super) fn decide(&mut self, job: &PendingJob, backfill: Backfill) -> Explanation {
        let mut explanation = Explanation::new(job, Outcome::NoWorkers);
        let (need, excluded, barred) = (Need::of(job), self.excluded(job), self.agents.barred(job));
        let kept = self.reservations.kept_from(job);
        explanation.workers_evaluated = self.pools.worker_count();
        explanation.rejections = self.rejections(&need, &excluded, &barred, &kept);

        let unfit = union(&excluded, &barred.workers);
        let not_now = union(&unfit, &barred.for_now);
        let closed = union(&not_now, &kept);
        let age = age(job, self.now, self.policy);
        let Some(decision) = self.pools.decide(&need, age, &closed) else {
            explanation.outcome = self.why_none(&need, &unfit);
            if explanation.outcome == Outcome::NoCapacity {
                let fitting = || {
                    let mut fitting = self.pools.connected_fits(&need);
                    fitting.retain(|worker_id| not_now.binary_search(worker_id).is_err());
                    fitting
                };
                explanation.reservation = self.reservations.keep(job, fitting, backfill);
            }
            return explanation;
        };
        if self.items.len() >= self.policy.max_items {
            explanation.outcome = Outcome::BatchFull;
            return explanation;
        }
        let is_emergency = is_emergency(job, self.policy);
        let tiers = if is_emergency { Tiers::new() } else { self.agents.tiers(job) };
        let by_preference = self.pools.decide_by(&tiers, &need, age, &closed);
        let (mut decision, dropped) = by_preference.unwrap_or((decision, PreferenceSet::NONE));
        if let Some(until) = self.waits_for_preferred(job, tiers.range(..dropped), &need, &unfit) {
            explanation.outcome = Outcome::PreferredBusy { until };
            return explanation;
        }
        let near = job.manifest_view.placement.prefers.near.filter(|_| !is_emergency);
        (explanation.nearness, explanation.chosen_by) =
            self.choose(&mut decision, near, tiers.get(&dropped), (&need, age), &closed);
        explanation.strategy = strategy(is_emergency, dropped);
        explanation.dropped = dropped.iter().collect();
        self.take(job, &decision, explanation.strategy);
        explanation.outcome = Outcome::Placed { worker_id: decision.winner.worker_id };
        explanation.winner = Some(decision.winner);
        explanation.runner_up = decision.runner_up;
        explanation
    }

    /// What was decided, in the order of the decisions.
    pub(super) fn into_items(self) -> Vec<AllocationItem> {
        self.items
    }

    /// Who does not get the job, ascending: workers that failed it or had a replica, here or before.
    fn excluded(&self, job: &PendingJob) -> Vec<WorkerId> {
        let replicas = job.group_id.and_then(|group_id| self.replicas.get(&group_id));
        let mut excluded: Vec<_> = job.excluded.iter().chain(replicas.into_iter().flatten()).copied().collect();
        excluded.sort_unstable();
        excluded.dedup();
        excluded
    }

    fn rejections(
        &self,
        need: &Need,
        excluded: &[WorkerId],
        barred: &Barred,
        kept: &[WorkerId],
    ) -> BTreeMap<Rejection, u32> {
        let mut counts = self.pools.rejections(need, excluded);
        counts.add_all(&barred.counts);
        counts.add(Rejection::Reserved, u32::try_from(kept.len()).unwrap_or(u32::MAX));
        counts.into_map()
    }

    /// Until when the job waits for one of the workers that it prefers to those that have room, where one of these tiers
    /// has one that is connected and meets what the job needs.
    fn waits_for_preferred<'t>(
        &self,
        job: &PendingJob,
        mut tiers: impl Iterator<Item = (&'t PreferenceSet, &'t BTreeSet<WorkerId>)>,
        need: &Need,
        unfit: &[WorkerId],
    ) -> Option<u64> {
        let patience = job.queued_at.saturating_add(u64::from(self.policy.preference_wait_s));
        let until = patience.min(job.deadline.0.saturating_sub(INCLUSION_S));
        if self.now >= until {
            return None;
        }
        let mut fitting: BTreeSet<WorkerId> = self.pools.connected_fits(need).into_iter().collect();
        fitting.retain(|worker_id| unfit.binary_search(worker_id).is_err());
        tiers.any(|(_, tier)| !tier.is_disjoint(&fitting)).then_some(until)
    }

    /// Puts the worker in the winner's place that is nearest to where the client is, where the job says so, and that the
    /// policy's rule chooses of those: one that has room, is as static as the winner, and misses as little of what the job
    /// prefers.
    fn choose(
        &mut self,
        decision: &mut Decision,
        near: Option<Region>,
        tier: Option<&BTreeSet<WorkerId>>,
        (need, age): (&Need, u16),
        closed: &[WorkerId],
    ) -> (Option<Nearness>, Option<ChosenBy>) {
        let distances = near.zip(self.distances.as_ref());
        if self.chooser.is_none() && distances.is_none() {
            return (None, None);
        }
        let mut among = self.pools.ready_beside(decision.winner.worker_id, need);
        among.retain(|worker_id| {
            closed.binary_search(worker_id).is_err() && tier.is_none_or(|tier| tier.contains(worker_id))
        });
        let nearness = distances.and_then(|(near, distances)| distances.nearest(near, &mut among));
        let chosen = match &mut self.chooser {
            Some(chooser) => chooser.choose(&among).map(|(worker_id, chosen_by)| (worker_id, Some(chosen_by))),
            None => self.pools.highest(&among, need, age).map(|worker_id| (worker_id, None)),
        };
        let Some((worker_id, chosen_by)) = chosen else { return (nearness, None) };
        if worker_id != decision.winner.worker_id
            && let Some((winner, rate)) = self.pools.scored(worker_id, need, age)
        {
            *decision = Decision { winner, rate, runner_up: Some(decision.winner) };
        }
        (nearness, chosen_by)
    }

    fn take(&mut self, job: &PendingJob, decision: &Decision, strategy: Strategy) {
        let worker_id = decision.winner.worker_id;
        self.pools.reserve(worker_id, job.requirements.gpu_count);
        self.reservations.started(job, worker_id);
        if let Some(chooser) = &mut self.chooser {
            chooser.started(worker_id, job.requirements.gpu_count);
        }
        if let Some(group_id) = job.group_id {
            self.replicas.entry(group_id).or_default().push(worker_id);
        }
        self.items.push(AllocationItem {
            job_id: job.job_id,
            worker_id,
            attempt: job.attempt,
            strategy,
            score: decision.winner.total,
            rate: decision.rate,
        });
    }

    /// Why no worker can take a job.
    fn why_none(&self, need: &Need, unfit: &[WorkerId]) -> Outcome {
        if self.pools.worker_count() == 0 {
            return Outcome::NoWorkers;
        }
        match self.pools.fits(need, unfit) {
            (false, _) => Outcome::NoFeasibleWorker,
            (true, false) => Outcome::WorkersOffline,
            (true, true) => Outcome::NoCapacity,
        }
    }
}

fn strategy(is_emergency: bool, dropped: PreferenceSet) -> Strategy {
    match (is_emergency, dropped.is_empty()) {
        (true, _) => Strategy::Emergency,
        (false, false) => Strategy::Fallback,
        (false, true) => Strategy::Standard,
    }
}

/// Both together, ascending, each once.
fn union(one: &[WorkerId], other: &[WorkerId]) -> Vec<WorkerId> {
    let mut both = [one, other].concat();
    both.sort_unstable();
    both.dedup();
    both
}
