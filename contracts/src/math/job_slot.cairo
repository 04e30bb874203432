// SPDX-License-Identifier: MIT

//! The one storage slot that an allocation reads and writes of a job. Its layout depends on the
//! state.
//!
//! ```text
//!              Queued                          every other state
//! low    0..96   lanes of the requirements     0..32    worker
//!       96..128  deadline: block              32..40    attempt     \
//!                                             40..44    strategy     |  the allocation item's
//!                                             choice 44..60    score       /
//!                                             60..92    allocated at: timestamp
//!                                             92..124   allocated at: block
//! high   0..4    state                         0..4     state
//!        4..8    attempt                       4..44    rate (gFri)
//!        8..40   deadline: timestamp          44..50    GPUs reserved
//!       40..80   highest rate (gFri)          50..82    challenge ends: timestamp
//!       80..120  region                       82..114   challenge ends: block
//!                                            114..117   replica, held, has a result
//! ```
//!
//! A queued replica has a state code of its own, so that an allocation of any other job need not
//! know of groups. There is a challenge window once there is a result of a job alone. While such a
//! job is Committed, `challenge ends` is instead when its result must be revealed; views show that
//! as no challenge window. A job that ends in the queue has only state and attempt. When an attempt
//! of a job is due follows from `allocated at` and the job's execution timeout, so that an
//! allocation need not read the latter.

use crate::job_mgr::types::JobState;
use crate::math::lanes;
use crate::types::Deadline;

const HIGH: felt252 = 0x1_0000_0000_0000_0000_0000_0000_0000_0000;

/// What each field of a queued slot adds to its half.
const QUEUED: felt252 = 1;
const QUEUED_REPLICA: felt252 = 10;
const DEADLINE_BLOCK: felt252 = 0x1_0000_0000_0000_0000_0000_0000;
const QUEUED_ATTEMPT: felt252 = 0x10;
const DEADLINE_TIMESTAMP: felt252 = 0x100;
const MAX_RATE: felt252 = 0x100_0000_0000;
const REGION: felt252 = 0x1_0000_0000_0000_0000_0000;

/// What each field of any other slot adds to its half.
const ALLOCATED: felt252 = 2;
const ATTEMPT: felt252 = 0x1_0000_0000;
const PLACEMENT: felt252 = 0x100_0000_0000;
const ALLOCATED_TIMESTAMP: felt252 = 0x1000_0000_0000_0000;
const ALLOCATED_BLOCK: felt252 = 0x1000_0000_0000_0000_0000_0000;
const RATE: felt252 = 0x10;
const GPUS: felt252 = 0x1000_0000_0000;
const CHALLENGE_TIMESTAMP: felt252 = 0x4_0000_0000_0000;
const CHALLENGE_BLOCK: felt252 = 0x4_0000_0000_0000_0000_0000;
const REPLICA: felt252 = 0x4_0000_0000_0000_0000_0000_0000_0000;
const HELD: felt252 = 0x8_0000_0000_0000_0000_0000_0000_0000;
const HAS_RESULT: felt252 = 0x10_0000_0000_0000_0000_0000_0000_0000;

/// What a GPU and a gFri add to the whole slot.
const GPUS_UNIT: felt252 = 0x1000_0000_0000_0000_0000_0000_0000_0000_0000_0000_0000;
const RATE_UNIT: felt252 = 0x10_0000_0000_0000_0000_0000_0000_0000_0000;
/// What being a replica adds to a whole slot that is not in the queue.
pub const REPLICA_UNIT: felt252 =
    0x4_0000_0000_0000_0000_0000_0000_0000_0000_0000_0000_0000_0000_0000_0000_0000;

/// The lowest 8 bits of a queued slot's high half, times this, compare with attempt bits.
const ATTEMPT_BITS_UNIT: felt252 = 0x1000_0000;
const QUEUED_BITS: felt252 = 0x1000_0000;

const BIT: NonZero<u128> = 2;
const BITS_4: NonZero<u128> = 0x10;
const BITS_6: NonZero<u128> = 0x40;
const BITS_8: NonZero<u128> = 0x100;
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
    pub is_replica: bool,
}

/// What an allocation asks of a queued job's slot.
#[derive(Copy, Drop)]
pub struct Waiting {
    /// Packed lanes, and above their 96 bits the block of the deadline.
    pub needs: u128,
    /// The highest rate, and above its 40 bits the region.
    pub offer: u128,
    pub deadline_timestamp: u128,
}

/// A job that has, or had, a worker.
#[derive(Copy, Drop, PartialEq, Debug)]
pub struct PlacedJob {
    pub state: JobState,
    pub attempt: u8,
    /// 0 where the job ended without one.
    pub worker_id: u32,
    /// The rest of the choice and when it was made, packed: [`placement`] reads it, which few need.
    pub placement: u128,
    pub rate_gfri: u64,
    pub gpu_count: u8,
    /// While Committed: when the result must be revealed. Zeros before that, of a replica, and
    /// where no result came.
    pub challenge_ends: Deadline,
    pub is_replica: bool,
    /// Whether this job holds the worker's stake.
    pub is_held: bool,
    /// Whether the result is known, whatever became of it.
    pub has_result: bool,
}

