//! `keeper_scheduler::plan`, with the books that the chain and the daemon keep around it.
//!
//! This is the one file of the simulation that knows `plan`, `Snapshot` and `Policy`.

use std::collections::BTreeMap;

use keeper_scheduler::{
    ManifestStatus, PendingJob, Policy, Snapshot, WorkerView, plan,
    queueing::{AfterFailure, FailureClass, FailureLog, RetryPolicy},
};
use keeper_types::{
    Address, Attempt, BlockNumber, Capabilities, Felt, JobId, Queue, Rate, Requirements, WorkerId, WorkerStatus,
};

use super::{
    engine::{Engine, Placement, Submission, each_worker},
    jobs::{Job, SECOND_MS},
    parameters::{PlanSet, WorkerKind},
};

/// Every snapshot's block. Deadlines are seconds here, so that any block will do that is above [`DEADLINE_BLOCK`].
const BLOCK: BlockNumber = BlockNumber(1);
/// Every job's block of the deadline.
const DEADLINE_BLOCK: BlockNumber = BlockNumber(0);

pub(crate) struct PlanEngine {
    policy: Policy,
    retry: RetryPolicy,
    workers: Vec<WorkerView>,
    /// Waiting jobs, with the second from which on they may be placed.
    waiting: BTreeMap<JobId, (PendingJob, u32)>,
    placed: BTreeMap<JobId, (PendingJob, WorkerId)>,
    failures: FailureLog,
}

impl PlanEngine {
    pub(crate) fn new(set: &PlanSet, workers: &[WorkerKind]) -> Self {
        Self {
            policy: set.policy.clone(),
            retry: set.retry,
            workers: each_worker(workers).map(|(number, kind)| view(number, kind)).collect(),
            waiting: BTreeMap::new(),
            placed: BTreeMap::new(),
            failures: FailureLog::new(),
        }
    }

    fn worker(&mut self, worker_id: WorkerId) -> &mut WorkerView {
        &mut self.workers[worker_id.0 as usize]
    }

    /// Takes a job off its worker, whose slot and GPUs are free again.
    fn take_off(&mut self, job_id: JobId) -> Option<PendingJob> {
        let (job, worker_id) = self.placed.remove(&job_id)?;
        let worker = self.worker(worker_id);
        worker.free_slots += 1;
        worker.free_gpus += job.requirements.gpu_count;
        Some(job)
    }
}

fn view(number: u32, kind: &WorkerKind) -> WorkerView {
    let gpus = narrow(kind.gpus);
    let slots = kind.slots.unwrap_or(gpus);
    WorkerView {
        worker_id: WorkerId(number),
        status: WorkerStatus::Active,
        capabilities: Capabilities {
            gpu_count: gpus,
            vram_gib: kind.vram_gib,
            region: kind.region,
            ..Capabilities::default()
        },
        slots,
        free_slots: slots,
        free_gpus: gpus,
        rate: Rate(kind.rate),
        reputation: kind.reputation,
        online: true,
    }
}

fn pending(job: &Job) -> PendingJob {
    PendingJob {
        job_id: job.job_id,
        attempt: Attempt(1),
        client: Address(Felt::from(job.tenant)),
        requirements: Requirements {
            gpu_count: narrow(job.gpus),
            vram_gib: job.vram_gib,
            region: job.region,
            ..Requirements::default()
        },
        priority: job.priority,
        queue: match &*job.queue {
            "high" => Queue::High,
            "low" => Queue::Low,
            _ => Queue::Default,
        },
        max_rate: Rate(job.max_rate),
        deadline: (job.deadline_s.map_or(u64::MAX, u64::from), DEADLINE_BLOCK),
        submitted_at: job.submitted_ms / SECOND_MS,
        model_id: Felt::ZERO,
        group_id: None,
        excluded: Vec::new(),
        execution_timeout_s: job.limit_s,
        manifest: ManifestStatus::Available,
    }
}

/// GPUs in the market's width. A traced job that is wider fits no worker of the market, and waits.
fn narrow(gpus: u16) -> u8 {
    u8::try_from(gpus).unwrap_or(u8::MAX)
}

impl Engine for PlanEngine {
    fn submit(&mut self, job: &Job, _now_s: u32) -> Submission {
        self.waiting.insert(job.job_id, (pending(job), 0));
        Submission::Queued { shed: None }
    }

    fn decide(&mut self, now_s: u32) -> Vec<Placement> {
        let eligible = self.waiting.values().filter(|(_, not_before_s)| *not_before_s <= now_s);
        let jobs: Vec<PendingJob> = eligible.map(|(job, _)| job.clone()).collect();
        if jobs.is_empty() {
            return Vec::new();
        }
        let snapshot = Snapshot { now: now_s.into(), block: BLOCK, seed: 0, jobs, workers: self.workers.clone() };
        let mut placements = Vec::new();
        for item in plan(&snapshot, &self.policy).items {
            let Some((job, _)) = self.waiting.remove(&item.job_id) else { continue };
            let gpus = job.requirements.gpu_count;
            let worker = self.worker(item.worker_id);
            worker.free_slots -= 1;
            worker.free_gpus -= gpus;
            placements.push(Placement { job_id: item.job_id, gang: vec![(item.worker_id.0, u16::from(gpus))] });
            self.placed.insert(item.job_id, (job, item.worker_id));
        }
        placements
    }

    fn most_placements(&self) -> usize {
        self.policy.max_items
    }

    fn succeed(&mut self, job_id: JobId, _now_s: u32) {
        self.take_off(job_id);
        self.failures.forget(job_id);
    }

    fn fail(&mut self, attempt: (JobId, WorkerId), class: FailureClass, now: (u32, u64)) -> Option<AfterFailure> {
        let job_id = attempt.0;
        let mut job = self.take_off(job_id)?;
        let after = self.failures.record(attempt, class, &self.retry, now);
        match after {
            AfterFailure::Retry { not_before_s } => {
                job.attempt = Attempt(job.attempt.0.saturating_add(1));
                job.excluded = self.failures.get(job_id).map(|failures| failures.excluded.clone()).unwrap_or_default();
                self.waiting.insert(job_id, (job, not_before_s));
            }
            AfterFailure::Dead(_) => self.failures.forget(job_id),
        }
        Some(after)
    }

    fn cancel(&mut self, job_id: JobId, _now_s: u32) -> bool {
        let was_waiting = self.waiting.remove(&job_id).is_some();
        if was_waiting {
            self.failures.forget(job_id);
        }
        was_waiting
    }

    fn expire(&mut self, now_s: u32) -> Vec<JobId> {
        let is_past = |job: &PendingJob| job.deadline.0 < u64::from(now_s);
        let past = self.waiting.values().filter(|(job, _)| is_past(job)).map(|(job, _)| job.job_id);
        let past: Vec<JobId> = past.collect();
        for job_id in &past {
            self.waiting.remove(job_id);
            self.failures.forget(*job_id);
        }
        past
    }

    fn worker_left(&mut self, worker_id: WorkerId) {
        self.worker(worker_id).online = false;
    }

    fn worker_returned(&mut self, worker_id: WorkerId) {
        self.worker(worker_id).online = true;
    }

    fn waiting(&self) -> usize {
        self.waiting.len()
    }
}
