// SPDX-License-Identifier: MIT

//! The one storage slot that an allocation reads and writes of a worker.
//!
//! ```text
//! low  0..96    lanes of capabilities: the GPU lane counts free GPUs, the reputation lane the
//!               reputation
//!     96..128   1 each, see `math/lanes.cairo`
//! high 0..40    rate (gFri per GPU-second)
//!     40..80    region
//!     80..88    slots
//!     88..94    GPUs
//!     94..102   free slots
//!    102..105   status
//! ```
//!
//! Active is the highest status, and free slots lie just below it: one comparison tells whether
//! both allow an allocation.

use crate::cdc_pool::types::WorkerStatus;
use crate::math::lanes;
use crate::math::lanes::Lanes;
use crate::math::reserve_request::ReserveRequest;
use crate::rare::rare;
use crate::types::{Capabilities, skip_reason};

/// The largest rate (gFri per GPU-second) that a slot can hold.
pub const MAX_RATE_GFRI: u64 = 0xff_ffff_ffff;

const HIGH: felt252 = 0x1_0000_0000_0000_0000_0000_0000_0000_0000;
/// What each field adds to the high half.
const REGION: felt252 = 0x100_0000_0000;
const SLOTS: felt252 = 0x1_0000_0000_0000_0000_0000;
const GPUS: felt252 = 0x100_0000_0000_0000_0000_0000;
const FREE_SLOTS: felt252 = 0x4000_0000_0000_0000_0000_0000;
const STATUS: felt252 = 0x40_0000_0000_0000_0000_0000_0000;
/// What one free slot adds to the whole slot.
const ONE_FREE_SLOT: felt252 =
    0x4000_0000_0000_0000_0000_0000_0000_0000_0000_0000_0000_0000_0000_0000;

const ACTIVE: u128 = 4;
/// Slots, GPUs, free slots and status as one number: the least of an Active worker with a free
/// slot, `ACTIVE * 2^22 + 2^14`.
const AVAILABLE: u128 = 0x100_4000;

const RATE_WIDTH: NonZero<u128> = 0x100_0000_0000;
const REGION_WIDTH: NonZero<u128> = 0x100_0000_0000;
const SLOTS_WIDTH: NonZero<u128> = 0x100;
const GPUS_WIDTH: NonZero<u128> = 0x40;
/// Slots and GPUs together.
const CAPACITY_WIDTH: NonZero<u128> = 0x4000;

/// A slot's fields. `capabilities.gpu_count` counts all GPUs, free or not.
#[derive(Copy, Drop, PartialEq, Debug)]
pub struct WorkerSlot {
    pub status: WorkerStatus,
    pub capabilities: Capabilities,
    pub slots: u8,
    pub free_slots: u8,
    pub free_gpus: u8,
    pub rate_gfri: u64,
    pub reputation: u16,
}

