//! What can be called, with every argument free: also values that a client in good faith would never send.

use std::fmt;

use keeper_types::{AllocationItem, Attempt, Felt, JobId, WorkerId};

use crate::actors::{Actor, Contract, describe};

/// A timestamp (Unix time in seconds) and a block number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Moment {
    pub(crate) timestamp: u64,
    pub(crate) block: u64,
}

/// What a job asks of its worker, as it is sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Requirements {
    pub(crate) gpu_count: u8,
    pub(crate) vram_gib: u16,
    pub(crate) compute_capability: u8,
    pub(crate) cuda_version: u8,
    pub(crate) driver_version: u16,
    pub(crate) cpu_cores: u16,
    pub(crate) memory_gib: u16,
    pub(crate) min_reputation: u16,
    pub(crate) features: u16,
    pub(crate) region: Felt,
}

/// What a worker offers, as it is sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Capabilities {
    pub(crate) gpu_count: u8,
    pub(crate) vram_gib: u16,
    pub(crate) compute_capability: u8,
    pub(crate) cuda_version: u8,
    pub(crate) driver_version: u16,
    pub(crate) cpu_cores: u16,
    pub(crate) memory_gib: u16,
    pub(crate) features: u16,
    pub(crate) region: Felt,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct JobSpec {
    pub(crate) manifest_hash: Felt,
    pub(crate) model_id: Felt,
    pub(crate) requirements: Requirements,
    pub(crate) priority: u8,
    pub(crate) queue: u8,
    /// Fri.
    pub(crate) max_price: u128,
    /// Unix time in seconds.
    pub(crate) deadline: u64,
    pub(crate) execution_timeout_s: u32,
    pub(crate) max_attempts: u8,
}

/// The terms of `register_worker` and `update_worker`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Offer {
    pub(crate) capabilities: Capabilities,
    pub(crate) slots: u8,
    pub(crate) rate_gfri: u64,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Metrics {
    pub(crate) queue_length: u32,
    pub(crate) response_ms: u32,
    pub(crate) success_bps: u16,
    pub(crate) utilisation_bps: u16,
}

/// The parameters of the view `allocate_job`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct AllocationParams {
    pub(crate) job_id: (u128, u128),
    pub(crate) model_id: Felt,
    pub(crate) priority: u8,
    pub(crate) region: Felt,
    pub(crate) min_reputation: u32,
}

/// An entry point with its arguments.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Call {
    SubmitJob(Box<JobSpec>),
    CancelJob(JobId),
    AcceptResult(JobId),
    SubmitResult { job_id: JobId, attempt: Attempt, result_hash: Felt },
    FailAttempt { job_id: JobId, attempt: Attempt, reason: Felt },
    ExpireJob(JobId),
    ExpireAttempt(JobId),
    Settle(JobId),
    AllocateBatch(Vec<Felt>),
    SetTaskAllocator(Felt),
    GetJobs { first: u64, count: u8 },

    RegisterWorker { offer: Box<Offer>, stake: u128 },
    UpdateWorker(Box<Offer>),
    DrainWorker,
    ResumeWorker,
    ExitWorker,
    WithdrawStake,
    ReserveBatch(WorkerId),
    Release { worker_id: WorkerId, gpu_count: u8, owner: Felt },
    RecordFailure { worker_id: WorkerId, gpu_count: u8, failure: u8 },
    RecordSettlement(WorkerId),
    SetJobMgr(Felt),
    GetWorkers { first: u32, count: u8 },

    ApplyBatch { round: u64, snapshot_block: u64, items: Vec<Felt> },
    AddKeeper(Felt),
    RemoveKeeper(Felt),
    UpdateWorkerMetrics { worker_id: Felt, metrics: Metrics },
    AllocateJob(Box<AllocationParams>),
    GetWorkerLoad(Felt),
    GetWorkerMetrics(Felt),
    MetricsReportedAt(Felt),

    Approve { spender: Contract, amount: u128 },
}

