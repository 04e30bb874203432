//! Jobs and their escrow, as `job_mgr/interface.cairo` has it: what clients and the admin do.

use std::collections::{BTreeMap, BTreeSet};

use keeper_types::{Felt, JobId, JobState};

use super::{Answered, Model, Refusal, disputes::Dispute, ensure, groups::Group};
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

const NO_SUCH_JOB: Refusal = "JobMgr: no such job";
pub(super) const IS_REPLICA: Refusal = "JobMgr: is a replica";
pub(super) const NOT_QUEUED: Refusal = "JobMgr: not queued";
pub(super) const NOT_REVEALED: Refusal = "JobMgr: not revealed";
const ZERO_ADDRESS: Refusal = "JobMgr: zero address";

#[derive(Clone, Debug, Default)]
pub(crate) struct JobMgr {
    /// Job `n` stands at `n - 1`.
    pub(crate) jobs: Vec<Job>,
    /// Job and worker; of a replica, the group and the worker.
    pub(crate) excluded: BTreeSet<(u64, u32)>,
    /// By the id of the first replica.
    pub(crate) groups: BTreeMap<u64, Group>,
    /// The latest of each job.
    pub(crate) disputes: BTreeMap<u64, Dispute>,
    /// Fri owed, without zeros.
    pub(super) credit: BTreeMap<Felt, u128>,
    /// These are 0 until they were set.
    pub(crate) task_allocator: Felt,
    pub(crate) paymaster: Felt,
    pub(crate) referee: Felt,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Job {
    pub(crate) client: Felt,
    pub(crate) spec: JobSpec,
    pub(crate) state: JobState,
    pub(crate) attempt: u8,
    /// Until when it may be allocated.
    pub(crate) deadline: Moment,
    /// None in the queue, and of a job that ended there.
    pub(crate) placement: Option<Placement>,
    /// Of this attempt; 0 where there is none.
    pub(crate) commitment: Felt,
    /// When a committed result is due; none of a replica, whose group says.
    pub(crate) reveal_due: Option<Moment>,
    pub(crate) result_hash: Felt,
    pub(crate) challenge_ends: Option<Moment>,
    /// The id of the first replica, 0 of a job alone.
    pub(crate) group: u64,
    /// Whether its worker's stake is held for it.
    pub(crate) is_held: bool,
}

/// An attempt's worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Placement {
    pub(crate) worker_id: u32,
    pub(crate) at: Moment,
    pub(crate) rate_gfri: u64,
    pub(crate) score: u16,
    pub(crate) strategy: u8,
    /// When the result, or the commitment, is due.
    pub(crate) due: Moment,
}

impl Placement {
    pub(super) fn new(now: Moment, timeout_s: u32, worker_id: u32, rate_gfri: u64, score: u16, strategy: u8) -> Self {
        Self { worker_id, at: now, rate_gfri, score, strategy, due: now.after(u64::from(timeout_s) + GRACE_S) }
    }
}

impl Job {
    /// What its worker is paid, in fri.
    pub(super) fn price(&self) -> u128 {
        self.placement.map_or(0, |placement| price(&self.spec, placement.rate_gfri))
    }

    pub(crate) fn worker_id(&self) -> u32 {
        self.placement.map_or(0, |placement| placement.worker_id)
    }

