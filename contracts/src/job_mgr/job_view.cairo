// SPDX-License-Identifier: MIT

//! Turns what is stored of a job into what views show. Pure.

use crate::job_mgr::job_spec;
use crate::job_mgr::types::{JobRecord, JobSpec, JobView, verification};
use crate::math::group_word::Group;
use crate::math::job_slot::PlacedJob;
use crate::math::{deadlines, job_slot, job_terms};
use crate::types::Deadline;
use starknet::ContractAddress;

const NEVER: Deadline = Deadline { timestamp: 0, block: 0 };

/// `group` is that of the replica with the id `group_id`; both mean nothing for a job alone, whose
/// `group_id` is 0.
pub fn job_view(
    job_id: u64, record: JobRecord, client: ContractAddress, group_id: u64, group: Group,
) -> JobView {
    let placed = job_slot::placed_or_none(record.slot);
    let placement = job_slot::placement(placed);
    let terms = job_terms::unpack(record.terms);
    let attempt_deadline = attempt_deadline(placed, terms.execution_timeout_s);
    // Before the result it is when that must be revealed.
    let challenge_ends = if placed.has_result {
        placed.challenge_ends
    } else {
        NEVER
    };
    let keeps_requirements = terms.verification == verification::RERUN;
    let requirements = if placed.has_result && !keeps_requirements {
        job_spec::requirements_of_placed(placed)
    } else {
        let queued = if keeps_requirements {
            record.queued_for_committee
        } else {
            record.queued_or_result
        };
        job_spec::requirements_of_queued(job_slot::unpack_queued(queued))
    };
    let result_hash = if placed.has_result {
        record.queued_or_result
    } else {
        0
    };
    let spec = job_spec::restored(record.manifest_hash, record.model_id, terms, requirements);
    let spec = if group_id == 0 {
        spec
    } else {
        JobSpec { replicas: group.replicas, quorum: group.quorum, ..spec }
    };
    JobView {
        job_id,
        client,
        state: placed.state,
        attempt: placed.attempt,
        worker_id: placed.worker_id,
        spec,
        rate_gfri: placed.rate_gfri,
        score: placement.score,
        strategy: placement.strategy,
        allocated_at: placement.allocated_at.timestamp,
        attempt_deadline: attempt_deadline.timestamp,
        deadline_block: terms.deadline.block,
        attempt_deadline_block: attempt_deadline.block,
        result_hash,
        challenge_ends_at: challenge_ends.timestamp,
        challenge_ends_block: challenge_ends.block,
        commitment: record.commitment,
        group_id,
    }
}

fn attempt_deadline(placed: PlacedJob, execution_timeout_s: u32) -> Deadline {
    if placed.worker_id == 0 {
        NEVER
    } else {
        deadlines::of_attempt(job_slot::placement(placed).allocated_at, execution_timeout_s)
    }
}
