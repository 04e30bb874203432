// SPDX-License-Identifier: MIT

//! Heartbeats of 100 workers (1 to 100, 101 to 200 and so on) in one storage slot.
//!
//! ```text
//! as reported          in storage
//!   0..100  beats      low    0..100  beats of the epoch
//! 100..128  group           100..128  epoch
//!                      high   0..100  beats of the epoch before
//! ```
//!
//! The bit of worker `n` is `(n - 1) % 100`, its group `(n - 1) / 100`. An epoch is 600 s long.

const EPOCH_S: u64 = 600;
const GROUP_SIZE: NonZero<u32> = 100;
const BITS_100: NonZero<u128> = 0x10_0000_0000_0000_0000_0000_0000;
const EPOCH: felt252 = 0x10_0000_0000_0000_0000_0000_0000;
const PREVIOUS: felt252 = 0x1_0000_0000_0000_0000_0000_0000_0000_0000;

/// The beats of a group.
#[derive(Copy, Drop, PartialEq, Debug)]
pub struct Beats {
    pub epoch: u64,
    /// Bits of the workers that beat in the epoch, and in the one before.
    pub current: u128,
    pub previous: u128,
}

/// The epoch of a timestamp (s).
pub fn epoch_of(timestamp: u64) -> u64 {
    timestamp / EPOCH_S
}

/// The group of a worker, and the worker's bit there.
pub fn place_of(worker_id: u32) -> (u32, u128) {
    let (group, position) = DivRem::div_rem(worker_id - 1, GROUP_SIZE);
    let mut bit: felt252 = 1;
    let mut power: felt252 = 2;
    let mut left = position;
    while left != 0 {
        let (half, is_odd) = DivRem::div_rem(left, 2);
        if is_odd != 0 {
            bit *= power;
        }
        power *= power;
        left = half;
    };
    (group, bit.try_into().unwrap())
}

/// Beats of one group as they are reported.
pub fn report(group: u32, beats: u128) -> felt252 {
    beats.into() + group.into() * EPOCH
}

/// The group and the beats of a report, where `worker_count` workers have registered; nothing where
/// none of them is in the group.
pub fn unpack_report(report: felt252, worker_count: u32) -> Option<(u32, u128)> {
    let report: u128 = report.try_into()?;
    let (group, beats) = DivRem::div_rem(report, BITS_100);
    // At most 28 bits are left for the group.
    let group: u32 = group.try_into()?;
    let (last_group, _) = DivRem::div_rem(worker_count.into() + 99_u64, 100);
    if group.into() < last_group {
        Option::Some((group, beats))
    } else {
        Option::None
    }
}

/// The beats as they are seen in `epoch`, not before their own: in a later one, those of their
/// epoch are the previous or forgotten.
pub fn seen_in(beats: Beats, epoch: u64) -> Beats {
    if beats.epoch == epoch {
        beats
    } else if beats.epoch + 1 == epoch {
        Beats { epoch, current: 0, previous: beats.current }
    } else {
        Beats { epoch, current: 0, previous: 0 }
    }
}

pub fn pack(beats: Beats) -> felt252 {
    beats.current.into() + beats.epoch.into() * EPOCH + beats.previous.into() * PREVIOUS
}

pub fn unpack(packed: felt252) -> Beats {
    let packed: u256 = packed.into();
    let (epoch, current) = DivRem::div_rem(packed.low, BITS_100);
    Beats { epoch: epoch.try_into().unwrap(), current, previous: packed.high }
}
