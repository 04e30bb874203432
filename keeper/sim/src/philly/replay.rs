//! Events in order of time: jobs end, jobs arrive, the scheduler decides.

use std::{cmp::Reverse, collections::BinaryHeap, time::Instant};

use keeper_scheduler::queueing::{
    Cluster, FailureLog, OrderingPolicy, PendingPool, PendingRecord, QueueIndex, Rules, TenantIndex, Tenants, dispatch,
};
use keeper_types::JobId;

use super::{
    fairness::{HourlyFairness, jain},
    outcome::{Outcome, quantile},
    workload::{GPUS_PER_MACHINE, Workload},
};

/// What a replay is run with besides jobs and policy.
#[derive(Clone, Copy, Debug)]
pub struct ReplaySettings {
    /// Machines of eight GPUs.
    pub machines: u32,
    /// The load that this number of machines stands for, for the record.
    pub load_percent: u64,
    /// Half-life of tenants' use, in seconds.
    pub half_life_s: u32,
    /// The queue's longest wait: a job is due that long after its tenant's own share would have served it.
    pub max_wait_s: u32,
    /// A job starves when it waits longer than this and `starvation_limits` times its own limit.
    pub starvation_s: u32,
    /// See [`ReplaySettings::starvation_s`].
    pub starvation_limits: u32,
}

/// Replays the workload under a policy, to the end of the last job.
///
/// # Panics
/// When jobs are left that never start, which no policy of a cluster that holds the widest job does.
pub fn replay(workload: &Workload, settings: ReplaySettings, policy: &dyn OrderingPolicy) -> Outcome {
    let begun = Instant::now();
    let nothing_fails = FailureLog::new();
    let mut state = State::new(workload, settings);
    while let Some(now_s) = state.next_event_s() {
        state.advance(now_s);
        let rules = Rules { policy, queue_weights: &[], failures: &nothing_fails };
        let round = dispatch(&mut state.pending, &mut state.cluster, &mut state.tenants, rules, now_s);
        for start in round.starts {
            state.begin(&start.job, start.is_backfilled);
        }
    }
    assert!(state.pending.is_empty(), "{} jobs never started", state.pending.len());
    state.outcome(policy.name(), begun.elapsed().as_secs_f64())
}

struct State<'a> {
    workload: &'a Workload,
    settings: ReplaySettings,
    pending: PendingPool,
    cluster: Cluster,
    tenants: Tenants,
    arrived: usize,
    ends: BinaryHeap<Reverse<(u32, JobId)>>,
    now_s: u32,
    /// GPUs held and awaited, by virtual cluster.
    gpus: Vec<(u64, u64)>,
    fairness: HourlyFairness,
    starts_s: Vec<u32>,
    backfilled: u64,
}

impl<'a> State<'a> {
    fn new(workload: &'a Workload, settings: ReplaySettings) -> Self {
        let from_s = workload.jobs.first().map_or(0, |job| job.traced.submitted_s);
        let cluster = Cluster::new(vec![GPUS_PER_MACHINE; settings.machines as usize]);
        let mut tenants = Tenants::new(settings.half_life_s, cluster.capacity());
        for _ in &workload.virtual_clusters {
            tenants.add(1, from_s);
        }
        Self {
            fairness: HourlyFairness::new(vec![1.0; workload.virtual_clusters.len()], cluster.capacity(), from_s),
            gpus: vec![(0, 0); workload.virtual_clusters.len()],
            starts_s: vec![0; workload.jobs.len()],
            pending: PendingPool::new(),
            arrived: 0,
            ends: BinaryHeap::new(),
            now_s: from_s,
            backfilled: 0,
            workload,
            settings,
            cluster,
            tenants,
        }
    }

    fn next_event_s(&self) -> Option<u32> {
        let arrival = self.workload.jobs.get(self.arrived).map(|job| job.traced.submitted_s);
        let end = self.ends.peek().map(|Reverse((end_s, _))| *end_s);
        arrival.into_iter().chain(end).min()
    }

