//! Between the bindings' types and the market's.
//!
//! The contracts check every value that they store, so a value out of bounds here means that something else
//! than our contracts answered; it is reported, never bent into shape.

use cainome::cairo_serde::ContractAddress;
use keeper_bindings::{cdc_pool, job_mgr, task_allocator};
use keeper_types::{
    Address, Attempt, BlockNumber, Capabilities, Features, Felt, Fri, JobId, JobSpec, JobState, Queue, Rate, Region,
    Requirements, RoundHeader, Verification, Worker, WorkerId, WorkerStatus,
};
use serde::Serialize;

/// A value that our contracts cannot have written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field} has the impossible value {value}")]
pub struct ValueError {
    field: &'static str,
    value: String,
}

pub(crate) fn impossible(field: &'static str, value: &dyn ToString) -> ValueError {
    ValueError { field, value: value.to_string() }
}

/// A job as JobMgr holds it now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ChainJob {
    /// Its number.
    pub job_id: JobId,
    /// Who submitted it.
    pub client: Address,
    /// Where it stands.
    pub state: JobState,
    /// The attempt that is queued, running or was the last.
    pub attempt: Attempt,
    /// The worker of the running or last attempt.
    pub worker_id: Option<WorkerId>,
    /// What was asked for.
    pub spec: JobSpec,
    /// The rate agreed for the running or last attempt.
    pub rate: Rate,
    /// The score of the allocation.
    pub score: u16,
    /// When the attempt was allocated, in seconds since the epoch.
    pub allocated_at: u64,
    /// The block after which the job may expire.
    pub deadline_block: BlockNumber,
    /// When the attempt may be expired, in seconds since the epoch; the block must pass as well.
    pub attempt_deadline: u64,
    /// The block after which the attempt may be expired.
    pub attempt_deadline_block: BlockNumber,
    /// The output's content hash, zero before there is one.
    pub result_hash: Felt,
    /// When the result may be settled by anyone, in seconds since the epoch; the block must pass as well.
    pub challenge_ends_at: u64,
    /// The block after which the result may be settled by anyone.
    pub challenge_ends_block: BlockNumber,
    /// What the worker is committed to, zero where it is not.
    pub commitment: Felt,
    /// The group, named by its first job, where the job is a replica.
    pub group_id: Option<JobId>,
}

impl ChainJob {
    /// What the worker of the attempt is paid for its result.
    pub fn price(&self) -> Fri {
        self.rate.cost(self.spec.requirements.billed_units(), self.spec.execution_timeout_s)
    }
}

/// The replicas of a job as JobMgr holds them now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct ChainGroup {
    /// The first replica's number; the others follow it.
    pub group_id: JobId,
    /// Replicas.
    pub replicas: u8,
    /// Replicas that must agree.
    pub quorum: u8,
    /// Replicas that wait for a worker or are run.
    pub pending: u8,
    /// Replicas whose results are known.
    pub revealed: u8,
    /// Whether a replica was ever allocated.
    pub started: bool,
    /// When the last replica stopped pending, in seconds since the epoch: results may be shown from then on.
    pub opened_at: Option<u64>,
    /// Whether it has a winner, or was found to have none.
    pub is_decided: bool,
    /// The result that enough replicas agree on, zero where there is none.
    pub winner: Felt,
}

/// A dispute as JobMgr holds it now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct ChainDispute {
    /// The job.
    pub job_id: JobId,
    /// What the client put up.
    pub bond: Fri,
    /// When it is ruled by default, in seconds since the epoch; the block must pass as well.
    pub ends_at: u64,
    /// The block after which it is ruled by default.
    pub ends_block: BlockNumber,
    /// The group that runs the job again; `None` where the referee rules.
    pub committee: Option<JobId>,
}

/// A keeper as TaskAllocator knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct ChainKeeper {
    /// Whether the admin's admission stands.
    pub is_admitted: bool,
    /// What it has at stake.
    pub bond: Fri,
    /// The least that a keeper must have at stake.
    pub least_bond: Fri,
}

