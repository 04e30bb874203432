//! What the trace does not hold: users' limits and deadlines, by seeded rules; and the cluster's size.

use super::trace::{Trace, TraceJob};

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

/// An even draw from `low..=high`.
fn draw(seed: u64, index: u64, low: u32, high: u32) -> u32 {
    let span = u64::from(high - low) + 1;
    // The high half of a product spreads 64 even bits over the span with a bias below 2^-50.
    let offset = (u128::from(splitmix64(seed ^ splitmix64(index))) * u128::from(span)) >> 64;
    low + u32::try_from(offset).unwrap_or(0)
}

/// Steele, Lea and Flood, "Fast splittable pseudorandom number generators", OOPSLA 2014.
fn splitmix64(state: u64) -> u64 {
    let mut bits = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ (bits >> 31)
}