impl Call {
    /// The contract that is called, and its function.
    pub(crate) fn target(&self) -> (Contract, &'static str) {
        use Contract::{CdcPool, JobMgr, TaskAllocator, Token};
        match self {
            Self::SubmitJob(_) => (JobMgr, "submit_job"),
            Self::CancelJob(_) => (JobMgr, "cancel_job"),
            Self::AcceptResult(_) => (JobMgr, "accept_result"),
            Self::SubmitResult { .. } => (JobMgr, "submit_result"),
            Self::FailAttempt { .. } => (JobMgr, "fail_attempt"),
            Self::ExpireJob(_) => (JobMgr, "expire_job"),
            Self::ExpireAttempt(_) => (JobMgr, "expire_attempt"),
            Self::Settle(_) => (JobMgr, "settle"),
            Self::AllocateBatch(_) => (JobMgr, "allocate_batch"),
            Self::SetTaskAllocator(_) => (JobMgr, "set_task_allocator"),
            Self::GetJobs { .. } => (JobMgr, "get_jobs"),
            Self::RegisterWorker { .. } => (CdcPool, "register_worker"),
            Self::UpdateWorker(_) => (CdcPool, "update_worker"),
            Self::DrainWorker => (CdcPool, "drain_worker"),
            Self::ResumeWorker => (CdcPool, "resume_worker"),
            Self::ExitWorker => (CdcPool, "exit_worker"),
            Self::WithdrawStake => (CdcPool, "withdraw_stake"),
            Self::ReserveBatch(_) => (CdcPool, "reserve_batch"),
            Self::Release { .. } => (CdcPool, "release"),
            Self::RecordFailure { .. } => (CdcPool, "record_failure"),
            Self::RecordSettlement(_) => (CdcPool, "record_settlement"),
            Self::SetJobMgr(_) => (CdcPool, "set_job_mgr"),
            Self::GetWorkers { .. } => (CdcPool, "get_workers"),
            Self::ApplyBatch { .. } => (TaskAllocator, "apply_batch"),
            Self::AddKeeper(_) => (TaskAllocator, "add_keeper"),
            Self::RemoveKeeper(_) => (TaskAllocator, "remove_keeper"),
            Self::UpdateWorkerMetrics { .. } => (TaskAllocator, "update_worker_metrics"),
            Self::AllocateJob(_) => (TaskAllocator, "allocate_job"),
            Self::GetWorkerLoad(_) => (TaskAllocator, "get_worker_load"),
            Self::GetWorkerMetrics(_) => (TaskAllocator, "get_worker_metrics"),
            Self::MetricsReportedAt(_) => (TaskAllocator, "metrics_reported_at"),
            Self::Approve { .. } => (Token, "approve"),
        }
    }

    /// The arguments as the ABI serialises them.
    pub(crate) fn calldata(&self) -> Vec<Felt> {
        match self {
            Self::SubmitJob(spec) => spec.felts(),
            Self::CancelJob(id)
            | Self::AcceptResult(id)
            | Self::ExpireJob(id)
            | Self::ExpireAttempt(id)
            | Self::Settle(id) => vec![id.0.into()],
            Self::SubmitResult { job_id, attempt, result_hash: felt }
            | Self::FailAttempt { job_id, attempt, reason: felt } => vec![job_id.0.into(), attempt.0.into(), *felt],
            Self::AllocateBatch(items) => with_length(items),
            Self::SetTaskAllocator(address)
            | Self::SetJobMgr(address)
            | Self::AddKeeper(address)
            | Self::RemoveKeeper(address) => vec![*address],
            Self::GetJobs { first, count } => vec![(*first).into(), (*count).into()],
            Self::RegisterWorker { offer, stake } => {
                let mut felts = offer.felts();
                felts.push((*stake).into());
                felts
            }
            Self::UpdateWorker(offer) => offer.felts(),
            Self::DrainWorker | Self::ResumeWorker | Self::ExitWorker | Self::WithdrawStake => Vec::new(),
            // One request that asks for nothing and pays anything.
            Self::ReserveBatch(worker_id) => vec![Felt::ONE, request_of(*worker_id)],
            Self::Release { worker_id, gpu_count, owner } => vec![worker_id.0.into(), (*gpu_count).into(), *owner],
            Self::RecordFailure { worker_id, gpu_count, failure } => {
                vec![worker_id.0.into(), (*gpu_count).into(), (*failure).into()]
            }
            Self::RecordSettlement(worker_id) => vec![worker_id.0.into()],
            Self::GetWorkers { first, count } => vec![(*first).into(), (*count).into()],
            Self::ApplyBatch { round, snapshot_block, items } => {
                let mut felts = vec![(*round).into(), (*snapshot_block).into()];
                felts.extend(with_length(items));
                felts
            }
            Self::UpdateWorkerMetrics { worker_id, metrics } => {
                let mut felts = vec![*worker_id];
                felts.extend(metrics.felts());
                felts
            }
            Self::AllocateJob(params) => params.felts(),
            Self::GetWorkerLoad(worker_id) | Self::GetWorkerMetrics(worker_id) | Self::MetricsReportedAt(worker_id) => {
                vec![*worker_id]
            }
            Self::Approve { spender, amount } => vec![spender.address(), (*amount).into(), Felt::ZERO],
        }
    }
}

