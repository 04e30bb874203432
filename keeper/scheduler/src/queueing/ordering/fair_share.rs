//! Fair-share: the tenant that has used least for its weight.

use super::{Backfill, OrderingPolicy, OrderingView, PendingRecord, Rank};

/// Jobs of the tenant with the least decayed GPU-seconds by weight first; of one tenant, in the order of submission.
#[derive(Clone, Copy, Debug, Default)]
pub struct FairShare {
    /// What may start while the head waits.
    pub backfill: Backfill,
}

impl OrderingPolicy for FairShare {
    fn name(&self) -> &str {
        "fair-share"
    }

    fn rank(&self, job: &PendingRecord, view: &OrderingView<'_>) -> Rank {
        Rank { class: 0, key: view.tenant(job).used_by_weight() }
    }

    fn backfill(&self, _head: &PendingRecord, _view: &OrderingView<'_>) -> Backfill {
        self.backfill
    }
}
