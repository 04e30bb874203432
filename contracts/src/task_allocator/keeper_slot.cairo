// SPDX-License-Identifier: MIT

//! The storage slot of a keeper, which a round reads and writes.
//!
//! ```text
//! low    0..128  bond (fri)
//! high   0       admitted
//!        1..49   last round
//!       49..81   leaves at: timestamp
//!       81..113  leaves at: block
//! ```

use crate::types::Deadline;

/// Rounds are below this.
pub const ROUNDS: u64 = 0x1_0000_0000_0000;

const HIGH: felt252 = 0x1_0000_0000_0000_0000_0000_0000_0000_0000;
const LAST_ROUND: felt252 = 0x2;
const LEAVES_AT: felt252 = 0x2_0000_0000_0000;
const LEAVES_BLOCK: felt252 = 0x2_0000_0000_0000_0000_0000;

const BIT: NonZero<u128> = 2;
const BITS_32: NonZero<u128> = 0x1_0000_0000;
const BITS_48: NonZero<u128> = 0x1_0000_0000_0000;

#[derive(Copy, Drop, PartialEq, Debug)]
pub struct Keeper {
    /// Fri.
    pub bond: u128,
    pub is_admitted: bool,
    /// Below [`ROUNDS`]; 0 before its first.
    pub last_round: u64,
    /// When the bond can be withdrawn; zeros while it is admitted.
    pub leaves: Deadline,
}

pub fn pack(keeper: Keeper) -> felt252 {
    let admitted = if keeper.is_admitted {
        1
    } else {
        0
    };
    let high = admitted
        + keeper.last_round.into() * LAST_ROUND
        + keeper.leaves.timestamp.into() * LEAVES_AT
        + keeper.leaves.block.into() * LEAVES_BLOCK;
    keeper.bond.into() + high * HIGH
}

pub fn unpack(packed: felt252) -> Keeper {
    let packed: u256 = packed.into();
    let (rest, admitted) = DivRem::div_rem(packed.high, BIT);
    let (rest, last_round) = DivRem::div_rem(rest, BITS_48);
    let (block, timestamp) = DivRem::div_rem(rest, BITS_32);
    Keeper {
        bond: packed.low,
        is_admitted: admitted != 0,
        last_round: last_round.try_into().unwrap(),
        leaves: Deadline {
            timestamp: timestamp.try_into().unwrap(), block: block.try_into().unwrap(),
        },
    }
}
