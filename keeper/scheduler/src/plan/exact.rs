//! The jobs that found room, assigned once more together.
//!
//! Jobs on as many GPUs at a time can trade places: a worker has room for as many of one size as of the next. So each
//! size is an assignment problem with slots, over the workers of one pool, which [`assignment`](crate::assignment)
//! solves exactly. Scores are those of each job as the first of its size on the worker. What a job was promised stays:
//! emergencies, replicas, jobs with preferences, and workers that are kept for somebody are left as they are.

use std::collections::{BTreeMap, BTreeSet};

use keeper_types::{AgentView, JobId, Rate, Strategy, WorkerId};

use super::{Plan, agents::Agents, round::registered};
use crate::{
    Outcome, PendingJob, Policy, ScoreBreakdown, Snapshot, WorkerView,
    assignment::{Instance, JobScores, Matcher},
    matching::{Need, WorkerIndex},
    score::age,
};

/// A size of job in one pool: whether static, and GPUs.
type Class = (bool, u8);

/// What every job of a class scores on every worker that can take it.
type Scores = BTreeMap<JobId, BTreeMap<WorkerId, (ScoreBreakdown, Rate)>>;

/// Gives the jobs of each size those workers that together score highest. Where that would leave a job out, or gains
/// nothing, the size is left as it is.
pub(super) fn reassign(plan: &mut Plan, jobs: &BTreeMap<JobId, &PendingJob>, snapshot: &Snapshot, policy: &Policy) {
    let workers = registered(snapshot);
    let kept = plan.explanations.values().filter_map(|explanation| explanation.reservation);
    let kept: BTreeSet<WorkerId> = kept.map(|reservation| reservation.worker_id).collect();
    let mut classes: BTreeMap<Class, Vec<JobId>> = BTreeMap::new();
    for item in &plan.items {
        let (Some(job), Some(worker)) = (jobs.get(&item.job_id), workers.get(&item.worker_id)) else { continue };
        let is_plain = item.strategy == Strategy::Standard
            && job.group_id.is_none()
            && job.manifest_view.placement.prefers.wanted().is_empty()
            && job.manifest_view.placement.prefers.near.is_none();
        if is_plain && !kept.contains(&item.worker_id) {
            classes.entry((worker.is_static, job.requirements.gpu_count)).or_default().push(item.job_id);
        }
    }
    let agents = Agents::new(&workers);
    for ((is_static, _), members) in classes.iter().filter(|(_, members)| members.len() > 1) {
        let of_pool = workers.values().filter(|worker| worker.is_static == *is_static);
        let open = of_pool.filter(|worker| !kept.contains(&worker.worker_id));
        let given = given_to_others(plan, &members.iter().copied().collect(), jobs);
        let rooms = open.map(|worker| room(worker, given.get(&worker.worker_id).copied().unwrap_or_default()));
        let rooms: Vec<_> = rooms.collect();
        let scores = scores(&rooms, members, jobs, &agents, snapshot, policy);
        if let Some(assigned) = assign(&rooms, members, jobs, &scores, plan) {
            apply(plan, &assigned, &scores);
        }
    }
}

/// Slots and GPUs that the plan gives to jobs other than these, by worker.
fn given_to_others(
    plan: &Plan,
    members: &BTreeSet<JobId>,
    jobs: &BTreeMap<JobId, &PendingJob>,
) -> BTreeMap<WorkerId, (u8, u8)> {
    let mut given: BTreeMap<WorkerId, (u8, u8)> = BTreeMap::new();
    for item in plan.items.iter().filter(|item| !members.contains(&item.job_id)) {
        let gpus = jobs.get(&item.job_id).map_or(0, |job| job.requirements.gpu_count);
        let (slots, used) = given.entry(item.worker_id).or_default();
        (*slots, *used) = (slots.saturating_add(1), used.saturating_add(gpus));
    }
    given
}

