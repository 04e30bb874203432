// SPDX-License-Identifier: MIT

//! The storage slot with what a worker offers. An allocation only reads it; what is in use lies in
//! `math/worker_load.cairo`.
//!
//! ```text
//! low  0..96    lanes of capabilities, see `math/lanes.cairo`: the GPU lane counts all GPUs
//!     96..128   1 each
//! high 0..40    rate (gFri per GPU-second)
//!     40..42    status: Active, Draining, Exiting, Exited
//!     42..82    region
//!     82..90    slots
//!     90        static pool
//!     91..123   reputation since: timestamp
//! ```

use crate::cdc_pool::types::WorkerStatus;
use crate::math::lanes;
use crate::math::lanes::Lanes;
use crate::math::worker_load::WorkerLoad;
use crate::types::{Capabilities, skip_reason};

/// The largest rate (gFri per GPU-second) that a slot can hold.
pub const MAX_RATE_GFRI: u64 = 0xff_ffff_ffff;

const HIGH: felt252 = 0x1_0000_0000_0000_0000_0000_0000_0000_0000;
/// What each field adds to the high half.
const STATUS: felt252 = 0x100_0000_0000;
const REGION: felt252 = 0x400_0000_0000;
const SLOTS: felt252 = 0x4_0000_0000_0000_0000_0000;
const STATIC: felt252 = 0x400_0000_0000_0000_0000_0000;
const REPUTATION_AT: felt252 = 0x800_0000_0000_0000_0000_0000;
/// What one second adds to the whole slot.
const REPUTATION_AT_UNIT: felt252 =
    0x800_0000_0000_0000_0000_0000_0000_0000_0000_0000_0000_0000_0000_0000;

/// The bits of the high half that a request for any region, and one for a region, is compared in.
const RATE_AND_STATUS: u128 = 0x3ff_ffff_ffff;
const RATE_STATUS_AND_REGION: u128 = 0x3_ffff_ffff_ffff_ffff_ffff;
/// The least high half of a request for a region.
const ANY_REGION: u128 = 0x400_0000_0000;

const BIT: NonZero<u128> = 2;
const BITS_2: NonZero<u128> = 4;
const BITS_8: NonZero<u128> = 0x100;
const BITS_40: NonZero<u128> = 0x100_0000_0000;

/// A slot's fields.
#[derive(Copy, Drop, PartialEq, Debug)]
pub struct WorkerSlot {
    pub status: WorkerStatus,
    pub capabilities: Capabilities,
    pub slots: u8,
    pub rate_gfri: u64,
    pub is_static: bool,
    pub reputation: u16,
    /// Unix time in seconds.
    pub reputation_at: u64,
}

/// Packs a worker whose status is not None.
pub fn pack(worker: WorkerSlot) -> felt252 {
    let offered = worker.capabilities;
    let low = lanes::pack(
        Lanes {
            gpus: offered.gpu_count,
            vram_gib: offered.vram_gib,
            compute_capability: offered.compute_capability,
            cuda_version: offered.cuda_version,
            driver_version: offered.driver_version,
            cpu_cores: offered.cpu_cores,
            memory_gib: offered.memory_gib,
            reputation: worker.reputation,
            features: offered.features,
        },
    );
    let is_static = if worker.is_static {
        STATIC
    } else {
        0
    };
    let high = worker.rate_gfri.into()
        + status_code(worker.status) * STATUS
        + offered.region * REGION
        + worker.slots.into() * SLOTS
        + is_static
        + worker.reputation_at.into() * REPUTATION_AT;
    low + lanes::ALWAYS_SET.into() + high * HIGH
}

pub fn unpack(packed: felt252) -> WorkerSlot {
    let is_used = packed != 0;
    let packed: u256 = packed.into();
    let offered = lanes::unpack(lanes_of(packed.low));
    let (rest, rate_gfri) = DivRem::div_rem(packed.high, BITS_40);
    let (rest, status) = DivRem::div_rem(rest, BITS_2);
    let (rest, region) = DivRem::div_rem(rest, BITS_40);
    let (rest, slots) = DivRem::div_rem(rest, BITS_8);
    let (reputation_at, is_static) = DivRem::div_rem(rest, BIT);
    let status = if is_used {
        status_of(status)
    } else {
        WorkerStatus::None
    };
    WorkerSlot {
        status,
        capabilities: Capabilities {
            gpu_count: offered.gpus,
            vram_gib: offered.vram_gib,
            compute_capability: offered.compute_capability,
            cuda_version: offered.cuda_version,
            driver_version: offered.driver_version,
            cpu_cores: offered.cpu_cores,
            memory_gib: offered.memory_gib,
            features: offered.features,
            region: region.into(),
        },
        slots: slots.try_into().unwrap(),
        rate_gfri: rate_gfri.try_into().unwrap(),
        is_static: is_static != 0,
        reputation: offered.reputation,
        reputation_at: reputation_at.try_into().unwrap(),
    }
}

