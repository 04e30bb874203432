//! Between the bindings' types and the market's.
//!
//! The contracts check every value that they store, so a value out of bounds here means that something else
//! than our contracts answered; it is reported, never bent into shape.

use cainome::cairo_serde::ContractAddress;
use keeper_bindings::{cdc_pool, job_mgr};
use keeper_types::{
    Address, Attempt, BlockNumber, Capabilities, Features, Felt, Fri, JobId, JobSpec, JobState, Queue, Rate, Region,
    Requirements, Strategy, Worker, WorkerId, WorkerStatus,
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
}

pub(crate) fn address(address: ContractAddress) -> Address {
    Address(address.0)
}

/// Attempt, strategy and score as an allocation's event packs them: 8, 4 and 16 bits, from the lowest.
pub(crate) fn choice(packed: u32) -> Result<(Attempt, Strategy, u16), ValueError> {
    let [attempt, second, ..] = packed.to_le_bytes();
    let strategy = Strategy::from_number(second & 0xf).ok_or_else(|| impossible("choice", &packed))?;
    let score = u16::try_from(packed >> 12).map_err(|_| impossible("choice", &packed))?;
    Ok((Attempt(attempt), strategy, score))
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
    }))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    #[test]
    fn a_choice_is_read_as_the_item_packs_it() {
        assert_eq!(choice(0x0309_0102).unwrap(), (Attempt(2), Strategy::Batch, 0x3090));
        assert_eq!(choice(0x0fff_f30f).unwrap(), (Attempt(15), Strategy::Fallback, u16::MAX));
        choice(0x0000_0401).unwrap_err();
        choice(0x1000_0001).unwrap_err();
    }
}
