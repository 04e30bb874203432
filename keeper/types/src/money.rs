//! Money and prices.
//!
//! Money is an integer number of fri, the smallest unit of STRK (10^-18), in a `u128`; the ERC-20's 256-bit
//! amounts appear only in `keeper-chain`. A price is a whole number of gFri (10^9 fri) per GPU-second, which
//! is what fits the contracts' packed slots. Conversions round so that a client never pays more than it said.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

/// Fri in one STRK.
const FRI_PER_STRK: u128 = 1_000_000_000_000_000_000;
/// Fri in one gFri.
const FRI_PER_GFRI: u128 = 1_000_000_000;
/// Decimal places of STRK.
const STRK_DECIMALS: usize = 18;
/// Seconds in an hour.
const HOUR_S: u128 = 3_600;

/// An amount of STRK, in fri. Written as a decimal string in JSON, since it exceeds what other languages'
/// numbers hold.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Fri(pub u128);

impl Fri {
    /// Nothing.
    pub const ZERO: Self = Self(0);

    /// Reads a decimal number of STRK, such as `1.25`.
    ///
    /// # Errors
    /// Fails where the text is not such a number, has more than 18 decimals, or exceeds `u128` fri.
    pub fn from_strk(text: &str) -> Result<Self, MoneyError> {
        let error = |reason| MoneyError { text: text.to_owned(), reason };
        let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
        let digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
        if whole.is_empty() || !digits(whole) || !digits(fraction) || (text.contains('.') && fraction.is_empty()) {
            return Err(error("expected a decimal number of STRK, such as 1.25"));
        }
        if fraction.len() > STRK_DECIMALS {
            return Err(error("STRK has at most 18 decimals"));
        }
        let whole: u128 = whole.parse().map_err(|_| error("more than u128 fri"))?;
        let fraction: u128 = format!("{fraction:0<STRK_DECIMALS$}").parse().map_err(|_| error("more than u128 fri"))?;
        whole
            .checked_mul(FRI_PER_STRK)
            .and_then(|fri| fri.checked_add(fraction))
            .map(Self)
            .ok_or_else(|| error("more than u128 fri"))
    }

    /// So many STRK, or the most there can be where that is more.
    pub fn of_strk(strk: u64) -> Self {
        Self(u128::from(strk).saturating_mul(FRI_PER_STRK))
    }

    /// The sum, or `None` where it exceeds `u128`.
    pub fn checked_add(self, other: Self) -> Option<Self> {
        self.0.checked_add(other.0).map(Self)
    }

    /// The difference, or `None` where it would be negative.
    pub fn checked_sub(self, other: Self) -> Option<Self> {
        self.0.checked_sub(other.0).map(Self)
    }
}

/// Shows STRK with as many decimals as the amount needs.
impl fmt::Display for Fri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (whole, fraction) = (self.0 / FRI_PER_STRK, self.0 % FRI_PER_STRK);
        let fraction = format!("{fraction:018}");
        let fraction = fraction.trim_end_matches('0');
        let text = if fraction.is_empty() { format!("{whole} STRK") } else { format!("{whole}.{fraction} STRK") };
        f.pad(&text)
    }
}

impl Serialize for Fri {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Fri {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map(Self).map_err(|_| D::Error::custom(format!("`{text}` is not a whole number of fri")))
    }
}

/// A price in gFri (10^9 fri) per GPU-second; a job without a GPU is billed as one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Rate(pub u64);

impl Rate {
    /// The contracts hold a rate in 40 bits.
    pub const MAX: Self = Self((1 << 40) - 1);

    /// The rate that asks `text` STRK per GPU-hour, rounded up to the next gFri per second.
    ///
    /// # Errors
    /// Fails where the text is not an amount, or the rate is zero or more than [`Rate::MAX`].
    pub fn from_strk_per_gpu_hour(text: &str) -> Result<Self, MoneyError> {
        let error = |reason| MoneyError { text: text.to_owned(), reason };
        let rate = Fri::from_strk(text)?.0.div_ceil(FRI_PER_GFRI * HOUR_S);
        match u64::try_from(rate) {
            Ok(0) => Err(error("the rate must be more than zero")),
            Ok(rate) if rate <= Self::MAX.0 => Ok(Self(rate)),
            _ => Err(error("the rate is more than the contract holds (about 3,958,241 STRK per GPU-hour)")),
        }
    }

    /// The highest rate at which `units` GPUs for `seconds` cost no more than `budget`, rounded down.
    pub fn highest_within(budget: Fri, units: u32, seconds: u32) -> Self {
        let gfri_seconds = FRI_PER_GFRI * u128::from(units.max(1)) * u128::from(seconds.max(1));
        let rate = u64::try_from(budget.0 / gfri_seconds).unwrap_or(u64::MAX);
        Self(rate.min(Self::MAX.0))
    }

    /// What `units` GPUs for `seconds` cost.
    pub fn cost(self, units: u32, seconds: u32) -> Fri {
        // 40 + 30 + 32 + 32 bits cannot exceed 128 by more than the multiplication saturates at.
        let unit_seconds = u128::from(units.max(1)) * u128::from(seconds);
        Fri((u128::from(self.0) * FRI_PER_GFRI).saturating_mul(unit_seconds))
    }

    /// The price of a GPU for an hour, in fri.
    pub fn per_gpu_hour(self) -> Fri {
        Fri(u128::from(self.0) * FRI_PER_GFRI * HOUR_S)
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&format!("{}/GPU-h", self.per_gpu_hour()))
    }
}

/// A text is not an amount of money or a price.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{text}`: {reason}")]
pub struct MoneyError {
    text: String,
    reason: &'static str,
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn strk_is_read_and_shown_exactly() {
        for (text, fri, shown) in [
            ("1", FRI_PER_STRK, "1 STRK"),
            ("0.000000000000000001", 1, "0.000000000000000001 STRK"),
            ("12.50", 12_500_000_000_000_000_000, "12.5 STRK"),
        ] {
            let amount = Fri::from_strk(text).unwrap();
            assert_eq!(amount, Fri(fri));
            assert_eq!(amount.to_string(), shown);
        }
    }

    #[test]
    fn what_is_no_amount_is_refused() {
        for text in ["", ".", "1.", ".5", "-1", "1e3", "1.0000000000000000001", "1,5", "400000000000000000000000000000"]
        {
            assert!(Fri::from_strk(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_rate_never_rounds_to_nothing() {
        assert_eq!(Rate::from_strk_per_gpu_hour("0.000000000000000001").unwrap(), Rate(1));
        assert!(Rate::from_strk_per_gpu_hour("0").is_err());
        assert!(Rate::from_strk_per_gpu_hour("99999999").is_err());
        assert_eq!(Rate::from_strk_per_gpu_hour("1").unwrap(), Rate(277_778));
    }

    proptest! {
        #[test]
        fn the_highest_rate_within_a_budget_costs_no_more(budget in 0_u128..1 << 100, units in 1_u32..64, seconds in 1_u32..10_000_000) {
            let rate = Rate::highest_within(Fri(budget), units, seconds);
            prop_assert!(rate.cost(units, seconds) <= Fri(budget));
            if rate < Rate::MAX {
                prop_assert!(Rate(rate.0 + 1).cost(units, seconds) > Fri(budget));
            }
        }

        #[test]
        fn fri_survive_json(amount: u128) {
            let json = serde_json::to_string(&Fri(amount)).unwrap();
            prop_assert_eq!(serde_json::from_str::<Fri>(&json).unwrap(), Fri(amount));
        }
    }
}
