//! How far regions are from each other, as an operator says.

use std::collections::BTreeSet;

use keeper_types::Region;
use serde::{Deserialize, Serialize};

use super::{GeoOptimizer, GeographyConfig, GeographyError, RegionLatency};

/// The most latencies that a policy may give: each ordered pair of sixteen regions.
pub const MAX_LATENCIES: usize = 256;

/// A policy's latencies between regions, by which workers are ordered for a job that says where its client is. A latency
/// is a round trip in milliseconds, and holds in both directions unless the other one is given too.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RegionLatencies {
    /// Within a region that no latency is given for.
    pub within_ms: u32,
    /// Between two regions that no latency is given for, and to a worker that names no region.
    pub missing_pair_ms: u32,
    /// Each ordered pair once at most, and [`MAX_LATENCIES`] at most.
    pub latencies: Vec<RegionLatency>,
}

impl Default for RegionLatencies {
    fn default() -> Self {
        Self::NONE
    }
}

impl RegionLatencies {
    /// Nothing is given: a worker of the same region is nearer than all others, which are equally far.
    pub const NONE: Self =
        Self { within_ms: super::WITHIN_MS, missing_pair_ms: super::MISSING_PAIR_MS, latencies: Vec::new() };

    /// What orders workers, where these regions are known besides those that latencies are given for.
    ///
    /// # Errors
    /// Names a pair that is given twice.
    pub(crate) fn among(&self, regions: BTreeSet<Region>) -> Result<GeoOptimizer, GeographyError> {
        let given = self.latencies.iter().flat_map(|pair| [pair.from, pair.to]);
        GeoOptimizer::new(GeographyConfig {
            regions: regions.into_iter().chain(given).collect(),
            latencies: self.latencies.clone(),
            within_ms: self.within_ms,
            missing_pair_ms: self.missing_pair_ms,
            ..GeographyConfig::default()
        })
    }

    /// Checks that workers can be ordered by this.
    ///
    /// # Errors
    /// Names a pair that is given twice, or how many there are too many.
    pub fn validate(&self) -> Result<(), GeographyError> {
        if self.latencies.len() > MAX_LATENCIES {
            return Err(GeographyError::TooMany { count: self.latencies.len() });
        }
        self.among(BTreeSet::new()).map(|_| ())
    }
}
