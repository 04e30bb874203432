//! The plan: jobs in the policy's order, each to the best worker that is left.

use std::collections::{BTreeMap, btree_map::Entry};

use keeper_types::{AllocationItem, JobId, Queue};
use serde::{Deserialize, Serialize};

use crate::{
    Explanation, ManifestStatus, Outcome, PendingJob, Policy, Snapshot,
    queueing::{Backfill, RetryPolicy},
};

mod agents;
mod choosing;
mod exact;
mod line;
mod pools;
mod reservations;
mod round;
mod waiting;

use line::Line;
use round::Round;
pub use waiting::WaitingBound;

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
    /// then by job. The contract takes them in any order. Where workers may take turns, they are sent in the order of the
    /// decisions, so that the chain tells whose turn it was last.
    pub fn batch(&self) -> Vec<AllocationItem> {
        let mut items = self.items.clone();
        if !self.takes_turns() {
            items.sort_by_key(|item| (item.worker_id, item.job_id));
        }
        items
    }

    /// Whether the order of the items matters to the next round.
    pub fn takes_turns(&self) -> bool {
        let chosen_by = |item: &AllocationItem| self.explanations.get(&item.job_id)?.chosen_by;
        self.items.iter().find_map(chosen_by).is_some_and(|chosen_by| chosen_by.rule.takes_turns())
    }
}

/// Decides which worker gets which job.
///
/// Jobs are taken in the order of [`Policy::ordering`], those that are overdue and then emergencies before all others.
/// Each goes to one of the workers that nothing speaks against: to one that misses what weighs least of the job's
/// preferences ([`PreferenceSet`](keeper_types::PreferenceSet)), static workers before dynamic ones, to the highest
/// score, to the lowest id. Under another rule than the score ([`Policy::balancing`]) that rule chooses among those that
/// are alike until there. It takes a slot and its GPUs from that worker for the jobs that
/// follow. For the first jobs that do not fit a worker is kept ([`Policy::reservations`]), on which only jobs may start
/// that will not be in the way. A job is decided on once, so an early job may take a worker that a later one needed
/// more; [`Assignment::Exact`](crate::Assignment::Exact) mends that among those that found room.
///
/// The policy is taken to be valid ([`Policy::validate`]).
pub fn plan(snapshot: &Snapshot, policy: &Policy) -> Plan {
    let mut explanations = BTreeMap::new();
    let mut waiting = BTreeMap::new();
    for job in &snapshot.jobs {
        match ruled_out(job, snapshot).or_else(|| backing_off(job, snapshot.now, policy)) {
            Some(outcome) => _ = explanations.entry(job.job_id).or_insert_with(|| Explanation::new(job, outcome)),
            None => _ = waiting.entry(job.job_id).or_insert(job),
        }
    }
    waiting.retain(|job_id, _| !explanations.contains_key(job_id));
    // Most of a quiet market's rounds: nobody is asked about the workers.
    if waiting.is_empty() {
        return Plan { items: Vec::new(), explanations };
    }

    let mut round = Round::new(snapshot, policy);
    waiting.retain(|job_id, job| {
        let could_be_placed = round.could_place(job);
        if !could_be_placed {
            explanations.insert(*job_id, round.decide(job, Backfill::None));
        }
        could_be_placed
    });
    let mut line = Line::new(&waiting, snapshot, policy);
    for job in line.left_outside() {
        explanations.insert(job.job_id, Explanation::new(job, Outcome::QueueFull));
    }
    while let Some((job, backfill)) = line.next() {
        let Entry::Vacant(entry) = explanations.entry(job.job_id) else { continue };
        let explanation = entry.insert(round.decide(job, backfill));
        if matches!(explanation.outcome, Outcome::Placed { .. }) {
            line.started(job);
        }
    }
    let items = round.into_items();
    let mut plan = Plan { items, explanations };
    if policy.assignment == crate::Assignment::Exact {
        exact::reassign(&mut plan, &waiting, snapshot, policy);
    }
    plan
}

/// What about the job itself rules out placing it, whatever the workers and the policy.
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

/// A job whose last attempt failed waits a while, the longer the more have failed.
fn backing_off(job: &PendingJob, now: u64, policy: &Policy) -> Option<Outcome> {
    let failures = job.attempt.0.checked_sub(1).filter(|failures| *failures > 0)?;
    let retry =
        RetryPolicy { base_delay_s: policy.retry_base_s, max_delay_s: policy.retry_max_s, ..RetryPolicy::default() };
    let until = job.queued_at.saturating_add(u64::from(retry.delay_s(job.job_id, failures, 0)));
    (now < until).then_some(Outcome::BackingOff { until })
}

/// Whether the job goes before all others.
fn is_emergency(job: &PendingJob, policy: &Policy) -> bool {
    job.queue == Queue::High && job.priority >= policy.emergency_priority
}

#[cfg(test)]
mod balancing_tests;
#[cfg(test)]
pub(crate) mod fixtures;
#[cfg(test)]
pub(crate) mod generators;
#[cfg(test)]
pub(crate) mod oracle;
#[cfg(test)]
mod property_tests;
#[cfg(test)]
mod rules_tests;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod waiting_tests;
