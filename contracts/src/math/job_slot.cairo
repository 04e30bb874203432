// SPDX-License-Identifier: MIT

//! The one storage slot that an allocation reads and writes of a job. Its layout depends on the
//! state.
//!
//! ```text
//!              Queued                          every other state
//! low    0..96   lanes of the requirements     0..32    worker
//!       96..128  deadline: timestamp          32..64    allocated at: timestamp
//!                                             64..96    allocated at: block
//!                                             96..112   score
//!                                            112..116   strategy
//! high   0..4    state                         0..4     state
//!        4..8    attempt                       4..8     attempt
//!        8..48   highest rate (gFri)           8..48    rate (gFri)
//!       48..80   deadline: block              48..80    deadline of the state: timestamp
//!       80..120  region                       80..112   deadline of the state: block
//!                                            112..118   GPUs reserved
//! ```
//!
//! The deadline of state Allocated is the attempt's, that of Revealed the end of the challenge
//! window, and a final state keeps the last one. A job that ends in the queue has only state and
//! attempt. Everything that a queued slot holds can be rebuilt from [`super::job_terms`].

use crate::job_mgr::types::JobState;
use crate::types::Deadline;

/// The code of state Queued.
const QUEUED: felt252 = 1;
const QUEUED_CODE: u128 = 1;

const HIGH: felt252 = 0x1_0000_0000_0000_0000_0000_0000_0000_0000;
/// What each field adds to its half.
const DEADLINE_TIMESTAMP: felt252 = 0x1_0000_0000_0000_0000_0000_0000;
const ATTEMPT: felt252 = 0x10;
const RATE: felt252 = 0x100;
const HIGH_48: felt252 = 0x1_0000_0000_0000;
const HIGH_80: felt252 = 0x1_0000_0000_0000_0000_0000;
const HIGH_112: felt252 = 0x1_0000_0000_0000_0000_0000_0000_0000;
const LOW_32: felt252 = 0x1_0000_0000;
const LOW_64: felt252 = 0x1_0000_0000_0000_0000;
const LOW_96: felt252 = 0x1_0000_0000_0000_0000_0000_0000;
const LOW_112: felt252 = 0x1_0000_0000_0000_0000_0000_0000_0000;

const BITS_4: NonZero<u128> = 0x10;
const BITS_16: NonZero<u128> = 0x1_0000;
const BITS_32: NonZero<u128> = 0x1_0000_0000;
const BITS_40: NonZero<u128> = 0x100_0000_0000;
const BITS_96: NonZero<u128> = 0x1_0000_0000_0000_0000_0000_0000;

/// A job that waits for a worker.
#[derive(Copy, Drop, PartialEq, Debug)]
pub struct QueuedJob {
    /// The attempt that the next allocation begins, from 1.
    pub attempt: u8,
    /// Packed lanes.
    pub needs: u128,
    pub max_rate_gfri: u64,
    pub region: felt252,
    pub deadline: Deadline,
}

/// A job that has, or had, a worker.
#[derive(Copy, Drop, PartialEq, Debug)]
pub struct PlacedJob {
    pub state: JobState,
    pub attempt: u8,
    /// 0 where the job ended without one.
    pub worker_id: u32,
    pub allocated_at: Deadline,
    pub score: u16,
    pub strategy: u8,
    pub rate_gfri: u64,
    /// Of the state; see the module's documentation.
    pub deadline: Deadline,
    pub gpu_count: u8,
}

/// The state in a packed slot, and its attempt. An unused slot is in state None.
pub fn state_and_attempt(packed: felt252) -> (JobState, u8) {
    let packed: u256 = packed.into();
    let (rest, state) = DivRem::div_rem(packed.high, BITS_4);
    let (_, attempt) = DivRem::div_rem(rest, BITS_4);
    (state_of(state), attempt.try_into().unwrap())
}

pub fn pack_queued(job: QueuedJob) -> felt252 {
    let low = job.needs.into() + job.deadline.timestamp.into() * DEADLINE_TIMESTAMP;
    let high = QUEUED
        + job.attempt.into() * ATTEMPT
        + job.max_rate_gfri.into() * RATE
        + job.deadline.block.into() * HIGH_48
        + job.region * HIGH_80;
    low + high * HIGH
}

