//! How long an endpoint takes to answer, and from when on it counts as late.

use std::time::Duration;

/// Answers that are remembered.
const REMEMBERED: usize = 64;
/// Answers from which on they say how long the next will take.
const ENOUGH: usize = 8;
/// Until then, this is late.
const UNKNOWN: Duration = Duration::from_millis(300);
/// Sooner than this nothing counts as late: two machines' clocks and schedulers differ by as much.
const SOONEST: Duration = Duration::from_millis(25);

/// The latest answers' times.
#[derive(Clone, Debug, Default)]
pub(super) struct Latency {
    times: Vec<Duration>,
    next: usize,
}

impl Latency {
    pub(super) fn note(&mut self, took: Duration) {
        if self.times.len() < REMEMBERED {
            self.times.push(took);
        } else {
            self.times[self.next] = took;
        }
        self.next = (self.next + 1) % REMEMBERED;
    }

    /// An answer is late once it takes longer than 95 of 100 did, `most` at the latest.
    pub(super) fn late_after(&self, most: Duration) -> Duration {
        if self.times.len() < ENOUGH { UNKNOWN } else { self.percentile(95) }.clamp(SOONEST.min(most), most)
    }

    /// So many in a hundred took no longer; nothing where nothing is known.
    pub(super) fn percentile(&self, percent: usize) -> Duration {
        let mut sorted = self.times.clone();
        sorted.sort_unstable();
        let place = (sorted.len() * percent).div_ceil(100).saturating_sub(1);
        sorted.get(place).copied().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_late_that_takes_longer_than_nearly_all_before() {
        let most = Duration::from_secs(5);
        let mut latency = Latency::default();
        assert_eq!(latency.late_after(most), UNKNOWN);
        (1..=64).for_each(|millis| latency.note(Duration::from_millis(millis)));
        assert_eq!(latency.percentile(50), Duration::from_millis(32));
        assert_eq!(latency.late_after(most), Duration::from_millis(61));
        // What is forgotten does not count.
        (0..64).for_each(|_| latency.note(Duration::from_millis(1)));
        assert_eq!(latency.late_after(most), SOONEST);
        (0..64).for_each(|_| latency.note(Duration::from_secs(60)));
        assert_eq!(latency.late_after(most), most);
    }
}