pub fn pack(worker: WorkerSlot) -> felt252 {
    let offered = worker.capabilities;
    let low = lanes::pack(
        Lanes {
            gpus: worker.free_gpus,
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
    let high = worker.rate_gfri.into()
        + offered.region * REGION
        + worker.slots.into() * SLOTS
        + offered.gpu_count.into() * GPUS
        + worker.free_slots.into() * FREE_SLOTS
        + status_code(worker.status).into() * STATUS;
    low + lanes::ALWAYS_SET.into() + high * HIGH
}

pub fn unpack(packed: felt252) -> WorkerSlot {
    let packed: u256 = packed.into();
    let free = lanes::unpack(lanes_of(packed.low));
    let (rest, rate_gfri) = DivRem::div_rem(packed.high, RATE_WIDTH);
    let (rest, region) = DivRem::div_rem(rest, REGION_WIDTH);
    let (rest, slots) = DivRem::div_rem(rest, SLOTS_WIDTH);
    let (rest, gpu_count) = DivRem::div_rem(rest, GPUS_WIDTH);
    let (status, free_slots) = DivRem::div_rem(rest, SLOTS_WIDTH);
    WorkerSlot {
        status: status_of(status),
        capabilities: Capabilities {
            gpu_count: gpu_count.try_into().unwrap(),
            vram_gib: free.vram_gib,
            compute_capability: free.compute_capability,
            cuda_version: free.cuda_version,
            driver_version: free.driver_version,
            cpu_cores: free.cpu_cores,
            memory_gib: free.memory_gib,
            features: free.features,
            region: region.into(),
        },
        slots: slots.try_into().unwrap(),
        free_slots: free_slots.try_into().unwrap(),
        free_gpus: free.gpus,
        rate_gfri: rate_gfri.try_into().unwrap(),
        reputation: free.reputation,
    }
}

/// The slot after one of the worker's slots and the GPUs were given to the job, with the worker's
/// rate; or the first reason why they cannot be.
#[inline(always)]
pub fn reserve(packed: felt252, request: ReserveRequest) -> Result<(felt252, u128), u8> {
    let worker: u256 = packed.into();
    let (rest, rate_gfri) = DivRem::div_rem(worker.high, RATE_WIDTH);
    let (capacity, region) = DivRem::div_rem(rest, REGION_WIDTH);
    if capacity >= AVAILABLE
        && lanes::fits(worker.low, request.needs)
        && rate_gfri <= request.max_rate_gfri
        && (request.region == 0 || request.region == region) {
        Result::Ok((packed - lanes::gpus(request.needs).into() - ONE_FREE_SLOT, rate_gfri))
    } else {
        rare();
        Result::Err(refusal(packed, request))
    }
}

/// The slot after a job's slot and GPUs were given back.
pub fn release(packed: felt252, gpu_count: u8) -> felt252 {
    packed + gpu_count.into() + ONE_FREE_SLOT
}

/// The reputation in a slot.
pub fn reputation(packed: felt252) -> u16 {
    let packed: u256 = packed.into();
    lanes::unpack(lanes_of(packed.low)).reputation
}

/// The slot with another reputation.
pub fn with_reputation(packed: felt252, old: u16, new: u16) -> felt252 {
    packed + (new.into() - old.into()) * lanes::REPUTATION
}

/// Names what [`reserve`] found wanting, in the order of the numbers of the reasons.
fn refusal(packed: felt252, request: ReserveRequest) -> u8 {
    if packed == 0 {
        return skip_reason::WORKER_UNKNOWN;
    }
    let worker: u256 = packed.into();
    let (rest, rate_gfri) = DivRem::div_rem(worker.high, RATE_WIDTH);
    let (capacity, _) = DivRem::div_rem(rest, REGION_WIDTH);
    let (rest, _) = DivRem::div_rem(capacity, CAPACITY_WIDTH);
    let (status, free_slots) = DivRem::div_rem(rest, SLOTS_WIDTH);
    if status != ACTIVE {
        return skip_reason::WORKER_UNAVAILABLE;
    }
    if free_slots == 0 {
        return skip_reason::NO_FREE_SLOT;
    }
    let have = lanes::unpack(lanes_of(worker.low));
    let need = lanes::unpack(request.needs);
    if have.gpus < need.gpus {
        return skip_reason::NO_FREE_GPU;
    }
    if is_any_hardware_below(have, need) {
        return skip_reason::REQUIREMENT_UNMET;
    }
    if rate_gfri > request.max_rate_gfri {
        return skip_reason::RATE_TOO_HIGH;
    }
    if have.reputation < need.reputation {
        return skip_reason::REPUTATION_TOO_LOW;
    }
    skip_reason::REGION_MISMATCH
}

fn is_any_hardware_below(have: Lanes, need: Lanes) -> bool {
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

fn status_code(status: WorkerStatus) -> u8 {
    match status {
        WorkerStatus::None => 0,
        WorkerStatus::Exited => 1,
        WorkerStatus::Exiting => 2,
        WorkerStatus::Draining => 3,
        WorkerStatus::Active => 4,
    }
}

fn status_of(code: u128) -> WorkerStatus {
    match code {
        0 => WorkerStatus::None,
        1 => WorkerStatus::Exited,
        2 => WorkerStatus::Exiting,
        3 => WorkerStatus::Draining,
        _ => WorkerStatus::Active,
    }
}
