//! The default.

use super::{Backfill, OrderingPolicy, OrderingView, PendingRecord, Rank};
use crate::queueing::decay::log2_q10;

/// Short.
#[derive(Clone, Copy, Debug)]
pub struct Balanced {
    pub size: u32,
    pub gpus: u32,
    pub held: u32,
    pub used: u32,
    pub slack: u32,
    pub age: u32,
}

impl Default for Balanced {
    fn default() -> Self {
        Self { size: 4, gpus: 0, held: 4, used: 0, slack: 0, age: 0 }
    }
}

impl OrderingPolicy for Balanced {
    fn name(&self) -> &str {
        "balanced"
    }

    fn rank(&self, job: &PendingRecord, view: &OrderingView<'_>) -> Rank {
        if job.is_due(view.now_s) {
            return Rank { class: 0, key: u64::from(job.due_s) };
        }
        let tenant = view.tenant(job);
        let size = log2_q10(u64::from(job.limit_s));
        let gpus = log2_q10(u64::from(job.gpus));
        let held = log2_q10(1 + u64::from(tenant.held_gpus) * 64 / u64::from(tenant.weight));
        let used = log2_q10(1_000 + tenant.used_by_weight());
        let waited = log2_q10(64 + u64::from(job.waited_s(view.now_s)) * 64 / u64::from(job.limit_s.max(1)));
        let slack = log2_q10(u64::from(job.deadline_s.saturating_sub(view.now_s)) + 60);
        let key = 1_000_000 + u64::from(self.size) * u64::from(size)
            + u64::from(self.gpus) * u64::from(gpus)
            + u64::from(self.held) * u64::from(held)
            + u64::from(self.used) * u64::from(used)
            + u64::from(self.slack) * u64::from(slack)
            - u64::from(self.age) * u64::from(waited);
        Rank { class: 1, key }
    }

    fn backfill(&self, head: &PendingRecord, view: &OrderingView<'_>) -> Backfill {
        if head.is_due(view.now_s) { Backfill::BeforeReservation } else { Backfill::Easy }
    }
}
