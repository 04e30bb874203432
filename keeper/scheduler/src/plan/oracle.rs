//! Plans made the plain way: every worker is looked at for every job, with the rules written out one by one. The order
//! of jobs and the workers that are kept for some come from the code under test; both have tests of their own.

use std::{cmp::Reverse, collections::BTreeMap};

use keeper_types::{AllocationItem, JobId, PreferenceSet, Strategy, WorkerId, WorkerStatus};

mod choosing;

use self::choosing::{Chooser, nearest};
use super::{
    Plan,
    agents::{each_objection, misses, takes_gpu_model},
    backing_off, is_emergency,
    line::Line,
    reservations::Reservations,
    ruled_out,
};
use crate::{
    Balancing, ChosenBy, Explanation, FULL_BPS, Outcome, PendingJob, Policy, Rejection, ScoreBreakdown, Snapshot,
    Terms, WorkerView,
    queueing::Backfill,
    score::{age, share},
};

/// As [`plan`](super::plan), where the assignment is not exact.
pub(crate) fn plan(snapshot: &Snapshot, policy: &Policy) -> Plan {
    let mut candidates = candidates(snapshot);
    let mut plan = Plan::default();
    let mut waiting = BTreeMap::new();
    for job in &snapshot.jobs {
        match ruled_out(job, snapshot).or_else(|| backing_off(job, snapshot.now, policy)) {
            Some(outcome) => _ = plan.explanations.insert(job.job_id, Explanation::new(job, outcome)),
            None => _ = waiting.insert(job.job_id, job),
        }
    }
    let workers = snapshot.workers.iter().filter(|worker| worker.status != WorkerStatus::Exited);
    let workers: BTreeMap<_, _> = workers.map(|worker| (worker.worker_id, worker)).collect();
    let mut reservations = Reservations::new(&workers, snapshot, policy.reservations);
    let mut chooser = Chooser::new(snapshot, policy);
    // Jobs that nobody could take are not in the line.
    for job in waiting.values() {
        let could_be_placed = candidates.iter().any(|candidate| {
            let rejections = judge(job, candidate, &[]);
            (rejections.is_empty() || rejections.are_passing()) && candidate.worker.online
        });
        if !could_be_placed {
            let (reservations, chooser) = (&mut reservations, &mut chooser);
            let desk = Desk { candidates: &mut candidates, reservations, chooser, now: snapshot.now, policy };
            plan.explanations.insert(job.job_id, desk.place(job, Backfill::None, &mut plan.items));
        }
    }
    waiting.retain(|job_id, _| !plan.explanations.contains_key(job_id));
    let mut line = Line::new(&waiting, snapshot, policy);
    for job in line.left_outside() {
        plan.explanations.insert(job.job_id, Explanation::new(job, Outcome::QueueFull));
    }
    while let Some((job, backfill)) = line.next() {
        if plan.explanations.contains_key(&job.job_id) {
            continue;
        }
        let (reservations, chooser) = (&mut reservations, &mut chooser);
        let desk = Desk { candidates: &mut candidates, reservations, chooser, now: snapshot.now, policy };
        let explanation = desk.place(job, backfill, &mut plan.items);
        if matches!(explanation.outcome, Outcome::Placed { .. }) {
            line.started(job);
        }
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

struct Desk<'a, 'b, 's> {
    candidates: &'a mut [Candidate<'b>],
    reservations: &'a mut Reservations<'s>,
    chooser: &'a mut Chooser,
    now: u64,
    policy: &'a Policy,
}

impl Desk<'_, '_, '_> {
    /// Gives the job to the best worker that is left, if there is one and the batch has room, and says why.
    fn place(self, job: &PendingJob, backfill: Backfill, items: &mut Vec<AllocationItem>) -> Explanation {
        let is_emergency = is_emergency(job, self.policy);
        let kept = self.reservations.kept_from(job);
        let survey = Survey::of(job, self.candidates, &kept, age(job, self.now, self.policy), self.policy);
        let mut explanation = Explanation::new(job, Outcome::NoWorkers);
        explanation.workers_evaluated = survey.workers_evaluated;
        match survey.best() {
            None => {
                explanation.outcome = survey.why_none();
                if explanation.outcome == Outcome::NoCapacity {
                    let of_time = [Rejection::NoFreeSlot, Rejection::NoFreeGpu, Rejection::Reserved];
                    let could = |candidate: &&Candidate<'_>| {
                        let found = judge(job, candidate, &kept);
                        Rejection::ALL
                            .into_iter()
                            .all(|rejection| of_time.contains(&rejection) || !found.contains(rejection))
                    };
                    let fitting = self.candidates.iter().filter(could).map(|candidate| candidate.worker.worker_id);
                    explanation.reservation = self.reservations.keep(job, || fitting.collect(), backfill);
                }
            }
            Some(_) if items.len() >= self.policy.max_items => explanation.outcome = Outcome::BatchFull,
            Some(missed) if self.waits_for_less_than(job, missed, &kept) => {
                let until = patient_until(job, self.policy);
                explanation.outcome = Outcome::PreferredBusy { until };
            }
            Some(missed) => {
                let (alike, nearness) = nearest(survey.alike(), job, self.candidates, self.policy);
                explanation.nearness = nearness;
                let (index, rule) = self.chooser.choose(&alike, self.candidates);
                if self.policy.balancing != Balancing::Score {
                    let among = u32::try_from(alike.len()).unwrap();
                    let strategy = rule.strategy().unwrap();
                    explanation.chosen_by = Some(ChosenBy { rule: self.policy.balancing, strategy, among });
                }
                let (winner, runner_up) = survey.winner_and_next(index);
                explanation.strategy = match (is_emergency, missed.is_empty()) {
                    (true, _) => Strategy::Emergency,
                    (false, true) => Strategy::Standard,
                    (false, false) => Strategy::Fallback,
                };
                explanation.dropped = missed.iter().collect();
                explanation.outcome = Outcome::Placed { worker_id: winner.worker_id };
                (explanation.winner, explanation.runner_up) = (Some(winner), runner_up);
                self.candidates[index].reserve(job);
                self.reservations.started(job, winner.worker_id);
                items.push(AllocationItem {
                    job_id: job.job_id,
                    worker_id: winner.worker_id,
                    attempt: job.attempt,
                    strategy: explanation.strategy,
                    score: winner.total,
                    rate: self.candidates[index].worker.rate,
                });
            }
        }
        explanation.rejections = survey.rejections.into_map();
        explanation
    }
}