/// A number of a job, where zero stands for none.
pub(crate) fn some_job(number: u64) -> Option<JobId> {
    (number != 0).then_some(JobId(number))
}

pub(crate) fn address(address: ContractAddress) -> Address {
    Address(address.0)
}

fn region(felt: Felt) -> Result<Option<Region>, ValueError> {
    Region::from_felt(felt).map_err(|error| impossible("region", &error))
}

fn region_felt(region: Option<Region>) -> Felt {
    region.map_or(Felt::ZERO, Region::to_felt)
}

pub(crate) fn job_spec(spec: job_mgr::JobSpec) -> Result<JobSpec, ValueError> {
    let needs = spec.requirements;
    Ok(JobSpec {
        manifest_hash: spec.manifest_hash,
        model_id: spec.model_id,
        requirements: Requirements {
            gpu_count: needs.gpu_count,
            vram_gib: needs.vram_gib,
            compute_capability: needs.compute_capability,
            cuda_version: needs.cuda_version,
            driver_version: needs.driver_version,
            cpu_cores: needs.cpu_cores,
            memory_gib: needs.memory_gib,
            min_reputation: needs.min_reputation,
            features: Features(needs.features),
            region: region(needs.region)?,
        },
        priority: spec.priority,
        queue: Queue::from_number(spec.queue).ok_or_else(|| impossible("queue", &spec.queue))?,
        max_price: Fri(spec.max_price),
        deadline: spec.deadline,
        execution_timeout_s: spec.execution_timeout_s,
        max_attempts: spec.max_attempts,
        max_latency_ms: spec.max_latency_ms,
        verification: Verification::from_number(spec.verification)
            .ok_or_else(|| impossible("verification", &spec.verification))?,
        replicas: spec.replicas,
        quorum: spec.quorum,
    })
}

pub(crate) fn job_spec_to_chain(spec: &JobSpec) -> job_mgr::JobSpec {
    let needs = &spec.requirements;
    job_mgr::JobSpec {
        manifest_hash: spec.manifest_hash,
        model_id: spec.model_id,
        requirements: job_mgr::Requirements {
            gpu_count: needs.gpu_count,
            vram_gib: needs.vram_gib,
            compute_capability: needs.compute_capability,
            cuda_version: needs.cuda_version,
            driver_version: needs.driver_version,
            cpu_cores: needs.cpu_cores,
            memory_gib: needs.memory_gib,
            min_reputation: needs.min_reputation,
            features: needs.features.0,
            region: region_felt(needs.region),
        },
        priority: spec.priority,
        queue: spec.queue as u8,
        max_price: spec.max_price.0,
        deadline: spec.deadline,
        execution_timeout_s: spec.execution_timeout_s,
        max_attempts: spec.max_attempts,
        max_latency_ms: spec.max_latency_ms,
        verification: spec.verification as u8,
        replicas: spec.replicas,
        quorum: spec.quorum,
    }
}

pub(crate) fn capabilities(chain: &cdc_pool::Capabilities) -> Result<Capabilities, ValueError> {
    Ok(Capabilities {
        gpu_count: chain.gpu_count,
        vram_gib: chain.vram_gib,
        compute_capability: chain.compute_capability,
        cuda_version: chain.cuda_version,
        driver_version: chain.driver_version,
        cpu_cores: chain.cpu_cores,
        memory_gib: chain.memory_gib,
        features: Features(chain.features),
        region: region(chain.region)?,
    })
}

pub(crate) fn capabilities_to_chain(capabilities: &Capabilities) -> cdc_pool::Capabilities {
    cdc_pool::Capabilities {
        gpu_count: capabilities.gpu_count,
        vram_gib: capabilities.vram_gib,
        compute_capability: capabilities.compute_capability,
        cuda_version: capabilities.cuda_version,
        driver_version: capabilities.driver_version,
        cpu_cores: capabilities.cpu_cores,
        memory_gib: capabilities.memory_gib,
        features: capabilities.features.0,
        region: region_felt(capabilities.region),
    }
}

