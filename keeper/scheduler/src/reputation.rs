//! How far a worker's reputation bends its score.

use keeper_types::{MAX_REPUTATION, WorkerId};
use serde::{Deserialize, Serialize};

use crate::{FULL_BPS, score::share};

/// Leaves out workers below a minimum, and lowers the scores of the others the more, the nearer they are to it.
///
/// A score is multiplied by `1 - weight * (1 - term)`, where the term is 0 at the minimum and 10,000 at the highest
/// reputation. With a weight of 0 only the minimum counts; with 10,000 basis points a worker at the minimum scores 0.
/// No score rises, so that a bent score is on the same scale.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ReputationWeighter {
    /// The least reputation that is admitted, 0 to 1,000. A job's own minimum is a requirement and is checked as one.
    pub min_reputation: u16,
    /// The share of a score that reputation decides, 0 to 10,000 basis points.
    pub weight_bps: u16,
}

/// Admits everybody, and lets reputation decide a quarter of a score.
impl Default for ReputationWeighter {
    fn default() -> Self {
        Self { min_reputation: 0, weight_bps: 2_500 }
    }
}

/// A worker with its score and its reputation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ScoredWorker {
    /// The worker.
    pub worker_id: WorkerId,
    /// 0 to 10,000.
    pub score: u16,
    /// 0 to 1,000.
    pub reputation: u16,
}

/// Settings make no sense.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReputationError {
    /// Nobody can reach the minimum.
    #[error("min_reputation is {min_reputation}, but the highest reputation is {MAX_REPUTATION}")]
    Minimum {
        /// What was asked for.
        min_reputation: u16,
    },
    /// More than all of a score.
    #[error("weight_bps is {weight_bps}, but all of a score are {FULL_BPS} basis points")]
    Weight {
        /// What was asked for.
        weight_bps: u16,
    },
}

impl ReputationWeighter {
    /// Checks that the settings can be worked with.
    ///
    /// # Errors
    /// Names the first setting that makes no sense, and what it may be.
    pub fn validate(&self) -> Result<(), ReputationError> {
        if self.min_reputation > MAX_REPUTATION {
            return Err(ReputationError::Minimum { min_reputation: self.min_reputation });
        }
        if self.weight_bps > FULL_BPS {
            return Err(ReputationError::Weight { weight_bps: self.weight_bps });
        }
        Ok(())
    }

    /// How far a reputation is above the minimum, 0 to 10,000; none below it. Full where the minimum is the highest
    /// reputation.
    pub fn term(&self, reputation: u16) -> Option<u16> {
        let above = reputation.checked_sub(self.min_reputation)?;
        Some(share(u64::from(above), u64::from(MAX_REPUTATION.saturating_sub(self.min_reputation))))
    }

    /// The bent score, rounded down; none for a worker below the minimum.
    pub fn bend(&self, score: u16, reputation: u16) -> Option<u16> {
        let missing = u64::from(FULL_BPS - self.term(reputation)?);
        let full = u64::from(FULL_BPS);
        // Weights above all of it are refused by `validate`; here they count as all of it.
        let kept = full * full - u64::from(self.weight_bps.min(FULL_BPS)) * missing;
        u16::try_from(u64::from(score) * kept / (full * full)).ok()
    }

