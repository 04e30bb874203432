//! `keeper_scheduler::plan`, with the books that the chain and the daemon keep around it.
//!
//! This is the one file of the simulation that knows `plan`, `Snapshot` and `Policy`.

use std::collections::BTreeMap;

use keeper_scheduler::{
    ManifestStatus, PendingJob, Policy, Snapshot, WorkerView, plan,
    queueing::{AfterFailure, FailureClass, FailureLog, RetryPolicy},
};
use keeper_types::{
    Address, AgentView, Attempt, BlockNumber, Capabilities, Felt, JobId, ManifestView, Queue, Rate, Requirements,
    RunningJob, Usage, WorkerId, WorkerStatus,
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
/// What a placed job may take beyond its limit, in seconds: until it begins, and until its end is known.
const GRACE_S: u64 = 120;

pub(crate) struct PlanEngine {
    policy: Policy,
    retry: RetryPolicy,
    workers: Vec<WorkerView>,
    /// Waiting jobs, with the second from which on they may be placed.
    waiting: BTreeMap<JobId, (PendingJob, u32)>,
    placed: BTreeMap<JobId, Placed>,
    usage: BTreeMap<Address, Usage>,
    failures: FailureLog,
    /// Who was given a job last.
    last_given: Option<WorkerId>,
}

struct Placed {
    job: PendingJob,
    worker_id: WorkerId,
    at_s: u64,
}

impl Placed {
    fn running(&self) -> RunningJob {
        RunningJob {
            job_id: self.job.job_id,
            client: self.job.client,
            worker_id: self.worker_id,
            gpus: self.job.requirements.gpu_count,
            execution_timeout_s: self.job.execution_timeout_s,
            submitted_at: self.job.submitted_at,
            ends_by: self.at_s + u64::from(self.job.execution_timeout_s) + GRACE_S,
        }
    }
}

impl PlanEngine {
    pub(crate) fn new(set: &PlanSet, workers: &[WorkerKind]) -> Self {
        Self {
            policy: set.policy.clone(),
            retry: set.retry,
            workers: each_worker(workers).map(|(number, kind)| view(number, kind)).collect(),
            waiting: BTreeMap::new(),
            placed: BTreeMap::new(),
            usage: BTreeMap::new(),
            failures: FailureLog::new(),
            last_given: None,
        }
    }

    fn worker(&mut self, worker_id: WorkerId) -> &mut WorkerView {
        &mut self.workers[worker_id.0 as usize]
    }

    /// Takes a job off its worker, whose slot and GPUs are free again.
    fn take_off(&mut self, job_id: JobId, now_s: u32) -> Option<PendingJob> {
        let Placed { job, worker_id, .. } = self.placed.remove(&job_id)?;
        self.usage.entry(job.client).or_default().release(job.requirements.billed_units(), now_s.into());
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
        is_static: false,
        online: true,
        agent: AgentView::default(),
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
        // The simulation's own retries wait; the plan's have then nothing to wait for.
        queued_at: 0,
        max_latency_ms: 0,
        model_id: Felt::ZERO,
        group_id: None,
        excluded: Vec::new(),
        execution_timeout_s: job.limit_s,
        manifest: ManifestStatus::Available,
        manifest_view: ManifestView::default(),
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
        let now = u64::from(now_s);
        let used = self.usage.iter().map(|(client, usage)| (*client, usage.used_milli(now)));
        let snapshot = Snapshot {
            now,
            block: BLOCK,
            // Other lots in every round.
            seed: now,
            jobs,
            workers: self.workers.clone(),
            running: self.placed.values().map(Placed::running).collect(),
            used_milli: used.filter(|(_, used)| *used > 0).collect(),
            turn: self.last_given.filter(|_| self.policy.balancing.takes_turns()),
            portion: None,
        };
        let mut placements = Vec::new();
        for item in plan(&snapshot, &self.policy).items {
            let Some((job, _)) = self.waiting.remove(&item.job_id) else { continue };
            let gpus = job.requirements.gpu_count;
            self.last_given = Some(item.worker_id);
            let worker = self.worker(item.worker_id);
            worker.free_slots -= 1;
            worker.free_gpus -= gpus;
            placements.push(Placement { job_id: item.job_id, gang: vec![(item.worker_id.0, u16::from(gpus))] });
            self.usage.entry(job.client).or_default().hold(job.requirements.billed_units(), now);
            self.placed.insert(item.job_id, Placed { job, worker_id: item.worker_id, at_s: now });
        }
        placements
    }

    fn most_placements(&self) -> usize {
        self.policy.max_items
    }

    fn succeed(&mut self, job_id: JobId, now_s: u32) {
        self.take_off(job_id, now_s);
        self.failures.forget(job_id);
    }

    fn fail(&mut self, attempt: (JobId, WorkerId), class: FailureClass, now: (u32, u64)) -> Option<AfterFailure> {
        let job_id = attempt.0;
        let mut job = self.take_off(job_id, now.0)?;
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
