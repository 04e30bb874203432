//! When an endpoint that fails is left alone, and when it is tried again.
//!
//! ```text
//! closed --N of the last 2N failed--> open --its rest is over--> half open --a good probe--> closed
//!                                       ^------------ a failed probe: twice the rest -----------'
//! ```

use std::time::{Duration, Instant};

use super::settings::LONGEST_REST;

/// A circuit breaker with a hand-set clock.
#[derive(Clone, Debug)]
pub(super) struct Breaker {
    /// Failures among the last twice as many outcomes that open it; at most 32.
    limit: u32,
    first_rest: Duration,
    /// The last outcomes, the newest in the lowest bit; a set bit is a failure.
    outcomes: u64,
    /// Rests one after the other without a success between them.
    rests: u32,
    until: Option<Instant>,
}

/// What a breaker says about asking.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Circuit {
    /// Ask.
    Closed,
    /// Leave it alone.
    Open,
    /// One probe may find out whether it is well again.
    HalfOpen,
}

impl Breaker {
    pub(super) fn new(limit: u32, first_rest: Duration) -> Self {
        Self { limit: limit.clamp(1, 32), first_rest, outcomes: 0, rests: 0, until: None }
    }

    /// What may be done now.
    pub(super) fn circuit(&self, now: Instant) -> Circuit {
        match self.until {
            None => Circuit::Closed,
            Some(until) if now < until => Circuit::Open,
            Some(_) => Circuit::HalfOpen,
        }
    }

    /// Something that was asked went well.
    pub(super) fn succeeded(&mut self, now: Instant) {
        match self.circuit(now) {
            Circuit::Closed => self.outcomes <<= 1,
            // What was asked before it opened says nothing about now.
            Circuit::Open => {}
            Circuit::HalfOpen => *self = Self::new(self.limit, self.first_rest),
        }
    }

    /// Something failed. `jitter` of 0 to 1 is drawn by the caller: of several keepers with one endpoint not all shall
    /// come back at once.
    pub(super) fn failed(&mut self, now: Instant, jitter: f64) {
        match self.circuit(now) {
            Circuit::Closed => {
                self.outcomes = self.outcomes << 1 | 1;
                if self.recent_failures() >= self.limit {
                    self.open(now, jitter);
                }
            }
            Circuit::Open => {}
            Circuit::HalfOpen => self.open(now, jitter),
        }
    }

    /// How many of the last twice `limit` failed.
    pub(super) fn recent_failures(&self) -> u32 {
        (self.outcomes & (u64::MAX >> (64 - 2 * self.limit))).count_ones()
    }

    fn open(&mut self, now: Instant, jitter: f64) {
        let rest = self.first_rest.saturating_mul(1 << self.rests.min(16)).min(LONGEST_REST);
        self.rests += 1;
        self.outcomes = 0;
        // Half of it to all of it.
        self.until = Some(now + rest.mul_f64(0.5 + jitter.clamp(0.0, 1.0) / 2.0));
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const REST: Duration = Duration::from_secs(2);

    #[test]
    fn it_opens_after_failures_probes_after_a_rest_and_rests_longer_each_time() {
        let mut now = Instant::now();
        let mut breaker = Breaker::new(3, REST);
        for _ in 0..2 {
            breaker.failed(now, 1.0);
            assert_eq!(breaker.circuit(now), Circuit::Closed);
        }
        breaker.failed(now, 1.0);
        for rest in [2, 4, 8, 16, 30, 30] {
            assert_eq!(breaker.circuit(now), Circuit::Open);
            now += Duration::from_secs(rest) - Duration::from_millis(1);
            assert_eq!(breaker.circuit(now), Circuit::Open);
            now += Duration::from_millis(1);
            assert_eq!(breaker.circuit(now), Circuit::HalfOpen);
            breaker.failed(now, 1.0);
        }
        now += LONGEST_REST;
        breaker.succeeded(now);
        assert_eq!((breaker.circuit(now), breaker.recent_failures()), (Circuit::Closed, 0));
    }

    #[test]
    fn failures_between_successes_open_it_too_and_rare_ones_do_not() {
        let now = Instant::now();
        let mut every_other = Breaker::new(3, REST);
        for _ in 0..3 {
            every_other.succeeded(now);
            every_other.failed(now, 0.0);
        }
        assert_eq!(every_other.circuit(now), Circuit::Open);
        let mut rare = Breaker::new(3, REST);
        for _ in 0..1_000 {
            rare.failed(now, 0.0);
            (0..3).for_each(|_| rare.succeeded(now));
        }
        assert_eq!(rare.circuit(now), Circuit::Closed);
    }

    proptest! {
        /// Whatever happens, it is never closed with as many failures as open it, never open longer than the longest
        /// rest, and opens by a failure only.
        #[test]
        fn it_holds_what_it_promises(limit in 1_u32..33, steps in prop::collection::vec((0_u64..3_000, any::<bool>(), 0.0_f64..1.0), 1..300)) {
            let mut now = Instant::now();
            let mut breaker = Breaker::new(limit, REST);
            for (millis, is_good, jitter) in steps {
                now += Duration::from_millis(millis);
                let before = breaker.circuit(now);
                if is_good { breaker.succeeded(now) } else { breaker.failed(now, jitter) }
                let after = breaker.circuit(now);
                prop_assert!(breaker.recent_failures() < limit);
                prop_assert!(!is_good || after != Circuit::Open || before == Circuit::Open);
                prop_assert_ne!(breaker.circuit(now + LONGEST_REST), Circuit::Open);
            }
        }
    }
}
