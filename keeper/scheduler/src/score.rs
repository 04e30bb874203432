//! How well a worker suits a job: integers that a person can read and a contract could recompute.

use keeper_types::WorkerId;
use serde::{Deserialize, Serialize};

use crate::{FULL_BPS, PendingJob, Policy, Weights};

/// A worker's score for a job, with what it is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ScoreBreakdown {
    /// The worker.
    pub worker_id: WorkerId,
    /// The weighted sum of the terms, 0 to 10,000.
    pub total: u16,
    /// The terms.
    pub terms: Terms,
}

/// The terms of a score, each 0 to 10,000, higher better.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Terms {
    /// How closely what the worker has matches what the job needs: the mean of asked-to-had ratios over GPUs,
    /// memory of a GPU, compute capability, CPU cores, memory and feature bits.
    pub fit: u16,
    /// The share of the worker's slots that are free before this job.
    pub load: u16,
    /// The worker's reputation, ten points for each of its thousandths.
    pub reputation: u16,
    /// The share of the job's highest rate that the worker's rate leaves.
    pub price: u16,
    /// The share of the worker's GPUs in use after this job; nothing where the job takes the last slot and
    /// leaves GPUs that nobody can use.
    pub fragmentation: u16,
    /// The job's waiting time as a share of [`Policy::age_full_s`].
    pub age: u16,
}

impl Terms {
    /// The terms' names with their values, in the order of [`Weights::named`].
    pub fn named(&self) -> [(&'static str, u16); 6] {
        [
            ("fit", self.fit),
            ("load", self.load),
            ("reputation", self.reputation),
            ("price", self.price),
            ("fragmentation", self.fragmentation),
            ("age", self.age),
        ]
    }

    /// The weighted sum, 0 to 10,000 for weights that add up to that.
    pub fn total(&self, weights: &Weights) -> u16 {
        let points = self.named().into_iter().zip(weights.named());
        let sum: u64 = points.map(|((_, term), (_, weight))| u64::from(term) * u64::from(weight)).sum();
        u16::try_from(sum / u64::from(FULL_BPS)).map_or(FULL_BPS, |total| total.min(FULL_BPS))
    }
}

/// The age term of a job, the same for every worker.
pub(crate) fn age(job: &PendingJob, now: u64, policy: &Policy) -> u16 {
    share(job.waited_s(now), policy.age_full_s)
}

/// `part` of `whole` in basis points, rounded down; all of it where it is more, or where the whole is nothing.
pub(crate) fn share(part: u64, whole: u64) -> u16 {
    if part >= whole {
        return FULL_BPS;
    }
    // What the chain can hold fits 64 bits; the rest is here for snapshots made by hand.
    let bps = match part.checked_mul(u64::from(FULL_BPS)) {
        Some(product) => product / whole,
        None => part / (whole / u64::from(FULL_BPS)).max(1),
    };
    u16::try_from(bps).map_or(FULL_BPS, |bps| bps.min(FULL_BPS))
}

#[cfg(test)]
mod tests {
    use keeper_types::{Rate, Requirements};
    use proptest::prelude::*;

    use super::*;
    use crate::{
        WorkerView,
        matching::{Need, WorkerIndex},
        plan::fixtures::{job, worker},
    };

    fn terms(job: &PendingJob, worker: &WorkerView) -> Terms {
        let mut index = WorkerIndex::new(std::slice::from_ref(worker), &Policy::BALANCED);
        index.decide(&Need::of(job), 0, &job.excluded).unwrap().winner.terms
    }

    #[test]
    fn shares_round_down_and_never_exceed_the_whole() {
        assert_eq!(share(1, 3), 3_333);
        assert_eq!(share(0, 5), 0);
        assert_eq!(share(5, 5), 10_000);
        assert_eq!(share(7, 5), 10_000);
        assert_eq!(share(0, 0), 10_000);
        assert_eq!(share(u64::MAX / 2, u64::MAX), 5_000);
    }

    #[test]
    fn a_worker_that_matches_exactly_fits_fully() {
        let terms = terms(&job(1), &worker(1));
        assert_eq!(terms.fit, 10_000);
        assert_eq!(terms.fragmentation, 10_000);
    }

    #[test]
    fn a_smaller_worker_fits_better_even_where_nothing_is_asked() {
        let mut pending = job(1);
        pending.requirements = Requirements::default();
        let (small, mut large) = (worker(1), worker(2));
        large.capabilities.gpu_count = 8;
        assert!(terms(&pending, &small).fit > terms(&pending, &large).fit);
    }

    #[test]
    fn a_cheaper_worker_scores_higher() {
        let mut cheap = worker(1);
        cheap.rate = Rate(job(1).max_rate.0 / 4);
        let terms = terms(&job(1), &cheap);
        assert_eq!(terms.price, 7_500);
    }

    #[test]
    fn gpus_behind_a_last_slot_are_stranded() {
        let mut stranding = worker(1);
        (stranding.capabilities.gpu_count, stranding.free_gpus) = (4, 4);
        (stranding.slots, stranding.free_slots) = (1, 1);
        assert_eq!(terms(&job(1), &stranding).fragmentation, 0);
        (stranding.slots, stranding.free_slots) = (2, 2);
        assert_eq!(terms(&job(1), &stranding).fragmentation, 5_000);
    }

    #[test]
    fn the_total_is_the_weighted_sum() {
        let terms = Terms { fit: 10_000, load: 5_000, reputation: 1_000, price: 0, fragmentation: 200, age: 10_000 };
        // 2500 + 750 + 250 + 0 + 20 + 500
        assert_eq!(terms.total(&Policy::BALANCED.weights), 4_020);
    }

    proptest! {
        #[test]
        fn a_share_is_in_bounds_and_grows_with_its_part(part: u64, more: u64, whole: u64) {
            let (low, high) = (part.min(more), part.max(more));
            prop_assert!(share(low, whole) <= share(high, whole));
            prop_assert!(share(high, whole) <= FULL_BPS);
        }
    }
}
