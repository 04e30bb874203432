//! What a client's jobs have used of the workers: GPUs held over time, of which every half-life halves the past.

use serde::{Deserialize, Serialize};

use crate::decay::{accrued, halving, multiply_q32};

/// After how long use counts half, in seconds: a day.
pub const USAGE_HALF_LIFE_S: u64 = 86_400;

/// The integral over time of the GPUs held, decayed: what fair sharing compares.
///
/// A job without GPUs counts as one with one. The integral is computed from its closed form, so that it does not
/// matter how often it is brought up to date, but for rounding.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Usage {
    /// GPUs held at present.
    pub held_gpus: u32,
    /// Thousandths of a GPU-second, decayed until `settled_at`.
    used_milli: u64,
    /// Until when use is counted: Unix timestamp in seconds.
    settled_at: u64,
}

impl Usage {
    /// What was used until `now`, in thousandths of a GPU-second.
    pub fn used_milli(&self, now: u64) -> u64 {
        let elapsed_s = now.saturating_sub(self.settled_at);
        let old = multiply_q32(self.used_milli, halving(elapsed_s, USAGE_HALF_LIFE_S));
        old.saturating_add(accrued(u64::from(self.held_gpus) * 1_000, elapsed_s, USAGE_HALF_LIFE_S))
    }

    /// GPUs are taken at `now`.
    pub fn hold(&mut self, gpus: u32, now: u64) {
        self.settle(now);
        self.held_gpus = self.held_gpus.saturating_add(gpus);
    }

    /// GPUs are given back at `now`.
    pub fn release(&mut self, gpus: u32, now: u64) {
        self.settle(now);
        self.held_gpus = self.held_gpus.saturating_sub(gpus);
    }

    fn settle(&mut self, now: u64) {
        self.used_milli = self.used_milli(now);
        self.settled_at = self.settled_at.max(now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn use_accrues_while_gpus_are_held_and_halves_in_a_day() {
        let mut usage = Usage::default();
        usage.hold(4, 1_000);
        usage.hold(2, 1_010);
        usage.release(6, 1_020);
        let used = usage.used_milli(1_020);
        assert!((99_900..=100_000).contains(&used), "10 s of 4 and 10 s of 6 GPUs, barely decayed: {used}");
        assert_eq!(usage.used_milli(1_020 + USAGE_HALF_LIFE_S), used / 2);
        assert_eq!(usage.held_gpus, 0);
    }

    #[test]
    fn time_that_stands_still_changes_nothing() {
        let mut usage = Usage::default();
        usage.hold(1, 50);
        usage.release(1, 40);
        assert_eq!(usage.used_milli(50), 0);
    }
}
