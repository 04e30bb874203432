//! The plan: jobs in order, each to the best worker that is left.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, btree_map::Entry},
};

use keeper_types::{AllocationItem, BlockNumber, JobId, Queue, Strategy, WorkerId};
use serde::{Deserialize, Serialize};

use crate::{
    Explanation, ManifestStatus, Outcome, PendingJob, Policy, Snapshot,
    matching::{Decision, Need, WorkerIndex},
    score::age,
};

/// What was decided.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plan {
    /// What to send to the chain, in the order of the decisions; [`Plan::batch`] gives the order of sending.
    pub items: Vec<AllocationItem>,
    /// Why, for every job of the snapshot.
    pub explanations: BTreeMap<JobId, Explanation>,
}

impl Plan {
    /// The items in the order in which they are sent: by worker, since neighbouring workers share storage on chain,
    /// then by job. The contract takes them in any order.
    pub fn batch(&self) -> Vec<AllocationItem> {
        let mut items = self.items.clone();
        items.sort_by_key(|item| (item.worker_id, item.job_id));
        items
    }
}

/// Decides which worker gets which job.
///
/// Jobs are taken by queue (high, default, low), then by effective priority (priority plus aging), then by
/// deadline, then by job id. Each goes to the worker with the highest score among those that nothing speaks
/// against, the lowest worker id on a tie, and takes a slot and its GPUs from that worker for the jobs that
/// follow. A job is decided on once, so an early job may take a worker that a later one needed more.
///
/// The policy is taken to be valid ([`Policy::validate`]).
pub fn plan(snapshot: &Snapshot, policy: &Policy) -> Plan {
    let mut round = Round {
        index: WorkerIndex::new(&snapshot.workers, policy),
        replicas: BTreeMap::new(),
        items: Vec::new(),
        now: snapshot.now,
        policy,
    };
    let mut explanations = BTreeMap::new();
    for job in in_order(snapshot, policy) {
        if let Entry::Vacant(entry) = explanations.entry(job.job_id) {
            entry.insert(round.decide(job, ruled_out(job, snapshot)));
        }
    }
    Plan { items: round.items, explanations }
}

/// The jobs in the order in which they are decided on.
fn in_order<'a>(snapshot: &'a Snapshot, policy: &Policy) -> Vec<&'a PendingJob> {
    let mut jobs: Vec<_> = snapshot.jobs.iter().collect();
    jobs.sort_by_cached_key(|job| order_key(job, snapshot.now, policy));
    jobs
}

type OrderKey = (u8, Reverse<u64>, (u64, BlockNumber), JobId);

fn order_key(job: &PendingJob, now: u64, policy: &Policy) -> OrderKey {
    let queue = match job.queue {
        Queue::High => 0,
        Queue::Default => 1,
        Queue::Low => 2,
    };
    let priority = policy.effective_priority(job.priority, job.waited_s(now));
    (queue, Reverse(priority), job.deadline, job.job_id)
}

/// What about the job itself rules out placing it, whatever the workers.
pub(crate) fn ruled_out(job: &PendingJob, snapshot: &Snapshot) -> Option<Outcome> {
    if job.is_past_deadline(snapshot) {
        return Some(Outcome::DeadlinePassed);
    }
    match &job.manifest {
        ManifestStatus::Available => None,
        ManifestStatus::Missing => Some(Outcome::ManifestMissing),
        ManifestStatus::Malformed(reason) => Some(Outcome::ManifestMalformed { reason: reason.clone() }),
    }
}

/// What a plan has decided so far, and what that has left of the workers.
struct Round<'a> {
    index: WorkerIndex,
    /// Workers that get a replica of a group in this plan.
    replicas: BTreeMap<JobId, Vec<WorkerId>>,
    items: Vec<AllocationItem>,
    now: u64,
    policy: &'a Policy,
}

impl Round<'_> {
    /// Gives the job to the best worker that is left, if nothing rules the job out, there is one and the batch has
    /// room, and says why.
    fn decide(&mut self, job: &PendingJob, ruled_out: Option<Outcome>) -> Explanation {
        let mut explanation = Explanation {
            job_id: job.job_id,
            attempt: job.attempt,
            outcome: Outcome::NoWorkers,
            workers_evaluated: 0,
            rejections: BTreeMap::new(),
            winner: None,
            runner_up: None,
        };
        if let Some(outcome) = ruled_out {
            explanation.outcome = outcome;
            return explanation;
        }
        let (need, excluded) = (Need::of(job), self.excluded(job));
        explanation.workers_evaluated = self.index.worker_count();
        explanation.rejections = self.index.rejections(&need, &excluded);
        match self.index.decide(&need, age(job, self.now, self.policy), &excluded) {
            None => explanation.outcome = self.why_none(&need, &excluded),
            Some(_) if self.items.len() >= self.policy.max_items => explanation.outcome = Outcome::BatchFull,
            Some(decision) => {
                self.take(job, &decision);
                explanation.outcome = Outcome::Placed { worker_id: decision.winner.worker_id };
                explanation.winner = Some(decision.winner);
                explanation.runner_up = decision.runner_up;
            }
        }
        explanation
    }

    /// Who does not get the job, each once: workers that failed it or had a replica, here or before.
    fn excluded(&self, job: &PendingJob) -> Vec<WorkerId> {
        let replicas = job.group_id.and_then(|group_id| self.replicas.get(&group_id));
        let mut excluded: Vec<_> = job.excluded.iter().chain(replicas.into_iter().flatten()).copied().collect();
        excluded.sort_unstable();
        excluded.dedup();
        excluded
    }

    fn take(&mut self, job: &PendingJob, decision: &Decision) {
        let worker_id = decision.winner.worker_id;
        self.index.reserve(worker_id, job.requirements.gpu_count);
        if let Some(group_id) = job.group_id {
            self.replicas.entry(group_id).or_default().push(worker_id);
        }
        self.items.push(AllocationItem {
            job_id: job.job_id,
            worker_id,
            attempt: job.attempt,
            strategy: Strategy::Standard,
            score: decision.winner.total,
            rate: decision.rate,
        });
    }

    /// Why no worker can take a job.
    fn why_none(&self, need: &Need, excluded: &[WorkerId]) -> Outcome {
        if self.index.worker_count() == 0 {
            return Outcome::NoWorkers;
        }
        match self.index.fits(need, excluded) {
            (false, _) => Outcome::NoFeasibleWorker,
            (true, false) => Outcome::WorkersOffline,
            (true, true) => Outcome::NoCapacity,
        }
    }
}

#[cfg(test)]
pub(crate) mod fixtures;
#[cfg(test)]
pub(crate) mod oracle;
#[cfg(test)]
mod property_tests;
#[cfg(test)]
mod tests;
