// SPDX-License-Identifier: MIT

//! The felt by which a keeper proposes one allocation, and by which its event reports it.
//!
//! ```text
//! bits      field
//!   0..64   job id
//!  64..96   worker id   \
//!  96..104  attempt      |  the placement: how it is kept in the job's slot
//! 104..108  strategy     |
//! 108..124  score       /
//! 124..164  rate (gFri), which is the worker's
//! ```
//!
//! Strategies are 0 standard, 1 batch, 2 emergency and 3 fallback.

const JOB: NonZero<u128> = 0x1_0000_0000_0000_0000;
const PLACEMENT: NonZero<u128> = 0x1000_0000_0000_0000;
const WORKER: NonZero<u128> = 0x1_0000_0000;
const ATTEMPT: NonZero<u128> = 0x100;

/// What each field adds to an item.
const WORKER_UNIT: felt252 = 0x1_0000_0000_0000_0000;
const ATTEMPT_UNIT: felt252 = 0x1_0000_0000_0000_0000_0000_0000;
const STRATEGY_UNIT: felt252 = 0x100_0000_0000_0000_0000_0000_0000;
const SCORE_UNIT: felt252 = 0x1000_0000_0000_0000_0000_0000_0000;
const RATE_UNIT: felt252 = 0x1000_0000_0000_0000_0000_0000_0000_0000;
/// What the upper half of an item adds to the rate.
const RATE_ABOVE: felt252 = 0x10;

/// The worker in a placement.
const WORKER_BITS: u128 = 0xffff_ffff;
/// The attempt in a placement, and the bits that only an unknown strategy has.
const ATTEMPT_BITS: u128 = 0xcff_0000_0000;
const UNKNOWN_STRATEGY: u128 = 0xc00_0000_0000;
/// The upper half of an item is below this if the rate has 40 bits and nothing is above it.
const MALFORMED: u128 = 0x10_0000_0000;

/// A keeper's proposal: this worker for this attempt of this job. Fields are as an allocation
/// computes with them.
#[derive(Copy, Drop, PartialEq, Debug)]
pub struct AllocationItem {
    pub job_id: u128,
    /// Worker, attempt, strategy and score.
    pub placement: u128,
    /// gFri per GPU-second; of a malformed item also what lies above it.
    pub rate_gfri: felt252,
    /// Bits 128 and above.
    pub high: u128,
}

/// Reads an item.
#[inline(always)]
pub fn unpack(item: felt252) -> AllocationItem {
    let item: u256 = item.into();
    let (rest, job_id) = DivRem::div_rem(item.low, JOB);
    let (rate_below, placement) = DivRem::div_rem(rest, PLACEMENT);
    let rate_gfri = item.high.into() * RATE_ABOVE + rate_below.into();
    AllocationItem { job_id, placement, rate_gfri, high: item.high }
}

/// An item whose fields are within their widths.
pub fn pack(
    job_id: u64, worker_id: u32, attempt: u8, strategy: u8, score: u16, rate_gfri: u64,
) -> felt252 {
    job_id.into()
        + worker_id.into() * WORKER_UNIT
        + attempt.into() * ATTEMPT_UNIT
        + strategy.into() * STRATEGY_UNIT
        + score.into() * SCORE_UNIT
        + rate_gfri.into() * RATE_UNIT
}

/// Whether the strategy is known and the bits above the rate are 0.
pub fn is_well_formed(item: AllocationItem) -> bool {
    item.high < MALFORMED && item.placement & UNKNOWN_STRATEGY == 0
}

#[inline(always)]
pub fn worker_id(item: AllocationItem) -> u128 {
    item.placement & WORKER_BITS
}

pub fn attempt(item: AllocationItem) -> u128 {
    let (rest, _) = DivRem::div_rem(item.placement, WORKER);
    let (_, attempt) = DivRem::div_rem(rest, ATTEMPT);
    attempt
}

/// The attempt, 2^32 times; more than any attempt has if the strategy is unknown.
#[inline(always)]
pub fn attempt_bits(item: AllocationItem) -> u128 {
    item.placement & ATTEMPT_BITS
}
