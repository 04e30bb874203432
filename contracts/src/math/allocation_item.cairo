// SPDX-License-Identifier: MIT

//! The felt by which a keeper proposes one allocation.
//!
//! ```text
//! bits      field
//!   0..64   job id
//!  64..96   worker id
//!  96..104  attempt     \
//! 104..108  strategy     |  the choice: what is kept and reported as it is
//! 108..124  score       /
//! ```
//!
//! Strategies are 0 standard, 1 batch, 2 emergency and 3 fallback.

const JOB: NonZero<u128> = 0x1_0000_0000_0000_0000;
const WORKER: NonZero<u128> = 0x1_0000_0000;
const ATTEMPT: NonZero<u128> = 0x100;

/// What each field adds to an item.
const WORKER_UNIT: felt252 = 0x1_0000_0000_0000_0000;
const CHOICE_UNIT: felt252 = 0x1_0000_0000_0000_0000_0000_0000;

/// Bits of a choice that no known item sets: 10, 11 and 28 to 31.
const UNKNOWN: u128 = 0xf000_0c00;

/// A keeper's proposal: this worker for this attempt of this job. Fields are as wide as a half
/// felt, because an allocation only computes with them.
#[derive(Copy, Drop, PartialEq, Debug)]
pub struct AllocationItem {
    pub job_id: u128,
    pub worker_id: u128,
    /// Attempt, strategy and score; of a malformed item also the four bits above.
    pub choice: u128,
    /// What lies above 128 bits.
    pub excess: u128,
}

/// Reads an item.
#[inline(always)]
pub fn unpack(item: felt252) -> AllocationItem {
    let item: u256 = item.into();
    let (rest, job_id) = DivRem::div_rem(item.low, JOB);
    let (choice, worker_id) = DivRem::div_rem(rest, WORKER);
    AllocationItem { job_id, worker_id, choice, excess: item.high }
}

/// The item again, but for its excess.
pub fn pack(item: AllocationItem) -> felt252 {
    item.job_id.into() + item.worker_id.into() * WORKER_UNIT + item.choice.into() * CHOICE_UNIT
}

/// Whether the strategy is known and the bits above the score are 0.
#[inline(always)]
pub fn is_well_formed(item: AllocationItem) -> bool {
    item.excess == 0 && item.choice & UNKNOWN == 0
}

/// The attempt in a choice.
#[inline(always)]
pub fn attempt(choice: u128) -> u128 {
    let (_, attempt) = DivRem::div_rem(choice, ATTEMPT);
    attempt
}
