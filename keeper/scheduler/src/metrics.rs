//! What came of decisions and allocations, counted as it happens: integers, nothing scanned.

mod market;
mod targets;
mod utilisation;
mod waits;

use std::collections::BTreeMap;

use keeper_types::{Region, WorkerId};
use serde::{Deserialize, Serialize};

use crate::{Explanation, Outcome, Rejection, queueing::Histogram, score::share};
pub use market::{MarketMetrics, MarketSummary, QueueSummary, Spread};
pub use targets::TargetedShare;
use utilisation::{BusyTime, WorkerUse};
pub use waits::{URGENT_PRIORITY, WaitSummary};

/// Counts of decisions, allocations, completions and workers' busy time.
///
/// Adding costs a look-up. Memory grows with registered workers and with the regions that got jobs, not with jobs.
/// Times are Unix timestamps in seconds that the caller brings along, durations of decisions microseconds.
#[derive(Clone, Debug, Default)]
pub struct AllocationMetrics {
    outcomes: BTreeMap<&'static str, u64>,
    rejections: BTreeMap<Rejection, u64>,
    allocation_us: Histogram,
    regions: BTreeMap<Option<Region>, u64>,
    succeeded: u64,
    failed: u64,
    workers: BTreeMap<WorkerId, WorkerUse>,
    /// Of workers that have left.
    departed: BusyTime,
}

impl AllocationMetrics {
    /// Nothing has happened yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Counts a decision by its reason and what spoke against workers. Where the job was placed, also where its worker
    /// stands (none: unknown) and how long allocating it took, in microseconds, from when the keeper saw it queued to
    /// the decision; more than 71 minutes count as that.
    pub fn record_decision(&mut self, explanation: &Explanation, region: Option<Region>, allocation_us: u64) {
        *self.outcomes.entry(explanation.outcome.code()).or_default() += 1;
        for (rejection, count) in &explanation.rejections {
            *self.rejections.entry(*rejection).or_default() += u64::from(*count);
        }
        if let Outcome::Placed { .. } = explanation.outcome {
            *self.regions.entry(region).or_default() += 1;
            self.allocation_us.add(u32::try_from(allocation_us).unwrap_or(u32::MAX));
        }
    }

    /// Counts the end of an attempt.
    pub fn record_completion(&mut self, is_success: bool) {
        if is_success {
            self.succeeded += 1;
        } else {
            self.failed += 1;
        }
    }

    /// Notes a worker's slots and how many of them are in use from now on. Since the last note they were as that said.
    pub fn record_worker(&mut self, worker_id: WorkerId, slots: u8, used_slots: u8, now_s: u64) {
        self.workers.entry(worker_id).or_default().change(slots, used_slots, now_s);
    }

    /// Notes that a worker has left. Its busy time stays in the sum.
    pub fn record_departure(&mut self, worker_id: WorkerId, now_s: u64) {
        if let Some(worker) = self.workers.remove(&worker_id) {
            self.departed.add(worker.until(now_s));
        }
    }

    /// How many decisions ended with this reason code.
    pub fn decisions(&self, code: &str) -> u64 {
        self.outcomes.get(code).copied().unwrap_or(0)
    }

    /// How long allocating took, in microseconds.
    pub fn allocation_us(&self) -> &Histogram {
        &self.allocation_us
    }

    /// The share of its slots' time that a worker was busy until now, in basis points; none for a worker that is not
    /// known, or not for a second yet.
    pub fn utilisation_bps(&self, worker_id: WorkerId, now_s: u64) -> Option<u16> {
        self.workers.get(&worker_id)?.until(now_s).share_bps()
    }

    /// Everything, as of now, to be written or shown.
    pub fn summary(&self, now_s: u64) -> AllocationSummary {
        let decisions = self.outcomes.values().sum();
        let allocations = self.allocation_us.count();
        let mut busy = self.departed;
        for worker in self.workers.values() {
            busy.add(worker.until(now_s));
        }
        let regions = self.regions.iter().map(|(region, count)| RegionAllocations {
            region: *region,
            allocations: *count,
            share_bps: share(*count, allocations),
        });
        let workers = self.workers.iter().filter_map(|(id, worker)| Some((*id, worker.until(now_s).share_bps()?)));
        AllocationSummary {
            decisions,
            allocations,
            allocation_rate_bps: share(allocations, decisions),
            succeeded: self.succeeded,
            failed: self.failed,
            success_rate_bps: share(self.succeeded, self.succeeded + self.failed),
            allocation_time: AllocationTime::of(&self.allocation_us),
            utilisation_bps: busy.share_bps(),
            worker_utilisation_bps: workers.collect(),
            regions: regions.collect(),
            reasons: self.outcomes.iter().map(|(code, count)| ((*code).to_owned(), *count)).collect(),
            rejections: self.rejections.clone(),
        }
    }
}

/// What [`AllocationMetrics`] say at a moment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AllocationSummary {
    /// Decisions; a job that waits for three rounds is decided on three times.
    pub decisions: u64,
    /// Decisions that gave a job to a worker.
    pub allocations: u64,
    /// Allocations of decisions, in basis points; all where there are none.
    pub allocation_rate_bps: u16,
    /// Attempts that succeeded.
    pub succeeded: u64,
    /// Attempts that failed.
    pub failed: u64,
    /// Attempts that succeeded, of those that ended, in basis points; all where none ended.
    pub success_rate_bps: u16,
    /// How long allocating took.
    pub allocation_time: AllocationTime,
    /// The share of all slots' time in which they were busy, workers that have left included, in basis points; none
    /// where there was no time yet.
    pub utilisation_bps: Option<u16>,
    /// The same of each worker that is there and has been for a second.
    pub worker_utilisation_bps: BTreeMap<WorkerId, u16>,
    /// Where the jobs went.
    pub regions: Vec<RegionAllocations>,
    /// Decisions by reason code.
    pub reasons: BTreeMap<String, u64>,
    /// Workers that did not get a job, by what spoke against them, summed over decisions.
    pub rejections: BTreeMap<Rejection, u64>,
}

/// How long allocating a job took, in microseconds; 0 throughout where no job was allocated. Percentiles are rounded up
/// by one part in 32 at most.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AllocationTime {
    /// The mean, rounded down.
    pub mean_us: u64,
    /// Half of the jobs were allocated within this.
    pub p50_us: u32,
    /// 95 of 100 were.
    pub p95_us: u32,
    /// 99 of 100 were.
    pub p99_us: u32,
    /// All were.
    pub max_us: u32,
}

impl AllocationTime {
    fn of(histogram: &Histogram) -> Self {
        Self {
            mean_us: histogram.mean_milli() / 1_000,
            p50_us: histogram.quantile(5_000),
            p95_us: histogram.quantile(9_500),
            p99_us: histogram.quantile(9_900),
            max_us: histogram.max(),
        }
    }
}

/// Allocations to workers of a region.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RegionAllocations {
    /// The region; none where workers name none.
    pub region: Option<Region>,
    /// How many.
    pub allocations: u64,
    /// Of all allocations, in basis points, rounded down.
    pub share_bps: u16,
}

#[cfg(test)]
mod tests;
