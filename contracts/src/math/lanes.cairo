// SPDX-License-Identifier: MIT

//! Requirements and capabilities side by side in one number, so that a single subtraction and a
//! single AND decide whether every capability is at least the requirement.
//!
//! ```text
//! bits     field                guard bit
//!   0..6   GPUs                  6
//!   7..17  GiB per GPU          17
//!  18..25  compute capability   25
//!  26..34  CUDA version         34
//!  35..45  driver version       45
//!  46..55  CPU cores            55
//!  56..68  GiB of memory        68
//!  69..79  reputation           79
//!  80..96  features (a set)      -
//! ```
//!
//! A requirement and a capability leave their guard bits 0. With the guard bits of the capability
//! set, each lane's difference is at least 1, so no lane borrows from the next, and its guard bit
//! survives exactly where capability >= requirement.

/// The largest value of each lane.
pub const MAX_GPUS: u8 = 63;
pub const MAX_VRAM_GIB: u16 = 1023;
pub const MAX_COMPUTE_CAPABILITY: u8 = 127;
pub const MAX_DRIVER_VERSION: u16 = 1023;
pub const MAX_CPU_CORES: u16 = 511;
pub const MAX_MEMORY_GIB: u16 = 4095;
/// A region is a short string of 5 characters at most.
pub const MAX_REGION: u256 = 0xff_ffff_ffff;

/// Where each lane starts.
const VRAM: felt252 = 0x80;
const COMPUTE_CAPABILITY: felt252 = 0x4_0000;
const CUDA: felt252 = 0x400_0000;
const DRIVER: felt252 = 0x8_0000_0000;
const CPU: felt252 = 0x4000_0000_0000;
const MEMORY: felt252 = 0x100_0000_0000_0000;
const FEATURES: felt252 = 0x1_0000_0000_0000_0000_0000;
/// What one point of reputation adds to packed lanes.
pub const REPUTATION: felt252 = 0x20_0000_0000_0000_0000;

/// Bits 6, 17, 25, 34, 45, 55, 68 and 79.
const GUARDS: u128 = 0x8010_0080_2004_0202_0040;

/// Widths of the lanes, guard bits included.
const GPUS_WIDTH: NonZero<u128> = 0x80;
const VRAM_WIDTH: NonZero<u128> = 0x800;
const COMPUTE_CAPABILITY_WIDTH: NonZero<u128> = 0x100;
const CUDA_WIDTH: NonZero<u128> = 0x200;
const DRIVER_WIDTH: NonZero<u128> = 0x800;
const CPU_WIDTH: NonZero<u128> = 0x400;
const MEMORY_WIDTH: NonZero<u128> = 0x2000;
const REPUTATION_WIDTH: NonZero<u128> = 0x800;
/// All lanes together, without the features.
const LANES_WIDTH: NonZero<u128> = 0x1_0000_0000_0000_0000_0000;
const FEATURES_UNIT: u128 = 0x1_0000_0000_0000_0000_0000;

/// The lanes as numbers.
#[derive(Copy, Drop, PartialEq, Debug)]
pub struct Lanes {
    pub gpus: u8,
    pub vram_gib: u16,
    pub compute_capability: u8,
    pub cuda_version: u8,
    pub driver_version: u16,
    pub cpu_cores: u16,
    pub memory_gib: u16,
    pub reputation: u16,
    pub features: u16,
}

/// Packs lanes whose values are within their limits.
pub fn pack(lanes: Lanes) -> felt252 {
    lanes.gpus.into()
        + lanes.vram_gib.into() * VRAM
        + lanes.compute_capability.into() * COMPUTE_CAPABILITY
        + lanes.cuda_version.into() * CUDA
        + lanes.driver_version.into() * DRIVER
        + lanes.cpu_cores.into() * CPU
        + lanes.memory_gib.into() * MEMORY
        + lanes.reputation.into() * REPUTATION
        + lanes.features.into() * FEATURES
}

/// Reads packed lanes; bits above the features are ignored.
pub fn unpack(packed: u128) -> Lanes {
    let (rest, gpus) = DivRem::div_rem(packed, GPUS_WIDTH);
    let (rest, vram_gib) = DivRem::div_rem(rest, VRAM_WIDTH);
    let (rest, compute_capability) = DivRem::div_rem(rest, COMPUTE_CAPABILITY_WIDTH);
    let (rest, cuda_version) = DivRem::div_rem(rest, CUDA_WIDTH);
    let (rest, driver_version) = DivRem::div_rem(rest, DRIVER_WIDTH);
    let (rest, cpu_cores) = DivRem::div_rem(rest, CPU_WIDTH);
    let (rest, memory_gib) = DivRem::div_rem(rest, MEMORY_WIDTH);
    let (rest, reputation) = DivRem::div_rem(rest, REPUTATION_WIDTH);
    let (_, features) = DivRem::div_rem(rest, 0x1_0000);
    Lanes {
        gpus: gpus.try_into().unwrap(),
        vram_gib: vram_gib.try_into().unwrap(),
        compute_capability: compute_capability.try_into().unwrap(),
        cuda_version: cuda_version.try_into().unwrap(),
        driver_version: driver_version.try_into().unwrap(),
        cpu_cores: cpu_cores.try_into().unwrap(),
        memory_gib: memory_gib.try_into().unwrap(),
        reputation: reputation.try_into().unwrap(),
        features: features.try_into().unwrap(),
    }
}

/// The number of GPUs in packed lanes.
pub fn gpus(packed: u128) -> u8 {
    let (_, gpus) = DivRem::div_rem(packed, GPUS_WIDTH);
    gpus.try_into().unwrap()
}

/// Whether every capability in `have` is at least the requirement in `need`, and every feature is
/// there. Both are packed lanes with nothing above the features.
pub fn fits(have: u128, need: u128) -> bool {
    let (have_features, have_lanes) = DivRem::div_rem(have, LANES_WIDTH);
    let (need_features, need_lanes) = DivRem::div_rem(need, LANES_WIDTH);
    let wanted = GUARDS + need_features * FEATURES_UNIT;
    let difference = have_lanes + GUARDS - need_lanes + need_features * FEATURES_UNIT;
    (difference & (GUARDS + have_features * FEATURES_UNIT)) == wanted
}
