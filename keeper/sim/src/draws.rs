//! Seeded draws, the same on every machine.
//!
//! Logarithms and exponentials are those of the crate `libm`, not of the platform: the platforms' own differ in the
//! last bit, and so would two runs.

use keeper_scheduler::sharing::SplitMix64;

/// An even draw from `low..=high` that depends on the seed and the index alone.
pub(crate) fn draw(seed: u64, index: u64, low: u32, high: u32) -> u32 {
    let span = u64::from(high - low) + 1;
    // The high half of the product spreads 64 even bits over the span; the bias is below 2^-32.
    let offset = (u128::from(SplitMix64::mix(seed ^ SplitMix64::mix(index))) * u128::from(span)) >> 64;
    low + u32::try_from(offset).unwrap_or(0)
}

/// All of something, in basis points.
const ALL_BPS: u64 = 10_000;

/// What a series of draws is for. Series of different purposes have nothing to do with each other.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Purpose {
    Arrivals,
    Job,
    Worker,
    Message,
    Attempt,
    Patience,
}

/// A series of draws. It depends on the seed, the purpose and the index alone, never on what else was drawn, so that
/// every scheduler that is compared meets the same jobs and the same bad luck.
#[derive(Clone, Debug)]
pub(crate) struct Draws(SplitMix64);

impl Draws {
    pub(crate) fn new(seed: u64, purpose: Purpose, index: u64) -> Self {
        let purpose = SplitMix64::mix(purpose as u64 + 1);
        Self(SplitMix64::new(SplitMix64::mix(seed ^ SplitMix64::mix(index ^ purpose))))
    }

    /// An even draw from 0 to 1, without 1.
    pub(crate) fn unit(&mut self) -> f64 {
        // The 53 bits that a fraction has room for.
        exact(self.0.next_bits() >> 11) / exact(1 << 53)
    }

    /// An even draw from `low..=high`.
    pub(crate) fn between(&mut self, low: u64, high: u64) -> u64 {
        let span = u128::from(high.saturating_sub(low)) + 1;
        let offset = (u128::from(self.0.next_bits()) * span) >> 64;
        low + u64::try_from(offset).unwrap_or(0)
    }

    /// True in this many of 10,000 cases.
    pub(crate) fn happens(&mut self, bps: u16) -> bool {
        self.between(0, ALL_BPS - 1) < u64::from(bps)
    }

    /// A place among weights, each as likely as its part of their sum; 0 where there are none.
    pub(crate) fn weighted(&mut self, weights: impl Iterator<Item = u32> + Clone) -> usize {
        let sum: u64 = weights.clone().map(u64::from).sum();
        let mut left = self.between(0, sum.max(1) - 1);
        for (place, weight) in weights.enumerate() {
            match left.checked_sub(u64::from(weight)) {
                Some(rest) => left = rest,
                None => return place,
            }
        }
        0
    }

    /// A wait whose mean is `mean`, of something that may come at any moment (exponential).
    pub(crate) fn exponential(&mut self, mean: f64) -> f64 {
        -mean * libm::log(1.0 - self.unit())
    }

    /// A draw of which half are below `median`, whose logarithm is normal with deviation `sigma`.
    pub(crate) fn log_normal(&mut self, median: f64, sigma: f64) -> f64 {
        median * libm::exp(sigma * self.normal())
    }

    /// Mean 0, deviation 1, by the polar method (Marsaglia and Bray, SIAM Review 1964).
    fn normal(&mut self) -> f64 {
        loop {
            let (x, y) = (2.0 * self.unit() - 1.0, 2.0 * self.unit() - 1.0);
            let square = x * x + y * y;
            if square > 0.0 && square < 1.0 {
                return x * (-2.0 * libm::log(square) / square).sqrt();
            }
        }
    }
}

#[allow(clippy::cast_precision_loss, reason = "at most 53 bits")]
fn exact(bits: u64) -> f64 {
    bits as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    const COUNT: u64 = 20_000;

    fn mean(mut of: impl FnMut(&mut Draws) -> f64) -> f64 {
        let mut draws = Draws::new(7, Purpose::Job, 0);
        (0..COUNT).map(|_| of(&mut draws)).sum::<f64>() / exact(COUNT)
    }

    #[test]
    fn draws_have_the_means_that_their_distributions_have() {
        assert!((mean(Draws::unit) - 0.5).abs() < 0.01);
        assert!((mean(|draws| draws.exponential(40.0)) - 40.0).abs() < 1.0);
        assert!((mean(Draws::normal)).abs() < 0.02);
        assert!((mean(|draws| draws.normal() * draws.normal())).abs() < 0.03, "independent");
        let is_below = |draws: &mut Draws| f64::from(u8::from(draws.log_normal(600.0, 1.3) < 600.0));
        assert!((mean(is_below) - 0.5).abs() < 0.01);
        assert!((mean(|draws| f64::from(u8::from(draws.happens(2_500)))) - 0.25).abs() < 0.01);
        assert!((mean(|draws| f64::from(u8::from(draws.weighted([1, 3].into_iter()) == 1))) - 0.75).abs() < 0.01);
    }

    #[test]
    fn series_are_told_apart_by_seed_purpose_and_index() {
        let first = |seed, purpose, index| Draws::new(seed, purpose, index).unit().to_bits();
        let of = first(1, Purpose::Job, 1);
        assert_eq!(of, first(1, Purpose::Job, 1));
        for other in [first(2, Purpose::Job, 1), first(1, Purpose::Worker, 1), first(1, Purpose::Job, 2)] {
            assert_ne!(of, other);
        }
    }

    #[test]
    fn a_draw_stays_within_its_ends() {
        let mut draws = Draws::new(1, Purpose::Arrivals, 0);
        assert!((0..1_000).all(|_| (3..=5).contains(&draws.between(3, 5))));
        assert_eq!(draws.between(u64::MAX, u64::MAX), u64::MAX);
        assert!(!draws.happens(0) && draws.happens(10_000));
        assert_eq!(draws.weighted(std::iter::empty()), 0);
    }
}