/// How and when a job came to its worker.
#[derive(Copy, Drop, PartialEq, Debug)]
pub struct Placement {
    pub strategy: u8,
    pub score: u16,
    pub allocated_at: Deadline,
}

/// The state in a packed slot. An unused slot is in state None.
pub fn state(packed: felt252) -> JobState {
    let packed: u256 = packed.into();
    let (_, state) = DivRem::div_rem(packed.high, BITS_4);
    state_of(state)
}

pub fn pack_queued(job: QueuedJob) -> felt252 {
    let low = job.needs.into() + job.deadline.block.into() * DEADLINE_BLOCK;
    let state = if job.is_replica {
        QUEUED_REPLICA
    } else {
        QUEUED
    };
    let high = state
        + job.attempt.into() * QUEUED_ATTEMPT
        + job.deadline.timestamp.into() * DEADLINE_TIMESTAMP
        + job.max_rate_gfri.into() * MAX_RATE
        + job.region * REGION;
    low + high * HIGH
}

/// The slot of a queued job once it waits for a later attempt: `by` is how much later.
pub fn with_later_attempt(queued: felt252, by: u8) -> felt252 {
    queued + by.into() * QUEUED_ATTEMPT * HIGH
}

/// Reads a slot in state Queued, of a replica or not.
pub fn unpack_queued(packed: felt252) -> QueuedJob {
    let packed: u256 = packed.into();
    let (deadline_block, needs) = DivRem::div_rem(packed.low, BITS_96);
    let (rest, state) = DivRem::div_rem(packed.high, BITS_4);
    let (rest, attempt) = DivRem::div_rem(rest, BITS_4);
    let (rest, timestamp) = DivRem::div_rem(rest, BITS_32);
    let (region, max_rate_gfri) = DivRem::div_rem(rest, BITS_40);
    QueuedJob {
        attempt: attempt.try_into().unwrap(),
        needs,
        max_rate_gfri: max_rate_gfri.try_into().unwrap(),
        region: region.into(),
        deadline: Deadline {
            timestamp: timestamp.try_into().unwrap(), block: deadline_block.try_into().unwrap(),
        },
        is_replica: state.into() == QUEUED_REPLICA,
    }
}

/// What [`waiting_in_time`] compares a queued slot's timestamp with.
pub fn start_of(now: Deadline) -> u128 {
    now.timestamp.into() * 0x100
}

/// Needs and offer of a [`Waiting`] job, if the job in the slot is Queued, alone, waits for this
/// attempt, of which 2^32 times is given, and its deadline is ahead by the clock.
#[inline(always)]
pub fn waiting_in_time(packed: felt252, attempt_bits: u128, start: u128) -> Option<(u128, u128)> {
    let packed: u256 = packed.into();
    let (offer, front) = DivRem::div_rem(packed.high, BITS_40);
    // State and attempt are its lowest 8 bits, which do not matter for the timestamp above them.
    let awaited = (front & 0xff).into() * ATTEMPT_BITS_UNIT;
    if awaited == QUEUED_BITS + attempt_bits.into() && front >= start {
        Option::Some((packed.low, offer))
    } else {
        Option::None
    }
}

/// The region and the highest rate of an offer.
#[inline(always)]
pub fn split_offer(offer: u128) -> (u128, u128) {
    DivRem::div_rem(offer, BITS_40)
}

/// What an allocation needs of a slot, if the job in it is Queued, alone, and waits for `attempt`.
pub fn waiting_for(packed: felt252, attempt: u128) -> Option<Waiting> {
    let packed: u256 = packed.into();
    let (rest, state_and_attempt) = DivRem::div_rem(packed.high, BITS_8);
    if state_and_attempt.into() != QUEUED + attempt.into() * QUEUED_ATTEMPT {
        return Option::None;
    }
    let (offer, deadline_timestamp) = DivRem::div_rem(rest, BITS_32);
    Option::Some(Waiting { needs: packed.low, offer, deadline_timestamp })
}

/// What an allocation needs of a slot, if it is that of a queued replica, and the attempt that it
/// waits for.
pub fn waiting_replica(packed: felt252) -> Option<(Waiting, u128)> {
    let packed: u256 = packed.into();
    let (rest, state) = DivRem::div_rem(packed.high, BITS_4);
    if state.into() != QUEUED_REPLICA {
        return Option::None;
    }
    let (rest, attempt) = DivRem::div_rem(rest, BITS_4);
    let (offer, deadline_timestamp) = DivRem::div_rem(rest, BITS_32);
    Option::Some((Waiting { needs: packed.low, offer, deadline_timestamp }, attempt))
}

