// SPDX-License-Identifier: MIT

//! What the job's side says to an item of a batch, before the worker's side is asked. Pure.

use crate::job_mgr::types::JobState;
use crate::math::allocation_item::AllocationItem;
use crate::math::{job_slot, reserve_request};
use crate::types::{Deadline, skip_reason};
use starknet::storage::{Mutable, StoragePointer0Offset};

/// An item that has been examined.
#[derive(Copy, Drop)]
pub struct Examined {
    /// Where the job's slot is.
    pub slot: StoragePointer0Offset<Mutable<felt252>>,
    pub job_id: u128,
    pub worker_id: u128,
    /// As the item's.
    pub choice: u128,
    /// What the job's slot becomes, as far as it is known; see `job_slot::pack_reserving`.
    pub reserving: felt252,
    /// 0 where the job's side allows the allocation, else why not.
    pub reason: u8,
}

/// What the job in the packed slot says to a well-formed item with this attempt, exclusions aside:
/// the request to the pool and what the slot becomes, or the first reason to skip the item.
#[inline(always)]
pub fn examine(
    item: AllocationItem, attempt: u128, slot: felt252, now: Deadline,
) -> Result<(felt252, felt252), u8> {
    match job_slot::waiting_for(slot, attempt) {
        Option::Some(job) => {
            if job_slot::is_late(job, now) {
                return Result::Err(skip_reason::DEADLINE_PASSED);
            }
            let request = reserve_request::pack(item.worker_id, job.needs, job.offer);
            Result::Ok((request, job_slot::pack_reserving(item.worker_id, item.choice, job.needs)))
        },
        Option::None => Result::Err(why_not_waiting(slot)),
    }
}

/// Why a job does not wait for the attempt of an item.
fn why_not_waiting(slot: felt252) -> u8 {
    match job_slot::state(slot) {
        JobState::None => skip_reason::JOB_UNKNOWN,
        JobState::Queued => skip_reason::ATTEMPT_MISMATCH,
        _ => skip_reason::JOB_NOT_QUEUED,
    }
}
