//! Division by what stays the same, as multiplication that gives the same floor.
//!
//! For `m = floor(c * 2^k / d) + 1` the product `n * m / 2^k` is above `n * c / d` by at most `n / 2^k`. Two floors differ
//! only if a whole number lies between, and `n * c / d` is at least `1 / d` below the next one: so they are the same for
//! `n * d < 2^k` (Granlund and Montgomery, *Division by invariant integers using multiplication*, 1994).

use crate::{FULL_BPS, score::share};

const FULL: u64 = FULL_BPS as u64;

/// A whole number of 1 to 65,536 that shares are taken of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Whole {
    whole: u32,
    reciprocal: u64,
}

/// A part times the whole is at most 2^32.
const SHIFT: u32 = 33;

impl Whole {
    /// `value` and one: shares of what a worker has are taken with one more on both sides.
    pub(super) fn one_more_than(value: u16) -> Self {
        let whole = u32::from(value) + 1;
        Self { whole, reciprocal: (FULL << SHIFT) / u64::from(whole) + 1 }
    }

    /// What `part` and one are of the whole, in basis points; all of it where they are more.
    pub(super) fn share_of_one_more_than(self, part: u16) -> u32 {
        let part = (u32::from(part) + 1).min(self.whole);
        low_32((u64::from(part) * self.reciprocal) >> SHIFT)
    }
}

/// The low 32 bits, of numbers that have no others.
fn low_32(number: u64) -> u32 {
    debug_assert!(number <= u64::from(u32::MAX));
    u32::try_from(number & u64::from(u32::MAX)).unwrap_or(u32::MAX)
}

/// The highest rate that a job pays, to take shares of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ceiling {
    pub(super) rate: u64,
    /// 0 where the rate is beyond what the reciprocal is good for.
    reciprocal: u64,
}

/// 10,000 * 2^49 has 63 bits, and a rate below 2^48 makes the product too large by less than one.
const RATE_SHIFT: u32 = 49;
const MAX_RATE: u64 = 1 << 48;

impl Ceiling {
    pub(super) fn new(rate: u64) -> Self {
        let reciprocal =
            if rate < MAX_RATE { (FULL << RATE_SHIFT).checked_div(rate).map_or(0, |whole| whole + 1) } else { 0 };
        Self { rate, reciprocal }
    }

    /// What `rate`, at most the ceiling, leaves of it, in basis points.
    pub(super) fn left_by(self, rate: u64) -> u32 {
        debug_assert!(rate <= self.rate);
        if self.reciprocal == 0 {
            return self.left_by_division(rate);
        }
        let product = (u128::from(rate) * u128::from(self.reciprocal)) >> RATE_SHIFT;
        // At most 10,000, or one more.
        let bps = u64::try_from(product & u128::from(u64::MAX)).unwrap_or(FULL);
        let bps = bps - u64::from(bps * self.rate > rate * FULL);
        low_32(FULL - bps)
    }

    #[cold]
    fn left_by_division(self, rate: u64) -> u32 {
        u32::from(FULL_BPS - share(rate, self.rate))
    }
}

/// What `part` GPUs or slots are of `whole`, in basis points; all of it where they are as many.
pub(super) fn share_of_few(part: u8, whole: u8) -> u32 {
    if part >= whole {
        return u32::from(FULL_BPS);
    }
    low_32((u64::from(part) * FEW[usize::from(whole)]) >> FEW_SHIFT)
}

/// 255 * 255 is below 2^16.
const FEW_SHIFT: u32 = 32;
static FEW: [u64; 256] = few();

const fn few() -> [u64; 256] {
    let mut reciprocals = [0; 256];
    let mut whole = 1;
    while whole < 256 {
        reciprocals[whole] = (FULL << FEW_SHIFT) / whole as u64 + 1;
        whole += 1;
    }
    reciprocals
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn shares_of_few_are_shares() {
        for whole in 0..=u8::MAX {
            for part in 0..=u8::MAX {
                assert_eq!(share_of_few(part, whole), u32::from(share(part.into(), whole.into())), "{part} of {whole}");
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4_096))]

        #[test]
        fn shares_of_what_a_worker_has_are_shares(part: u16, whole: u16) {
            let expected = share(u64::from(part) + 1, u64::from(whole) + 1);
            prop_assert_eq!(Whole::one_more_than(whole).share_of_one_more_than(part), u32::from(expected));
        }

        #[test]
        fn what_a_rate_leaves_is_exact(
            (ceiling, rate) in prop_oneof![0..200_u64, 0..1_000_000_u64, 0..1_u64 << 40, (1_u64 << 48) - 9..(1_u64 << 48) + 9, any::<u64>()]
                .prop_flat_map(|ceiling| (Just(ceiling), prop_oneof![0..=ceiling, ceiling.saturating_sub(9)..=ceiling])),
        ) {
            prop_assert_eq!(Ceiling::new(ceiling).left_by(rate), u32::from(FULL_BPS - share(rate, ceiling)));
        }

        /// Where the quotient is whole, or one short of it.
        #[test]
        fn whole_quotients_are_exact(bps in 0..=10_000_u64, unit in 1..1_u64 << 34, less in 0..2_u64) {
            let (ceiling, rate) = (unit * 10_000, (unit * bps).saturating_sub(less));
            prop_assert_eq!(Ceiling::new(ceiling).left_by(rate), u32::from(FULL_BPS - share(rate, ceiling)));
        }
    }
}
