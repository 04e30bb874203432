//! Jobs as they arrive: one after the other, so that a long run holds only those that are not over.

use std::sync::Arc;

use keeper_types::{JobId, Region};

use super::parameters::{Arrivals, Deadline, Factor, Parameters, Synthetic, TenantKind, WorkloadKind};
use crate::{
    draws::{Draws, Purpose},
    philly::{Trace, Workload, WorkloadJob},
};

/// Milliseconds of a second.
pub(crate) const SECOND_MS: u64 = 1_000;
const HOUR_MS: f64 = 3_600_000.0;

/// A job, with what only the simulation knows about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Job {
    /// Its number, from 0 in the order of arrival.
    pub job_id: JobId,
    /// When it arrives, in milliseconds from the start of the run.
    pub submitted_ms: u64,
    /// How long it would run, in milliseconds. No scheduler is told.
    pub duration_ms: u64,
    /// How long it may run, in seconds.
    pub limit_s: u32,
    /// When it should have ended, in seconds from the start of the run.
    pub deadline_s: Option<u32>,
    /// Its tenant, by its place.
    pub tenant: u32,
    /// The name of its queue.
    pub queue: Arc<str>,
    /// 1 to 10.
    pub priority: u8,
    /// GPUs.
    pub gpus: u16,
    /// Memory that each GPU must have, in GiB.
    pub vram_gib: u16,
    /// Where it must run.
    pub region: Option<Region>,
    /// The most that is paid, in fri for a GPU and a second.
    pub max_rate: u64,
}

/// The tenants' names and weights.
pub(crate) fn tenants(parameters: &Parameters, trace: Option<&Trace>) -> Vec<(String, u32)> {
    match trace {
        Some(trace) => trace.virtual_clusters.iter().map(|name| (name.clone(), 1)).collect(),
        None => parameters.tenants.iter().map(|tenant| (tenant.name.clone(), tenant.weight)).collect(),
    }
}

/// The jobs of a seed, the earliest first. The same seed gives the same jobs, whatever becomes of them.
pub(crate) struct Jobs {
    source: Source,
    seed: u64,
    next: u64,
    /// Jobs that are left to come.
    left: u64,
    /// When the last may come, in milliseconds.
    until_ms: u64,
}

enum Source {
    Drawn(Box<Drawn>),
    Traced { jobs: std::vec::IntoIter<WorkloadJob>, from_s: u32, stretch_percent: u32, queue: Arc<str> },
}

struct Drawn {
    workload: Synthetic,
    tenants: Vec<(TenantKind, Arc<str>)>,
    draws: Draws,
    now_ms: f64,
    /// Until when the present state of a bursty process lasts, and whether it is a burst.
    state_until_ms: f64,
    is_burst: bool,
}

impl Jobs {
    /// `trace` is the one that the workload names, if it names one.
    pub(crate) fn new(parameters: &Parameters, trace: Option<&Trace>, seed: u64) -> Self {
        let source = match (&parameters.workload, trace) {
            (WorkloadKind::Synthetic(workload), _) => Source::Drawn(Box::new(Drawn::new(parameters, workload, seed))),
            (WorkloadKind::Philly(kind), trace) => {
                let jobs = trace.map(|trace| Workload::new(trace, seed).jobs).unwrap_or_default();
                let from_s = jobs.first().map_or(0, |job| job.traced.submitted_s);
                let queue = "default".into();
                Source::Traced { jobs: jobs.into_iter(), from_s, stretch_percent: kind.stretch_percent, queue }
            }
        };
        let horizon = &parameters.horizon;
        Self {
            left: horizon.jobs.unwrap_or(u64::MAX),
            until_ms: horizon.arrivals_s.map_or(u64::MAX, |seconds| seconds.saturating_mul(SECOND_MS)),
            next: 0,
            source,
            seed,
        }
    }
}

impl Iterator for Jobs {
    type Item = Job;

    fn next(&mut self) -> Option<Job> {
        self.left = self.left.checked_sub(1)?;
        let job_id = JobId(self.next);
        self.next += 1;
        let job = match &mut self.source {
            Source::Drawn(drawn) => drawn.next(job_id, self.seed),
            Source::Traced { jobs, from_s, stretch_percent, queue } => {
                let job = jobs.next()?;
                let after_s = u64::from(job.traced.submitted_s - *from_s) * u64::from(*stretch_percent) / 100;
                traced(job_id, &job, after_s, queue)
            }
        };
        Some(job).filter(|job| job.submitted_ms <= self.until_ms)
    }
}