impl Desk<'_, '_, '_> {
    /// Whether somebody who is connected and busy misses less of what the job prefers, and the job has not waited enough.
    fn waits_for_less_than(&self, job: &PendingJob, missed: PreferenceSet, kept: &[WorkerId]) -> bool {
        let is_better = |candidate: &&Candidate<'_>| {
            let is_free_later = judge(job, candidate, kept).are_passing() && candidate.worker.online;
            is_free_later && misses(job, candidate.worker) < missed
        };
        self.now < patient_until(job, self.policy)
            && !is_emergency(job, self.policy)
            && self.candidates.iter().any(|candidate| is_better(&candidate))
    }
}

/// Until when the job waits for somebody that it prefers: for a while, and no longer than until a minute before its deadline.
pub(super) fn patient_until(job: &PendingJob, policy: &Policy) -> u64 {
    (job.queued_at + u64::from(policy.preference_wait_s)).min(job.deadline.0 - 60)
}

/// A worker's place for a job, the lowest first.
type Place = (PreferenceSet, bool, Reverse<u16>, WorkerId);

/// What one pass over the workers found for a job.
#[derive(Debug, Default)]
struct Survey {
    workers_evaluated: u32,
    rejections: RejectionCounts,
    /// Whether some worker fails nothing that waiting does not change.
    some_fit: bool,
    /// Whether some worker that fits is online.
    some_fit_online: bool,
    /// The workers that nothing speaks against.
    ready: Vec<(Place, usize, ScoreBreakdown)>,
}

impl Survey {
    fn of(job: &PendingJob, candidates: &[Candidate<'_>], kept: &[WorkerId], age: u16, policy: &Policy) -> Self {
        let mut survey = Self::default();
        for (index, candidate) in candidates.iter().enumerate() {
            survey.workers_evaluated += 1;
            let rejections = judge(job, candidate, kept);
            if rejections.is_empty() {
                let found = score(job, candidate, age, policy);
                let missed =
                    if is_emergency(job, policy) { PreferenceSet::NONE } else { misses(job, candidate.worker) };
                let place = (missed, !candidate.worker.is_static, Reverse(found.total), found.worker_id);
                survey.ready.push((place, index, found));
                continue;
            }
            survey.rejections.add(rejections);
            if rejections.are_passing() {
                survey.some_fit = true;
                survey.some_fit_online |= candidate.worker.online;
            }
        }
        survey.ready.sort_by_key(|(place, ..)| *place);
        survey
    }

    /// What the best misses.
    fn best(&self) -> Option<PreferenceSet> {
        self.ready.first().map(|((missed, ..), ..)| *missed)
    }

    /// Those that only their scores and ids tell from the best, the best first.
    fn alike(&self) -> Vec<usize> {
        let kind = |(missed, is_dynamic, ..): &Place| (*missed, *is_dynamic);
        let first = self.ready.first().map(|(place, ..)| kind(place));
        let alike = self.ready.iter().filter(|(place, ..)| Some(kind(place)) == first);
        alike.map(|(_, index, _)| *index).collect()
    }

    /// The score of the candidate at this index, and that of the best of the others.
    fn winner_and_next(&self, index: usize) -> (ScoreBreakdown, Option<ScoreBreakdown>) {
        let winner = self.ready.iter().find(|(_, own, _)| *own == index).unwrap().2;
        let next = self.ready.iter().find(|(_, other, _)| *other != index);
        (winner, next.map(|(_, _, found)| *found))
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
    const PASSING: Self = Self(
        bit(Rejection::Offline)
            | bit(Rejection::NoFreeSlot)
            | bit(Rejection::NoFreeGpu)
            | bit(Rejection::LatencyUnknown)
            | bit(Rejection::Reserved)
            | bit(Rejection::Stalled),
    );

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

/// Everything that speaks against giving `job` to the candidate, where some are kept for others.
pub(crate) fn judge(job: &PendingJob, candidate: &Candidate<'_>, kept: &[WorkerId]) -> Rejections {
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
    let takes = takes_gpu_model(job, &worker.agent.profile.gpu_model);
    each_objection(job, worker, takes, |rejection| found.add_if(true, rejection));
    found.add_if(kept.contains(&worker.worker_id), Rejection::Reserved);
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
