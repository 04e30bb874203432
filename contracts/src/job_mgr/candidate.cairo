// SPDX-License-Identifier: MIT

//! An allocation that the job's side allows and the worker's side has yet to. Pure.

use crate::cdc_pool::types::ReserveRequest;
use crate::job_mgr::types::JobState;
use crate::math::allocation_item::AllocationItem;
use crate::math::job_slot::PlacedJob;
use crate::math::{deadlines, job_slot, lanes};
use crate::types::{Deadline, skip_reason};

#[derive(Copy, Drop)]
pub struct Candidate {
    pub item: AllocationItem,
    pub request: ReserveRequest,
}

/// What the job in the packed slot says to an item, exclusions aside: a candidate, or the first
/// reason to skip it.
pub fn examine(item: AllocationItem, slot: felt252, now: Deadline) -> Result<Candidate, u8> {
    if slot == 0 {
        return Result::Err(skip_reason::JOB_UNKNOWN);
    }
    let job = match job_slot::unpack_queued(slot) {
        Option::Some(job) => job,
        Option::None => { return Result::Err(skip_reason::JOB_NOT_QUEUED); },
    };
    if item.attempt != job.attempt {
        return Result::Err(skip_reason::ATTEMPT_MISMATCH);
    }
    if deadlines::has_passed(job.deadline, now) {
        return Result::Err(skip_reason::DEADLINE_PASSED);
    }
    let request = ReserveRequest {
        job_id: item.job_id,
        worker_id: item.worker_id,
        needs: job.needs,
        max_rate_gfri: job.max_rate_gfri,
        region: job.region,
    };
    Result::Ok(Candidate { item, request })
}

/// The job once its worker has been reserved at a rate.
pub fn placed(
    candidate: Candidate, rate_gfri: u64, now: Deadline, execution_timeout_s: u32,
) -> PlacedJob {
    let Candidate { item, request } = candidate;
    PlacedJob {
        state: JobState::Allocated,
        attempt: item.attempt,
        worker_id: item.worker_id,
        allocated_at: now,
        score: item.score,
        strategy: item.strategy,
        rate_gfri,
        deadline: deadlines::of_attempt(now, execution_timeout_s),
        gpu_count: lanes::gpus(request.needs),
    }
}
