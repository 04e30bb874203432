// SPDX-License-Identifier: MIT

//! Prices. Money is `u128` fri; rates are gFri (10^9 fri) per GPU-second.

const FRI_PER_GFRI: felt252 = 1_000_000_000;

/// GPUs that are paid for: a job without GPUs is billed as if it had one.
pub fn billed_units(gpu_count: u8) -> felt252 {
    if gpu_count == 0 {
        1
    } else {
        gpu_count.into()
    }
}

/// What a job costs that reserves `gpu_count` GPUs for `execution_timeout_s` at a rate. A rate
/// under 2^40, at most 63 GPUs and any timeout stay under 2^108, so that products of field elements
/// are exact, and take a tenth of the steps of checked ones.
pub fn price(rate_gfri: u64, gpu_count: u8, execution_timeout_s: u32) -> u128 {
    let price = rate_gfri.into() * price_of_one_gfri(gpu_count, execution_timeout_s);
    price.try_into().unwrap()
}

/// The highest rate that `max_price` pays for, rounded down; 0 if it does not pay for one gFri.
pub fn max_rate(max_price: u128, gpu_count: u8, execution_timeout_s: u32) -> u128 {
    let unit: u128 = price_of_one_gfri(gpu_count, execution_timeout_s).try_into().unwrap();
    max_price / unit
}

fn price_of_one_gfri(gpu_count: u8, execution_timeout_s: u32) -> felt252 {
    FRI_PER_GFRI * billed_units(gpu_count) * execution_timeout_s.into()
}
