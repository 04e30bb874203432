//! What the trace does not hold: users' limits and deadlines, by seeded rules; and the cluster's size.

use super::trace::{Trace, TraceJob};
use crate::draws::draw;

/// GPUs of a machine.
pub const GPUS_PER_MACHINE: u16 = 8;

/// Limits that users ask for, in seconds: round numbers, as in real logs (Tsafrir et al., IPDPS 2005).
const ROUND_LIMITS_S: [u32; 26] = {
    const MINUTE: u32 = 60;
    const HOUR: u32 = 3_600;
    const DAY: u32 = 86_400;
    [
        5 * MINUTE,
        10 * MINUTE,
        15 * MINUTE,
        20 * MINUTE,
        30 * MINUTE,
        HOUR,
        2 * HOUR,
        3 * HOUR,
        4 * HOUR,
        6 * HOUR,
        8 * HOUR,
        12 * HOUR,
        18 * HOUR,
        DAY,
        2 * DAY,
        3 * DAY,
        4 * DAY,
        5 * DAY,
        7 * DAY,
        10 * DAY,
        14 * DAY,
        21 * DAY,
        28 * DAY,
        56 * DAY,
        112 * DAY,
        365 * DAY,
    ]
};

/// A job of the trace with what its user says about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WorkloadJob {
    /// The job.
    pub traced: TraceJob,
    /// The user's limit on its run time, in seconds; never below the run time.
    pub limit_s: u32,
    /// When it should have ended: Unix timestamp in seconds.
    pub deadline_s: u32,
}

/// The jobs that every policy is given.
#[derive(Clone, Debug)]
pub struct Workload {
    /// The jobs, the earliest submission first.
    pub jobs: Vec<WorkloadJob>,
    /// Names of the virtual clusters.
    pub virtual_clusters: Vec<String>,
}

impl Workload {
    /// Adds limits and deadlines to the trace's jobs.
    ///
    /// - Limit: the run time times a factor drawn evenly from 1 to 5 (the f-model of Mu'alem and Feitelson, TPDS
    ///   2001), rounded up to the next round number.
    /// - Deadline: submission plus the run time times a factor drawn evenly from 1.2 to 5.
    ///
    /// Both draws depend on the seed and the job's place in the trace alone.
    pub fn new(trace: &Trace, seed: u64) -> Self {
        let jobs = (0_u64..).zip(&trace.jobs).map(|(index, job)| {
            let asked = scaled(job.duration_s, draw(seed, 2 * index, 1_000, 5_000));
            let until = scaled(job.duration_s, draw(seed, 2 * index + 1, 1_200, 5_000));
            WorkloadJob {
                limit_s: ROUND_LIMITS_S.into_iter().find(|limit_s| *limit_s >= asked).unwrap_or(asked),
                deadline_s: job.submitted_s.saturating_add(until),
                traced: job.clone(),
            }
        });
        Self { jobs: jobs.collect(), virtual_clusters: trace.virtual_clusters.clone() }
    }
}

/// Machines with which the trace's GPU-seconds are `load_percent` of what the cluster could give while jobs arrive;
/// the nearest number of machines, and never too few for the widest job.
pub fn machines_for_load(trace: &Trace, load_percent: u64) -> u32 {
    let per_machine = trace.span_s() * u64::from(GPUS_PER_MACHINE) * load_percent.max(1);
    let machines = (trace.gpu_seconds() * 100 + per_machine / 2) / per_machine;
    let widest = trace.jobs.iter().map(|job| u64::from(job.gpus.div_ceil(GPUS_PER_MACHINE))).max().unwrap_or(1);
    u32::try_from(machines.max(widest)).unwrap_or(u32::MAX)
}

/// `duration * thousandths / 1000`, rounded up.
fn scaled(duration_s: u32, thousandths: u32) -> u32 {
    let product = u64::from(duration_s) * u64::from(thousandths);
    u32::try_from(product.div_ceil(1_000)).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trace() -> Trace {
        let job = |gpus, duration_s, submitted_s| TraceJob { submitted_s, duration_s, gpus, virtual_cluster: 0 };
        Trace {
            jobs: vec![job(8, 1_000, 0), job(16, 500, 500), job(1, 7_000, 1_000)],
            virtual_clusters: vec!["a".into()],
        }
    }

    #[test]
    fn limits_are_round_and_never_below_the_run_time() {
        for seed in 0..100 {
            for job in Workload::new(&trace(), seed).jobs {
                assert!(job.limit_s >= job.traced.duration_s && ROUND_LIMITS_S.contains(&job.limit_s));
                let window_s = job.deadline_s - job.traced.submitted_s;
                assert!(window_s >= job.traced.duration_s * 6 / 5 && window_s <= job.traced.duration_s * 5);
            }
        }
    }

    #[test]
    fn the_cluster_follows_from_the_load_and_holds_the_widest_job() {
        // 23,000 GPU-seconds in 1,000 s: 23 GPUs, which are 2.875 machines.
        assert_eq!(machines_for_load(&trace(), 100), 3);
        assert_eq!(machines_for_load(&trace(), 50), 6);
        assert_eq!(machines_for_load(&trace(), 1_000), 2);
    }
}
