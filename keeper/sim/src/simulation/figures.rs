//! What a run came to.

use std::collections::BTreeMap;

use keeper_scheduler::queueing::Histogram;
use keeper_types::Region;
use serde::Serialize;

use super::timeline::{Point, exact, percent};

/// Basis points between two points of a distribution's curve.
const CURVE_STEP_BPS: u16 = 50;

/// What happened, counted. Every job that was submitted is in exactly one of the first seven counts, `dead` being one.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    /// Jobs that arrived.
    pub submitted: u64,
    /// Jobs that succeeded.
    pub succeeded: u64,
    /// Jobs that found no room.
    pub refused: u64,
    /// Jobs that their clients took back while they waited.
    pub cancelled: u64,
    /// Jobs that were given up, by reason.
    pub dead: BTreeMap<String, u64>,
    /// Jobs that wait at the end of the run.
    pub waiting: u64,
    /// Jobs that are placed at the end of the run.
    pub running: u64,
    /// Attempts that were placed.
    pub placed: u64,
    /// Attempts that began on their workers.
    pub begun: u64,
    /// Attempts that failed, by class.
    pub failed_attempts: BTreeMap<String, u64>,
    /// Attempts that failed and were followed by another.
    pub retried: u64,
    /// Assignments that never arrived.
    pub lost_messages: u64,
    /// How often a worker failed.
    pub worker_failures: u64,
    /// How often the scheduler was asked.
    pub rounds: u64,
    /// Jobs that had a deadline.
    pub with_deadline: u64,
    /// Of those, jobs that succeeded too late, were given up, or are left at the end with their deadline behind them.
    pub deadline_misses: u64,
    /// Jobs that waited longer for their first begin than their queue's `sla_s`, or were over before it and after that
    /// wait.
    pub sla_misses: u64,
}

impl Counts {
    /// Whether every job is accounted for.
    pub fn is_complete(&self) -> bool {
        let over = self.succeeded + self.refused + self.cancelled + self.all_dead();
        self.submitted == over + self.waiting + self.running
    }

    /// Jobs that were given up.
    pub fn all_dead(&self) -> u64 {
        self.dead.values().sum()
    }

    /// Attempts that failed.
    pub fn all_failed_attempts(&self) -> u64 {
        self.failed_attempts.values().sum()
    }
}

/// What a run came to. The same parameters, set and seed give the same figures, bit for bit.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Figures {
    /// The run's seed.
    pub seed: u64,
    /// Simulated hours.
    pub simulated_h: f64,
    /// Hours until the last job arrived.
    pub arrivals_h: f64,
    /// What happened.
    pub counts: Counts,
    /// GPU time in which jobs ran, of the GPU time of workers that were up, in percent, until the last job arrived.
    pub utilisation_percent: f64,
    /// GPU time of attempts that succeeded, of the GPU time in which jobs ran in the whole run, in percent: what was
    /// not lost to failures.
    pub useful_percent: f64,
    /// Seconds from submission to the first begin, of jobs that began.
    pub wait_s: Spread,
    /// Seconds from submission to success, of jobs that succeeded.
    pub completion_s: Spread,
    /// Jain's index over tenants of GPU time held by max-min fair share, the mean over contended hours.
    pub jain_share: f64,
    /// Hours in which more GPU time was asked for than all workers have.
    pub contended_hours: u32,
    /// Jain's index over tenants of the mean bounded slowdown of jobs that succeeded.
    pub jain_slowdown: f64,
    /// Attempts placed in an hour, until the last job arrived.
    pub placed_per_h: f64,
    /// Mean rate of the GPU time in which jobs ran, in fri for a GPU and a second; none where nobody asks anything.
    pub mean_rate: Option<f64>,
    /// Jain's index over regions of the use of a GPU; none where there are not two.
    pub region_jain: Option<f64>,
    /// The regions that workers name.
    pub regions: Vec<RegionFigures>,
    /// Use and queue over time.
    pub timeline: Vec<Point>,
}

/// A region.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct RegionFigures {
    /// Which.
    pub region: Region,
    /// GPUs there, whether their workers are up or not.
    pub gpus: u64,
    /// Of all attempts placed, those whose first worker stands there, in percent.
    pub placed_percent: f64,
    /// GPU time in which jobs ran, of all the GPU time of the region, in percent.
    pub utilisation_percent: f64,
}

/// A distribution of times, in seconds. Quantiles are rounded up by one part in 32 at most, and nothing is longer than
/// 49 days.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Spread {
    /// How many times there are.
    pub count: u64,
    /// The mean.
    pub mean: f64,
    /// The median.
    pub p50: f64,
    /// 95 of 100 are no longer.
    pub p95: f64,
    /// 99 of 100 are no longer.
    pub p99: f64,
    /// The longest.
    pub max: f64,
    /// Quantiles at every half percent, from 0.5 to 100.
    pub curve: Vec<f64>,
}

