// SPDX-License-Identifier: MIT

//! What of a worker is in use. Workers of four neighbouring ids (1 to 4, 5 to 8 and so on) share a
//! storage slot, so that an allocation to each of them writes it once.
//!
//! ```text
//! bits    field, in each of four lanes of 32 bits
//!   0..6   free GPUs
//!   6      guard
//!   7..15  free slots
//!  15      guard
//!  16..31  holds: results that may still cost stake
//!  31      leaving: the worker is Exiting or has exited
//! ```
//!
//! The guards of all four lanes are set from the first registration on, and stay. Taking more than
//! is free clears a guard and touches no other field, so that one AND tells.

/// What each field adds to a worker's lane.
pub const SLOT: felt252 = 0x80;
pub const HOLD: felt252 = 0x1_0000;
pub const LEAVING: felt252 = 0x8000_0000;

/// The most holds that a lane counts.
pub const MAX_HOLDS: u16 = 0x7fff;

/// The guards of all lanes.
pub const EMPTY: felt252 = 0x8040_0000_8040_0000_8040_0000_8040;
const GUARDS: u128 = 0x8040_0000_8040_0000_8040_0000_8040;

/// What one adds to the word in each lane.
const UNIT_0: felt252 = 0x1;
const UNIT_1: felt252 = 0x1_0000_0000;
const UNIT_2: felt252 = 0x1_0000_0000_0000_0000;
const UNIT_3: felt252 = 0x1_0000_0000_0000_0000_0000_0000;

const LANES: NonZero<u128> = 4;
const BITS_7: NonZero<u128> = 0x80;
const BITS_9: NonZero<u128> = 0x200;
const BITS_15: NonZero<u128> = 0x8000;
const BITS_32: NonZero<u128> = 0x1_0000_0000;
const GPU_GUARD: u128 = 0x40;
const SLOT_GUARD: u128 = 0x100;

/// A worker's lane.
#[derive(Copy, Drop, PartialEq, Debug)]
pub struct WorkerLoad {
    pub free_gpus: u8,
    pub free_slots: u8,
    pub holds: u16,
    pub is_leaving: bool,
}

/// The first of the four workers that share the word of a worker, which is one of them. (That of
/// worker 0, who does not exist, is below 0.)
#[inline(always)]
pub fn first_of(worker_id: u128) -> felt252 {
    let (_, lane) = DivRem::div_rem(worker_id + 3, LANES);
    worker_id.into() - lane.into()
}

/// What one adds to the word in the lane of a worker: 0 if the worker's word is not the one whose
/// first worker is `first`.
#[inline(always)]
pub fn unit_of(worker_id: felt252, first: felt252) -> felt252 {
    let lane = worker_id - first;
    if lane == 0 {
        UNIT_0
    } else if lane == 1 {
        UNIT_1
    } else if lane == 2 {
        UNIT_2
    } else if lane == 3 {
        UNIT_3
    } else {
        0
    }
}

/// The word after a slot and `gpus` were taken in the lane with `unit`, of a worker that has
/// registered; nothing if they are not free.
#[inline(always)]
pub fn take(word: felt252, unit: felt252, gpus: u128) -> Option<felt252> {
    let taken = word - (gpus.into() + SLOT) * unit;
    let bits: u128 = taken.try_into()?;
    if bits & GUARDS == GUARDS {
        Option::Some(taken)
    } else {
        Option::None
    }
}

/// What a worker's lane gains by so many free GPUs and slots.
pub fn free(gpus: u8, slots: u8) -> felt252 {
    gpus.into() + slots.into() * SLOT
}

/// The lane with `unit`.
pub fn unpack(word: felt252, unit: felt252) -> WorkerLoad {
    let word: u128 = word.try_into().unwrap();
    let unit: u128 = unit.try_into().unwrap();
    let (shifted, _) = DivRem::div_rem(word, unit.try_into().unwrap());
    let (_, lane) = DivRem::div_rem(shifted, BITS_32);
    let (rest, gpus) = DivRem::div_rem(lane, BITS_7);
    let (rest, slots) = DivRem::div_rem(rest, BITS_9);
    let (leaving, holds) = DivRem::div_rem(rest, BITS_15);
    WorkerLoad {
        free_gpus: without(gpus, GPU_GUARD),
        free_slots: without(slots, SLOT_GUARD),
        holds: holds.try_into().unwrap(),
        is_leaving: leaving != 0,
    }
}

/// A field without its guard, which no unused word has.
fn without(field: u128, guard: u128) -> u8 {
    let value = if field < guard {
        field
    } else {
        field - guard
    };
    value.try_into().unwrap()
}
