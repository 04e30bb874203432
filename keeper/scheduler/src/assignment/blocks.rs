//! Long rows of numbers, looked through in loops that compilers turn into vector instructions.

/// Numbers of which each that counts is found at once.
pub(super) const BLOCK: usize = 16;
/// Numbers of which it is first asked whether any counts: mostly none does.
const WIDE: usize = 64;

/// Calls with every place where `from` is above `less` by at most `most`, ascending.
#[inline]
pub(super) fn each_within(from: &[i16], less: &[i16], most: i16, mut found: impl FnMut(u32)) {
    let (blocks, last) = from.as_chunks::<WIDE>();
    let (less_blocks, last_less) = less.as_chunks::<WIDE>();
    for (first, (from, less)) in (0..).step_by(WIDE).zip(blocks.iter().zip(less_blocks)) {
        let least = from.iter().zip(less).map(|(from, less)| from - less).fold(i16::MAX, i16::min);
        if least > most {
            continue;
        }
        let parts = from.as_chunks().0.iter().zip(less.as_chunks().0);
        for (first, (from, less)) in (first..).step_by(BLOCK).zip(parts) {
            each_place(within(from, less, most), first, &mut found);
        }
    }
    for (place, (from, less)) in (0..).skip(blocks.len() * WIDE).zip(last.iter().zip(last_less)) {
        if from - less <= most {
            found(place);
        }
    }
}

/// The places of a block, a byte each, where `from` is above `less` by at most `most`.
pub(super) fn within(from: &[i16; BLOCK], less: &[i16; BLOCK], most: i16) -> u128 {
    u128::from_le_bytes(std::array::from_fn(|place| u8::from(from[place] - less[place] <= most)))
}

/// Calls with every place that is marked, counted from `first`.
#[inline]
pub(super) fn each_place(mut marks: u128, first: u32, mut found: impl FnMut(u32)) {
    while marks != 0 {
        found(first + marks.trailing_zeros() / u8::BITS);
        marks &= marks - 1;
    }
}

/// A column's price falls.
#[derive(Clone, Copy, Debug)]
pub(super) struct Fall {
    /// What the price becomes.
    pub(super) price: i16,
    pub(super) by: i16,
}

impl Fall {
    /// Not 0 where the gain is above the bound after the fall and was not before.
    fn lifts(self, score: i16, bound: i16) -> u16 {
        let above = (score - self.price).wrapping_sub(bound).wrapping_sub(1);
        self.by.cast_unsigned().saturating_sub(above.cast_unsigned())
    }

    fn lifts_over(self, score: i16, (one, other): (&i16, &i16)) -> u16 {
        self.lifts(score, *one) | self.lifts(score, *other)
    }

    /// Calls with every place where a gain comes to be above either bound.
    #[inline]
    pub(super) fn each_lifted(self, scores: &[i16], one: &[i16], other: &[i16], mut found: impl FnMut(u32)) {
        let (blocks, last) = scores.as_chunks::<WIDE>();
        let (one_blocks, last_one) = one.as_chunks::<WIDE>();
        let (other_blocks, last_other) = other.as_chunks::<WIDE>();
        let all = blocks.iter().zip(one_blocks.iter().zip(other_blocks));
        for (first, (scores, (one, other))) in (0..).step_by(WIDE).zip(all) {
            let bounds = one.iter().zip(other);
            let any = scores.iter().zip(bounds).fold(0, |any, (score, bounds)| any | self.lifts_over(*score, bounds));
            if any == 0 {
                continue;
            }
            let bounds = one.as_chunks::<BLOCK>().0.iter().zip(other.as_chunks::<BLOCK>().0);
            let parts = scores.as_chunks::<BLOCK>().0.iter().zip(bounds);
            for (first, (scores, (one, other))) in (first..).step_by(BLOCK).zip(parts) {
                let is_lifted = |place: usize| self.lifts_over(scores[place], (&one[place], &other[place])) != 0;
                let marks = u128::from_le_bytes(std::array::from_fn(|place| u8::from(is_lifted(place))));
                each_place(marks, first, &mut found);
            }
        }
        for (place, (score, bounds)) in
            (0..).skip(blocks.len() * WIDE).zip(last.iter().zip(last_one.iter().zip(last_other)))
        {
            if self.lifts_over(*score, bounds) != 0 {
                found(place);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*};

    use super::*;

    fn numbers() -> impl Strategy<Value = Vec<(i16, i16, i16)>> {
        let few = (0..40_i16, 0..40_i16, 0..40_i16);
        let all = (0..=10_000_i16, -10_000..=10_000_i16, -10_000..=10_000_i16);
        prop_oneof![vec(few, 0..300), vec(all, 0..300)]
    }

    proptest! {
        #[test]
        fn what_is_within_is_found_wherever_it_stands(numbers in numbers(), most in -50..50_i16) {
            let (from, less): (Vec<_>, Vec<_>) = numbers.iter().map(|&(from, less, _)| (from, less)).unzip();
            let mut found = Vec::new();
            each_within(&from, &less, most, |place| found.push(place));
            let expected = (0..).zip(&numbers).filter(|(_, (from, less, _))| from - less <= most);
            prop_assert_eq!(found, expected.map(|(place, _)| place).collect::<Vec<u32>>());
        }

        #[test]
        fn what_a_fall_lifts_over_a_bound_is_found(numbers in numbers(), price in 0..60_i16, by in 0..60_i16) {
            let scores: Vec<_> = numbers.iter().map(|numbers| numbers.0).collect();
            let (one, other): (Vec<_>, Vec<_>) = numbers.iter().map(|&(_, one, other)| (one, other)).unzip();
            let mut found = Vec::new();
            Fall { price, by }.each_lifted(&scores, &one, &other, |place| found.push(place));
            let is_lifted = |score: i16, bound: i16| score - price > bound && score - price - by <= bound;
            let expected = (0..).zip(&numbers);
            let expected = expected.filter(|(_, (score, one, other))| is_lifted(*score, *one) || is_lifted(*score, *other));
            prop_assert_eq!(found, expected.map(|(place, _)| place).collect::<Vec<u32>>());
        }
    }
}