impl Spread {
    /// Of times in milliseconds.
    pub(crate) fn of(histogram: &Histogram) -> Self {
        let quantile = |bps: u16| f64::from(histogram.quantile(bps)) / 1_000.0;
        Self {
            count: histogram.count(),
            mean: exact(histogram.mean_milli()) / 1_000_000.0,
            p50: quantile(5_000),
            p95: quantile(9_500),
            p99: quantile(9_900),
            max: quantile(10_000),
            curve: (CURVE_STEP_BPS..=10_000).step_by(usize::from(CURVE_STEP_BPS)).map(quantile).collect(),
        }
    }
}

/// Which way a figure is better.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Better {
    /// The more the better.
    More,
    /// The less the better.
    Less,
}

/// A figure that sets are compared by.
#[derive(Clone, Copy, Debug)]
pub struct Metric {
    /// What it is called in JSON.
    pub key: &'static str,
    /// What it is called in the table.
    pub label: &'static str,
    /// Which way it is better; none where it says how much there was to do.
    pub better: Option<Better>,
    /// Digits after the point.
    pub digits: usize,
    /// Reads it; none where the run has no such figure.
    pub of: fn(&Figures) -> Option<f64>,
}

macro_rules! metric {
    ($key:literal, $label:literal, $better:expr, $digits:literal, $of:expr) => {
        Metric { key: $key, label: $label, better: $better, digits: $digits, of: $of }
    };
}

const MORE: Option<Better> = Some(Better::More);
const LESS: Option<Better> = Some(Better::Less);

/// Every figure that sets are compared by, in the order of the table.
pub const METRICS: [Metric; 20] = [
    metric!("utilisation_percent", "utilisation %", MORE, 1, |f| Some(f.utilisation_percent)),
    metric!("useful_percent", "useful of that %", MORE, 1, |f| Some(f.useful_percent)),
    metric!("mean_wait_s", "mean wait s", LESS, 1, |f| began(f).map(|wait| wait.mean)),
    metric!("p50_wait_s", "median wait s", LESS, 1, |f| began(f).map(|wait| wait.p50)),
    metric!("p95_wait_s", "p95 wait s", LESS, 1, |f| began(f).map(|wait| wait.p95)),
    metric!("p99_wait_s", "p99 wait s", LESS, 1, |f| began(f).map(|wait| wait.p99)),
    metric!("mean_completion_s", "mean completion s", LESS, 1, |f| ended(f).map(|spread| spread.mean)),
    metric!("p95_completion_s", "p95 completion s", LESS, 1, |f| ended(f).map(|spread| spread.p95)),
    metric!("jain_share", "Jain, shares", MORE, 4, |f| (f.contended_hours > 0).then_some(f.jain_share)),
    metric!("jain_slowdown", "Jain, slowdown", MORE, 4, |f| ended(f).map(|_| f.jain_slowdown)),
    metric!("deadline_miss_percent", "deadline misses %", LESS, 2, |f| {
        (f.counts.with_deadline > 0).then(|| percent(f.counts.deadline_misses, f.counts.with_deadline))
    }),
    metric!("sla_miss_percent", "SLA misses %", LESS, 2, |f| Some(of_jobs(f, f.counts.sla_misses))),
    metric!("abandoned_percent", "abandoned %", LESS, 2, |f| {
        let expired = f.counts.dead.get("deadline_passed").copied().unwrap_or(0);
        Some(of_jobs(f, f.counts.cancelled + expired))
    }),
    metric!("refused_percent", "refused or shed %", LESS, 2, |f| {
        Some(of_jobs(f, f.counts.refused + f.counts.dead.get("shed").copied().unwrap_or(0)))
    }),
    metric!("succeeded_percent", "succeeded %", MORE, 2, |f| Some(of_jobs(f, f.counts.succeeded))),
    metric!("failed_percent", "failed attempts %", LESS, 2, |f| {
        (f.counts.placed > 0).then(|| percent(f.counts.all_failed_attempts(), f.counts.placed))
    }),
    metric!("retried_percent", "retries %", LESS, 2, |f| {
        (f.counts.placed > 0).then(|| percent(f.counts.retried, f.counts.placed))
    }),
    metric!("placed_per_h", "placed per h", None, 1, |f| Some(f.placed_per_h)),
    metric!("region_jain", "Jain, regions", MORE, 4, |f| f.region_jain),
    metric!("mean_rate", "mean rate", LESS, 1, |f| f.mean_rate),
];

fn began(figures: &Figures) -> Option<&Spread> {
    Some(&figures.wait_s).filter(|wait| wait.count > 0)
}

fn ended(figures: &Figures) -> Option<&Spread> {
    Some(&figures.completion_s).filter(|spread| spread.count > 0)
}

fn of_jobs(figures: &Figures, jobs: u64) -> f64 {
    percent(jobs, figures.counts.submitted)
}
