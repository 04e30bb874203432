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
//! Requirements leave their guard bits 0, capabilities have theirs set. Each lane's difference is
//! then at least 1, so no lane borrows from the next, and its guard bit survives exactly where
//! capability >= requirement. The features lie above all lanes. Where one that is required is
//! there, its bit of the difference is 0; and where the bits of all required features are 0 there,
//! they were all subtracted without a borrow, and so all there. Above them capabilities have 32
//! more bits set, and requirements may have any 32 bits but those: a block number, which nobody
//! needs to take off for the comparison.

/// The largest value of each lane.
pub const MAX_GPUS: u8 = 63;
pub const MAX_VRAM_GIB: u16 = 1023;
pub const MAX_COMPUTE_CAPABILITY: u8 = 127;
pub const MAX_DRIVER_VERSION: u16 = 1023;
pub const MAX_CPU_CORES: u16 = 511;
pub const MAX_MEMORY_GIB: u16 = 4095;
/// A region is a short string of 5 characters at most.
const MAX_REGION: u128 = 0xff_ffff_ffff;

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
/// The guard bits, and bits 96 to 127: what capabilities have set.
pub const ALWAYS_SET: u128 = 0xffff_ffff_0000_8010_0080_2004_0202_0040;
const FEATURES_MASK: u128 = 0xffff_0000_0000_0000_0000_0000;
const GPUS_MASK: u128 = 0x3f;

/// Widths of the lanes, guard bits included.
const GPUS_WIDTH: NonZero<u128> = 0x80;
const VRAM_WIDTH: NonZero<u128> = 0x800;
const COMPUTE_CAPABILITY_WIDTH: NonZero<u128> = 0x100;
const CUDA_WIDTH: NonZero<u128> = 0x200;
const DRIVER_WIDTH: NonZero<u128> = 0x800;
const CPU_WIDTH: NonZero<u128> = 0x400;
const MEMORY_WIDTH: NonZero<u128> = 0x2000;
const REPUTATION_WIDTH: NonZero<u128> = 0x800;

/// All lanes below the reputation, and the reputation without its guard bit.
const BELOW_REPUTATION: NonZero<u128> = 0x20_0000_0000_0000_0000;
const REPUTATION_VALUES: NonZero<u128> = 0x400;

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

/// Packs lanes whose values are within their limits, as requirements.
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

/// Reads packed lanes of requirements; bits above the features are ignored.
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

/// Whether the number is short enough for a region.
pub fn is_region(number: felt252) -> bool {
    let number: Option<u128> = number.try_into();
    match number {
        Option::Some(number) => number <= MAX_REGION,
        Option::None => false,
    }
}

/// The number of GPUs in packed lanes.
#[inline(always)]
pub fn gpus(packed: u128) -> u128 {
    packed & GPUS_MASK
}

/// The reputation in packed lanes.
pub fn reputation(packed: u128) -> u16 {
    let (rest, _) = DivRem::div_rem(packed, BELOW_REPUTATION);
    let (_, reputation) = DivRem::div_rem(rest, REPUTATION_VALUES);
    reputation.try_into().unwrap()
}

/// Whether every capability is at least the requirement in `need`, and every feature is there:
/// `difference` is the capabilities less `need`.
#[inline(always)]
pub fn is_met(difference: u128, need: u128) -> bool {
    difference & (GUARDS + (need & FEATURES_MASK)) == GUARDS
}
