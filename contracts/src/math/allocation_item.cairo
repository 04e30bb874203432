// SPDX-License-Identifier: MIT

//! The felt by which a keeper proposes one allocation.
//!
//! ```text
//! bits      field
//!   0..64   job id
//!  64..96   worker id
//!  96..104  attempt
//! 104..108  strategy: 0 standard, 1 batch, 2 emergency, 3 fallback
//! 108..124  score
//! ```

const JOB: NonZero<u128> = 0x1_0000_0000_0000_0000;
const WORKER: NonZero<u128> = 0x1_0000_0000;
const ATTEMPT: NonZero<u128> = 0x100;
const STRATEGY: NonZero<u128> = 0x10;
const SCORE: NonZero<u128> = 0x1_0000;
/// The highest strategy number.
const LAST_STRATEGY: u128 = 3;

/// A keeper's proposal: this worker for this attempt of this job.
#[derive(Copy, Drop, PartialEq, Debug)]
pub struct AllocationItem {
    pub job_id: u64,
    pub worker_id: u32,
    pub attempt: u8,
    pub strategy: u8,
    pub score: u16,
    /// Whether the strategy is known and the bits above the score are 0.
    pub is_well_formed: bool,
}

/// Reads an item. Of a malformed one all bits that lie in the fields are read.
pub fn unpack(item: felt252) -> AllocationItem {
    let item: u256 = item.into();
    let (rest, job_id) = DivRem::div_rem(item.low, JOB);
    let (rest, worker_id) = DivRem::div_rem(rest, WORKER);
    let (rest, attempt) = DivRem::div_rem(rest, ATTEMPT);
    let (rest, strategy) = DivRem::div_rem(rest, STRATEGY);
    let (above, score) = DivRem::div_rem(rest, SCORE);
    AllocationItem {
        job_id: job_id.try_into().unwrap(),
        worker_id: worker_id.try_into().unwrap(),
        attempt: attempt.try_into().unwrap(),
        strategy: strategy.try_into().unwrap(),
        score: score.try_into().unwrap(),
        is_well_formed: item.high == 0 && above == 0 && strategy <= LAST_STRATEGY,
    }
}
