// SPDX-License-Identifier: MIT

//! The one storage slot that an allocation reads and writes of a worker.
//!
//! ```text
//! low  0..96    lanes: the GPU lane counts free GPUs, the reputation lane the reputation
//!     96..128   0
//! high 0..3     status
//!      3..11    free slots
//!     11..19    slots
//!     19..25    GPUs
//!     25..65    rate (gFri per GPU-second)
//!     65..105   region
//! ```

use crate::cdc_pool::types::{ReserveRequest, WorkerStatus};
use crate::math::lanes;
use crate::math::lanes::Lanes;
use crate::types::{Capabilities, skip_reason};

/// The largest rate (gFri per GPU-second) that a slot can hold.
pub const MAX_RATE_GFRI: u64 = 0xff_ffff_ffff;

const HIGH: felt252 = 0x1_0000_0000_0000_0000_0000_0000_0000_0000;
/// What each field adds to the high half.
const FREE_SLOTS: felt252 = 0x8;
const SLOTS: felt252 = 0x800;
const GPUS: felt252 = 0x8_0000;
const RATE: felt252 = 0x200_0000;
const REGION: felt252 = 0x2_0000_0000_0000_0000;
/// What one free slot adds to the whole slot.
const ONE_FREE_SLOT: felt252 = 0x8_0000_0000_0000_0000_0000_0000_0000_0000;

const STATUS_WIDTH: NonZero<u128> = 0x8;
const SLOTS_WIDTH: NonZero<u128> = 0x100;
const GPUS_WIDTH: NonZero<u128> = 0x40;
/// Slots and GPUs together, which an allocation has no use for.
const CAPACITY_WIDTH: NonZero<u128> = 0x4000;
const RATE_WIDTH: NonZero<u128> = 0x100_0000_0000;

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
    let high = status_code(worker.status).into()
        + worker.free_slots.into() * FREE_SLOTS
        + worker.slots.into() * SLOTS
        + offered.gpu_count.into() * GPUS
        + worker.rate_gfri.into() * RATE
        + offered.region * REGION;
    low + high * HIGH
}

pub fn unpack(packed: felt252) -> WorkerSlot {
    let packed: u256 = packed.into();
    let free = lanes::unpack(packed.low);
    let (rest, status) = DivRem::div_rem(packed.high, STATUS_WIDTH);
    let (rest, free_slots) = DivRem::div_rem(rest, SLOTS_WIDTH);
    let (rest, slots) = DivRem::div_rem(rest, SLOTS_WIDTH);
    let (rest, gpu_count) = DivRem::div_rem(rest, GPUS_WIDTH);
    let (region, rate_gfri) = DivRem::div_rem(rest, RATE_WIDTH);
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

/// The slot after one of the worker's slots and `gpu_count` of its GPUs were given to the job, with
/// the worker's rate; or the first reason why they cannot be.
pub fn reserve(packed: felt252, request: ReserveRequest) -> Result<(felt252, u64), u8> {
    if packed == 0 {
        return Result::Err(skip_reason::WORKER_UNKNOWN);
    }
    let parts: u256 = packed.into();
    let (rest, status) = DivRem::div_rem(parts.high, STATUS_WIDTH);
    let (rest, free_slots) = DivRem::div_rem(rest, SLOTS_WIDTH);
    let (rest, _) = DivRem::div_rem(rest, CAPACITY_WIDTH);
    let (region, rate_gfri) = DivRem::div_rem(rest, RATE_WIDTH);
    let is_in_region = request.region == 0 || request.region == region.into();

    if status == ACTIVE
        && free_slots != 0
        && lanes::fits(parts.low, request.needs)
        && rate_gfri <= request.max_rate_gfri.into()
        && is_in_region {
        let reserved = packed - lanes::gpus(request.needs).into() - ONE_FREE_SLOT;
        return Result::Ok((reserved, rate_gfri.try_into().unwrap()));
    }
    Result::Err(refusal(status, free_slots, parts.low, rate_gfri, request))
}

/// The slot after a job's slot and GPUs were given back.
pub fn release(packed: felt252, gpu_count: u8) -> felt252 {
    packed + gpu_count.into() + ONE_FREE_SLOT
}

/// The slot with another reputation.
pub fn with_reputation(packed: felt252, old: u16, new: u16) -> felt252 {
    packed + (new.into() - old.into()) * lanes::REPUTATION
}

/// Names what [`reserve`] found wanting, in the order of the numbers of the reasons.
fn refusal(
    status: u128, free_slots: u128, have: u128, rate_gfri: u128, request: ReserveRequest,
) -> u8 {
    if status != ACTIVE {
        return skip_reason::WORKER_UNAVAILABLE;
    }
    if free_slots == 0 {
        return skip_reason::NO_FREE_SLOT;
    }
    let have = lanes::unpack(have);
    let need = lanes::unpack(request.needs);
    if have.gpus < need.gpus {
        return skip_reason::NO_FREE_GPU;
    }
    if is_any_hardware_below(have, need) {
        return skip_reason::REQUIREMENT_UNMET;
    }
    if rate_gfri > request.max_rate_gfri.into() {
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

const ACTIVE: u128 = 1;

fn status_code(status: WorkerStatus) -> u8 {
    match status {
        WorkerStatus::None => 0,
        WorkerStatus::Active => 1,
        WorkerStatus::Draining => 2,
        WorkerStatus::Exiting => 3,
        WorkerStatus::Exited => 4,
    }
}

fn status_of(code: u128) -> WorkerStatus {
    match code {
        0 => WorkerStatus::None,
        1 => WorkerStatus::Active,
        2 => WorkerStatus::Draining,
        3 => WorkerStatus::Exiting,
        _ => WorkerStatus::Exited,
    }
}
