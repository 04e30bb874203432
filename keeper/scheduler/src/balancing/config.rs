//! How jobs are spread over workers: settings, and what is wrong with them.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::adaptive::AdaptiveRule;
use crate::FULL_BPS;

/// How one of the feasible workers is chosen. Ties go to the lowest worker id.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LoadBalancingStrategy {
    /// In turn: the next id above the last one chosen, from the lowest again after the highest.
    RoundRobin,
    /// The fewest running jobs, however many slots there are.
    LeastConnections,
    /// The smallest share of slots or of GPUs in use, whichever of the two is larger on the worker.
    #[default]
    LeastLoaded,
    /// The least response time multiplied by the jobs that would run there, so that the jobs that run on workers are
    /// in inverse proportion to their response times.
    WeightedResponse,
    /// Whichever of the others [`AdaptiveRule`] names for the imbalance that is measured.
    Adaptive,
    /// The lowest id.
    FirstAvailable,
    /// By lot, each as likely as any other.
    Random,
    /// The smallest that is enough ([`WorkerLoad::tightness`](super::WorkerLoad::tightness)).
    BestFit,
}

impl LoadBalancingStrategy {
    /// Every strategy.
    pub const ALL: [Self; 8] = [
        Self::RoundRobin,
        Self::LeastConnections,
        Self::LeastLoaded,
        Self::WeightedResponse,
        Self::Adaptive,
        Self::FirstAvailable,
        Self::Random,
        Self::BestFit,
    ];

    /// The name in configurations and explanations.
    pub fn name(self) -> &'static str {
        match self {
            Self::RoundRobin => "round_robin",
            Self::LeastConnections => "least_connections",
            Self::LeastLoaded => "least_loaded",
            Self::WeightedResponse => "weighted_response",
            Self::Adaptive => "adaptive",
            Self::FirstAvailable => "first_available",
            Self::Random => "random",
            Self::BestFit => "best_fit",
        }
    }
}

impl fmt::Display for LoadBalancingStrategy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// How jobs are spread.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct BalancingConfig {
    /// How a worker is chosen.
    pub strategy: LoadBalancingStrategy,
    /// When [`LoadBalancingStrategy::Adaptive`] changes its mind.
    pub adaptive: AdaptiveRule,
}

impl BalancingConfig {
    /// Checks that the settings can be worked with.
    ///
    /// # Errors
    /// Names the first pair of thresholds that makes no sense.
    pub fn validate(&self) -> Result<(), BalancingConfigError> {
        let AdaptiveRule { load_enter_bps, load_leave_bps, response_enter_bps, response_leave_bps } = self.adaptive;
        for (measure, enter_bps, leave_bps) in
            [("load", load_enter_bps, load_leave_bps), ("response", response_enter_bps, response_leave_bps)]
        {
            if leave_bps >= enter_bps || enter_bps > FULL_BPS {
                return Err(BalancingConfigError::Thresholds { measure, enter_bps, leave_bps });
            }
        }
        Ok(())
    }
}

/// Settings make no sense.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BalancingConfigError {
    /// Without a gap between the thresholds a measure at one of them would switch to and fro.
    #[error(
        "adaptive: {measure}_leave_bps is {leave_bps} and {measure}_enter_bps {enter_bps}, but the first must be below \
         the second and the second at most 10000"
    )]
    Thresholds {
        /// `load` or `response`.
        measure: &'static str,
        /// Where the strategy is taken up.
        enter_bps: u16,
        /// Where it is given up.
        leave_bps: u16,
    },
}
