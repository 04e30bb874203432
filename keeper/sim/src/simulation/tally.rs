//! Counting while a run goes on: constant memory, whatever the number of jobs.

use std::collections::BTreeMap;

use keeper_scheduler::queueing::{FailureClass, Histogram};
use keeper_types::Region;

use super::{
    engine::each_worker,
    figures::{Counts, Figures, RegionFigures, Spread},
    jobs::{Job, SECOND_MS},
    parameters::{Parameters, WorkerKind},
    timeline::{Sums, Timeline, exact, percent},
};
use crate::philly::{HourlyFairness, jain};

/// Jobs shorter than this, in seconds, count as this long in a slowdown, as is usual.
const SHORTEST_S: f64 = 10.0;
const HOUR_MS: f64 = 3_600_000.0;

/// What has happened so far, and what is there now.
pub(crate) struct Tally {
    pub(crate) counts: Counts,
    pub(crate) there: Sums,
    /// GPUs that each tenant holds and waits for.
    pub(crate) gpus: Vec<(u64, u64)>,
    now_ms: u64,
    /// What had come together when the last job arrived: milliseconds, use, attempts placed.
    arrivals: Option<(u64, Sums, u64)>,
    timeline: Timeline,
    fairness: HourlyFairness,
    wait_ms: Histogram,
    completion_ms: Histogram,
    slowdowns: Vec<(f64, f64)>,
    useful_gpu_ms: u64,
    paid: u128,
    sla_s: BTreeMap<String, u32>,
    regions: BTreeMap<Region, RegionUse>,
}

#[derive(Clone, Copy, Debug, Default)]
struct RegionUse {
    gpus: u64,
    busy_gpu_ms: u64,
    placed: u64,
}

impl Tally {
    pub(crate) fn new(parameters: &Parameters, tenants: &[(String, u32)]) -> Self {
        let mut regions: BTreeMap<Region, RegionUse> = BTreeMap::new();
        let mut up_gpus = 0;
        for (_, kind) in each_worker(&parameters.workers) {
            up_gpus += u64::from(kind.gpus);
            if let Some(region) = kind.region {
                regions.entry(region).or_default().gpus += u64::from(kind.gpus);
            }
        }
        let weights = tenants.iter().map(|(_, weight)| f64::from(*weight)).collect();
        Self {
            counts: Counts::default(),
            there: Sums { up_gpus, ..Sums::default() },
            gpus: vec![(0, 0); tenants.len()],
            now_ms: 0,
            arrivals: None,
            timeline: Timeline::new(),
            fairness: HourlyFairness::new(weights, u32::try_from(up_gpus).unwrap_or(u32::MAX), 0),
            wait_ms: Histogram::default(),
            completion_ms: Histogram::default(),
            slowdowns: vec![(0.0, 0.0); tenants.len()],
            useful_gpu_ms: 0,
            paid: 0,
            sla_s: parameters.sla_s.clone(),
            regions,
        }
    }

    /// Lets time pass in which nothing changed.
    pub(crate) fn advance(&mut self, now_ms: u64) {
        self.timeline.add(self.now_ms, now_ms, self.there);
        self.fairness.add(&self.gpus, seconds(self.now_ms), seconds(now_ms));
        self.now_ms = now_ms;
    }

    /// No more jobs arrive.
    pub(crate) fn arrivals_are_over(&mut self) {
        self.arrivals = Some((self.now_ms, self.timeline.total(), self.counts.placed));
    }

    /// A job waits from now on.
    pub(crate) fn wait(&mut self, job: &Job) {
        self.there.waiting += 1;
        self.gpus[job.tenant as usize].1 += u64::from(job.gpus);
    }

    /// A job waits no longer.
    pub(crate) fn wait_no_more(&mut self, job: &Job) {
        self.there.waiting -= 1;
        self.gpus[job.tenant as usize].1 -= u64::from(job.gpus);
    }

    /// A job is placed, on a worker of this kind in the first place.
    pub(crate) fn place(&mut self, job: &Job, kind: &WorkerKind) {
        self.counts.placed += 1;
        self.gpus[job.tenant as usize].0 += u64::from(job.gpus);
        if let Some(region) = kind.region.and_then(|region| self.regions.get_mut(&region)) {
            region.placed += 1;
        }
    }

    /// A placed job is so no longer.
    pub(crate) fn take_off(&mut self, job: &Job) {
        self.gpus[job.tenant as usize].0 -= u64::from(job.gpus);
    }

    /// A job begins for the first time.
    pub(crate) fn begin_first(&mut self, job: &Job) {
        let wait_ms = self.now_ms - job.submitted_ms;
        self.wait_ms.add(narrow(wait_ms));
        self.counts.sla_misses += u64::from(self.is_beyond_sla(job));
    }

    /// A job is over, or the run is, and it never began.
    pub(crate) fn never_began(&mut self, job: &Job) {
        self.counts.sla_misses += u64::from(self.is_beyond_sla(job));
    }