/// The worker with what is left of it beside others' jobs. Whom it refuses is asked of the agents, not of this.
fn room(worker: &WorkerView, (slots, gpus): (u8, u8)) -> WorkerView {
    WorkerView {
        capabilities: worker.capabilities.clone(),
        free_slots: worker.free_slots.saturating_sub(slots),
        free_gpus: worker.free_gpus.saturating_sub(gpus),
        agent: AgentView::default(),
        ..*worker
    }
}

fn scores(
    rooms: &[WorkerView],
    members: &[JobId],
    jobs: &BTreeMap<JobId, &PendingJob>,
    agents: &Agents<'_>,
    snapshot: &Snapshot,
    policy: &Policy,
) -> Scores {
    let mut indexes: Vec<_> = rooms.iter().map(|room| WorkerIndex::new([room], policy)).collect();
    let mut scores = Scores::new();
    for job in members.iter().filter_map(|job_id| jobs.get(job_id)) {
        let (need, age) = (Need::of(job), age(job, snapshot.now, policy));
        let barred = agents.barred(job);
        let mut excluded = [barred.workers, barred.for_now, job.excluded.clone()].concat();
        excluded.sort_unstable();
        let found = indexes.iter_mut().filter_map(|index| index.decide(&need, age, &excluded));
        scores.insert(job.job_id, found.map(|found| (found.winner.worker_id, (found.winner, found.rate))).collect());
    }
    scores
}

/// The assignment with the highest sum, where it takes every job and has a higher sum than the plan.
fn assign(
    rooms: &[WorkerView],
    members: &[JobId],
    jobs: &BTreeMap<JobId, &PendingJob>,
    scores: &Scores,
    plan: &Plan,
) -> Option<BTreeMap<JobId, WorkerId>> {
    debug_assert_eq!(members.len(), scores.len(), "every member is a waiting job");
    let gpus = jobs.get(members.first()?)?.requirements.gpu_count;
    let slots = |room: &WorkerView| match room.free_gpus.checked_div(gpus) {
        Some(places) => places.min(room.free_slots),
        None => room.free_slots,
    };
    let slots: Vec<_> = rooms.iter().map(|room| (room.worker_id, u32::from(slots(room)))).collect();
    let rows = scores.iter().map(|(job_id, found)| JobScores {
        job_id: *job_id,
        scores: found.iter().map(|(worker_id, (score, _))| (*worker_id, u32::from(score.total))).collect(),
    });
    let rows: Vec<_> = rows.collect();
    let solution = Matcher::new(Instance::new(&slots, &rows).ok()?).solve();
    let planned = plan.items.iter().filter_map(|item| scores.get(&item.job_id)?.get(&item.worker_id));
    let before: u64 = planned.map(|(score, _)| u64::from(score.total)).sum();
    let is_better = solution.score > before;
    if !is_better {
        return None;
    }
    solution.allocations.into_iter().map(|(job_id, worker_id)| Some((job_id, worker_id?))).collect()
}

fn apply(plan: &mut Plan, assigned: &BTreeMap<JobId, WorkerId>, scores: &Scores) {
    for item in &mut plan.items {
        let (Some(worker_id), Some(found)) = (assigned.get(&item.job_id), scores.get(&item.job_id)) else { continue };
        let (Some((score, rate)), Some(explanation)) = (found.get(worker_id), plan.explanations.get_mut(&item.job_id))
        else {
            continue;
        };
        (item.worker_id, item.score, item.rate, item.strategy) = (*worker_id, score.total, *rate, Strategy::Batch);
        explanation.outcome = Outcome::Placed { worker_id: *worker_id };
        explanation.strategy = Strategy::Batch;
        explanation.winner = Some(*score);
        let others = found.values().map(|(other, _)| *other).filter(|other| other.worker_id != *worker_id);
        explanation.runner_up = others.max_by_key(|other| (other.total, std::cmp::Reverse(other.worker_id)));
    }
}
