//! The default: short jobs first, tenants kept even, nobody for ever behind.

use keeper_types::decay::log2_q10;

use super::{Backfill, OrderingPolicy, OrderingView, PendingRecord, Rank};

/// A demand of four times the capacity, up to which shortness goes before evenness: bursts as short jobs make them.
const CALM_Q10: u32 = 2 << 10;

/// Contention beyond which fairness counts no more than it does already: a demand of 16 times the capacity.
const MOST_CONTENTION_Q10: u32 = 4 << 10;

/// What keys start from, so that head starts do not take them below zero.
const BIAS: u64 = 1 << 32;

/// Combines size, fair-share, priority and age. This is the default.
///
/// **Class 0: jobs that are due** ([`PendingRecord::is_due`]), the earliest due first. What is due was promised by the
/// tenant's own share of the capacity and the queue's longest wait, so that this class alone gives the bound on
/// waiting that `docs/design/0011-queues.md` proves. While such a job is the head, only what ends before its
/// reserved start is backfilled, so that the jobs behind it are not delayed either.
///
/// **Class 1: the others**, the smallest key first:
///
/// ```text
/// size * log2(limit) + width * log2(GPUs) + fairness * (1 + contention) * log2(1 + GPUs held / weight)
///     - priority * level - queue * log2(queue's weight)
/// contention = 2 log2(demand / capacity) - 4, between 0 and 4
/// ```
///
/// Sums of logarithms are products, so that no unit matters: a tenant that holds twice as much must bring a job a
/// fraction as long to go as early. Demand is all GPUs held and awaited. When a cluster is asked for up to four times what
/// it has, shortness decides; the more it is asked for beyond, the more evenness between tenants does. The logarithms
/// have ten fractional bits and are straight lines between powers of two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Balanced {
    /// What a doubling of the job's limit counts.
    pub size: u32,
    /// What a doubling of its GPUs counts.
    pub width: u32,
    /// What a doubling of what its tenant holds counts.
    pub fairness: u32,
    /// What a level of priority counts.
    pub priority: u32,
    /// What a doubling of its queue's weight counts.
    pub queue: u32,
}

impl Default for Balanced {
    fn default() -> Self {
        Self { size: 2, width: 1, fairness: 2, priority: 2, queue: 2 }
    }
}

impl Balanced {
    fn key(&self, job: &PendingRecord, view: &OrderingView<'_>) -> u64 {
        let tenant = view.tenant(job);
        // In 64ths of a GPU, so that an idle tenant is told from one that holds a single GPU of many weights.
        let held = log2_q10(1 + u64::from(tenant.held_gpus) * 64 / u64::from(tenant.weight));
        let beyond = view.tenants.contention_q10().saturating_sub(CALM_Q10);
        let contention = (2 * beyond).min(MOST_CONTENTION_Q10);
        let unevenness = (u64::from(held) * (1_024 + u64::from(contention))) >> 10;
        let lateness = u64::from(self.size) * u64::from(log2_q10(u64::from(job.limit_s)))
            + u64::from(self.width) * u64::from(log2_q10(u64::from(job.gpus)))
            + u64::from(self.fairness) * unevenness;
        let head_start = u64::from(self.priority) * (u64::from(job.priority) << 10)
            + u64::from(self.queue) * u64::from(log2_q10(u64::from(view.queue_weight(job))));
        (BIAS + lateness).saturating_sub(head_start)
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
        Rank { class: 1, key: self.key(job, view) }
    }

    fn backfill(&self, head: &PendingRecord, view: &OrderingView<'_>) -> Backfill {
        if head.is_due(view.now_s) { Backfill::BeforeReservation } else { Backfill::Easy }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::queueing::{QueueIndex, Tenants, fixtures::record};

    fn rank(job: &PendingRecord, tenants: &Tenants) -> Rank {
        let view = OrderingView { now_s: 1_000, tenants, capacity_gpus: 8, queue_weights: &[1, 4] };
        Balanced::default().rank(job, &view)
    }

    #[test]
    fn shorter_narrower_higher_and_weightier_jobs_go_first() {
        let mut tenants = Tenants::new(3_600, 8);
        tenants.add(1, 0);
        let job = record(1);
        let first = [
            PendingRecord { limit_s: 30, ..job },
            PendingRecord { priority: 6, ..job },
            PendingRecord { queue: QueueIndex(1), ..job },
        ];
        assert!(first.iter().all(|first| rank(first, &tenants) < rank(&job, &tenants)));
        assert!(rank(&PendingRecord { gpus: 2, ..job }, &tenants) > rank(&job, &tenants));
    }

    #[test]
    fn a_tenant_that_holds_more_goes_later_and_the_more_so_the_more_is_asked_for() {
        let mut tenants = Tenants::new(3_600, 8);
        let (idle, busy) = (tenants.add(1, 0), tenants.add(1, 0));
        tenants.hold(busy, 4, 0);
        let gap = |tenants: &Tenants| {
            let job = |tenant| PendingRecord { tenant, ..record(1) };
            rank(&job(busy), tenants).key - rank(&job(idle), tenants).key
        };
        tenants.measure(8);
        let calm = gap(&tenants);
        tenants.enqueue(idle, 64);
        tenants.measure(8);
        assert!(calm > 0 && gap(&tenants) > 2 * calm, "{calm}");
    }

    #[test]
    fn what_is_due_goes_before_all_else_in_the_order_of_the_promise() {
        let mut tenants = Tenants::new(3_600, 8);
        tenants.add(1, 0);
        let job = record(1);
        let (due, overdue) = (PendingRecord { due_s: 1_000, ..job }, PendingRecord { due_s: 900, ..job });
        let urgent = PendingRecord { priority: 10, limit_s: 1, due_s: 1_001, ..job };
        assert!(rank(&overdue, &tenants) < rank(&due, &tenants));
        assert!(rank(&due, &tenants) < rank(&urgent, &tenants));
    }
}