    /// Bends every score and leaves out who is below the minimum. The best comes first, the lowest id on a tie.
    pub fn apply_reputation_weights(&self, workers: &mut Vec<ScoredWorker>) {
        workers.retain_mut(|worker| {
            let bent = self.bend(worker.score, worker.reputation);
            worker.score = bent.unwrap_or(0);
            bent.is_some()
        });
        workers.sort_unstable_by_key(|worker| (std::cmp::Reverse(worker.score), worker.worker_id));
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn weighter(min_reputation: u16, weight_bps: u16) -> ReputationWeighter {
        ReputationWeighter { min_reputation, weight_bps }
    }

    #[test]
    fn the_term_runs_from_the_minimum_to_the_highest() {
        let weighter = weighter(500, 0);
        assert_eq!(
            [499, 500, 750, 1_000].map(|reputation| weighter.term(reputation)),
            [None, Some(0), Some(5_000), Some(10_000)]
        );
        assert_eq!(ReputationWeighter { min_reputation: 1_000, ..weighter }.term(1_000), Some(10_000));
    }

    #[test]
    fn the_weight_says_how_much_of_a_score_is_at_stake() {
        assert_eq!(weighter(500, 0).bend(8_000, 500), Some(8_000));
        assert_eq!(weighter(500, 2_500).bend(8_000, 500), Some(6_000));
        assert_eq!(weighter(500, 2_500).bend(8_000, 750), Some(7_000));
        assert_eq!(weighter(500, 10_000).bend(8_000, 500), Some(0));
        assert_eq!(weighter(500, 10_000).bend(8_000, 1_000), Some(8_000));
        assert_eq!(weighter(500, 0).bend(8_000, 499), None);
    }

    #[test]
    fn a_trusted_worker_can_overtake_a_better_fit() {
        let scored = |id, score, reputation| ScoredWorker { worker_id: WorkerId(id), score, reputation };
        let mut workers =
            vec![scored(4, 9_900, 99), scored(3, 9_000, 200), scored(2, 8_000, 1_000), scored(1, 8_000, 1_000)];
        weighter(100, 2_500).apply_reputation_weights(&mut workers);
        // Worker 3's term is 1,111: 9,000 * (1 - 0.25 * 0.8889), rounded down.
        assert_eq!(workers, [scored(1, 8_000, 1_000), scored(2, 8_000, 1_000), scored(3, 6_999, 200)]);
    }

    #[test]
    fn what_makes_no_sense_is_named() {
        ReputationWeighter::default().validate().unwrap();
        assert_eq!(
            weighter(1_001, 0).validate().unwrap_err().to_string(),
            "min_reputation is 1001, but the highest reputation is 1000"
        );
        assert_eq!(
            weighter(0, 10_001).validate().unwrap_err().to_string(),
            "weight_bps is 10001, but all of a score are 10000 basis points"
        );
        let read = |json: &str| serde_json::from_str::<ReputationWeighter>(json);
        assert_eq!(read("{}").unwrap(), ReputationWeighter::default());
        assert!(read(r#"{ "weight": 1 }"#).is_err());
    }

    proptest! {
        #[test]
        fn a_bent_score_never_rises_and_keeps_orders(
            min_reputation in 0..=1_000_u16,
            weight_bps in 0..=10_000_u16,
            scores in [0..=10_000_u16, 0..=10_000_u16],
            reputations in [0..=1_000_u16, 0..=1_000_u16],
        ) {
            let weighter = weighter(min_reputation, weight_bps);
            let (low, high) = (scores[0].min(scores[1]), scores[0].max(scores[1]));
            let (less, more) = (reputations[0].min(reputations[1]), reputations[0].max(reputations[1]));
            // None is below every score.
            prop_assert!(weighter.bend(high, more).is_none_or(|bent| bent <= high));
            prop_assert!(weighter.bend(low, less) <= weighter.bend(high, less));
            prop_assert!(weighter.bend(low, less) <= weighter.bend(low, more));
            prop_assert_eq!(weighter.bend(low, less).is_none(), less < min_reputation);
            prop_assert!(weighter.term(more).is_none_or(|term| term <= FULL_BPS));
        }

        #[test]
        fn the_order_of_workers_does_not_matter(
            (workers, shuffled) in proptest::collection::vec((0..=10_000_u16, 0..=1_000_u16), 0..12)
                .prop_map(|drawn| {
                    let scored = |(id, (score, reputation))| ScoredWorker { worker_id: WorkerId(id), score, reputation };
                    (1..).zip(drawn).map(scored).collect::<Vec<_>>()
                })
                .prop_flat_map(|workers| (Just(workers.clone()), Just(workers).prop_shuffle())),
        ) {
            let (mut workers, mut shuffled) = (workers, shuffled);
            let weighter = weighter(200, 4_000);
            weighter.apply_reputation_weights(&mut workers);
            weighter.apply_reputation_weights(&mut shuffled);
            prop_assert_eq!(workers, shuffled);
        }
    }
}