    /// What its worker's exclusion is noted under.
    pub(crate) fn exclusion(&self, job_id: JobId) -> u64 {
        if self.group == 0 { job_id.0 } else { self.group }
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

fn check(spec: &JobSpec, now: Moment) -> Result<(), Refusal> {
    ensure(spec.manifest_hash != Felt::ZERO, "JobMgr: zero manifest hash")?;
    ensure((1..=10).contains(&spec.priority), "JobMgr: bad priority")?;
    ensure(spec.queue <= 2, "JobMgr: bad queue")?;
    ensure((1..=15).contains(&spec.max_attempts), "JobMgr: bad max attempts")?;
    ensure(spec.max_latency_ms <= 16_383, "JobMgr: bad latency")?;
    let is_alone = spec.replicas == 1;
    // More than one replica are a verification themselves.
    ensure(spec.verification <= if spec.replicas > 1 { 0 } else { 2 }, "JobMgr: bad verification")?;
    ensure(is_alone || (3..=15).contains(&spec.replicas), "JobMgr: bad replicas")?;
    let is_sound =
        if is_alone { spec.quorum == 1 } else { spec.replicas / 2 < spec.quorum && spec.quorum < spec.replicas };
    ensure(is_sound, "JobMgr: bad quorum")?;
    check_requirements(&spec.requirements)?;
    ensure(spec.execution_timeout_s > 0, "JobMgr: zero timeout")?;
    let (timeout_days, ahead_days) = if is_alone { (30, 365) } else { (1, 7) };
    ensure(u64::from(spec.execution_timeout_s) <= timeout_days * DAY_S, "JobMgr: timeout too long")?;
    ensure(spec.deadline > now.timestamp, "JobMgr: deadline in the past")?;
    ensure(spec.deadline <= now.timestamp + ahead_days * DAY_S, "JobMgr: deadline too far")?;
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

    /// The job, which must be in one of the states.
    pub(super) fn in_state(&self, job_id: JobId, states: &[JobState], refusal: Refusal) -> Result<&Job, Refusal> {
        let job = self.job(job_id).ok_or(NO_SUCH_JOB)?;
        ensure(states.contains(&job.state), refusal)?;
        Ok(job)
    }

    /// The job, whose client must be the caller.
    pub(super) fn of_client(&self, caller: Felt, job_id: JobId) -> Result<(), Refusal> {
        let job = self.job(job_id).ok_or(NO_SUCH_JOB)?;
        ensure(job.client == caller, "JobMgr: caller not client")
    }

    pub(super) fn submit_job(&mut self, caller: Felt, spec: &JobSpec) -> Answered {
        self.unless_paused(Contract::JobMgr)?;
        check(spec, self.now)?;
        let first = self.queue(caller, spec, false);
        self.charge(caller, spec.max_price * u128::from(spec.replicas))?;
        self.report_submission(first);
        Ok(vec![first.into()])
    }

    pub(super) fn submit_job_for(&mut self, caller: Felt, client: Felt, spec: &JobSpec) -> Answered {
        self.unless_paused(Contract::JobMgr)?;
        ensure(client != Felt::ZERO, ZERO_ADDRESS)?;
        ensure(self.job_mgr.paymaster != Felt::ZERO, "JobMgr: no paymaster")?;
        check(spec, self.now)?;
        let first = self.queue(client, spec, false);
        let escrow = spec.max_price * u128::from(spec.replicas);
        self.draw_escrow(Contract::JobMgr.address(), client, caller, escrow)?;
        self.report_submission(first);
        Ok(vec![first.into()])
    }

    /// Queues a job or each of its replicas, and returns the first id. Nothing is paid yet.
    pub(super) fn queue(&mut self, client: Felt, spec: &JobSpec, is_committee: bool) -> u64 {
        let first = self.job_mgr.jobs.len() as u64 + 1;
        let group = if spec.replicas == 1 { 0 } else { first };
        let job = Job {
            client,
            spec: *spec,
            state: JobState::Queued,
            attempt: 1,
            deadline: self.now.after(spec.deadline - self.now.timestamp),
            placement: None,
            commitment: Felt::ZERO,
            reveal_due: None,
            result_hash: Felt::ZERO,
            challenge_ends: None,
            group,
            is_held: false,
        };
        self.job_mgr.jobs.extend(std::iter::repeat_n(job, usize::from(spec.replicas)));
        if group != 0 {
            self.job_mgr.groups.insert(group, Group::new(spec.replicas, spec.quorum, is_committee));
        }
        first
    }

    pub(super) fn report_submission(&mut self, first: u64) {
        let count = self.job(JobId(first)).map_or(0, |job| job.spec.replicas);
        for job_id in first..first + u64::from(count) {
            let job = self.job(JobId(job_id)).expect("it has just been queued");
            let mut fields = vec![("job_id", job_id.into()), ("client", job.client)];
            fields.extend(job.spec.fields());
            fields.push(("deadline_block", job.deadline.block.into()));
            fields.push(("group_id", job.group.into()));
            self.emit(Contract::JobMgr, "JobSubmitted", fields);
        }
    }

    pub(super) fn cancel_job(&mut self, caller: Felt, job_id: JobId) -> Answered {
        self.of_client(caller, job_id)?;
        let group = self.in_state(job_id, &[JobState::Queued], NOT_QUEUED)?.group;
        if group == 0 {
            return self.refund(job_id, JobState::Cancelled, "JobCancelled");
        }
        let members = &self.job_mgr.groups[&group];
        ensure(!members.is_committee, "JobMgr: is a committee")?;
        ensure(members.allocations == 0, "JobMgr: group started")?;
        for member in self.members(group) {
            if self.job(member).is_some_and(|job| job.state == JobState::Queued) {
                self.refund(member, JobState::Cancelled, "JobCancelled")?;
            }
        }
        Ok(Vec::new())
    }

    pub(super) fn accept_result(&mut self, caller: Felt, job_id: JobId) -> Answered {
        self.of_client(caller, job_id)?;
        let job = self.in_state(job_id, &[JobState::Revealed], NOT_REVEALED)?;
        ensure(job.group == 0, IS_REPLICA)?;
        self.pay_worker(job_id)
    }

    pub(super) fn set_task_allocator(&mut self, caller: Felt, address: Felt) -> Answered {
        self.only_admin(caller, Contract::JobMgr)?;
        ensure(address != Felt::ZERO, ZERO_ADDRESS)?;
        ensure(self.job_mgr.task_allocator == Felt::ZERO, "JobMgr: allocator set before")?;
        self.job_mgr.task_allocator = address;
        self.emit(Contract::JobMgr, "TaskAllocatorSet", vec![("task_allocator", address)]);
        Ok(Vec::new())
    }

    pub(super) fn set_paymaster(&mut self, caller: Felt, address: Felt) -> Answered {
        self.only_admin(caller, Contract::JobMgr)?;
        ensure(address != Felt::ZERO, ZERO_ADDRESS)?;
        ensure(self.job_mgr.paymaster == Felt::ZERO, "JobMgr: paymaster set before")?;
        self.job_mgr.paymaster = address;
        self.emit(Contract::JobMgr, "PaymasterSet", vec![("paymaster", address)]);
        Ok(Vec::new())
    }

    pub(super) fn set_referee(&mut self, caller: Felt, address: Felt) -> Answered {
        self.only_admin(caller, Contract::JobMgr)?;
        ensure(address != Felt::ZERO, ZERO_ADDRESS)?;
        ensure(self.job_mgr.referee == Felt::ZERO, "JobMgr: referee set before")?;
        self.job_mgr.referee = address;
        self.emit(Contract::JobMgr, "RefereeSet", vec![("referee", address)]);
        Ok(Vec::new())
    }

    pub(super) fn get_jobs(&self, first: u64, count: u8) -> Answered {
        ensure(count <= MAX_PAGE, "JobMgr: too many asked")?;
        let last = self.job_mgr.jobs.len() as u64;
        let ids: Vec<u64> = (first.max(1)..=last).take(usize::from(count)).collect();
        let views = ids.iter().flat_map(|id| self.job_view(JobId(*id)));
        Ok(std::iter::once(ids.len().into()).chain(views.map(|(_, felt)| felt)).collect())
    }
}
