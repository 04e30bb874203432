//! Priorities 1 to 10 that rise with waiting.

use super::{Backfill, OrderingPolicy, OrderingView, PendingRecord, Rank};

/// The highest priority that a job is given.
pub const MAX_PRIORITY: u8 = 10;

/// The highest priority first, where waiting raises it: `priority + waited / interval`, with no end to the rise.
///
/// Two jobs keep their order once both wait, since both rise at the same pace: a job is overtaken only by jobs
/// submitted at most nine intervals after it.
#[derive(Clone, Copy, Debug)]
pub struct JobPrioritizer {
    /// Seconds of waiting that are worth one level of priority; 0 turns aging off.
    pub aging_interval_s: u32,
    /// What may start while the head waits.
    pub backfill: Backfill,
}

impl Default for JobPrioritizer {
    fn default() -> Self {
        Self { aging_interval_s: 300, backfill: Backfill::Easy }
    }
}

impl JobPrioritizer {
    /// The job's priority in thousandths of a level, aging included.
    pub fn calculate_priority(&self, job: &PendingRecord, now_s: u32) -> u64 {
        let waited = u64::from(job.waited_s(now_s)) * 1_000;
        u64::from(job.priority) * 1_000 + waited.checked_div(u64::from(self.aging_interval_s)).unwrap_or(0)
    }
}

impl OrderingPolicy for JobPrioritizer {
    fn name(&self) -> &str {
        "priority"
    }

    fn rank(&self, job: &PendingRecord, _view: &OrderingView<'_>) -> Rank {
        // Higher priority minus later submission, both in seconds: independent of now, so that two jobs never swap.
        let head_start = u64::from(MAX_PRIORITY.saturating_sub(job.priority)) * u64::from(self.aging_interval_s);
        match self.aging_interval_s {
            0 => Rank { class: 0, key: u64::from(MAX_PRIORITY.saturating_sub(job.priority)) },
            _ => Rank { class: 0, key: u64::from(job.submitted_s) + head_start },
        }
    }

    fn backfill(&self, _head: &PendingRecord, _view: &OrderingView<'_>) -> Backfill {
        self.backfill
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::queueing::{fixtures::record, tenants::Tenants};

    #[test]
    fn waiting_raises_the_priority_without_end() {
        let prioritizer = JobPrioritizer { aging_interval_s: 60, ..JobPrioritizer::default() };
        let job = PendingRecord { priority: 5, submitted_s: 1_000, ..record(1) };
        assert_eq!(prioritizer.calculate_priority(&job, 1_000), 5_000);
        assert_eq!(prioritizer.calculate_priority(&job, 1_090), 6_500);
        assert_eq!(prioritizer.calculate_priority(&job, 1_000 + 600), 15_000, "above what a new job can have");
        let still = JobPrioritizer { aging_interval_s: 0, ..prioritizer };
        assert_eq!(still.calculate_priority(&job, u32::MAX), 5_000);
    }

    proptest! {
        #[test]
        fn the_rank_orders_by_aged_priority_at_every_moment(
            a in (1_u8..=10, 0_u32..5_000), b in (1_u8..=10, 0_u32..5_000), later in 5_000_u32..50_000, interval in 1_u32..1_000
        ) {
            let prioritizer = JobPrioritizer { aging_interval_s: interval, ..JobPrioritizer::default() };
            let tenants = Tenants::new(1, 1);
            let view = OrderingView { now_s: later, tenants: &tenants, capacity_gpus: 1, queue_weights: &[] };
            let job = |id, (priority, submitted_s)| PendingRecord { priority, submitted_s, ..record(id) };
            let (a, b) = (job(1, a), job(2, b));
            let (high, low) = (prioritizer.calculate_priority(&a, later), prioritizer.calculate_priority(&b, later));
            if prioritizer.rank(&a, &view) < prioritizer.rank(&b, &view) {
                // A thousandth of a level is what rounding may cost.
                prop_assert!(high + 1 >= low);
            }
        }
    }
}
