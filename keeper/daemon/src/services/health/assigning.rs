//! How long the keeper itself takes to assign jobs, held against what is aimed at.

use std::time::Duration;

use keeper_scheduler::{metrics::TargetedShare, queueing::Histogram};
use serde::Serialize;

/// What the keeper itself should take at most; requirement document 003, "assignment latency".
const TARGET: Duration = Duration::from_millis(50);
/// The share of assignments that should take no longer, in basis points.
const TARGET_BPS: u16 = 9_500;

/// Counts assignments that were sent. What the node takes to answer is not the keeper's.
#[derive(Debug, Default)]
pub(super) struct Assigning {
    own_us: Histogram,
    in_time: u64,
}

/// What `/ready` tells of assignments since the keeper was started.
#[derive(Debug, Serialize)]
pub(crate) struct Assignments {
    /// What is aimed at, in milliseconds.
    target_ms: u64,
    /// How many took no longer.
    in_time: TargetedShare,
    p50_us: u32,
    p95_us: u32,
    max_us: u32,
}

impl Assigning {
    /// Counts a round's items, for all of which the keeper took so long: from when their block was at hand until the round
    /// was recorded to be sent.
    pub(super) fn add(&mut self, own: Duration, items: usize) {
        let own_us = u32::try_from(own.as_micros()).unwrap_or(u32::MAX);
        for _ in 0..items {
            self.own_us.add(own_us);
            self.in_time += u64::from(own <= TARGET);
        }
    }

    pub(super) fn summary(&self) -> Assignments {
        Assignments {
            target_ms: super::milliseconds(TARGET),
            in_time: TargetedShare::at_least(self.in_time, self.own_us.count(), TARGET_BPS),
            p50_us: self.own_us.quantile(5_000),
            p95_us: self.own_us.quantile(9_500),
            max_us: self.own_us.max(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn assignments_are_held_against_50_ms() {
        let mut assigning = Assigning::default();
        assert_eq!(assigning.summary().in_time.met, None);
        assigning.add(Duration::from_millis(50), 19);
        assigning.add(Duration::from_micros(50_001), 1);
        let told = assigning.summary();
        assert_eq!((told.in_time.count, told.in_time.of, told.in_time.met), (19, 20, Some(true)));
        assert_eq!((told.target_ms, told.max_us), (50, 50_001));
        assigning.add(Duration::from_secs(9_000), 1);
        let told = assigning.summary();
        assert_eq!((told.in_time.count, told.in_time.of, told.in_time.met), (19, 21, Some(false)));
        assert_eq!(told.max_us, u32::MAX, "more than can be counted counts as the most");
    }
}
