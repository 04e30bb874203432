//! Amounts of STRK for people. All sums are made in fri.

use anyhow::{Context as _, Result};

const FRI_PER_STRK: u128 = 1_000_000_000_000_000_000;
/// Decimals that are shown; the rest is cut off.
const DECIMALS: usize = 6;

/// Reads an amount in fri.
pub(super) fn fri(text: &str) -> Result<u128> {
    text.parse().with_context(|| format!("`{text}` is no amount in fri"))
}

/// An amount in fri, as STRK with six decimals.
pub(super) fn strk(text: &str) -> String {
    fri(text).map_or_else(
        |_| text.to_owned(),
        |fri| {
            let decimals = format!("{:018}", fri % FRI_PER_STRK);
            format!("{}.{}", fri / FRI_PER_STRK, &decimals[..DECIMALS])
        },
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fri_become_strk() {
        assert_eq!(strk("1000000000000000000"), "1.000000");
        assert_eq!(strk("16666666666666666"), "0.016666");
        assert_eq!(strk("0"), "0.000000");
        assert_eq!(strk("a lot"), "a lot");
    }
}
