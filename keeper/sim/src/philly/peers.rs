//! Peers that are no policy of ours.

use keeper_scheduler::queueing::{Backfill, OrderingPolicy, OrderingView, PendingRecord, Rank};

/// Slurm's multifactor priority plug-in with its documented example weights, and EASY backfill.
///
/// Age (weight 1,000): waiting time as a part of `PriorityMaxAge`, seven days. Fair-share (weight 10,000): the classic
/// formula 2^-(use / share), use and share as parts of everybody's, with a half-life of seven days
/// (`PriorityDecayHalfLife`). Job size (weight 1,000): the part of the cluster's GPUs that the job takes. Partition
/// and quality of service are the same for all jobs and left out.
#[derive(Clone, Copy, Debug, Default)]
pub struct SlurmMultifactor;

/// `PriorityMaxAge` and `PriorityDecayHalfLife`, in seconds.
pub(crate) const SEVEN_DAYS_S: u32 = 7 * 86_400;

const WEIGHT_AGE: f64 = 1_000.0;
const WEIGHT_FAIR_SHARE: f64 = 10_000.0;
const WEIGHT_JOB_SIZE: f64 = 1_000.0;

impl OrderingPolicy for SlurmMultifactor {
    fn name(&self) -> &str {
        "slurm-multifactor"
    }

    fn rank(&self, job: &PendingRecord, view: &OrderingView<'_>) -> Rank {
        let tenant = view.tenant(job);
        let used = exact(tenant.used_milli())
            / exact(view.tenants.iter().map(|tenant| tenant.used_milli()).sum::<u64>().max(1));
        let share = f64::from(tenant.weight) / exact(view.tenants.weights());
        let age = f64::from(job.waited_s(view.now_s).min(SEVEN_DAYS_S)) / f64::from(SEVEN_DAYS_S);
        let size = f64::from(job.gpus) / f64::from(view.capacity_gpus);
        let priority = WEIGHT_AGE * age + WEIGHT_FAIR_SHARE * (-used / share).exp2() + WEIGHT_JOB_SIZE * size;
        // Slurm's priorities are whole numbers; the highest goes first.
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "0 to 12,000")]
        let whole = priority as u64;
        Rank { class: 0, key: u64::MAX - whole }
    }

    fn backfill(&self, _head: &PendingRecord, _view: &OrderingView<'_>) -> Backfill {
        Backfill::Easy
    }
}

#[allow(clippy::cast_precision_loss, reason = "a part of a sum needs no more than 52 bits")]
fn exact(value: u64) -> f64 {
    value as f64
}