/// Whether the deadline of a waiting job has passed.
pub fn is_late(job: Waiting, now: Deadline) -> bool {
    // Only a deadline whose time has passed needs a look at its block.
    if now.timestamp.into() <= job.deadline_timestamp {
        return false;
    }
    let (deadline_block, _) = DivRem::div_rem(job.needs, BITS_96);
    now.block.into() > deadline_block
}

/// The part of a slot in state Allocated that is the same for all jobs of a block.
pub fn allocated_now(now: Deadline) -> felt252 {
    now.timestamp.into() * ALLOCATED_TIMESTAMP
        + now.block.into() * ALLOCATED_BLOCK
        + ALLOCATED * HIGH
}

/// A slot in state Allocated, of a job alone: `placement` is that of the allocation item, `needs`
/// are the job's, and the rest is from [`allocated_now`].
#[inline(always)]
pub fn pack_allocated(
    placement: u128, needs: u128, rate_gfri: felt252, allocated_now: felt252,
) -> felt252 {
    placement.into() + lanes::gpus(needs).into() * GPUS_UNIT + rate_gfri * RATE_UNIT + allocated_now
}

pub fn pack_placed(job: PlacedJob) -> felt252 {
    let low = job.worker_id.into()
        + job.attempt.into() * ATTEMPT
        + job.placement.into() * PLACEMENT;
    let high = state_code(job.state)
        + job.rate_gfri.into() * RATE
        + job.gpu_count.into() * GPUS
        + job.challenge_ends.timestamp.into() * CHALLENGE_TIMESTAMP
        + job.challenge_ends.block.into() * CHALLENGE_BLOCK
        + flag(job.is_replica, REPLICA)
        + flag(job.is_held, HELD)
        + flag(job.has_result, HAS_RESULT);
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
    let (placement, attempt) = DivRem::div_rem(rest, BITS_8);
    let (rest, state) = DivRem::div_rem(packed.high, BITS_4);
    let (rest, rate_gfri) = DivRem::div_rem(rest, BITS_40);
    let (rest, gpu_count) = DivRem::div_rem(rest, BITS_6);
    let (rest, challenge_timestamp) = DivRem::div_rem(rest, BITS_32);
    let (rest, challenge_block) = DivRem::div_rem(rest, BITS_32);
    let (rest, replica) = DivRem::div_rem(rest, BIT);
    let (has_result, held) = DivRem::div_rem(rest, BIT);
    PlacedJob {
        state: state_of(state),
        attempt: attempt.try_into().unwrap(),
        worker_id: worker_id.try_into().unwrap(),
        placement,
        rate_gfri: rate_gfri.try_into().unwrap(),
        gpu_count: gpu_count.try_into().unwrap(),
        challenge_ends: deadline(challenge_timestamp, challenge_block),
        is_replica: replica != 0,
        is_held: held != 0,
        has_result: has_result != 0,
    }
}

/// How and when the job came to its worker; zeros without one.
pub fn placement(job: PlacedJob) -> Placement {
    let (rest, strategy) = DivRem::div_rem(job.placement, BITS_4);
    let (rest, score) = DivRem::div_rem(rest, BITS_16);
    let (block, timestamp) = DivRem::div_rem(rest, BITS_32);
    Placement {
        strategy: strategy.try_into().unwrap(),
        score: score.try_into().unwrap(),
        allocated_at: deadline(timestamp, block),
    }
}

/// Reads a slot in any state; a queued job has no worker.
pub fn placed_or_none(packed: felt252) -> PlacedJob {
    if state(packed) == JobState::Queued {
        unplaced(JobState::Queued, unpack_queued(packed).attempt)
    } else {
        unpack_placed(packed)
    }
}

/// A job that has no worker.
pub fn unplaced(state: JobState, attempt: u8) -> PlacedJob {
    let zero = Deadline { timestamp: 0, block: 0 };
    PlacedJob {
        state,
        attempt,
        worker_id: 0,
        placement: 0,
        rate_gfri: 0,
        gpu_count: 0,
        challenge_ends: zero,
        is_replica: false,
        is_held: false,
        has_result: false,
    }
}

fn flag(is_set: bool, unit: felt252) -> felt252 {
    if is_set {
        unit
    } else {
        0
    }
}

fn deadline(timestamp: u128, block: u128) -> Deadline {
    Deadline { timestamp: timestamp.try_into().unwrap(), block: block.try_into().unwrap() }
}

fn state_code(state: JobState) -> felt252 {
    match state {
        JobState::None => 0,
        JobState::Queued => QUEUED,
        JobState::Allocated => ALLOCATED,
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
        9 => JobState::Failed,
        // A queued replica's code.
        _ => JobState::Queued,
    }
}
