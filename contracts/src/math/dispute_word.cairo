// SPDX-License-Identifier: MIT

//! The storage slot of a dispute, kept with the disputed job.
//!
//! ```text
//! low    0..64   committee             high   0..123  bond (fri)
//!       64..96   ends: timestamp
//!       96..128  ends: block
//! ```
//!
//! No price reaches 2^98 ([`super::job_terms`]), so no bond reaches 2^100.

use crate::types::Deadline;

const HIGH: felt252 = 0x1_0000_0000_0000_0000_0000_0000_0000_0000;
const ENDS_TIMESTAMP: felt252 = 0x1_0000_0000_0000_0000;
const ENDS_BLOCK: felt252 = 0x1_0000_0000_0000_0000_0000_0000;

const BITS_32: NonZero<u128> = 0x1_0000_0000;
const BITS_64: NonZero<u128> = 0x1_0000_0000_0000_0000;

#[derive(Copy, Drop, PartialEq, Debug)]
pub struct Dispute {
    /// The group that judges; 0 where the referee does.
    pub committee: u64,
    /// When the dispute is decided by default.
    pub ends: Deadline,
    /// Fri.
    pub bond: u128,
}

pub fn pack(dispute: Dispute) -> felt252 {
    dispute.committee.into()
        + dispute.ends.timestamp.into() * ENDS_TIMESTAMP
        + dispute.ends.block.into() * ENDS_BLOCK
        + dispute.bond.into() * HIGH
}

pub fn unpack(packed: felt252) -> Dispute {
    let packed: u256 = packed.into();
    let (rest, committee) = DivRem::div_rem(packed.low, BITS_64);
    let (block, timestamp) = DivRem::div_rem(rest, BITS_32);
    Dispute {
        committee: committee.try_into().unwrap(),
        ends: Deadline {
            timestamp: timestamp.try_into().unwrap(), block: block.try_into().unwrap(),
        },
        bond: packed.high,
    }
}
