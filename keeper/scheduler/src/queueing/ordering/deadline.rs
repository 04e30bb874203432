//! Earliest deadline first.

use super::{Backfill, OrderingPolicy, OrderingView, PendingRecord, Rank};

/// The earliest deadline first; jobs without one last, in the order of submission.
///
/// Whether a deadline can be met is asked at submission: [`deadline_holds`](crate::queueing::deadline_holds).
#[derive(Clone, Copy, Debug, Default)]
pub struct EarliestDeadline {
    /// What may start while the head waits.
    pub backfill: Backfill,
}

impl OrderingPolicy for EarliestDeadline {
    fn name(&self) -> &str {
        "edf"
    }

    fn rank(&self, job: &PendingRecord, _view: &OrderingView<'_>) -> Rank {
        Rank { class: 0, key: u64::from(job.deadline_s) }
    }

    fn backfill(&self, _head: &PendingRecord, _view: &OrderingView<'_>) -> Backfill {
        self.backfill
    }
}
