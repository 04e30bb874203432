//! How often an endpoint may be asked: the generic cell rate algorithm (ITU-T I.371), and what the endpoint itself asks
//! for with `Retry-After`.

use std::time::{Duration, Instant};

/// The longest that an endpoint's `Retry-After` is heeded.
const LONGEST_HOLD: Duration = Duration::from_secs(60);
/// How much may come at once: what comes in this time at the full rate.
const BURST: Duration = Duration::from_secs(1);

/// A rate limit with a hand-set clock.
#[derive(Clone, Debug)]
pub(super) struct Limiter {
    /// The time between two requests at the full rate; none without a limit.
    interval: Option<Duration>,
    /// When the next request would come if all came at the full rate.
    expected: Option<Instant>,
    held_until: Option<Instant>,
}

impl Limiter {
    /// A limit of `rate` requests a second.
    pub(super) fn new(rate: Option<u32>) -> Self {
        Self { interval: rate.map(|rate| BURST / rate.max(1)), expected: None, held_until: None }
    }

    /// When the next request may be made; not before `now`.
    pub(super) fn free_at(&self, now: Instant) -> Instant {
        let by_rate = self.interval.zip(self.expected).and_then(|(interval, expected)| {
            // The last of a burst is one interval before its end.
            expected.checked_sub(BURST.saturating_sub(interval))
        });
        [by_rate, self.held_until].into_iter().flatten().fold(now, Instant::max)
    }

    /// A request is made, whether or not it may be.
    pub(super) fn took(&mut self, now: Instant) {
        if let Some(interval) = self.interval {
            self.expected = Some(self.expected.map_or(now, |expected| expected.max(now)) + interval);
        }
    }

    /// The endpoint wants to be left alone for so long.
    pub(super) fn hold(&mut self, now: Instant, wait: Duration) {
        let until = now + wait.min(LONGEST_HOLD);
        self.held_until = Some(self.held_until.map_or(until, |held| held.max(until)));
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn an_endpoint_is_left_alone_for_as_long_as_it_asks_within_reason() {
        let now = Instant::now();
        let mut limiter = Limiter::new(None);
        assert_eq!(limiter.free_at(now), now);
        limiter.hold(now, Duration::from_secs(7));
        limiter.hold(now, Duration::from_secs(3));
        assert_eq!(limiter.free_at(now), now + Duration::from_secs(7));
        limiter.hold(now, Duration::from_secs(86_400));
        assert_eq!(limiter.free_at(now), now + LONGEST_HOLD);
    }

    proptest! {
        /// Who waits as told never makes more than a burst and the rate, in any stretch of time, and no fewer than the
        /// rate where always something waits.
        #[test]
        fn the_rate_holds_in_every_stretch(rate in 1_u32..200, gaps in prop::collection::vec(0_u64..50, 2..400)) {
            let start = Instant::now();
            let mut limiter = Limiter::new(Some(rate));
            let mut now = start;
            let mut made = Vec::new();
            for gap in &gaps {
                now = limiter.free_at(now + Duration::from_millis(*gap));
                limiter.took(now);
                made.push(now);
            }
            for (first, from) in made.iter().enumerate() {
                for (last, to) in made.iter().enumerate().skip(first) {
                    let most = f64::from(rate) * (1.0 + (*to - *from).as_secs_f64()) + 1.001;
                    prop_assert!((last - first + 1) as f64 <= most, "{} in {:?}", last - first + 1, *to - *from);
                }
            }
            let waited: u64 = gaps.iter().sum();
            let least = gaps.len() as f64 / f64::from(rate);
            prop_assert!((now - start).as_secs_f64() <= least + waited as f64 / 1_000.0 + 0.001);
        }
    }
}
