// SPDX-License-Identifier: MIT

//! What more than one contract speaks of.

/// What a job asks of its worker. Zero asks for nothing.
#[derive(Copy, Drop, Serde, PartialEq, Debug)]
pub struct Requirements {
    /// GPUs the job occupies, at most 63. A job with none still occupies a slot and is billed as
    /// one unit.
    pub gpu_count: u8,
    /// GiB of memory on each of those GPUs, at most 1023.
    pub vram_gib: u16,
    /// CUDA compute capability, major * 10 + minor, at most 127.
    pub compute_capability: u8,
    /// CUDA version, major * 10 + minor.
    pub cuda_version: u8,
    /// Major version of the GPU driver, at most 1023.
    pub driver_version: u16,
    /// At most 511.
    pub cpu_cores: u16,
    /// GiB of main memory, at most 4095.
    pub memory_gib: u16,
    /// Of 1000.
    pub min_reputation: u16,
    /// A set of bits; the worker must have every one of them.
    pub features: u16,
    /// Short string of at most 5 characters; 0 allows any region.
    pub region: felt252,
}

/// What a worker offers. The fields have the limits of [`Requirements`]; `region` is never 0.
#[derive(Copy, Drop, Serde, PartialEq, Debug)]
pub struct Capabilities {
    pub gpu_count: u8,
    pub vram_gib: u16,
    pub compute_capability: u8,
    pub cuda_version: u8,
    pub driver_version: u16,
    pub cpu_cores: u16,
    pub memory_gib: u16,
    pub features: u16,
    pub region: felt252,
}

/// A moment that has passed only when both the clock and the chain have gone beyond it: a sequencer
/// that stands still must not cost an honest worker its stake.
#[derive(Copy, Drop, PartialEq, Debug)]
pub struct Deadline {
    /// Unix time in seconds.
    pub timestamp: u64,
    pub block: u64,
}

/// Why an item of a batch was not allocated. The numbers are part of the ABI; 0 means that it was.
/// Where several hold, the first is given in this order: 14, 1, 2, 3, 4, 13 and 10 of the job's
/// side, then 5, 6, 7, 8, 9, 15, 11 and 12 of the worker's.
pub mod skip_reason {
    pub const ALLOCATED: u8 = 0;
    /// No job has that id.
    pub const JOB_UNKNOWN: u8 = 1;
    /// The job is not in state Queued, or an earlier item of the batch has just taken it.
    pub const JOB_NOT_QUEUED: u8 = 2;
    /// The job waits for another attempt than the item's.
    pub const ATTEMPT_MISMATCH: u8 = 3;
    /// The job's deadline has passed.
    pub const DEADLINE_PASSED: u8 = 4;
    /// No worker has that id.
    pub const WORKER_UNKNOWN: u8 = 5;
    /// The worker is not in status Active.
    pub const WORKER_UNAVAILABLE: u8 = 6;
    /// Every slot of the worker is in use.
    pub const NO_FREE_SLOT: u8 = 7;
    /// Fewer GPUs are free than the job asks for.
    pub const NO_FREE_GPU: u8 = 8;
    /// A capability is below the requirement, or a feature is missing.
    pub const REQUIREMENT_UNMET: u8 = 9;
    /// The item's rate is above the highest that the job can pay.
    pub const RATE_TOO_HIGH: u8 = 10;
    /// The worker's reputation is below the requirement.
    pub const REPUTATION_TOO_LOW: u8 = 11;
    /// The job asks for another region.
    pub const REGION_MISMATCH: u8 = 12;
    /// An earlier attempt of this job failed on the worker, or the worker has or had another
    /// replica of it.
    pub const WORKER_EXCLUDED: u8 = 13;
    /// The item is not a packed allocation.
    pub const ITEM_MALFORMED: u8 = 14;
    /// The worker's rate is no longer the item's.
    pub const RATE_CHANGED: u8 = 15;
}