/// The job, or `None` where the contract has none of that number.
pub(crate) fn job(view: job_mgr::JobView) -> Result<Option<ChainJob>, ValueError> {
    let state = match view.state {
        job_mgr::JobState::None => return Ok(None),
        job_mgr::JobState::Queued => JobState::Queued,
        job_mgr::JobState::Allocated => JobState::Allocated,
        job_mgr::JobState::Committed => JobState::Committed,
        job_mgr::JobState::Revealed => JobState::Revealed,
        job_mgr::JobState::Disputed => JobState::Disputed,
        job_mgr::JobState::Settled => JobState::Settled,
        job_mgr::JobState::Cancelled => JobState::Cancelled,
        job_mgr::JobState::Expired => JobState::Expired,
        job_mgr::JobState::Failed => JobState::Failed,
    };
    Ok(Some(ChainJob {
        job_id: JobId(view.job_id),
        client: address(view.client),
        state,
        attempt: Attempt(view.attempt),
        worker_id: (view.worker_id != 0).then_some(WorkerId(view.worker_id)),
        spec: job_spec(view.spec)?,
        rate: Rate(view.rate_gfri),
        score: view.score,
        allocated_at: view.allocated_at,
        deadline_block: BlockNumber(view.deadline_block),
        attempt_deadline: view.attempt_deadline,
        attempt_deadline_block: BlockNumber(view.attempt_deadline_block),
        result_hash: view.result_hash,
        challenge_ends_at: view.challenge_ends_at,
        challenge_ends_block: BlockNumber(view.challenge_ends_block),
        commitment: view.commitment,
        group_id: some_job(view.group_id),
    }))
}

/// The worker, or `None` where the contract has none of that number.
pub(crate) fn worker(view: &cdc_pool::WorkerView) -> Result<Option<Worker>, ValueError> {
    let status = match view.status {
        cdc_pool::WorkerStatus::None => return Ok(None),
        cdc_pool::WorkerStatus::Active => WorkerStatus::Active,
        cdc_pool::WorkerStatus::Draining => WorkerStatus::Draining,
        cdc_pool::WorkerStatus::Exiting => WorkerStatus::Exiting,
        cdc_pool::WorkerStatus::Exited => WorkerStatus::Exited,
    };
    let used = |total: u8, free: u8, field| total.checked_sub(free).ok_or_else(|| impossible(field, &free));
    Ok(Some(Worker {
        worker_id: WorkerId(view.worker_id),
        owner: address(view.owner),
        status,
        used_slots: used(view.slots, view.free_slots, "free slots")?,
        used_gpus: used(view.capabilities.gpu_count, view.free_gpus, "free GPUs")?,
        capabilities: capabilities(&view.capabilities)?,
        slots: view.slots,
        rate: Rate(view.rate_gfri),
        stake: Fri(view.stake),
        reputation: view.reputation,
        reputation_at: view.reputation_at,
        is_static: view.is_static,
        holds: view.holds,
    }))
}

/// The group, or `None` where the contract has none of that number.
pub(crate) fn group(view: &job_mgr::GroupView) -> Option<ChainGroup> {
    (view.replicas != 0).then(|| ChainGroup {
        group_id: JobId(view.group_id),
        replicas: view.replicas,
        quorum: view.quorum,
        pending: view.pending,
        revealed: view.revealed,
        started: view.started,
        opened_at: (view.opened_at != 0).then_some(view.opened_at),
        is_decided: view.decided,
        winner: view.winner,
    })
}

/// The dispute, or `None` where there was none about the job.
pub(crate) fn dispute(view: &job_mgr::DisputeView) -> Option<ChainDispute> {
    (view.ends_at != 0).then(|| ChainDispute {
        job_id: JobId(view.job_id),
        bond: Fri(view.bond),
        ends_at: view.ends_at,
        ends_block: BlockNumber(view.ends_block),
        committee: some_job(view.committee),
    })
}

/// A round's header as the contract takes it.
pub(crate) fn round_header(header: &RoundHeader) -> task_allocator::RoundHeader {
    task_allocator::RoundHeader {
        round: header.round,
        snapshot_block: header.snapshot_block.0,
        snapshot_root: header.snapshot_root,
        policy_id: header.policy_id.0,
        plan_root: header.plan_root,
    }
}