/// As `math/reserve_request.cairo` packs it: the highest rate from bit 128, the worker from bit 208.
fn request_of(worker_id: WorkerId) -> Felt {
    let any_rate = Felt::from((1_u64 << 40) - 1) * Felt::TWO.pow(128_u32);
    any_rate + Felt::from(worker_id.0) * Felt::TWO.pow(208_u32)
}

fn with_length(items: &[Felt]) -> Vec<Felt> {
    std::iter::once(Felt::from(items.len())).chain(items.iter().copied()).collect()
}

impl JobSpec {
    fn felts(&self) -> Vec<Felt> {
        let wanted = self.requirements;
        vec![
            self.manifest_hash,
            self.model_id,
            wanted.gpu_count.into(),
            wanted.vram_gib.into(),
            wanted.compute_capability.into(),
            wanted.cuda_version.into(),
            wanted.driver_version.into(),
            wanted.cpu_cores.into(),
            wanted.memory_gib.into(),
            wanted.min_reputation.into(),
            wanted.features.into(),
            wanted.region,
            self.priority.into(),
            self.queue.into(),
            self.max_price.into(),
            self.deadline.into(),
            self.execution_timeout_s.into(),
            self.max_attempts.into(),
        ]
    }
}

impl Offer {
    fn felts(&self) -> Vec<Felt> {
        let offered = self.capabilities;
        vec![
            offered.gpu_count.into(),
            offered.vram_gib.into(),
            offered.compute_capability.into(),
            offered.cuda_version.into(),
            offered.driver_version.into(),
            offered.cpu_cores.into(),
            offered.memory_gib.into(),
            offered.features.into(),
            offered.region,
            self.slots.into(),
            self.rate_gfri.into(),
        ]
    }
}

impl Metrics {
    pub(crate) fn felts(&self) -> [Felt; 4] {
        [self.queue_length.into(), self.response_ms.into(), self.success_bps.into(), self.utilisation_bps.into()]
    }
}

impl AllocationParams {
    fn felts(&self) -> Vec<Felt> {
        let (low, high) = self.job_id;
        vec![low.into(), high.into(), self.model_id, self.priority.into(), self.region, self.min_reputation.into()]
    }
}

/// A call in a sequence: who makes it, and how much later than the one before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Step {
    pub(crate) after_s: u64,
    pub(crate) after_blocks: u64,
    pub(crate) caller: Actor,
    pub(crate) call: Call,
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if (self.after_s, self.after_blocks) != (0, 0) {
            write!(f, "+{} s, +{} blocks; ", self.after_s, self.after_blocks)?;
        }
        let (contract, function) = self.call.target();
        write!(f, "{}: {}.{function}", self.caller, contract.name())?;
        let items = match &self.call {
            Call::AllocateBatch(items) | Call::ApplyBatch { items, .. } => items.as_slice(),
            _ => &[],
        };
        let arguments = self.call.calldata();
        let shown = arguments.len() - items.len();
        let mut words: Vec<String> = arguments[..shown].iter().map(|felt| describe(*felt)).collect();
        words.extend(items.iter().take(20).map(|item| describe_item(*item)));
        write!(f, "({})", words.join(", "))
    }
}

fn describe_item(item: Felt) -> String {
    match AllocationItem::unpack(item) {
        Ok(AllocationItem { job_id, worker_id, attempt, .. }) => {
            format!("job {job_id} attempt {attempt} -> worker {worker_id}")
        }
        Err(_) => format!("malformed {item:#x}"),
    }
}
