//! Lots that are the same on every machine.

use std::num::NonZeroU64;

use serde::{Deserialize, Serialize};

/// A generator of numbers that look random, from a seed: SplitMix64 (Steele, Lea and Flood, OOPSLA'14).
///
/// Serialised, it is one number: the seed of a generator that goes on from here.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SplitMix64(u64);

impl SplitMix64 {
    /// The generator of a seed.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next 64 bits.
    pub fn next_bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// 64 bits that depend on `word` alone: the first that the generator of this seed draws.
    pub fn mix(word: u64) -> u64 {
        Self::new(word).next_bits()
    }

    /// A number below `bound`, which must not be zero. Off uniform by at most `bound / 2^64`.
    pub fn below(&mut self, bound: usize) -> usize {
        let product = u128::from(self.next_bits()) * bound as u128;
        usize::try_from(product >> 64).unwrap_or_default()
    }

    /// A number below `bound`, each exactly as likely as any other as far as the bits are: multiply and shift, and
    /// drawn again where the low half falls among the `2^64 mod bound` that would make some numbers likelier (Lemire,
    /// "Fast random integer generation in an interval", ACM TOMACS 2019). Draws twice on average at the worst.
    pub fn uniform(&mut self, bound: NonZeroU64) -> u64 {
        let surplus = u128::from(bound.get().wrapping_neg() % bound);
        loop {
            let product = u128::from(self.next_bits()) * u128::from(bound.get());
            if product & u128::from(u64::MAX) >= surplus {
                return u64::try_from(product >> 64).unwrap_or_default();
            }
        }
    }

    /// Puts items in a random order (Fisher and Yates).
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            items.swap(last, self.below(last + 1));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_numbers_are_those_of_the_reference_implementation() {
        let mut lots = SplitMix64::new(1_234_567);
        let numbers = [lots.next_bits(), lots.next_bits(), lots.next_bits()];
        assert_eq!(numbers, [6_457_827_717_110_365_317, 3_203_168_211_198_807_973, 9_817_491_932_198_370_423]);
    }

    #[test]
    fn no_number_below_the_bound_is_likelier() {
        // At this bound, a remainder makes the lowest third twice as likely as the others, and a product without a
        // second draw the multiples of three.
        const THIRD: u64 = 1 << 62;
        let mut lots = SplitMix64::new(3);
        let (mut thirds, mut remainders) = ([0_u32; 3], [0_u32; 3]);
        for _ in 0..30_000 {
            let number = lots.uniform(NonZeroU64::new(3 * THIRD).unwrap());
            thirds[usize::try_from(number / THIRD).unwrap()] += 1;
            remainders[usize::try_from(number % 3).unwrap()] += 1;
        }
        // Five standard deviations of a third of 30,000.
        assert!(
            thirds.iter().chain(&remainders).all(|count| count.abs_diff(10_000) < 410),
            "{thirds:?} {remainders:?}"
        );
        assert_eq!(lots.uniform(NonZeroU64::MIN), 0);
    }

    #[test]
    fn a_generator_goes_on_from_where_it_was_written() {
        let mut lots = SplitMix64::new(9);
        lots.next_bits();
        let mut read: SplitMix64 = serde_json::from_str(&serde_json::to_string(&lots).unwrap()).unwrap();
        assert_eq!(read.next_bits(), lots.next_bits());
    }

    #[test]
    fn a_shuffle_keeps_every_item_and_reaches_every_order() {
        let mut seen = std::collections::BTreeSet::new();
        let mut lots = SplitMix64::new(7);
        for _ in 0..200 {
            let mut items = [1, 2, 3];
            lots.shuffle(&mut items);
            seen.insert(items);
        }
        assert_eq!(seen.len(), 6);
    }
}
