// SPDX-License-Identifier: MIT

//! Prices. Money is `u128` fri; rates are gFri (10^9 fri) per GPU-second.

const FRI_PER_GFRI: u128 = 1_000_000_000;

/// GPUs that are paid for: a job without GPUs is billed as if it had one.
pub fn billed_units(gpu_count: u8) -> u128 {
    if gpu_count == 0 {
        1
    } else {
        gpu_count.into()
    }
}

/// What a job costs that reserves `gpu_count` GPUs for `execution_timeout_s` at a rate. A rate
/// under 2^40, at most 63 GPUs and any timeout stay under 2^108.
pub fn price(rate_gfri: u64, gpu_count: u8, execution_timeout_s: u32) -> u128 {
    rate_gfri.into() * price_of_one_gfri(gpu_count, execution_timeout_s)
}

/// The highest rate that `max_price` pays for, rounded down; 0 if it does not pay for one gFri.
pub fn max_rate(max_price: u128, gpu_count: u8, execution_timeout_s: u32) -> u128 {
    max_price / price_of_one_gfri(gpu_count, execution_timeout_s)
}

fn price_of_one_gfri(gpu_count: u8, execution_timeout_s: u32) -> u128 {
    FRI_PER_GFRI * billed_units(gpu_count) * execution_timeout_s.into()
}
