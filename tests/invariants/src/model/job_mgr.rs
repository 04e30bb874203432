//! Jobs and their escrow, as `job_mgr/interface.cairo` has it.

use std::collections::BTreeSet;

use keeper_types::{Attempt, Felt, JobId, JobState};

use super::{Fields, Model, Refusal, cdc_pool::Outcome, is_admin, show::spec_fields};
use crate::{
    actors::Contract,
    calls::{JobSpec, Moment, Requirements},
};

const FRI_PER_GFRI: u128 = 1_000_000_000;
/// Rates lie below it.
const RATE_END: u128 = 1 << 40;
/// Seconds for the result's transaction on top of the execution timeout.
const GRACE_S: u64 = 60;
const DAY_S: u64 = 86_400;
const MAX_PAGE: u8 = 50;

pub(super) const NOT_TASK_ALLOCATOR: Refusal = "JobMgr: caller not allocator";
const NO_SUCH_JOB: Refusal = "JobMgr: no such job";
const NOT_CLIENT: Refusal = "JobMgr: caller not client";
const NOT_QUEUED: Refusal = "JobMgr: not queued";
const NOT_ALLOCATED: Refusal = "JobMgr: not allocated";
const NOT_REVEALED: Refusal = "JobMgr: not revealed";
const DEADLINE_NOT_PASSED: Refusal = "JobMgr: deadline not passed";

#[derive(Clone, Debug, Default)]
pub(crate) struct JobMgr {
    /// Job `n` stands at `n - 1`.
    pub(crate) jobs: Vec<Job>,
    /// Job and worker.
    pub(crate) excluded: BTreeSet<(u64, u32)>,
    /// 0 until it was set.
    pub(crate) task_allocator: Felt,
}

#[derive(Clone, Debug)]
pub(crate) struct Job {
    pub(crate) client: Felt,
    pub(crate) spec: JobSpec,
    pub(crate) state: JobState,
    pub(crate) attempt: u8,
    /// Until when it may be allocated.
    pub(crate) deadline: Moment,
    /// None in the queue, and of a job that ended there.
    pub(crate) placement: Option<Placement>,
    pub(crate) result_hash: Felt,
    pub(crate) challenge_ends: Option<Moment>,
}

/// An attempt's worker.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Placement {
    pub(crate) worker_id: u32,
    pub(crate) at: Moment,
    pub(crate) rate_gfri: u64,
    pub(crate) score: u16,
    pub(crate) strategy: u8,
    /// When the result is due.
    pub(crate) due: Moment,
}

impl Placement {
    pub(super) fn new(now: Moment, timeout_s: u32, worker_id: u32, rate_gfri: u64, score: u16, strategy: u8) -> Self {
        Self { worker_id, at: now, rate_gfri, score, strategy, due: now.after(u64::from(timeout_s) + GRACE_S) }
    }
}

/// The highest rate (gFri) that the job pays for; 0 if not one.
pub(crate) fn max_rate(spec: &JobSpec) -> u128 {
    spec.max_price / (FRI_PER_GFRI * billed_units(spec) * u128::from(spec.execution_timeout_s))
}

/// What the job costs at a rate, in fri.
pub(crate) fn price(spec: &JobSpec, rate_gfri: u64) -> u128 {
    u128::from(rate_gfri) * FRI_PER_GFRI * billed_units(spec) * u128::from(spec.execution_timeout_s)
}

fn billed_units(spec: &JobSpec) -> u128 {
    u128::from(spec.requirements.gpu_count.max(1))
}

fn ensure(holds: bool, refusal: Refusal) -> Result<(), Refusal> {
    if holds { Ok(()) } else { Err(refusal) }
}

fn check(spec: &JobSpec, now: Moment) -> Result<(), Refusal> {
    ensure(spec.manifest_hash != Felt::ZERO, "JobMgr: zero manifest hash")?;
    ensure((1..=10).contains(&spec.priority), "JobMgr: bad priority")?;
    ensure(spec.queue <= 2, "JobMgr: bad queue")?;
    ensure((1..=15).contains(&spec.max_attempts), "JobMgr: bad max attempts")?;
    check_requirements(&spec.requirements)?;
    ensure(spec.execution_timeout_s > 0, "JobMgr: zero timeout")?;
    ensure(u64::from(spec.execution_timeout_s) <= 30 * DAY_S, "JobMgr: timeout too long")?;
    ensure(spec.deadline > now.timestamp, "JobMgr: deadline in the past")?;
    ensure(spec.deadline <= now.timestamp + 365 * DAY_S, "JobMgr: deadline too far")?;
    ensure(spec.max_price > 0, "JobMgr: zero max price")?;
    ensure(max_rate(spec) >= 1, "JobMgr: price too low")?;
    ensure(max_rate(spec) < RATE_END, "JobMgr: price too high")
}