/// A recorded job that arrives `after_s` seconds into the run; its deadline moves along.
fn traced(job_id: JobId, job: &WorkloadJob, after_s: u64, queue: &Arc<str>) -> Job {
    let window_s = job.deadline_s.saturating_sub(job.traced.submitted_s);
    Job {
        job_id,
        submitted_ms: after_s * SECOND_MS,
        duration_ms: u64::from(job.traced.duration_s) * SECOND_MS,
        limit_s: job.limit_s,
        deadline_s: u32::try_from(after_s).ok().and_then(|after_s| after_s.checked_add(window_s)),
        tenant: job.traced.virtual_cluster,
        queue: Arc::clone(queue),
        priority: 5,
        gpus: job.traced.gpus,
        vram_gib: 0,
        region: None,
        max_rate: u64::MAX,
    }
}

impl Drawn {
    fn new(parameters: &Parameters, workload: &Synthetic, seed: u64) -> Self {
        let tenants = parameters.tenants.iter().map(|tenant| (tenant.clone(), Arc::from(tenant.queue.as_str())));
        Self {
            workload: workload.clone(),
            tenants: tenants.collect(),
            draws: Draws::new(seed, Purpose::Arrivals, 0),
            now_ms: 0.0,
            // A burst that is over before it began: the first draw is how long it stays calm.
            state_until_ms: 0.0,
            is_burst: true,
        }
    }

    fn next(&mut self, job_id: JobId, seed: u64) -> Job {
        let submitted_ms = self.arrival_ms();
        let mut draws = Draws::new(seed, Purpose::Job, job_id.0);
        let place = draws.weighted(self.tenants.iter().map(|(tenant, _)| tenant.demand));
        let (tenant, queue) = &self.tenants[place];
        let shape = self.workload.shapes[draws.weighted(self.workload.shapes.iter().map(|shape| shape.weight))];
        let duration = &self.workload.duration;
        let (shortest, longest) = (f64::from(duration.min_s), f64::from(duration.max_s));
        let duration_s = draws.log_normal(duration.median_s, duration.sigma).clamp(shortest, longest);
        let limit_s = (duration_s * between(&mut draws, self.workload.limit_factor)).ceil();
        let priority = draws.between(u64::from(tenant.least_priority), u64::from(tenant.most_priority));
        let deadline = self.workload.deadline.filter(|deadline| draws.happens(deadline.share_bps));
        let deadline_s = deadline.map(|Deadline { least, most, .. }| {
            let window_s = duration_s * between(&mut draws, Factor { least, most });
            whole_seconds(exact(submitted_ms) / 1_000.0 + window_s).max(1)
        });
        Job {
            job_id,
            submitted_ms,
            duration_ms: whole(duration_s * 1_000.0).max(1),
            limit_s: whole_seconds(limit_s).max(1),
            deadline_s,
            tenant: u32::try_from(place).unwrap_or(0),
            queue: Arc::clone(queue),
            priority: u8::try_from(priority).unwrap_or(5),
            gpus: shape.gpus,
            vram_gib: shape.vram_gib,
            region: tenant.region,
            max_rate: self.workload.max_rate.unwrap_or(u64::MAX),
        }
    }

    /// When the next job comes. In a bursty process the wait is drawn anew wherever the state changes, which leaves
    /// its distribution as it is: an exponential wait has no memory.
    fn arrival_ms(&mut self) -> u64 {
        match self.workload.arrivals {
            Arrivals::Poisson { per_hour } => self.now_ms += self.draws.exponential(HOUR_MS / per_hour),
            Arrivals::Bursty { per_hour, factor, burst_s, calm_s } => loop {
                let rate = if self.is_burst { per_hour * factor } else { per_hour };
                let next_ms = self.now_ms + self.draws.exponential(HOUR_MS / rate);
                if next_ms < self.state_until_ms {
                    self.now_ms = next_ms;
                    break;
                }
                self.now_ms = self.state_until_ms;
                self.is_burst = !self.is_burst;
                let mean_s = if self.is_burst { burst_s } else { calm_s };
                self.state_until_ms += self.draws.exponential(mean_s * 1_000.0);
            },
        }
        whole(self.now_ms)
    }
}

fn between(draws: &mut Draws, factor: Factor) -> f64 {
    factor.least + (factor.most - factor.least) * draws.unit()
}

/// A float as a whole number; what is out of range becomes the nearest that is not.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a cast of a float saturates")]
fn whole(value: f64) -> u64 {
    value as u64
}

fn whole_seconds(value: f64) -> u32 {
    u32::try_from(whole(value)).unwrap_or(u32::MAX)
}

#[allow(clippy::cast_precision_loss, reason = "milliseconds of a run stay below 2^53")]
fn exact(milliseconds: u64) -> f64 {
    milliseconds as f64
}

#[cfg(test)]
mod tests;
