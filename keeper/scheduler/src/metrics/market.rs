//! What the chain's events say about a market's service: how long jobs wait, how many fail or are given up, how busy
//! workers are, and where jobs go.

use std::collections::BTreeMap;

use keeper_types::{Job, JobId, Market, MarketEvent, Queue, Region, WorkerId, WorkerStatus};
use serde::{Deserialize, Serialize};

use super::{
    RegionAllocations, TargetedShare, URGENT_PRIORITY, WaitSummary,
    utilisation::{BusyTime, WorkerUse},
    waits::Waits,
};
use crate::{
    QueueRules,
    queueing::{Histogram, QueueMetrics},
    score::share,
};

/// The kind of a job whose result is that of most replicas.
const REPLICA: &str = "replica";

/// More than this share of assignments should succeed, in basis points; requirement document 003, "assignment success
/// rate".
const SUCCESS_TARGET_BPS: u16 = 9_900;
/// Less than this share of jobs should find their queue full; requirement document 003, "queue overflow rate".
const OVERFLOW_TARGET_BPS: u16 = 10;

/// Counts over a market's whole life, event by event. Anybody who has the chain counts the same.
///
/// Memory grows with registered workers and regions, not with jobs.
#[derive(Clone, Debug)]
pub struct MarketMetrics {
    /// The longest waits of the queues, by their numbers on chain.
    max_wait_s: [u32; 3],
    /// The most jobs of the queues that are considered.
    max_jobs: [u32; 3],
    queues: [QueueMetrics; 3],
    /// Jobs that found their queue full.
    overflowed: [u64; 3],
    /// Seconds from when an attempt was queued to its allocation.
    allocation_s: Histogram,
    regions: BTreeMap<Option<Region>, u64>,
    failed_attempts: u64,
    /// Attempts that ended with a result.
    results: u64,
    /// Items of rounds that the contract skipped.
    skipped: u64,
    /// Of urgent jobs, and of the others.
    waits: [Waits; 2],
    kinds: BTreeMap<&'static str, u64>,
    workers: BTreeMap<WorkerId, WorkerUse>,
    departed: BusyTime,
}

impl MarketMetrics {
    /// Nothing has happened yet. The rules say how long jobs of each queue should wait at most.
    pub fn new(rules: &QueueRules) -> Self {
        let rules = [rules.default, rules.high, rules.low];
        Self {
            max_wait_s: rules.map(|rule| rule.max_wait_s),
            max_jobs: rules.map(|rule| rule.max_jobs),
            queues: Default::default(),
            overflowed: [0; 3],
            allocation_s: Histogram::default(),
            regions: BTreeMap::new(),
            failed_attempts: 0,
            results: 0,
            skipped: 0,
            waits: Waits::none(),
            kinds: BTreeMap::new(),
            workers: BTreeMap::new(),
            departed: BusyTime::default(),
        }
    }

    /// Counts an event at `now` (block timestamp in seconds) that `market` has just applied.
    pub fn observe(&mut self, event: &MarketEvent, now: u64, market: &Market) {
        match event {
            MarketEvent::JobSubmitted { job_id, spec, group_id, .. } => {
                let kind = if group_id.is_some() { REPLICA } else { spec.verification.name() };
                *self.kinds.entry(kind).or_default() += 1;
                let place = spec.queue as usize;
                let is_full = self.queues.get(place).is_some_and(|queue| queue.length >= self.max_jobs[place]);
                if is_full {
                    self.overflowed[place] += 1;
                }
                if let Some(queue) = self.queue(*job_id, market) {
                    queue.queued += 1;
                    queue.arrive();
                }
            }
            MarketEvent::JobsAllocated { items } => {
                for item in items {
                    self.allocated(item.job_id, item.worker_id, now, market);
                }
            }
            MarketEvent::AttemptFailed { job_id, worker_id, requeued, .. } => {
                self.failed_attempts += 1;
                self.note(*worker_id, now, market);
                if let (true, Some(queue)) = (*requeued, self.queue(*job_id, market)) {
                    queue.retried += 1;
                    queue.arrive();
                }
            }
            MarketEvent::AllocationSkipped { .. } => self.skipped += 1,
            MarketEvent::ResultCommitted { worker_id, .. } => self.note(*worker_id, now, market),
            MarketEvent::ResultSubmitted { worker_id, .. } => {
                self.results += 1;
                self.note(*worker_id, now, market);
            }
            MarketEvent::JobSettled { job_id, .. } => {
                if let Some(queue) = self.queue(*job_id, market) {
                    queue.succeeded += 1;
                }
            }
            MarketEvent::JobFailed { job_id, .. } => {
                if let Some(queue) = self.queue(*job_id, market) {
                    queue.dead += 1;
                }
            }
            MarketEvent::JobCancelled { job_id, .. } | MarketEvent::JobExpired { job_id, .. } => {
                self.given_up(*job_id, now, market);
            }
            MarketEvent::WorkerRegistered { worker_id, .. }
            | MarketEvent::WorkerUpdated { worker_id, .. }
            | MarketEvent::StakeWithdrawn { worker_id, .. } => self.note(*worker_id, now, market),
            _ => {}
        }
    }

