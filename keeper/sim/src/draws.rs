//! Seeded draws, the same on every machine.

use keeper_scheduler::sharing::SplitMix64;

/// An even draw from `low..=high` that depends on the seed and the index alone.
pub(crate) fn draw(seed: u64, index: u64, low: u32, high: u32) -> u32 {
    let span = u64::from(high - low) + 1;
    // The high half of the product spreads 64 even bits over the span; the bias is below 2^-32.
    let offset = (u128::from(SplitMix64::mix(seed ^ SplitMix64::mix(index))) * u128::from(span)) >> 64;
    low + u32::try_from(offset).unwrap_or(0)
}
