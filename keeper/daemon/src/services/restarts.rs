//! How soon a service that failed is started again, and when enough is enough.

use std::{collections::VecDeque, time::Duration};

use rand::Rng as _;
use tokio::time::Instant;

/// The pause before the first restart; it doubles with every failure that follows.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
/// The longest pause.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
/// A service that ran for so long is well again: its next failure counts as its first.
pub(super) const WELL_AFTER: Duration = Duration::from_secs(120);
/// Restarts of all services together within [`WINDOW`]. One more stops the keeper: whoever runs it should see that it
/// does not get well by itself.
pub(super) const BUDGET: usize = 10;
/// What the budget is for. A service that panics twice within it stops the keeper too: it does so for a reason that is
/// still there.
pub(super) const WINDOW: Duration = Duration::from_secs(600);

/// The restarts of late.
#[derive(Debug, Default)]
pub(super) struct Budget {
    recent: VecDeque<Instant>,
}

impl Budget {
    /// Takes one restart out of the budget; false where none is left.
    pub(super) fn spend(&mut self, now: Instant) -> bool {
        while self.recent.front().is_some_and(|spent| now.duration_since(*spent) >= WINDOW) {
            self.recent.pop_front();
        }
        if self.recent.len() >= BUDGET {
            return false;
        }
        self.recent.push_back(now);
        true
    }
}

/// The longest pause after so many failures in a row, from 1 on.
pub(super) fn longest_pause(failures: u32) -> Duration {
    FIRST_PAUSE.saturating_mul(2_u32.saturating_pow(failures.saturating_sub(1))).min(LONGEST_PAUSE)
}

/// Half to all of [`longest_pause`]: services that failed together do not come back together.
pub(super) fn pause(failures: u32) -> Duration {
    let longest = longest_pause(failures);
    rand::rng().random_range(longest / 2..=longest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_a_minute() {
        let seconds = |failures| longest_pause(failures).as_secs_f64();
        assert_eq!([1, 2, 3, 7, 8, 9, u32::MAX].map(seconds), [0.5, 1.0, 2.0, 32.0, 60.0, 60.0, 60.0]);
    }

    #[test]
    fn pauses_are_spread() {
        let pauses: Vec<Duration> = (0..100).map(|_| pause(5)).collect();
        assert!(pauses.iter().all(|pause| (Duration::from_secs(4)..=Duration::from_secs(8)).contains(pause)));
        assert!(pauses.iter().any(|pause| *pause != pauses[0]));
    }

    #[test]
    fn the_budget_comes_back_with_time() {
        let mut budget = Budget::default();
        let start = Instant::now();
        for second in 0..BUDGET as u64 {
            assert!(budget.spend(start + Duration::from_secs(second)));
        }
        assert!(!budget.spend(start + WINDOW - Duration::from_secs(1)));
        assert!(budget.spend(start + WINDOW), "the first has passed");
        assert!(!budget.spend(start + WINDOW), "the second has not");
        assert!(budget.spend(start + WINDOW + Duration::from_secs(1)));
    }
}