    /// Everything as of `now`, in seconds.
    pub fn summary(&self, now: u64) -> MarketSummary {
        let allocations = self.allocation_s.count();
        let mut busy = self.departed;
        for worker in self.workers.values() {
            busy.add(worker.until(now));
        }
        let (succeeded, dead) = self
            .queues
            .iter()
            .fold((0, 0), |(succeeded, dead), queue| (succeeded + queue.succeeded, dead + queue.dead));
        let regions = self.regions.iter().map(|(region, count)| RegionAllocations {
            region: *region,
            allocations: *count,
            share_bps: share(*count, allocations),
        });
        let summaries = [0, 1, 2].map(|queue| QueueSummary::of(&self.queues[queue], self.overflowed[queue]));
        let [default, high, low] = summaries;
        let submitted: u64 = self.queues.iter().map(|queue| queue.queued).sum();
        let ended = self.results + self.failed_attempts + self.skipped;
        MarketSummary {
            success_rate_bps: share(succeeded, succeeded + dead),
            failed_attempts: self.failed_attempts,
            assignments: TargetedShare::above(self.results, ended, SUCCESS_TARGET_BPS),
            overflow: TargetedShare::below(self.overflowed.iter().sum(), submitted, OVERFLOW_TARGET_BPS),
            allocation_s: Spread::of(&self.allocation_s),
            utilisation_bps: busy.share_bps(),
            regions: regions.collect(),
            urgent: self.waits[0].summary(),
            ordinary: self.waits[1].summary(),
            kinds: self.kinds.iter().map(|(kind, count)| ((*kind).to_owned(), *count)).collect(),
            default,
            high,
            low,
        }
    }

    fn queue(&mut self, job_id: JobId, market: &Market) -> Option<&mut QueueMetrics> {
        self.queues.get_mut(market.jobs.get(&job_id)?.spec.queue as usize)
    }

    fn waits(&mut self, job: &Job) -> &mut Waits {
        let is_urgent = job.spec.queue == Queue::High || job.spec.priority >= URGENT_PRIORITY;
        &mut self.waits[usize::from(!is_urgent)]
    }

    fn is_late(&self, job: &Job, now: u64) -> bool {
        let most = self.max_wait_s.get(job.spec.queue as usize).copied().unwrap_or(u32::MAX);
        now.saturating_sub(job.submitted_at) > u64::from(most)
    }

    fn allocated(&mut self, job_id: JobId, worker_id: WorkerId, now: u64, market: &Market) {
        let Some(job) = market.jobs.get(&job_id) else { return };
        let is_late = self.is_late(job, now);
        self.allocation_s.add(seconds(now, job.queued_at));
        if job.attempt.0 == 1 {
            self.waits(job).started(seconds(now, job.submitted_at));
        }
        let region = market.workers.get(&worker_id).and_then(|worker| worker.capabilities.region);
        *self.regions.entry(region).or_default() += 1;
        if let Some(queue) = self.queue(job_id, market) {
            queue.leave();
            queue.started += 1;
            // What follows a failure is not the first start.
            if job.attempt.0 == 1 {
                queue.wait_s.add(seconds(now, job.submitted_at));
                queue.sla_misses += u64::from(is_late);
            }
        }
        self.note(worker_id, now, market);
    }

    fn given_up(&mut self, job_id: JobId, now: u64, market: &Market) {
        let Some(job) = market.jobs.get(&job_id) else { return };
        let is_miss = self.is_late(job, now) && job.attempt.0 == 1;
        if job.attempt.0 == 1 {
            self.waits(job).given_up(seconds(now, job.submitted_at));
        }
        if let Some(queue) = self.queue(job_id, market) {
            queue.leave();
            queue.abandoned += 1;
            queue.sla_misses += u64::from(is_miss);
        }
    }

