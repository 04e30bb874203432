//! The plan: jobs in order, each to the best worker that is left.

use std::{cmp::Reverse, collections::BTreeMap};

use keeper_types::{AllocationItem, BlockNumber, JobId, Queue, Strategy, WorkerStatus};
use serde::{Deserialize, Serialize};

use crate::{
    Explanation, ManifestStatus, Outcome, PendingJob, Policy, ScoreBreakdown, Snapshot,
    feasibility::{Candidate, RejectionCounts, judge},
    score::{age, score},
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
    let mut candidates = candidates(snapshot);
    let mut plan = Plan::default();
    for job in in_order(snapshot, policy) {
        if plan.explanations.contains_key(&job.job_id) {
            continue;
        }
        let explanation = match ruled_out(job, snapshot) {
            Some(outcome) => Explanation {
                job_id: job.job_id,
                attempt: job.attempt,
                outcome,
                workers_evaluated: 0,
                rejections: BTreeMap::new(),
                winner: None,
                runner_up: None,
            },
            None => place(job, &mut candidates, &mut plan.items, snapshot.now, policy),
        };
        plan.explanations.insert(job.job_id, explanation);
    }
    plan
}

/// The workers by id, each once, without those that have gone.
fn candidates(snapshot: &Snapshot) -> Vec<Candidate<'_>> {
    let registered = snapshot.workers.iter().filter(|worker| worker.status != WorkerStatus::Exited);
    let mut candidates: Vec<_> = registered.map(Candidate::new).collect();
    candidates.sort_by_key(|candidate| candidate.worker.worker_id);
    candidates.dedup_by_key(|candidate| candidate.worker.worker_id);
    candidates
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

/// Gives the job to the best worker that is left, if there is one and the batch has room, and says why.
fn place(
    job: &PendingJob,
    candidates: &mut [Candidate<'_>],
    items: &mut Vec<AllocationItem>,
    now: u64,
    policy: &Policy,
) -> Explanation {
    let survey = Survey::of(job, candidates, age(job, now, policy), policy);
    let (outcome, winner, runner_up) = match survey.winner {
        None => (survey.why_none(), None, None),
        Some(_) if items.len() >= policy.max_items => (Outcome::BatchFull, None, None),
        Some((index, winner)) => {
            candidates[index].reserve(job);
            items.push(AllocationItem {
                job_id: job.job_id,
                worker_id: winner.worker_id,
                attempt: job.attempt,
                strategy: Strategy::Standard,
                score: winner.total,
                rate: candidates[index].worker.rate,
            });
            (Outcome::Placed { worker_id: winner.worker_id }, Some(winner), survey.runner_up)
        }
    };
    Explanation {
        job_id: job.job_id,
        attempt: job.attempt,
        outcome,
        workers_evaluated: survey.workers_evaluated,
        rejections: survey.rejections.into_map(),
        winner,
        runner_up,
    }
}

/// What one pass over the workers found for a job.
#[derive(Debug, Default)]
struct Survey {
    workers_evaluated: u32,
    rejections: RejectionCounts,
    /// Whether some worker fails nothing that waiting does not change.
    some_fit: bool,
    /// Whether some worker that fits is online.
    some_fit_online: bool,
    winner: Option<(usize, ScoreBreakdown)>,
    runner_up: Option<ScoreBreakdown>,
}

impl Survey {
    /// Candidates come by ascending id, so keeping the first of equal scores breaks ties by the lowest id.
    fn of(job: &PendingJob, candidates: &[Candidate<'_>], age: u16, policy: &Policy) -> Self {
        let mut survey = Self::default();
        for (index, candidate) in candidates.iter().enumerate() {
            survey.workers_evaluated += 1;
            let rejections = judge(job, candidate);
            if rejections.is_empty() {
                survey.consider(index, score(job, candidate, age, policy));
                continue;
            }
            survey.rejections.add(rejections);
            if rejections.are_passing() {
                survey.some_fit = true;
                survey.some_fit_online |= candidate.worker.online;
            }
        }
        survey
    }

    fn consider(&mut self, index: usize, score: ScoreBreakdown) {
        match self.winner {
            Some((_, winner)) if score.total <= winner.total => {
                if self.runner_up.is_none_or(|runner_up| score.total > runner_up.total) {
                    self.runner_up = Some(score);
                }
            }
            _ => {
                self.runner_up = self.winner.map(|(_, winner)| winner);
                self.winner = Some((index, score));
            }
        }
    }

    /// Why there is no winner.
    fn why_none(&self) -> Outcome {
        if self.workers_evaluated == 0 {
            Outcome::NoWorkers
        } else if !self.some_fit {
            Outcome::NoFeasibleWorker
        } else if !self.some_fit_online {
            Outcome::WorkersOffline
        } else {
            Outcome::NoCapacity
        }
    }
}

#[cfg(test)]
pub(crate) mod fixtures;
#[cfg(test)]
mod property_tests;
#[cfg(test)]
mod tests;
