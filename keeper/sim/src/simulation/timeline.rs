//! What was in use and what waited over time, in constant memory however long the run.

use serde::Serialize;

/// Spans that a timeline holds at most.
const MAX_SPANS: usize = 512;
/// Milliseconds of the first spans.
const FIRST_WIDTH_MS: u64 = 1_000;

/// Sums over spans of equal width. When there are too many, the width doubles and neighbours are joined.
#[derive(Clone, Debug)]
pub(crate) struct Timeline {
    width_ms: u64,
    spans: Vec<Sums>,
}

/// What was there at a moment, or that by milliseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Sums {
    pub(crate) busy_gpus: u64,
    pub(crate) up_gpus: u64,
    pub(crate) waiting: u64,
    pub(crate) ms: u64,
}

/// Means over a span of time.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Point {
    /// The span's beginning, in hours from the start of the run.
    pub at_h: f64,
    /// GPUs that ran a job, of those of workers that were up, in percent.
    pub utilisation_percent: f64,
    /// Jobs that waited.
    pub waiting: f64,
}

impl Timeline {
    pub(crate) fn new() -> Self {
        Self { width_ms: FIRST_WIDTH_MS, spans: Vec::new() }
    }

    /// From `from_ms` to `to_ms` there was this.
    pub(crate) fn add(&mut self, mut from_ms: u64, to_ms: u64, there: Sums) {
        while from_ms < to_ms {
            let mut place = self.place(from_ms);
            while place >= MAX_SPANS {
                self.join();
                place = self.place(from_ms);
            }
            if self.spans.len() <= place {
                self.spans.resize(place + 1, Sums::default());
            }
            let until_ms = to_ms.min((place as u64 + 1) * self.width_ms);
            let ms = until_ms - from_ms;
            let span = &mut self.spans[place];
            span.busy_gpus += there.busy_gpus * ms;
            span.up_gpus += there.up_gpus * ms;
            span.waiting += there.waiting * ms;
            span.ms += ms;
            from_ms = until_ms;
        }
    }

    /// All of it.
    pub(crate) fn total(&self) -> Sums {
        self.spans.iter().copied().fold(Sums::default(), joined)
    }

    pub(crate) fn points(&self) -> Vec<Point> {
        let width_h = exact(self.width_ms) / 3_600_000.0;
        let point = |(place, span): (u32, &Sums)| Point {
            at_h: f64::from(place) * width_h,
            utilisation_percent: percent(span.busy_gpus, span.up_gpus),
            waiting: exact(span.waiting) / exact(span.ms.max(1)),
        };
        (0..).zip(&self.spans).map(point).collect()
    }

    fn place(&self, at_ms: u64) -> usize {
        usize::try_from(at_ms / self.width_ms).unwrap_or(usize::MAX)
    }

    fn join(&mut self) {
        let pairs = self.spans.chunks(2);
        self.spans = pairs.map(|pair| pair.iter().copied().fold(Sums::default(), joined)).collect();
        self.width_ms *= 2;
    }
}

fn joined(left: Sums, right: Sums) -> Sums {
    Sums {
        busy_gpus: left.busy_gpus + right.busy_gpus,
        up_gpus: left.up_gpus + right.up_gpus,
        waiting: left.waiting + right.waiting,
        ms: left.ms + right.ms,
    }
}

/// A part in percent; 0 of nothing.
pub(crate) fn percent(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { 100.0 * exact(part) / exact(whole) }
}

/// A sum as a float; beyond 2^53, to within one part in 2^53.
#[allow(clippy::cast_precision_loss, reason = "figures are shown to a few digits")]
pub(crate) fn exact(value: u64) -> f64 {
    value as f64
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn spans_are_means_and_join_when_there_are_too_many() {
        let mut timeline = Timeline::new();
        let there = |busy_gpus, waiting| Sums { busy_gpus, up_gpus: 8, waiting, ms: 0 };
        timeline.add(0, 500, there(8, 4));
        timeline.add(500, 1_000, there(0, 0));
        let point = timeline.points()[0];
        assert_eq!((point.utilisation_percent, point.waiting), (50.0, 2.0));
        timeline.add(1_000, 3_600_000, there(4, 1));
        assert!(timeline.points().len() <= MAX_SPANS && timeline.width_ms == 8_000);
    }

    proptest! {
        #[test]
        fn nothing_is_lost_by_joining(steps in prop::collection::vec((1_u64..5_000_000, 0_u64..64, 0_u64..9), 1..60)) {
            let mut timeline = Timeline::new();
            let (mut now_ms, mut busy, mut waited) = (0, 0, 0);
            for (ms, busy_gpus, waiting) in steps {
                timeline.add(now_ms, now_ms + ms, Sums { busy_gpus, up_gpus: 64, waiting, ms: 0 });
                (now_ms, busy, waited) = (now_ms + ms, busy + busy_gpus * ms, waited + waiting * ms);
            }
            let total = timeline.total();
            prop_assert_eq!((total.ms, total.busy_gpus, total.waiting), (now_ms, busy, waited));
            prop_assert_eq!(total.up_gpus, 64 * now_ms);
            prop_assert!(timeline.spans.len() <= MAX_SPANS);
        }
    }
}
