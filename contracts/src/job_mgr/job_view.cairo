// SPDX-License-Identifier: MIT

//! Turns what is stored of a job into what views show. Pure.

use crate::job_mgr::job_spec;
use crate::job_mgr::types::{JobRecord, JobState, JobView};
use crate::math::job_slot::PlacedJob;
use crate::math::{deadlines, job_slot, job_terms};
use crate::types::Deadline;

const NEVER: Deadline = Deadline { timestamp: 0, block: 0 };

pub fn job_view(job_id: u64, record: JobRecord) -> JobView {
    let placed = job_slot::placed_or_none(record.slot);
    let terms = job_terms::unpack_terms(record.terms);
    let needs = job_terms::unpack_needs(record.needs);
    let attempt_deadline = attempt_deadline(placed, terms.execution_timeout_s);
    let challenge_ends = challenge_ends(placed);
    JobView {
        job_id,
        client: record.client,
        state: placed.state,
        attempt: placed.attempt,
        worker_id: placed.worker_id,
        spec: job_spec::restored(record.manifest_hash, record.model_id, terms, needs),
        rate_gfri: placed.rate_gfri,
        score: placed.score,
        strategy: placed.strategy,
        allocated_at: placed.allocated_at.timestamp,
        attempt_deadline: attempt_deadline.timestamp,
        deadline_block: terms.deadline.block,
        attempt_deadline_block: attempt_deadline.block,
        result_hash: record.result_hash,
        challenge_ends_at: challenge_ends.timestamp,
        challenge_ends_block: challenge_ends.block,
    }
}

/// The slot no longer holds it once there is a result.
fn attempt_deadline(placed: PlacedJob, execution_timeout_s: u32) -> Deadline {
    if placed.worker_id == 0 {
        NEVER
    } else {
        deadlines::of_attempt(placed.allocated_at, execution_timeout_s)
    }
}

fn challenge_ends(placed: PlacedJob) -> Deadline {
    if placed.state == JobState::Revealed || placed.state == JobState::Settled {
        placed.deadline
    } else {
        NEVER
    }
}
