// SPDX-License-Identifier: MIT

//! The storage slot of a group of replicas, kept with the first of them. With every other replica
//! stands the first one's id there, which the lowest 64 bits tell apart.
//!
//! ```text
//! low    0..64   0                     high   0..32   opened: timestamp
//!       64..68   replicas                    32..64   opened: block
//!       68..72   quorum
//!       72..76   pending
//!       76..80   revealed
//!       80..88   allocations
//!       88..90   decided, committee
//! ```

use crate::types::Deadline;

const HIGH: felt252 = 0x1_0000_0000_0000_0000_0000_0000_0000_0000;
const REPLICAS: felt252 = 0x1_0000_0000_0000_0000;
const QUORUM: felt252 = 0x10_0000_0000_0000_0000;
const PENDING: felt252 = 0x100_0000_0000_0000_0000;
const REVEALED: felt252 = 0x1000_0000_0000_0000_0000;
const ALLOCATIONS: felt252 = 0x1_0000_0000_0000_0000_0000;
const DECIDED: felt252 = 0x100_0000_0000_0000_0000_0000;
const COMMITTEE: felt252 = 0x200_0000_0000_0000_0000_0000;
const OPENED_BLOCK: felt252 = 0x1_0000_0000;

const BIT: NonZero<u128> = 2;
const BITS_4: NonZero<u128> = 0x10;
const BITS_8: NonZero<u128> = 0x100;
const BITS_32: NonZero<u128> = 0x1_0000_0000;
const BITS_64: NonZero<u128> = 0x1_0000_0000_0000_0000;

/// What stands in the slot: nothing for a job alone.
#[derive(Copy, Drop, PartialEq, Debug)]
pub enum GroupSlot {
    Alone,
    /// The id of the first replica, which has the group.
    Member: u64,
    First: Group,
}

#[derive(Copy, Drop, PartialEq, Debug)]
pub struct Group {
    /// 3 to 15.
    pub replicas: u8,
    pub quorum: u8,
    /// Replicas that are Queued or Allocated.
    pub pending: u8,
    pub revealed: u8,
    /// How often a replica was allocated: at most 15 times each.
    pub allocations: u8,
    /// Whether there is a winner, or none was found when the reveals closed.
    pub is_decided: bool,
    /// Whether it judges a disputed result.
    pub is_committee: bool,
    /// When the last replica ceased to be pending; zeros before.
    pub opened: Deadline,
}

pub fn pack(group: Group) -> felt252 {
    let low = group.replicas.into() * REPLICAS
        + group.quorum.into() * QUORUM
        + group.pending.into() * PENDING
        + group.revealed.into() * REVEALED
        + group.allocations.into() * ALLOCATIONS
        + flag(group.is_decided, DECIDED)
        + flag(group.is_committee, COMMITTEE);
    let high = group.opened.timestamp.into() + group.opened.block.into() * OPENED_BLOCK;
    low + high * HIGH
}

pub fn unpack(packed: felt252) -> GroupSlot {
    let packed: u256 = packed.into();
    let (rest, first) = DivRem::div_rem(packed.low, BITS_64);
    if first != 0 {
        return GroupSlot::Member(first.try_into().unwrap());
    }
    if rest == 0 {
        return GroupSlot::Alone;
    }
    let (rest, replicas) = DivRem::div_rem(rest, BITS_4);
    let (rest, quorum) = DivRem::div_rem(rest, BITS_4);
    let (rest, pending) = DivRem::div_rem(rest, BITS_4);
    let (rest, revealed) = DivRem::div_rem(rest, BITS_4);
    let (rest, allocations) = DivRem::div_rem(rest, BITS_8);
    let (committee, decided) = DivRem::div_rem(rest, BIT);
    let (block, timestamp) = DivRem::div_rem(packed.high, BITS_32);
    GroupSlot::First(
        Group {
            replicas: replicas.try_into().unwrap(),
            quorum: quorum.try_into().unwrap(),
            pending: pending.try_into().unwrap(),
            revealed: revealed.try_into().unwrap(),
            allocations: allocations.try_into().unwrap(),
            is_decided: decided != 0,
            is_committee: committee != 0,
            opened: Deadline {
                timestamp: timestamp.try_into().unwrap(), block: block.try_into().unwrap(),
            },
        },
    )
}

fn flag(is_set: bool, unit: felt252) -> felt252 {
    if is_set {
        unit
    } else {
        0
    }
}
