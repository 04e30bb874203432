//! First in, first out.

use super::{Backfill, OrderingPolicy, OrderingView, PendingRecord, Rank};

/// In the order of submission.
#[derive(Clone, Copy, Debug, Default)]
pub struct Fifo {
    /// What may start while the head waits.
    pub backfill: Backfill,
}

impl OrderingPolicy for Fifo {
    fn name(&self) -> &str {
        "fifo"
    }

    fn rank(&self, job: &PendingRecord, _view: &OrderingView<'_>) -> Rank {
        Rank { class: 0, key: u64::from(job.submitted_s) }
    }

    fn backfill(&self, _head: &PendingRecord, _view: &OrderingView<'_>) -> Backfill {
        self.backfill
    }
}
