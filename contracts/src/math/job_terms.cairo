// SPDX-License-Identifier: MIT

//! The storage slot with what a job was submitted with, apart from its hashes and from what its
//! slot in the queue holds ([`super::job_slot`]). It never changes.
//!
//! ```text
//! low    0..98   highest price (fri)           high   0..32   deadline: timestamp
//!       98..120  execution timeout (s)               32..64   deadline: block
//!      120..124  priority                            64..96   client
//!      124..126  queue                               96..100  most attempts
//!                                                  100..114  highest latency (ms)
//!                                                  114..116  verification
//!                                                  116..117  replica
//! ```
//!
//! The highest rate has 40 bits, a job at most 63 GPUs and a timeout of at most 30 days, so that no
//! price reaches 2^98.

use crate::types::Deadline;

const HIGH: felt252 = 0x1_0000_0000_0000_0000_0000_0000_0000_0000;
const TIMEOUT: felt252 = 0x4_0000_0000_0000_0000_0000_0000;
const PRIORITY: felt252 = 0x100_0000_0000_0000_0000_0000_0000_0000;
const QUEUE: felt252 = 0x1000_0000_0000_0000_0000_0000_0000_0000;
const DEADLINE_BLOCK: felt252 = 0x1_0000_0000;
const CLIENT: felt252 = 0x1_0000_0000_0000_0000;
const MAX_ATTEMPTS: felt252 = 0x1_0000_0000_0000_0000_0000_0000;
const MAX_LATENCY: felt252 = 0x10_0000_0000_0000_0000_0000_0000;
const VERIFICATION: felt252 = 0x4_0000_0000_0000_0000_0000_0000_0000;
const REPLICA: felt252 = 0x10_0000_0000_0000_0000_0000_0000_0000;

const BITS_2: NonZero<u128> = 0x4;
const BITS_4: NonZero<u128> = 0x10;
const BITS_14: NonZero<u128> = 0x4000;
const BITS_22: NonZero<u128> = 0x40_0000;
const BITS_32: NonZero<u128> = 0x1_0000_0000;
const BITS_64: NonZero<u128> = 0x1_0000_0000_0000_0000;
const BITS_98: NonZero<u128> = 0x4_0000_0000_0000_0000_0000_0000;

#[derive(Copy, Drop, PartialEq, Debug)]
pub struct Terms {
    /// Fri.
    pub max_price: u128,
    pub execution_timeout_s: u32,
    pub priority: u8,
    pub queue: u8,
    /// For the allocation.
    pub deadline: Deadline,
    /// The client's number.
    pub client: u32,
    pub max_attempts: u8,
    pub max_latency_ms: u16,
    /// `job_mgr::types::verification`.
    pub verification: u8,
    pub is_replica: bool,
}

pub fn pack(terms: Terms) -> felt252 {
    let low = terms.max_price.into()
        + terms.execution_timeout_s.into() * TIMEOUT
        + terms.priority.into() * PRIORITY
        + terms.queue.into() * QUEUE;
    let high = terms.deadline.timestamp.into()
        + terms.deadline.block.into() * DEADLINE_BLOCK
        + terms.client.into() * CLIENT
        + terms.max_attempts.into() * MAX_ATTEMPTS
        + terms.max_latency_ms.into() * MAX_LATENCY
        + terms.verification.into() * VERIFICATION
        + if terms.is_replica {
            REPLICA
        } else {
            0
        };
    low + high * HIGH
}

/// What a settlement needs of packed terms.
#[derive(Copy, Drop, PartialEq, Debug)]
pub struct Payment {
    /// Fri.
    pub max_price: u128,
    pub execution_timeout_s: u32,
    /// The client's number.
    pub client: u32,
}

pub fn unpack_payment(packed: felt252) -> Payment {
    let packed: u256 = packed.into();
    let (rest, max_price) = DivRem::div_rem(packed.low, BITS_98);
    let (_, execution_timeout_s) = DivRem::div_rem(rest, BITS_22);
    let (rest, _) = DivRem::div_rem(packed.high, BITS_64);
    let (_, client) = DivRem::div_rem(rest, BITS_32);
    Payment {
        max_price,
        execution_timeout_s: execution_timeout_s.try_into().unwrap(),
        client: client.try_into().unwrap(),
    }
}

pub fn unpack(packed: felt252) -> Terms {
    let packed: u256 = packed.into();
    let (rest, max_price) = DivRem::div_rem(packed.low, BITS_98);
    let (rest, execution_timeout_s) = DivRem::div_rem(rest, BITS_22);
    let (queue, priority) = DivRem::div_rem(rest, BITS_4);
    let (rest, timestamp) = DivRem::div_rem(packed.high, BITS_32);
    let (rest, block) = DivRem::div_rem(rest, BITS_32);
    let (rest, client) = DivRem::div_rem(rest, BITS_32);
    let (rest, max_attempts) = DivRem::div_rem(rest, BITS_4);
    let (rest, max_latency_ms) = DivRem::div_rem(rest, BITS_14);
    let (replica, verification) = DivRem::div_rem(rest, BITS_2);
    Terms {
        max_price,
        execution_timeout_s: execution_timeout_s.try_into().unwrap(),
        priority: priority.try_into().unwrap(),
        queue: queue.try_into().unwrap(),
        deadline: Deadline {
            timestamp: timestamp.try_into().unwrap(), block: block.try_into().unwrap(),
        },
        client: client.try_into().unwrap(),
        max_attempts: max_attempts.try_into().unwrap(),
        max_latency_ms: max_latency_ms.try_into().unwrap(),
        verification: verification.try_into().unwrap(),
        is_replica: replica != 0,
    }
}