fn check_requirements(wanted: &Requirements) -> Result<(), Refusal> {
    ensure(wanted.gpu_count <= 63, "JobMgr: too many GPUs")?;
    ensure(wanted.vram_gib <= 1023, "JobMgr: too much VRAM")?;
    ensure(wanted.compute_capability <= 127, "JobMgr: bad compute capability")?;
    ensure(wanted.driver_version <= 1023, "JobMgr: bad driver version")?;
    ensure(wanted.cpu_cores <= 511, "JobMgr: too many CPU cores")?;
    ensure(wanted.memory_gib <= 4095, "JobMgr: too much memory")?;
    ensure(wanted.min_reputation <= 1000, "JobMgr: bad min reputation")?;
    ensure(wanted.region < Felt::from(1_u64 << 40), "JobMgr: region too long")
}

fn position(job_id: JobId) -> Option<usize> {
    usize::try_from(job_id.0.checked_sub(1)?).ok()
}

impl Model {
    pub(crate) fn job(&self, job_id: JobId) -> Option<&Job> {
        self.job_mgr.jobs.get(position(job_id)?)
    }

    pub(super) fn job_mut(&mut self, job_id: JobId) -> Result<&mut Job, Refusal> {
        position(job_id).and_then(|index| self.job_mgr.jobs.get_mut(index)).ok_or(NO_SUCH_JOB)
    }

    pub(super) fn submit_job(&mut self, caller: Felt, spec: &JobSpec) -> Result<Vec<Felt>, Refusal> {
        check(spec, self.now)?;
        self.token.take(caller, Contract::JobMgr, spec.max_price)?;
        let deadline = self.now.after(spec.deadline - self.now.timestamp);
        self.job_mgr.jobs.push(Job {
            client: caller,
            spec: *spec,
            state: JobState::Queued,
            attempt: 1,
            deadline,
            placement: None,
            result_hash: Felt::ZERO,
            challenge_ends: None,
        });
        let job_id = Felt::from(self.job_mgr.jobs.len());
        let mut fields = vec![("job_id", job_id), ("client", caller)];
        fields.extend(spec_fields(spec));
        fields.push(("deadline_block", deadline.block.into()));
        self.emit(Contract::JobMgr, "JobSubmitted", fields);
        Ok(vec![job_id])
    }

    pub(super) fn cancel_job(&mut self, caller: Felt, job_id: JobId) -> Result<Vec<Felt>, Refusal> {
        self.of_client(caller, job_id)?;
        self.in_state(job_id, JobState::Queued, NOT_QUEUED)?;
        self.refund(job_id, JobState::Cancelled, "JobCancelled")
    }

    pub(super) fn accept_result(&mut self, caller: Felt, job_id: JobId) -> Result<Vec<Felt>, Refusal> {
        self.of_client(caller, job_id)?;
        self.in_state(job_id, JobState::Revealed, NOT_REVEALED)?;
        self.pay_worker(job_id)
    }

    pub(super) fn submit_result(
        &mut self,
        caller: Felt,
        job_id: JobId,
        attempt: Attempt,
        result_hash: Felt,
    ) -> Result<Vec<Felt>, Refusal> {
        let worker_id = self.attempt_of(caller, job_id, attempt)?;
        ensure(result_hash != Felt::ZERO, "JobMgr: zero result hash")?;
        let ends = self.now.after(self.terms.challenge_window_s);
        let job = self.job_mut(job_id)?;
        job.state = JobState::Revealed;
        job.result_hash = result_hash;
        job.challenge_ends = Some(ends);
        let fields = vec![
            ("job_id", job_id.0.into()),
            ("worker_id", worker_id.into()),
            ("attempt", attempt.0.into()),
            ("result_hash", result_hash),
            ("challenge_ends_at", ends.timestamp.into()),
            ("challenge_ends_block", ends.block.into()),
        ];
        self.emit(Contract::JobMgr, "ResultSubmitted", fields);
        Ok(Vec::new())
    }

    pub(super) fn fail_attempt(
        &mut self,
        caller: Felt,
        job_id: JobId,
        attempt: Attempt,
        reason: Felt,
    ) -> Result<Vec<Felt>, Refusal> {
        let worker_id = self.attempt_of(caller, job_id, attempt)?;
        self.end_attempt(job_id, worker_id, Outcome::Failed, reason)
    }

    pub(super) fn expire_job(&mut self, job_id: JobId) -> Result<Vec<Felt>, Refusal> {
        let job = self.in_state(job_id, JobState::Queued, NOT_QUEUED)?;
        ensure(job.deadline.has_passed(self.now), DEADLINE_NOT_PASSED)?;
        self.refund(job_id, JobState::Expired, "JobExpired")
    }

    pub(super) fn expire_attempt(&mut self, job_id: JobId) -> Result<Vec<Felt>, Refusal> {
        let job = self.in_state(job_id, JobState::Allocated, NOT_ALLOCATED)?;
        let placement = job.placement.expect("an allocated job has a worker");
        ensure(placement.due.has_passed(self.now), DEADLINE_NOT_PASSED)?;
        self.end_attempt(job_id, placement.worker_id, Outcome::Expired, Felt::ZERO)
    }

    pub(super) fn settle(&mut self, job_id: JobId) -> Result<Vec<Felt>, Refusal> {
        let job = self.in_state(job_id, JobState::Revealed, NOT_REVEALED)?;
        let ends = job.challenge_ends.expect("a result opens the window");
        ensure(ends.has_passed(self.now), "JobMgr: challenge window open")?;
        self.pay_worker(job_id)
    }