    /// GPUs of a worker ran a job for so long, up to now.
    pub(crate) fn busy(&mut self, kind: &WorkerKind, gpus: u16, ms: u64) {
        let gpu_ms = u64::from(gpus) * ms;
        self.paid += u128::from(kind.rate) * u128::from(gpu_ms);
        if let Some(region) = kind.region.and_then(|region| self.regions.get_mut(&region)) {
            region.busy_gpu_ms += gpu_ms;
        }
    }

    pub(crate) fn succeed(&mut self, job: &Job) {
        self.counts.succeeded += 1;
        self.useful_gpu_ms += u64::from(job.gpus) * job.duration_ms;
        let completion_ms = self.now_ms - job.submitted_ms;
        self.completion_ms.add(narrow(completion_ms));
        let (sum, count) = &mut self.slowdowns[job.tenant as usize];
        let duration_s = (exact(job.duration_ms) / 1_000.0).max(SHORTEST_S);
        *sum += (exact(completion_ms) / 1_000.0 / duration_s).max(1.0);
        *count += 1.0;
        self.counts.deadline_misses += u64::from(self.is_past_deadline(job));
    }

    /// A job is given up.
    pub(crate) fn dead(&mut self, job: &Job, reason: &'static str) {
        *self.counts.dead.entry(reason.to_owned()).or_default() += 1;
        self.counts.deadline_misses += u64::from(job.deadline_s.is_some());
    }

    pub(crate) fn failed(&mut self, class: FailureClass) {
        let name = match class {
            FailureClass::WorkerFault => "worker_fault",
            FailureClass::ClientFault => "client_fault",
            FailureClass::Infrastructure => "infrastructure",
            FailureClass::AssignmentTimeout => "assignment_timeout",
            FailureClass::ExecutionTimeout => "execution_timeout",
            FailureClass::Abandoned => "abandoned",
            FailureClass::Preempted => "preempted",
        };
        *self.counts.failed_attempts.entry(name.to_owned()).or_default() += 1;
    }

    /// A job is left when the run is over.
    pub(crate) fn left_over(&mut self, job: &Job, is_placed: bool) {
        self.counts.running += u64::from(is_placed);
        self.counts.waiting += u64::from(!is_placed);
        self.counts.deadline_misses += u64::from(self.is_past_deadline(job));
    }

    fn is_past_deadline(&self, job: &Job) -> bool {
        job.deadline_s.is_some_and(|deadline_s| self.now_ms > u64::from(deadline_s) * SECOND_MS)
    }

    fn is_beyond_sla(&self, job: &Job) -> bool {
        let sla_s = self.sla_s.get(&*job.queue).copied().unwrap_or(u32::MAX);
        self.now_ms - job.submitted_ms > u64::from(sla_s) * SECOND_MS
    }

    /// The run is over.
    pub(crate) fn finish(self, seed: u64) -> Figures {
        let total = self.timeline.total();
        let counts = self.counts;
        let (jain_share, contended_hours) = self.fairness.finish();
        let served = self.slowdowns.iter().filter(|(_, count)| *count > 0.0);
        let slowdowns: Vec<f64> = served.map(|(sum, count)| sum / count).collect();
        let by_gpu: Vec<f64> =
            self.regions.values().map(|region| exact(region.busy_gpu_ms) / exact(region.gpus)).collect();
        let (arrivals_ms, used, placed) = self.arrivals.unwrap_or((self.now_ms, total, counts.placed));
        let hours = |ms: u64| exact(ms) / HOUR_MS;
        let regions = self.regions.iter().map(|(region, of)| RegionFigures {
            region: *region,
            gpus: of.gpus,
            placed_percent: percent(of.placed, counts.placed),
            utilisation_percent: percent(of.busy_gpu_ms, of.gpus * self.now_ms),
        });
        #[allow(clippy::cast_precision_loss, reason = "a mean to a few digits")]
        let mean_rate = self.paid as f64 / exact(total.busy_gpus.max(1));
        Figures {
            seed,
            simulated_h: hours(self.now_ms),
            arrivals_h: hours(arrivals_ms),
            utilisation_percent: percent(used.busy_gpus, used.up_gpus),
            useful_percent: percent(self.useful_gpu_ms, total.busy_gpus),
            wait_s: Spread::of(&self.wait_ms),
            completion_s: Spread::of(&self.completion_ms),
            jain_share,
            contended_hours,
            jain_slowdown: jain(&slowdowns),
            placed_per_h: exact(placed) / hours(arrivals_ms.max(1)),
            mean_rate: (self.paid > 0).then_some(mean_rate),
            region_jain: (by_gpu.len() > 1).then(|| jain(&by_gpu)),
            regions: regions.collect(),
            timeline: self.timeline.points(),
            counts,
        }
    }
}

fn seconds(ms: u64) -> u32 {
    u32::try_from(ms / SECOND_MS).unwrap_or(u32::MAX)
}

/// Milliseconds in the histogram's width: more than 49 days count as 49 days.
fn narrow(ms: u64) -> u32 {
    u32::try_from(ms).unwrap_or(u32::MAX)
}
