//! Reproducible randomness: one stream of numbers for each sequence.

/// SplitMix64. Small, fast, the same on every machine; nothing here needs to be unpredictable.
#[derive(Clone, Debug)]
pub(crate) struct Dice {
    state: u64,
}

impl Dice {
    pub(crate) fn new(seed: u64) -> Self {
        Self { state: seed }
    }

    /// The stream of one sequence of a campaign: it depends on nothing but the two numbers.
    pub(crate) fn of_sequence(seed: u64, index: u64) -> Self {
        let mut of_campaign = Self::new(seed);
        let key = of_campaign.next();
        let mut of_index = Self::new(index ^ key);
        Self::new(of_index.next())
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.state ^ (self.state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `end`, which is not 0.
    pub(crate) fn below(&mut self, end: u64) -> u64 {
        let wide = u128::from(self.next()) * u128::from(end);
        u64::try_from(wide >> 64).expect("the high half of a product of 64-bit numbers")
    }

    /// A number in `first..=last`.
    pub(crate) fn between(&mut self, first: u64, last: u64) -> u64 {
        first + self.below(last - first + 1)
    }

    /// True in `percent` of a hundred cases.
    pub(crate) fn chance(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }

    /// One of `choices`, which is not empty.
    pub(crate) fn pick<T: Clone>(&mut self, choices: &[T]) -> T {
        let index = self.below(choices.len() as u64);
        choices[usize::try_from(index).expect("an index fits")].clone()
    }

    /// One of `choices`, or nothing where there is none.
    pub(crate) fn pick_any<T: Clone>(&mut self, choices: &[T]) -> Option<T> {
        if choices.is_empty() { None } else { Some(self.pick(choices)) }
    }

    /// One of `choices`, each with the weight that stands before it.
    pub(crate) fn weighted<T: Clone>(&mut self, choices: &[(u64, T)]) -> T {
        let mut left = self.below(choices.iter().map(|(weight, _)| weight).sum());
        for (weight, choice) in choices {
            if left < *weight {
                return choice.clone();
            }
            left -= weight;
        }
        unreachable!("the number drawn is below the sum of the weights")
    }

    /// A number that fits where one of the width of `max` does: small, near a power of two, or any.
    pub(crate) fn edge(&mut self, max: u64) -> u64 {
        let power = 1_u64 << self.below(64);
        let value = match self.below(4) {
            0 => self.below(4),
            1 => max.wrapping_sub(self.below(3)),
            2 => power.wrapping_sub(1).wrapping_add(self.below(3)),
            _ => self.next(),
        };
        if value > max { max } else { value }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_depends_on_seed_and_index_alone() {
        let stream = |seed, index| {
            (0..8)
                .map({
                    let mut dice = Dice::of_sequence(seed, index);
                    move |_| dice.next()
                })
                .collect::<Vec<_>>()
        };
        assert_eq!(stream(1, 2), stream(1, 2));
        assert_ne!(stream(1, 2), stream(1, 3));
        assert_ne!(stream(1, 2), stream(2, 2));
    }

    #[test]
    fn numbers_stay_in_their_range_and_reach_its_ends() {
        let mut dice = Dice::new(7);
        let drawn: Vec<u64> = (0..1_000).map(|_| dice.between(3, 6)).collect();
        for value in 3..=6 {
            assert!(drawn.contains(&value));
        }
        assert!(drawn.iter().all(|value| (3..=6).contains(value)));
        assert!((0..1_000).all(|_| dice.edge(255) <= 255));
    }

    #[test]
    fn weights_are_kept() {
        let mut dice = Dice::new(7);
        let heavy = (0..10_000).filter(|_| dice.weighted(&[(9, true), (1, false)])).count();
        assert!((8_800..9_200).contains(&heavy), "{heavy}");
    }
}
