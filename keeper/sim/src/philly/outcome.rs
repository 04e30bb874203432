//! How a policy fared.

use serde::Serialize;

/// Figures of one policy at one load. Times are in seconds.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Outcome {
    /// The policy.
    pub policy: String,
    /// GPU-seconds of the trace, in percent of what the cluster could give while jobs arrived.
    pub load_percent: u64,
    /// Machines of eight GPUs.
    pub machines: u32,
    /// Jobs that ended; all of them.
    pub jobs: u64,
    /// Mean time from submission to end.
    pub mean_completion_s: f64,
    /// Median wait.
    pub p50_wait_s: u32,
    /// 95th percentile of the wait.
    pub p95_wait_s: u32,
    /// 99th percentile of the wait.
    pub p99_wait_s: u32,
    /// The longest wait.
    pub max_wait_s: u32,
    /// Mean over contended hours of Jain's index over the virtual clusters' GPU-seconds received by entitlement.
    pub jain: f64,
    /// Hours in which more was demanded than there was.
    pub contended_hours: u32,
    /// Jain's index over the virtual clusters' mean bounded slowdown.
    pub jain_slowdown: f64,
    /// Jobs that ended after their deadline.
    pub deadline_misses: u64,
    /// Jobs that waited longer than the stated bound.
    pub starved: u64,
    /// Jobs that started before the head of the queue.
    pub backfilled: u64,
    /// When the last job ended, from the first submission.
    pub makespan_s: u32,
    /// Processor time of the whole replay.
    pub replay_s: f64,
}

/// The value at a quantile given in thousandths, of sorted values: the smallest that is at least as large as that
/// part of them.
pub(crate) fn quantile(sorted: &[u32], thousandths: usize) -> u32 {
    let rank = (sorted.len() * thousandths).div_ceil(1_000).max(1);
    sorted.get(rank - 1).copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_values_that_occur() {
        let values: Vec<u32> = (1..=100).collect();
        assert_eq!([500, 950, 1_000].map(|thousandths| quantile(&values, thousandths)), [50, 95, 100]);
        assert_eq!(quantile(&[], 500), 0);
    }
}