    /// Lets time pass until `now_s`: jobs end, then jobs arrive.
    fn advance(&mut self, now_s: u32) {
        self.fairness.add(&self.gpus, self.now_s, now_s);
        self.now_s = now_s;
        while let Some(Reverse((end_s, job_id))) = self.ends.peek().copied() {
            if end_s > now_s {
                break;
            }
            self.ends.pop();
            self.cluster.finish(job_id);
            let job = &self.workload.jobs[index(job_id)].traced;
            self.gpus[job.virtual_cluster as usize].0 -= u64::from(job.gpus);
            self.tenants.release(TenantIndex(job.virtual_cluster), u32::from(job.gpus), now_s);
        }
        while let Some(job) = self.workload.jobs.get(self.arrived).filter(|job| job.traced.submitted_s <= now_s) {
            let tenant = TenantIndex(job.traced.virtual_cluster);
            let area = u64::from(job.traced.gpus) * u64::from(job.limit_s);
            let promised_s = self.tenants.promise(tenant, area, now_s);
            self.tenants.enqueue(tenant, job.traced.gpus);
            self.gpus[tenant.0 as usize].1 += u64::from(job.traced.gpus);
            self.pending.insert(PendingRecord {
                job_id: JobId(self.arrived as u64),
                submitted_s: job.traced.submitted_s,
                deadline_s: job.deadline_s,
                due_s: promised_s.saturating_add(self.settings.max_wait_s),
                not_before_s: 0,
                limit_s: job.limit_s,
                tenant,
                requirements: 0,
                gpus: job.traced.gpus,
                priority: 5,
                queue: QueueIndex(0),
            });
            self.arrived += 1;
        }
    }

    fn begin(&mut self, job: &PendingRecord, is_backfilled: bool) {
        let traced = &self.workload.jobs[index(job.job_id)].traced;
        let gpus = &mut self.gpus[job.tenant.0 as usize];
        *gpus = (gpus.0 + u64::from(job.gpus), gpus.1 - u64::from(job.gpus));
        self.starts_s[index(job.job_id)] = self.now_s;
        self.ends.push(Reverse((self.now_s.saturating_add(traced.duration_s), job.job_id)));
        self.backfilled += u64::from(is_backfilled);
    }

    fn outcome(self, policy: &str, replay_s: f64) -> Outcome {
        let jobs = self.workload.jobs.iter().zip(&self.starts_s);
        let mut waits: Vec<u32> = jobs.clone().map(|(job, start_s)| start_s - job.traced.submitted_s).collect();
        let (mut completion_s, mut misses, mut starved) = (0, 0, 0);
        let mut slowdowns = vec![(0.0, 0.0); self.workload.virtual_clusters.len()];
        for (job, start_s) in jobs {
            let wait_s = start_s - job.traced.submitted_s;
            let end_s = start_s + job.traced.duration_s;
            completion_s += u64::from(end_s - job.traced.submitted_s);
            misses += u64::from(end_s > job.deadline_s);
            let bound = u64::from(self.settings.starvation_s)
                + u64::from(self.settings.starvation_limits) * u64::from(job.limit_s);
            starved += u64::from(u64::from(wait_s) > bound);
            // Bounded by ten seconds, as usual: shorter jobs do not notice.
            let (sum, count) = &mut slowdowns[job.traced.virtual_cluster as usize];
            *sum += (f64::from(end_s - job.traced.submitted_s) / f64::from(job.traced.duration_s.max(10))).max(1.0);
            *count += 1.0;
        }
        waits.sort_unstable();
        let (jain_hourly, contended_hours) = self.fairness.finish();
        let slowdowns: Vec<f64> = slowdowns.into_iter().map(|(sum, count)| sum / count).collect();
        #[allow(clippy::cast_precision_loss, reason = "sums of seconds stay below 2^52")]
        let mean_completion_s = completion_s as f64 / self.starts_s.len() as f64;
        Outcome {
            policy: policy.to_owned(),
            load_percent: self.settings.load_percent,
            machines: self.settings.machines,
            jobs: self.starts_s.len() as u64,
            mean_completion_s,
            p50_wait_s: quantile(&waits, 500),
            p95_wait_s: quantile(&waits, 950),
            p99_wait_s: quantile(&waits, 990),
            max_wait_s: quantile(&waits, 1_000),
            jain: jain_hourly,
            contended_hours,
            jain_slowdown: jain(&slowdowns),
            deadline_misses: misses,
            starved,
            backfilled: self.backfilled,
            makespan_s: self.now_s - self.workload.jobs.first().map_or(0, |job| job.traced.submitted_s),
            replay_s,
        }
    }
}

fn index(job_id: JobId) -> usize {
    usize::try_from(job_id.0).expect("job ids are places in the workload here")
}
