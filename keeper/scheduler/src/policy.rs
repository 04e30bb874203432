//! What a plan prefers. Weights and limits, never code: a policy can be announced, hashed and compared.

use keeper_types::MAX_ITEMS_PER_BATCH;
use serde::{Deserialize, Serialize};

/// All of something, in basis points.
pub const FULL_BPS: u16 = 10_000;

/// How jobs are ordered and workers scored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Policy {
    /// What counts how much in a worker's score.
    pub weights: Weights,
    /// Items that one plan holds at most, 1 to 500 (what the contract takes in a batch).
    pub max_items: usize,
    /// Seconds of waiting that are worth one level of priority; 0 turns aging off.
    ///
    /// Aging works within a queue: the high queue always goes before the default one, that before the low one.
    pub aging_interval_s: u64,
    /// Seconds of waiting at which the score's age term is full; at least 1.
    pub age_full_s: u64,
}

impl Policy {
    /// The default: fit and reputation first, then price, then load; a level of priority for five minutes of
    /// waiting.
    pub const BALANCED: Self = Self {
        weights: Weights { fit: 2_500, load: 1_500, reputation: 2_500, price: 2_000, fragmentation: 1_000, age: 500 },
        max_items: MAX_ITEMS_PER_BATCH,
        aging_interval_s: 300,
        age_full_s: 3_600,
    };

    /// Checks that the policy can be planned with.
    ///
    /// # Errors
    /// Names the first setting that makes no sense, and what it may be.
    pub fn validate(&self) -> Result<(), PolicyError> {
        let sum = self.weights.sum();
        if sum != u32::from(FULL_BPS) {
            return Err(PolicyError::Weights { sum });
        }
        if self.max_items == 0 || self.max_items > MAX_ITEMS_PER_BATCH {
            return Err(PolicyError::MaxItems { max_items: self.max_items });
        }
        if self.age_full_s == 0 {
            return Err(PolicyError::AgeFull);
        }
        Ok(())
    }

    /// A job's priority after `waited_s` seconds.
    pub(crate) fn effective_priority(&self, priority: u8, waited_s: u64) -> u64 {
        u64::from(priority).saturating_add(waited_s.checked_div(self.aging_interval_s).unwrap_or(0))
    }
}

impl Default for Policy {
    fn default() -> Self {
        Self::BALANCED
    }
}

/// What each term of a score counts, in basis points; together 10,000.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Weights {
    /// How closely what the worker has matches what the job needs: a tight fit leaves larger workers to larger
    /// jobs.
    pub fit: u16,
    /// How many of the worker's slots are free: spreads jobs.
    pub load: u16,
    /// The worker's reputation.
    pub reputation: u16,
    /// How far the worker asks less than the job pays at most.
    pub price: u16,
    /// How few of the worker's GPUs are left over: fills workers that are begun, and strands no GPU behind a
    /// last slot.
    pub fragmentation: u16,
    /// How long the job has waited: the same for every worker, so that it marks the score and does not choose.
    pub age: u16,
}

impl Weights {
    /// The terms' names with their weights, in the order in which they are shown.
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

    fn sum(&self) -> u32 {
        self.named().into_iter().map(|(_, weight)| u32::from(weight)).sum()
    }
}

/// A policy makes no sense.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PolicyError {
    /// The weights do not add up.
    #[error("the policy's weights add up to {sum} basis points, not 10000")]
    Weights {
        /// What they add up to.
        sum: u32,
    },
    /// No batch, or more than the contract takes.
    #[error("max_items is {max_items}, but a batch holds 1 to {MAX_ITEMS_PER_BATCH}")]
    MaxItems {
        /// What was asked for.
        max_items: usize,
    },
    /// An age term that is full from the start says nothing.
    #[error("age_full_s must be at least 1 second")]
    AgeFull,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_is_valid() {
        Policy::default().validate().unwrap();
        assert_eq!(Policy::default(), Policy::BALANCED);
    }

    #[test]
    fn what_makes_no_sense_is_named() {
        let mut policy = Policy::BALANCED;
        policy.weights.fit += 1;
        assert_eq!(
            policy.validate().unwrap_err().to_string(),
            "the policy's weights add up to 10001 basis points, not 10000"
        );
        for max_items in [0, MAX_ITEMS_PER_BATCH + 1] {
            let error = Policy { max_items, ..Policy::BALANCED }.validate().unwrap_err();
            assert_eq!(error, PolicyError::MaxItems { max_items });
        }
        assert_eq!(Policy { age_full_s: 0, ..Policy::BALANCED }.validate(), Err(PolicyError::AgeFull));
    }

    #[test]
    fn settings_that_are_left_out_are_the_defaults_and_unknown_ones_are_refused() {
        let policy: Policy = serde_json::from_str(r#"{ "max_items": 7 }"#).unwrap();
        assert_eq!(policy, Policy { max_items: 7, ..Policy::BALANCED });
        assert!(serde_json::from_str::<Policy>(r#"{ "max_item": 7 }"#).is_err());
        let partial_weights = r#"{ "weights": { "fit": 10000 } }"#;
        assert!(serde_json::from_str::<Policy>(partial_weights).is_err(), "weights are given together or not at all");
    }

    #[test]
    fn waiting_raises_the_priority() {
        let policy = Policy { aging_interval_s: 60, ..Policy::BALANCED };
        assert_eq!(policy.effective_priority(5, 59), 5);
        assert_eq!(policy.effective_priority(5, 120), 7);
        assert_eq!(Policy { aging_interval_s: 0, ..policy }.effective_priority(5, u64::MAX), 5);
    }
}
