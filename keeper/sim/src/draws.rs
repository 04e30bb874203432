//! Seeded draws, the same on every machine.

/// An even draw from `low..=high` that depends on the seed and the index alone.
pub(crate) fn draw(seed: u64, index: u64, low: u32, high: u32) -> u32 {
    let span = u64::from(high - low) + 1;
    // The high half of the product spreads 64 even bits over the span; the bias is below 2^-32.
    let offset = (u128::from(splitmix64(seed ^ splitmix64(index))) * u128::from(span)) >> 64;
    low + u32::try_from(offset).unwrap_or(0)
}

/// Steele, Lea and Flood, "Fast splittable pseudorandom number generators", OOPSLA 2014.
fn splitmix64(state: u64) -> u64 {
    let mut bits = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ (bits >> 31)
}
