// SPDX-License-Identifier: MIT

//! Turns what is stored of a job into what views show. Pure.

use crate::job_mgr::job_spec;
use crate::job_mgr::types::{JobRecord, JobState, JobView};
use crate::math::job_slot::PlacedJob;
use crate::math::{deadlines, job_slot, job_terms};
use crate::types::Deadline;
use starknet::ContractAddress;

const NEVER: Deadline = Deadline { timestamp: 0, block: 0 };

pub fn job_view(job_id: u64, record: JobRecord, client: ContractAddress) -> JobView {
    let placed = job_slot::placed_or_none(record.slot);
    let terms = job_terms::unpack(record.terms);
    let attempt_deadline = attempt_deadline(placed, terms.execution_timeout_s);
    let (requirements, result_hash) = if has_result(placed.state) {
        (job_spec::requirements_of_placed(placed), record.queued_or_result)
    } else {
        let queued = job_slot::unpack_queued(record.queued_or_result);
        (job_spec::requirements_of_queued(queued), 0)
    };
    JobView {
        job_id,
        client,
        state: placed.state,
        attempt: placed.attempt,
        worker_id: placed.worker_id,
        spec: job_spec::restored(record.manifest_hash, record.model_id, terms, requirements),
        rate_gfri: placed.rate_gfri,
        score: placed.score,
        strategy: placed.strategy,
        allocated_at: placed.allocated_at.timestamp,
        attempt_deadline: attempt_deadline.timestamp,
        deadline_block: terms.deadline.block,
        attempt_deadline_block: attempt_deadline.block,
        result_hash,
        challenge_ends_at: placed.challenge_ends.timestamp,
        challenge_ends_block: placed.challenge_ends.block,
    }
}

fn has_result(state: JobState) -> bool {
    state == JobState::Revealed || state == JobState::Settled
}

fn attempt_deadline(placed: PlacedJob, execution_timeout_s: u32) -> Deadline {
    if placed.worker_id == 0 {
        NEVER
    } else {
        deadlines::of_attempt(placed.allocated_at, execution_timeout_s)
    }
}
