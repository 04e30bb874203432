// SPDX-License-Identifier: MIT

//! Checks what a worker offers. Pure.

use crate::cdc_pool::errors;
use crate::math::{lanes, worker_slot};
use crate::types::Capabilities;

/// Checks slots, rate (gFri per GPU-second) and every capability, in the order of the interface.
pub fn assert_valid(capabilities: Capabilities, slots: u8, rate_gfri: u64) {
    assert(slots != 0, errors::ZERO_SLOTS);
    assert(rate_gfri != 0, errors::ZERO_RATE);
    assert(rate_gfri <= worker_slot::MAX_RATE_GFRI, errors::RATE_TOO_HIGH);
    assert(capabilities.gpu_count <= lanes::MAX_GPUS, errors::TOO_MANY_GPUS);
    assert(capabilities.vram_gib <= lanes::MAX_VRAM_GIB, errors::TOO_MUCH_VRAM);
    assert(
        capabilities.compute_capability <= lanes::MAX_COMPUTE_CAPABILITY,
        errors::BAD_COMPUTE_CAPABILITY,
    );
    assert(capabilities.driver_version <= lanes::MAX_DRIVER_VERSION, errors::BAD_DRIVER_VERSION);
    assert(capabilities.cpu_cores <= lanes::MAX_CPU_CORES, errors::TOO_MANY_CPU_CORES);
    assert(capabilities.memory_gib <= lanes::MAX_MEMORY_GIB, errors::TOO_MUCH_MEMORY);
    assert(capabilities.region != 0, errors::ZERO_REGION);
    assert(lanes::is_region(capabilities.region), errors::REGION_TOO_LONG);
}
