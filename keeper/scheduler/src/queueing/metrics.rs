//! What a queue has done, counted as it happens: integers, constant memory, nothing scanned.

use super::histogram::Histogram;

/// All of something, in basis points.
const ALL_BPS: u128 = 10_000;

/// Counts of one queue. A job that is spilled counts where it ends up.
#[derive(Clone, Debug, Default)]
pub struct QueueMetrics {
    /// Jobs that came to wait here, without retries.
    pub queued: u64,
    /// Jobs that another queue passed on to this one, included above.
    pub spilled_in: u64,
    /// Jobs that were refused because this queue was full.
    pub rejected: u64,
    /// Jobs that were put out to make room.
    pub shed: u64,
    /// Jobs that were cancelled or whose deadline passed before they started.
    pub abandoned: u64,
    /// Attempts that started.
    pub started: u64,
    /// Jobs that succeeded.
    pub succeeded: u64,
    /// Jobs that failed for good.
    pub dead: u64,
    /// Attempts that failed and were followed by another.
    pub retried: u64,
    /// Jobs that waited longer than the queue's SLA before they started first, or were shed or abandoned later than
    /// that.
    pub sla_misses: u64,
    /// Jobs that wait now.
    pub length: u32,
    /// The most that ever waited at a time.
    pub max_length: u32,
    /// Seconds from submission to the first start.
    pub wait_s: Histogram,
}

impl QueueMetrics {
    /// Jobs that succeeded, of those that ended, in basis points; all of them where none ended.
    pub fn success_rate_bps(&self) -> u16 {
        share_bps(self.succeeded, self.succeeded + self.dead, 10_000)
    }

    /// Jobs that were abandoned, of those that came, in basis points.
    pub fn abandonment_rate_bps(&self) -> u16 {
        share_bps(self.abandoned, self.queued, 0)
    }

    /// Jobs that found no room, of those that wanted to come, in basis points.
    pub fn overflow_rate_bps(&self) -> u16 {
        share_bps(self.rejected + self.shed, self.queued + self.rejected, 0)
    }

    pub(crate) fn arrive(&mut self) {
        self.length += 1;
        self.max_length = self.max_length.max(self.length);
    }

    pub(crate) fn leave(&mut self) {
        self.length = self.length.saturating_sub(1);
    }
}

fn share_bps(part: u64, whole: u64, of_nothing: u16) -> u16 {
    let bps = (u128::from(part) * ALL_BPS).checked_div(u128::from(whole));
    bps.and_then(|bps| u16::try_from(bps).ok()).unwrap_or(of_nothing)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_parts_of_what_they_name() {
        let metrics =
            QueueMetrics { queued: 8, rejected: 2, abandoned: 2, succeeded: 3, dead: 1, ..QueueMetrics::default() };
        let rates = (metrics.success_rate_bps(), metrics.abandonment_rate_bps(), metrics.overflow_rate_bps());
        assert_eq!(rates, (7_500, 2_500, 2_000));
        let idle = QueueMetrics::default();
        assert_eq!((idle.success_rate_bps(), idle.abandonment_rate_bps(), idle.overflow_rate_bps()), (10_000, 0, 0));
    }
}