    /// Notes a worker's slots and those in use from now on.
    fn note(&mut self, worker_id: WorkerId, now: u64, market: &Market) {
        let Some(worker) = market.workers.get(&worker_id) else { return };
        if worker.status == WorkerStatus::Exited {
            if let Some(gone) = self.workers.remove(&worker_id) {
                self.departed.add(gone.until(now));
            }
            return;
        }
        self.workers.entry(worker_id).or_default().change(worker.slots, worker.used_slots, now);
    }
}

fn seconds(now: u64, since: u64) -> u32 {
    u32::try_from(now.saturating_sub(since)).unwrap_or(u32::MAX)
}

/// What [`MarketMetrics`] say at a moment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MarketSummary {
    /// Jobs that were paid for, of those and the ones whose every attempt failed, in basis points; all where none ended.
    pub success_rate_bps: u16,
    /// Attempts that ended without a result.
    pub failed_attempts: u64,
    /// Assignments of jobs to workers that ended with a result, of those that ended with one, without one, or that the
    /// contract skipped; more than 99 % are aimed at.
    pub assignments: TargetedShare,
    /// Jobs that found their queue full when they were submitted ([`QueueRule::max_jobs`](crate::QueueRule::max_jobs)), of
    /// all that were; less than 0.1 % are aimed at.
    pub overflow: TargetedShare,
    /// From when an attempt was queued to its allocation.
    pub allocation_s: Spread,
    /// The share of all slots' time in which they were busy, in basis points; none where there was no time yet.
    pub utilisation_bps: Option<u16>,
    /// Where the jobs went.
    pub regions: Vec<RegionAllocations>,
    /// Waits of jobs in the high queue, or of priority [`URGENT_PRIORITY`] and above.
    pub urgent: WaitSummary,
    /// Waits of the others.
    pub ordinary: WaitSummary,
    /// Jobs that were submitted, by how their results are verified: `none`, `rerun`, `matmul`, or `replica`. What they run
    /// is in their manifests, which are not on chain.
    pub kinds: BTreeMap<String, u64>,
    /// The default queue.
    pub default: QueueSummary,
    /// The high queue.
    pub high: QueueSummary,
    /// The low queue.
    pub low: QueueSummary,
}

/// What a queue has done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct QueueSummary {
    /// Jobs that were submitted to it.
    pub submitted: u64,
    /// Jobs that wait now.
    pub length: u32,
    /// The most that ever waited at a time.
    pub max_length: u32,
    /// Jobs that were submitted while as many waited as are considered.
    pub overflowed: u64,
    /// From submission to the first allocation.
    pub wait_s: Spread,
    /// Jobs that waited longer than they should, allocated or given up.
    pub sla_misses: u64,
    /// Jobs that were cancelled or expired while they waited, of those submitted, in basis points.
    pub abandonment_rate_bps: u16,
    /// Jobs that were paid for, of those that ended with an attempt, in basis points.
    pub success_rate_bps: u16,
    /// Attempts that failed and were followed by another.
    pub retried: u64,
}

impl QueueSummary {
    fn of(metrics: &QueueMetrics, overflowed: u64) -> Self {
        Self {
            submitted: metrics.queued,
            length: metrics.length,
            max_length: metrics.max_length,
            overflowed,
            wait_s: Spread::of(&metrics.wait_s),
            sla_misses: metrics.sla_misses,
            abandonment_rate_bps: metrics.abandonment_rate_bps(),
            success_rate_bps: metrics.success_rate_bps(),
            retried: metrics.retried,
        }
    }
}

/// How values are spread; percentiles are rounded up by one part in 32 at most. 0 throughout where there are none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Spread {
    /// How many there are.
    pub count: u64,
    /// The mean, rounded down.
    pub mean: u64,
    /// Half are at most this.
    pub p50: u32,
    /// 95 of 100 are.
    pub p95: u32,
    /// All are.
    pub max: u32,
}

impl Spread {
    pub(super) fn of(histogram: &Histogram) -> Self {
        Self {
            count: histogram.count(),
            mean: histogram.mean_milli() / 1_000,
            p50: histogram.quantile(5_000),
            p95: histogram.quantile(9_500),
            max: histogram.max(),
        }
    }
}

#[cfg(test)]
mod tests;
