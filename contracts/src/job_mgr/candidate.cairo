// SPDX-License-Identifier: MIT

//! What an allocation of a batch's item would come to on the job's side. Pure.

use crate::job_mgr::types::JobState;
use crate::math::allocation_item::AllocationItem;
use crate::math::{allocation_item, job_slot, reserve_request};
use crate::types::{Deadline, skip_reason};

/// An allocation that the pool can be asked for.
#[derive(Copy, Drop)]
pub struct Candidate {
    /// `math/reserve_request.cairo`.
    pub ask: felt252,
    pub worker_id: felt252,
    /// What the job's slot becomes.
    pub allocated: felt252,
}

/// What is the same for all items of a batch.
#[derive(Copy, Drop)]
pub struct Moment {
    pub now: Deadline,
    /// `job_slot::start_of`.
    pub start: u128,
    /// `job_slot::allocated_now`.
    pub allocated_now: felt252,
}

pub fn moment(now: Deadline) -> Moment {
    Moment { now, start: job_slot::start_of(now), allocated_now: job_slot::allocated_now(now), }
}

/// The candidate in the ordinary case: the item is well-formed, the job is Queued, alone, waits for
/// the item's attempt, its deadline is ahead by the clock, and it pays the item's rate. `None`
/// in every other case, among which are some where there is a candidate after all. Exclusions are
/// not looked at.
#[inline(always)]
pub fn in_ordinary_case(item: AllocationItem, slot: felt252, moment: Moment,) -> Option<Candidate> {
    let attempt = allocation_item::attempt_bits(item);
    match job_slot::waiting_in_time(slot, attempt, moment.start) {
        Option::Some((needs, offer)) => if_paid(item, needs, offer, moment.allocated_now),
        Option::None => Option::None,
    }
}

/// The candidate for a job that waits with these needs and this offer (`job_slot::Waiting`); `None`
/// if it does not pay the item's rate. That it does also tells that the item's rate has 40 bits.
#[inline(always)]
pub fn if_paid(
    item: AllocationItem, needs: u128, offer: u128, allocated_now: felt252,
) -> Option<Candidate> {
    let (region, max_rate_gfri) = job_slot::split_offer(offer);
    let rate_gfri = item.rate_gfri;
    // A felt below 0 is more than any u128.
    let unused: Option<u128> = (max_rate_gfri.into() - rate_gfri).try_into();
    match unused {
        Option::Some(_) => Option::Some(
            Candidate {
                ask: reserve_request::ask(needs, rate_gfri, region),
                worker_id: allocation_item::worker_id(item).into(),
                allocated: job_slot::pack_allocated(
                    item.placement, needs, rate_gfri, allocated_now,
                ),
            },
        ),
        Option::None => Option::None,
    }
}

/// Why a job, which is no queued replica, does not wait for the attempt of an item.
pub fn why_not_waiting(slot: felt252) -> u8 {
    match job_slot::state(slot) {
        JobState::None => skip_reason::JOB_UNKNOWN,
        JobState::Queued => skip_reason::ATTEMPT_MISMATCH,
        _ => skip_reason::JOB_NOT_QUEUED,
    }
}