    pub(super) fn set_task_allocator(&mut self, caller: Felt, address: Felt) -> Result<Vec<Felt>, Refusal> {
        ensure(is_admin(caller), "JobMgr: caller not admin")?;
        ensure(address != Felt::ZERO, "JobMgr: zero address")?;
        ensure(self.job_mgr.task_allocator == Felt::ZERO, "JobMgr: allocator set before")?;
        self.job_mgr.task_allocator = address;
        self.emit(Contract::JobMgr, "TaskAllocatorSet", vec![("task_allocator", address)]);
        Ok(Vec::new())
    }

    pub(super) fn get_jobs(&self, first: u64, count: u8) -> Result<Vec<Felt>, Refusal> {
        ensure(count <= MAX_PAGE, "JobMgr: too many asked")?;
        let last = self.job_mgr.jobs.len() as u64;
        let ids: Vec<u64> = (first.max(1)..=last).take(usize::from(count)).collect();
        let views = ids.iter().flat_map(|id| self.job_view(JobId(*id)));
        Ok(std::iter::once(ids.len().into()).chain(views.map(|(_, felt)| felt)).collect())
    }

    fn in_state(&self, job_id: JobId, state: JobState, refusal: Refusal) -> Result<&Job, Refusal> {
        let job = self.job(job_id).ok_or(NO_SUCH_JOB)?;
        ensure(job.state == state, refusal)?;
        Ok(job)
    }

    fn of_client(&self, caller: Felt, job_id: JobId) -> Result<(), Refusal> {
        let job = self.job(job_id).ok_or(NO_SUCH_JOB)?;
        ensure(job.client == caller, NOT_CLIENT)
    }

    /// The worker of the job's running attempt, which the caller must own.
    fn attempt_of(&self, caller: Felt, job_id: JobId, attempt: Attempt) -> Result<u32, Refusal> {
        let job = self.in_state(job_id, JobState::Allocated, NOT_ALLOCATED)?;
        ensure(job.attempt == attempt.0, "JobMgr: wrong attempt")?;
        let worker_id = job.placement.expect("an allocated job has a worker").worker_id;
        let is_owner = self.worker(worker_id).is_some_and(|worker| worker.owner == caller);
        ensure(is_owner, "JobMgr: caller not the worker")?;
        Ok(worker_id)
    }

    /// Ends a job with all its money back to the client.
    fn refund(&mut self, job_id: JobId, state: JobState, event: &'static str) -> Result<Vec<Felt>, Refusal> {
        let job = self.job_mut(job_id)?;
        job.state = state;
        let (client, amount) = (job.client, job.spec.max_price);
        self.token.pay(Contract::JobMgr, client, amount)?;
        let fields: Fields = vec![("job_id", job_id.0.into()), ("client", client), ("refunded", amount.into())];
        self.emit(Contract::JobMgr, event, fields);
        Ok(Vec::new())
    }

    fn pay_worker(&mut self, job_id: JobId) -> Result<Vec<Felt>, Refusal> {
        let job = self.job_mut(job_id)?;
        job.state = JobState::Settled;
        let placement = job.placement.expect("a revealed job has a worker");
        let (client, worker_id) = (job.client, placement.worker_id);
        let paid = price(&job.spec, placement.rate_gfri);
        let refunded = job.spec.max_price - paid;
        self.record_outcome(worker_id, Outcome::Settled);
        let owner = self.worker(worker_id).expect("workers are never forgotten").owner;
        self.token.pay(Contract::JobMgr, owner, paid)?;
        self.token.pay(Contract::JobMgr, client, refunded)?;
        let fields = vec![
            ("job_id", job_id.0.into()),
            ("worker_id", worker_id.into()),
            ("client", client),
            ("paid", paid.into()),
            ("refunded", refunded.into()),
        ];
        self.emit(Contract::JobMgr, "JobSettled", fields);
        Ok(Vec::new())
    }

    fn end_attempt(
        &mut self,
        job_id: JobId,
        worker_id: u32,
        outcome: Outcome,
        reason: Felt,
    ) -> Result<Vec<Felt>, Refusal> {
        self.record_outcome(worker_id, outcome);
        self.job_mgr.excluded.insert((job_id.0, worker_id));
        let job = self.job_mut(job_id)?;
        let attempt = job.attempt;
        let is_requeued = attempt < job.spec.max_attempts;
        if is_requeued {
            job.state = JobState::Queued;
            job.attempt += 1;
            job.placement = None;
        }
        let fields = vec![
            ("job_id", job_id.0.into()),
            ("worker_id", worker_id.into()),
            ("attempt", attempt.into()),
            ("expired", Felt::from(outcome == Outcome::Expired)),
            ("reason", reason),
            ("requeued", Felt::from(is_requeued)),
        ];
        self.emit(Contract::JobMgr, "AttemptFailed", fields);
        if is_requeued { Ok(Vec::new()) } else { self.refund(job_id, JobState::Failed, "JobFailed") }
    }
}
