// SPDX-License-Identifier: MIT

//! The storage slot of a policy; 0 if it was never announced.
//!
//! ```text
//!   0..32   active from: timestamp
//!  32..64   active from: block
//!  64..66   announced, retired
//! ```

use crate::types::Deadline;

const BLOCK: felt252 = 0x1_0000_0000;
const ANNOUNCED: felt252 = 0x1_0000_0000_0000_0000;
const RETIRED: felt252 = 0x2_0000_0000_0000_0000;

const BIT: NonZero<u128> = 2;
const BITS_32: NonZero<u128> = 0x1_0000_0000;

#[derive(Copy, Drop, PartialEq, Debug)]
pub struct Policy {
    pub is_announced: bool,
    pub is_retired: bool,
    pub active_from: Deadline,
}

/// Packs a policy that is announced.
pub fn pack(policy: Policy) -> felt252 {
    let retired = if policy.is_retired {
        RETIRED
    } else {
        0
    };
    policy.active_from.timestamp.into()
        + policy.active_from.block.into() * BLOCK
        + ANNOUNCED
        + retired
}

pub fn unpack(packed: felt252) -> Policy {
    let packed: u128 = packed.try_into().unwrap();
    let (rest, timestamp) = DivRem::div_rem(packed, BITS_32);
    let (rest, block) = DivRem::div_rem(rest, BITS_32);
    let (retired, announced) = DivRem::div_rem(rest, BIT);
    Policy {
        is_announced: announced != 0,
        is_retired: retired != 0,
        active_from: Deadline {
            timestamp: timestamp.try_into().unwrap(), block: block.try_into().unwrap(),
        },
    }
}

/// Whether rounds may name the policy: from both the time and the block on, until it is retired.
pub fn is_active(policy: Policy, now: Deadline) -> bool {
    policy.is_announced
        && !policy.is_retired
        && now.timestamp >= policy.active_from.timestamp
        && now.block >= policy.active_from.block
}
