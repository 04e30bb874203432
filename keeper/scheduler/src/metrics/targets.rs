//! Shares that are held against what is aimed at.

use serde::{Deserialize, Serialize};

use crate::score::share;

/// So many of so many, beside the share that is aimed at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TargetedShare {
    /// How many.
    pub count: u64,
    /// Of how many.
    pub of: u64,
    /// The share in basis points, rounded down; 0 of nothing.
    pub share_bps: u16,
    /// The share that is aimed at, in basis points.
    pub target_bps: u16,
    /// Whether it is met, without rounding; none of nothing.
    pub met: Option<bool>,
}

impl TargetedShare {
    /// Where more than this share is aimed at.
    pub fn above(count: u64, of: u64, target_bps: u16) -> Self {
        Self::held(count, of, target_bps, |part, aimed_at| part > aimed_at)
    }

    /// Where at least this share is aimed at.
    pub fn at_least(count: u64, of: u64, target_bps: u16) -> Self {
        Self::held(count, of, target_bps, |part, aimed_at| part >= aimed_at)
    }

    /// Where less than this share is aimed at.
    pub fn below(count: u64, of: u64, target_bps: u16) -> Self {
        Self::held(count, of, target_bps, |part, aimed_at| part < aimed_at)
    }

    fn held(count: u64, of: u64, target_bps: u16, is_met: impl Fn(u128, u128) -> bool) -> Self {
        let (part, aimed_at) = (u128::from(count) * 10_000, u128::from(of) * u128::from(target_bps));
        let share_bps = if of == 0 { 0 } else { share(count, of) };
        Self { count, of, share_bps, target_bps, met: (of > 0).then(|| is_met(part, aimed_at)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_is_met_or_missed_to_the_last_one() {
        // More than 99 %: 99 of 100 are not more, and 9,901 of 10,000 are by one.
        assert_eq!(TargetedShare::above(99, 100, 9_900).met, Some(false));
        assert_eq!(TargetedShare::above(9_901, 10_000, 9_900).met, Some(true));
        assert_eq!(TargetedShare::at_least(95, 100, 9_500).met, Some(true));
        assert_eq!(TargetedShare::at_least(9_499, 9_999, 9_500).met, Some(false));
        // Less than 0.1 %: one of 1,000 is not less, one of 1,001 is, though both are 9 or 10 basis points.
        assert_eq!(TargetedShare::below(1, 1_000, 10).met, Some(false));
        let rarely = TargetedShare { count: 1, of: 1_001, share_bps: 9, target_bps: 10, met: Some(true) };
        assert_eq!(TargetedShare::below(1, 1_001, 10), rarely);
        assert_eq!(TargetedShare::below(0, 1, 10).met, Some(true));
        assert_eq!(TargetedShare::above(u64::MAX, u64::MAX, 9_999).met, Some(true));
    }

    #[test]
    fn of_nothing_a_target_is_neither_met_nor_missed() {
        let nothing = TargetedShare { target_bps: 9_900, ..TargetedShare::default() };
        assert_eq!(TargetedShare::above(0, 0, 9_900), nothing);
        assert_eq!(TargetedShare::below(0, 0, 9_900), nothing);
    }
}
