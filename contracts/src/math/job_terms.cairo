// SPDX-License-Identifier: MIT

//! The two storage slots with what a job was submitted with, apart from its hashes. They never
//! change.
//!
//! ```text
//! money and timing                             needs
//! low    0..128  highest price (fri)           low    0..96   lanes of the requirements
//! high   0..32   execution timeout (s)               96..100  priority
//!       32..64   deadline: timestamp                100..102  queue
//!       64..96   deadline: block                    102..106  most attempts
//!                                              high   0..40   region
//!                                                    40..80   highest rate (gFri)
//! ```

use crate::types::Deadline;

const HIGH: felt252 = 0x1_0000_0000_0000_0000_0000_0000_0000_0000;
const HIGH_32: felt252 = 0x1_0000_0000;
const HIGH_40: felt252 = 0x100_0000_0000;
const HIGH_64: felt252 = 0x1_0000_0000_0000_0000;
const LOW_96: felt252 = 0x1_0000_0000_0000_0000_0000_0000;
const LOW_100: felt252 = 0x10_0000_0000_0000_0000_0000_0000;
const LOW_102: felt252 = 0x40_0000_0000_0000_0000_0000_0000;

const BITS_2: NonZero<u128> = 0x4;
const BITS_4: NonZero<u128> = 0x10;
const BITS_32: NonZero<u128> = 0x1_0000_0000;
const BITS_40: NonZero<u128> = 0x100_0000_0000;
const BITS_96: NonZero<u128> = 0x1_0000_0000_0000_0000_0000_0000;

/// What the client pays at most, and until when.
#[derive(Copy, Drop, PartialEq, Debug)]
pub struct Terms {
    pub max_price: u128,
    pub execution_timeout_s: u32,
    /// For the allocation.
    pub deadline: Deadline,
}

/// What a worker must offer, and how the job is queued.
#[derive(Copy, Drop, PartialEq, Debug)]
pub struct Needs {
    /// Packed lanes.
    pub lanes: u128,
    pub region: felt252,
    pub max_rate_gfri: u64,
    pub priority: u8,
    pub queue: u8,
    pub max_attempts: u8,
}

pub fn pack_terms(terms: Terms) -> felt252 {
    let high = terms.execution_timeout_s.into()
        + terms.deadline.timestamp.into() * HIGH_32
        + terms.deadline.block.into() * HIGH_64;
    terms.max_price.into() + high * HIGH
}

pub fn unpack_terms(packed: felt252) -> Terms {
    let packed: u256 = packed.into();
    let (rest, execution_timeout_s) = DivRem::div_rem(packed.high, BITS_32);
    let (block, timestamp) = DivRem::div_rem(rest, BITS_32);
    Terms {
        max_price: packed.low,
        execution_timeout_s: execution_timeout_s.try_into().unwrap(),
        deadline: Deadline {
            timestamp: timestamp.try_into().unwrap(), block: block.try_into().unwrap(),
        },
    }
}

pub fn pack_needs(needs: Needs) -> felt252 {
    let low = needs.lanes.into()
        + needs.priority.into() * LOW_96
        + needs.queue.into() * LOW_100
        + needs.max_attempts.into() * LOW_102;
    let high = needs.region + needs.max_rate_gfri.into() * HIGH_40;
    low + high * HIGH
}

pub fn unpack_needs(packed: felt252) -> Needs {
    let packed: u256 = packed.into();
    let (rest, lanes) = DivRem::div_rem(packed.low, BITS_96);
    let (rest, priority) = DivRem::div_rem(rest, BITS_4);
    let (max_attempts, queue) = DivRem::div_rem(rest, BITS_2);
    let (max_rate_gfri, region) = DivRem::div_rem(packed.high, BITS_40);
    Needs {
        lanes,
        region: region.into(),
        max_rate_gfri: max_rate_gfri.try_into().unwrap(),
        priority: priority.try_into().unwrap(),
        queue: queue.try_into().unwrap(),
        max_attempts: max_attempts.try_into().unwrap(),
    }
}