/// Whether an Active worker offers what a request asks (`math/reserve_request.cairo`), at its rate:
/// `difference` is the worker's slot less the request. Nothing is free at a worker that does not
/// exist, and this is false for it: the difference's lowest 42 bits above the lanes are then those
/// of a negative rate.
#[inline(always)]
pub fn suits(difference: felt252, asked: u256) -> bool {
    let difference: u256 = difference.into();
    let compared = if asked.high < ANY_REGION {
        RATE_AND_STATUS
    } else {
        RATE_STATUS_AND_REGION
    };
    difference.high & compared == 0 && lanes::is_met(difference.low, asked.low)
}

/// Why a worker with this slot and load does not get what a request asks: the first reason that
/// holds, in the order of this function.
pub fn refusal(packed: felt252, load: WorkerLoad, asked: u256) -> u8 {
    let worker = unpack(packed);
    if worker.status == WorkerStatus::None {
        return skip_reason::WORKER_UNKNOWN;
    }
    if worker.status != WorkerStatus::Active {
        return skip_reason::WORKER_UNAVAILABLE;
    }
    let need = lanes::unpack(asked.low);
    if load.free_slots == 0 {
        return skip_reason::NO_FREE_SLOT;
    }
    if load.free_gpus < need.gpus {
        return skip_reason::NO_FREE_GPU;
    }
    if is_any_hardware_below(worker.capabilities, need) {
        return skip_reason::REQUIREMENT_UNMET;
    }
    let (_, rate_gfri) = DivRem::div_rem(asked.high, BITS_40);
    if worker.rate_gfri.into() != rate_gfri {
        return skip_reason::RATE_CHANGED;
    }
    if worker.reputation < need.reputation {
        return skip_reason::REPUTATION_TOO_LOW;
    }
    skip_reason::REGION_MISMATCH
}

/// The reputation in a slot, and since when (Unix time in seconds) it is that.
pub fn reputation(packed: felt252) -> (u16, u64) {
    let packed: u256 = packed.into();
    let (reputation_at, _) = DivRem::div_rem(packed.high, 0x800_0000_0000_0000_0000_0000);
    (lanes::reputation(packed.low), reputation_at.try_into().unwrap())
}

/// The slot with another reputation, and another time that it holds since.
pub fn with_reputation(packed: felt252, old: (u16, u64), new: (u16, u64)) -> felt252 {
    let (old_reputation, old_at) = old;
    let (new_reputation, new_at) = new;
    packed
        + (new_reputation.into() - old_reputation.into()) * lanes::REPUTATION
        + (new_at.into() - old_at.into()) * REPUTATION_AT_UNIT
}

fn is_any_hardware_below(have: Capabilities, need: Lanes) -> bool {
    have.vram_gib < need.vram_gib
        || have.compute_capability < need.compute_capability
        || have.cuda_version < need.cuda_version
        || have.driver_version < need.driver_version
        || have.cpu_cores < need.cpu_cores
        || have.memory_gib < need.memory_gib
        || (have.features & need.features) != need.features
}

/// The lower half of a slot without the bits that are always set; of an unused slot nothing.
fn lanes_of(low: u128) -> u128 {
    if low == 0 {
        0
    } else {
        low - lanes::ALWAYS_SET
    }
}

/// Active is 0, so that a request need not ask for it.
fn status_code(status: WorkerStatus) -> felt252 {
    match status {
        WorkerStatus::None => 0,
        WorkerStatus::Active => 0,
        WorkerStatus::Draining => 1,
        WorkerStatus::Exiting => 2,
        WorkerStatus::Exited => 3,
    }
}

fn status_of(code: u128) -> WorkerStatus {
    match code {
        0 => WorkerStatus::Active,
        1 => WorkerStatus::Draining,
        2 => WorkerStatus::Exiting,
        _ => WorkerStatus::Exited,
    }
}
