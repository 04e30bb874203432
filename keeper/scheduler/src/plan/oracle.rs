//! Plans made the plain way: every worker is looked at for every job, with the rules written out one by one.

use std::collections::BTreeMap;

use keeper_types::{AllocationItem, JobId, Strategy, WorkerStatus};

use super::{Plan, in_order, ruled_out};
use crate::{
    Explanation, FULL_BPS, Outcome, PendingJob, Policy, Rejection, ScoreBreakdown, Snapshot, Terms, WorkerView,
    score::{age, share},
};

/// As [`plan`](super::plan).
pub(crate) fn plan(snapshot: &Snapshot, policy: &Policy) -> Plan {
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

/// A worker, with what this plan has left of it.
#[derive(Clone, Debug)]
pub(crate) struct Candidate<'a> {
    pub(crate) worker: &'a WorkerView,
    pub(crate) free_slots: u8,
    pub(crate) free_gpus: u8,
    /// Groups that it gets a replica of in this plan.
    groups: Vec<JobId>,
}

impl<'a> Candidate<'a> {
    pub(crate) fn new(worker: &'a WorkerView) -> Self {
        Self { worker, free_slots: worker.free_slots, free_gpus: worker.free_gpus, groups: Vec::new() }
    }

    /// Takes what `job` needs. Only for a worker that nothing speaks against.
    pub(crate) fn reserve(&mut self, job: &PendingJob) {
        self.free_slots = self.free_slots.saturating_sub(1);
        self.free_gpus = self.free_gpus.saturating_sub(job.requirements.gpu_count);
        self.groups.extend(job.group_id);
    }
}

/// What speaks against a worker: a bit for each rejection, so that judging a worker allocates nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Rejections(u32);

impl Rejections {
    const PASSING: Self = Self(bit(Rejection::Offline) | bit(Rejection::NoFreeSlot) | bit(Rejection::NoFreeGpu));

    pub(crate) fn is_empty(self) -> bool {
        self.0 == 0
    }

    pub(crate) fn contains(self, rejection: Rejection) -> bool {
        self.0 & bit(rejection) != 0
    }

    /// Whether waiting could be enough.
    pub(crate) fn are_passing(self) -> bool {
        self.0 & !Self::PASSING.0 == 0
    }

    fn add_if(&mut self, failed: bool, rejection: Rejection) {
        if failed {
            self.0 |= bit(rejection);
        }
    }
}

const fn bit(rejection: Rejection) -> u32 {
    1 << rejection as u8
}

/// Everything that speaks against giving `job` to the candidate.
pub(crate) fn judge(job: &PendingJob, candidate: &Candidate<'_>) -> Rejections {
    let (needs, worker) = (&job.requirements, candidate.worker);
    let has = &worker.capabilities;
    let mut found = Rejections::default();
    found.add_if(!worker.online, Rejection::Offline);
    found.add_if(worker.status != WorkerStatus::Active, Rejection::Unavailable);
    found.add_if(candidate.free_slots == 0, Rejection::NoFreeSlot);
    let has_gpus = has.gpu_count >= needs.gpu_count;
    found.add_if(has_gpus && candidate.free_gpus < needs.gpu_count, Rejection::NoFreeGpu);
    found.add_if(!has_gpus, Rejection::GpuCount);
    found.add_if(has.vram_gib < needs.vram_gib, Rejection::Vram);
    found.add_if(has.compute_capability < needs.compute_capability, Rejection::ComputeCapability);
    found.add_if(has.cuda_version < needs.cuda_version, Rejection::CudaVersion);
    found.add_if(has.driver_version < needs.driver_version, Rejection::DriverVersion);
    found.add_if(has.cpu_cores < needs.cpu_cores, Rejection::CpuCores);
    found.add_if(has.memory_gib < needs.memory_gib, Rejection::Memory);
    found.add_if(!has.features.contains(needs.features), Rejection::Features);
    found.add_if(needs.region.is_some() && has.region != needs.region, Rejection::Region);
    found.add_if(worker.reputation < needs.min_reputation, Rejection::Reputation);
    found.add_if(worker.rate > job.max_rate, Rejection::Rate);
    let has_replica = job.group_id.is_some_and(|group_id| candidate.groups.contains(&group_id));
    found.add_if(has_replica || job.excluded.contains(&worker.worker_id), Rejection::Excluded);
    found
}

/// How many workers each rejection applies to.
#[derive(Clone, Debug, Default)]
struct RejectionCounts([u32; Rejection::ALL.len()]);

impl RejectionCounts {
    fn add(&mut self, rejections: Rejections) {
        for (count, rejection) in self.0.iter_mut().zip(Rejection::ALL) {
            *count += u32::from(rejections.contains(rejection));
        }
    }

    fn into_map(self) -> BTreeMap<Rejection, u32> {
        Rejection::ALL.into_iter().zip(self.0).filter(|(_, count)| *count > 0).collect()
    }
}

/// Scores a candidate that nothing speaks against, for a job whose age term is `age`.
pub(crate) fn score(job: &PendingJob, candidate: &Candidate<'_>, age: u16, policy: &Policy) -> ScoreBreakdown {
    let worker = candidate.worker;
    let terms = Terms {
        fit: fit(job, candidate),
        load: share(u64::from(candidate.free_slots), u64::from(worker.slots)),
        reputation: share(u64::from(worker.reputation), u64::from(keeper_types::MAX_REPUTATION)),
        price: FULL_BPS - share(worker.rate.0, job.max_rate.0),
        fragmentation: fragmentation(job, candidate),
        age,
    };
    ScoreBreakdown { worker_id: worker.worker_id, total: terms.total(&policy.weights), terms }
}

fn fit(job: &PendingJob, candidate: &Candidate<'_>) -> u16 {
    let (needs, has) = (&job.requirements, &candidate.worker.capabilities);
    let pairs = [
        (u32::from(needs.gpu_count), u32::from(has.gpu_count)),
        (u32::from(needs.vram_gib), u32::from(has.vram_gib)),
        (u32::from(needs.compute_capability), u32::from(has.compute_capability)),
        (u32::from(needs.cpu_cores), u32::from(has.cpu_cores)),
        (u32::from(needs.memory_gib), u32::from(has.memory_gib)),
        (needs.features.0.count_ones(), has.features.0.count_ones()),
    ];
    // One more on both sides, so that the smaller worker is preferred even where nothing is asked for.
    let sum: u64 = pairs.iter().map(|(need, have)| u64::from(share(u64::from(*need) + 1, u64::from(*have) + 1))).sum();
    share(sum, pairs.len() as u64 * u64::from(FULL_BPS))
}

fn fragmentation(job: &PendingJob, candidate: &Candidate<'_>) -> u16 {
    let left = candidate.free_gpus.saturating_sub(job.requirements.gpu_count);
    if left > 0 && candidate.free_slots <= 1 {
        return 0;
    }
    FULL_BPS - share(u64::from(left), u64::from(candidate.worker.capabilities.gpu_count.max(left)).max(1))
}
