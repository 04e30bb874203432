//! Powers and logarithms of two in fixed point, for usage that halves and for ratios that are compared.
//!
//! Integers only, so that everybody computes the same.

/// One in fixed point with 32 fractional bits.
pub const ONE_Q32: u64 = 1 << 32;

/// ln 2 with 32 fractional bits, rounded down.
const LN_2_Q32: u64 = 2_977_044_471;

/// 2^-(1/2), 2^-(1/4), ... with 32 fractional bits, each the square root of the one before, rounded down.
const ROOTS_Q32: [u64; 32] = {
    let mut roots = [0; 32];
    let mut square = ONE_Q32 / 2;
    let mut index = 0;
    while index < roots.len() {
        roots[index] = root_q32(square);
        square = roots[index];
        index += 1;
    }
    roots
};

/// The square root of a number with 32 fractional bits, with as many.
#[allow(clippy::cast_possible_truncation, reason = "the root of a number below 2^97 is below 2^49")]
const fn root_q32(square: u64) -> u64 {
    ((square as u128) << 32).isqrt() as u64
}

/// 2^-(elapsed / half-life) with 32 fractional bits, rounded down: at most 33 units in the last place too small.
pub fn halving(elapsed_s: u64, half_life_s: u64) -> u64 {
    let half_life_s = half_life_s.max(1);
    let halvings = elapsed_s / half_life_s;
    if halvings > 32 {
        return 0;
    }
    // The part of a half-life, with 32 fractional bits.
    let part = (u128::from(elapsed_s % half_life_s) << 32) / u128::from(half_life_s);
    let fraction = u64::try_from(part).expect("a part of one is below 2^32 here");
    let mut factor = ONE_Q32;
    for (index, root) in ROOTS_Q32.iter().enumerate() {
        if fraction >> (31 - index) & 1 == 1 {
            factor = multiply_q32(factor, *root);
        }
    }
    factor >> halvings
}

/// What `rate` units a second leave after `elapsed` seconds of which every half-life halves the weight: the integral
/// of rate * 2^-(t / H) over the elapsed time, which is rate * H / ln 2 * (1 - 2^-(elapsed / H)).
pub fn accrued(rate: u64, elapsed_s: u64, half_life_s: u64) -> u64 {
    let lost = ONE_Q32 - halving(elapsed_s, half_life_s);
    let numerator = u128::from(rate) * u128::from(half_life_s.max(1)) * u128::from(lost);
    u64::try_from(numerator / u128::from(LN_2_Q32)).unwrap_or(u64::MAX)
}

/// `value * factor`, where the factor has 32 fractional bits.
pub fn multiply_q32(value: u64, factor: u64) -> u64 {
    u64::try_from((u128::from(value) * u128::from(factor)) >> 32).unwrap_or(u64::MAX)
}

/// The binary logarithm of `value` with 10 fractional bits, straight between powers of two; 0 for nothing.
///
/// It grows with its argument and is at most 0.087 too small, which moves a ratio by at most 6 %.
pub fn log2_q10(value: u64) -> u32 {
    let Some(whole) = value.checked_ilog2() else { return 0 };
    let fraction = if whole >= 10 { value >> (whole - 10) } else { value << (10 - whole) } & 0x3ff;
    (whole << 10) | u32::try_from(fraction).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_half_life_halves() {
        assert_eq!(halving(0, 60), ONE_Q32);
        assert_eq!(halving(60, 60), ONE_Q32 / 2);
        assert_eq!(halving(180, 60), ONE_Q32 / 8);
        assert_eq!(halving(60 * 33, 60), 0);
        // 2^-0.5 and 2^-0.1, from a table of logarithms.
        assert!(halving(30, 60).abs_diff(3_037_000_499) <= 33);
        assert!(halving(6, 60).abs_diff(4_007_346_184) <= 33);
    }

    #[test]
    fn steady_use_converges_to_the_half_life_over_ln_2() {
        // 8 GPUs, half-life of a day: 8 * 86,400 / 0.693147 GPU-seconds.
        assert_eq!(accrued(8, 10_000_000, 86_400), 997_190);
        assert_eq!(accrued(8, 1, 86_400), 8, "a second of 8 GPUs");
    }

    #[test]
    fn logarithms_are_exact_at_powers_of_two() {
        assert_eq!([1, 2, 1_024, 1 << 63].map(log2_q10), [0, 1_024, 10_240, 63 * 1_024]);
        assert_eq!(log2_q10(0), 0);
        assert_eq!(log2_q10(3), 1_024 + 512);
    }

    proptest! {
        #[test]
        fn decay_falls_and_composes(a in 0_u64..1_000_000, b in 0_u64..1_000_000, half_life in 1_u64..10_000_000) {
            prop_assert!(halving(a + b, half_life) <= halving(a, half_life));
            let (once, twice) = (halving(a + b, half_life), multiply_q32(halving(a, half_life), halving(b, half_life)));
            prop_assert!(once.abs_diff(twice) <= 100, "{once} {twice}");
        }

        #[test]
        fn accrual_is_at_most_the_undecayed_product(rate in 0_u64..1_000, elapsed in 0_u64..10_000_000, half_life in 1_u64..10_000_000) {
            prop_assert!(accrued(rate, elapsed, half_life) <= rate * elapsed + rate);
        }

        #[test]
        fn logarithms_grow(a: u64, b: u64) {
            prop_assert_eq!(log2_q10(a.max(b)), log2_q10(a).max(log2_q10(b)));
        }
    }
}