/// Reads a slot in state Queued; None of a slot in any other.
pub fn unpack_queued(packed: felt252) -> Option<QueuedJob> {
    let packed: u256 = packed.into();
    let (rest, state) = DivRem::div_rem(packed.high, BITS_4);
    if state != QUEUED_CODE {
        return Option::None;
    }
    let (timestamp, needs) = DivRem::div_rem(packed.low, BITS_96);
    let (rest, attempt) = DivRem::div_rem(rest, BITS_4);
    let (rest, max_rate_gfri) = DivRem::div_rem(rest, BITS_40);
    let (region, block) = DivRem::div_rem(rest, BITS_32);
    Option::Some(
        QueuedJob {
            attempt: attempt.try_into().unwrap(),
            needs,
            max_rate_gfri: max_rate_gfri.try_into().unwrap(),
            region: region.into(),
            deadline: Deadline {
                timestamp: timestamp.try_into().unwrap(), block: block.try_into().unwrap(),
            },
        },
    )
}

pub fn pack_placed(job: PlacedJob) -> felt252 {
    let low = job.worker_id.into()
        + job.allocated_at.timestamp.into() * LOW_32
        + job.allocated_at.block.into() * LOW_64
        + job.score.into() * LOW_96
        + job.strategy.into() * LOW_112;
    let high = state_code(job.state)
        + job.attempt.into() * ATTEMPT
        + job.rate_gfri.into() * RATE
        + job.deadline.timestamp.into() * HIGH_48
        + job.deadline.block.into() * HIGH_80
        + job.gpu_count.into() * HIGH_112;
    low + high * HIGH
}

/// The slot of the job in another state.
pub fn with_state(job: PlacedJob, state: JobState) -> felt252 {
    pack_placed(PlacedJob { state, ..job })
}

/// Reads a slot in any state but Queued.
pub fn unpack_placed(packed: felt252) -> PlacedJob {
    let packed: u256 = packed.into();
    let (rest, worker_id) = DivRem::div_rem(packed.low, BITS_32);
    let (rest, allocated_timestamp) = DivRem::div_rem(rest, BITS_32);
    let (rest, allocated_block) = DivRem::div_rem(rest, BITS_32);
    let (strategy, score) = DivRem::div_rem(rest, BITS_16);
    let (rest, state) = DivRem::div_rem(packed.high, BITS_4);
    let (rest, attempt) = DivRem::div_rem(rest, BITS_4);
    let (rest, rate_gfri) = DivRem::div_rem(rest, BITS_40);
    let (rest, timestamp) = DivRem::div_rem(rest, BITS_32);
    let (gpu_count, block) = DivRem::div_rem(rest, BITS_32);
    PlacedJob {
        state: state_of(state),
        attempt: attempt.try_into().unwrap(),
        worker_id: worker_id.try_into().unwrap(),
        allocated_at: Deadline {
            timestamp: allocated_timestamp.try_into().unwrap(),
            block: allocated_block.try_into().unwrap(),
        },
        score: score.try_into().unwrap(),
        strategy: strategy.try_into().unwrap(),
        rate_gfri: rate_gfri.try_into().unwrap(),
        deadline: Deadline {
            timestamp: timestamp.try_into().unwrap(), block: block.try_into().unwrap(),
        },
        gpu_count: gpu_count.try_into().unwrap(),
    }
}

/// Reads a slot in any state; a queued job has no worker.
pub fn placed_or_none(packed: felt252) -> PlacedJob {
    match unpack_queued(packed) {
        Option::Some(queued) => unplaced(JobState::Queued, queued.attempt),
        Option::None => unpack_placed(packed),
    }
}

/// A job that has no worker.
pub fn unplaced(state: JobState, attempt: u8) -> PlacedJob {
    let zero = Deadline { timestamp: 0, block: 0 };
    PlacedJob {
        state,
        attempt,
        worker_id: 0,
        allocated_at: zero,
        score: 0,
        strategy: 0,
        rate_gfri: 0,
        deadline: zero,
        gpu_count: 0,
    }
}

fn state_code(state: JobState) -> felt252 {
    match state {
        JobState::None => 0,
        JobState::Queued => QUEUED,
        JobState::Allocated => 2,
        JobState::Committed => 3,
        JobState::Revealed => 4,
        JobState::Disputed => 5,
        JobState::Settled => 6,
        JobState::Cancelled => 7,
        JobState::Expired => 8,
        JobState::Failed => 9,
    }
}

fn state_of(code: u128) -> JobState {
    match code {
        0 => JobState::None,
        1 => JobState::Queued,
        2 => JobState::Allocated,
        3 => JobState::Committed,
        4 => JobState::Revealed,
        5 => JobState::Disputed,
        6 => JobState::Settled,
        7 => JobState::Cancelled,
        8 => JobState::Expired,
        _ => JobState::Failed,
    }
}
