//! How far a worker is from where a job comes from, by region.

mod policy;

use std::collections::{BTreeMap, BTreeSet};

use keeper_types::{Region, WorkerId};
use serde::{Deserialize, Serialize};

pub use self::policy::{MAX_LATENCIES, RegionLatencies};
use crate::{FULL_BPS, score::share};

/// Regions and the latencies between them, as configured.
///
/// A latency is a round trip in milliseconds. It holds in both directions unless the other one is given too.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GeographyConfig {
    /// The regions that may be named.
    pub regions: BTreeSet<Region>,
    /// Latencies between regions, or within one; each ordered pair once at most.
    #[serde(default)]
    pub latencies: Vec<RegionLatency>,
    /// The latency within a region that none is given for, in milliseconds.
    #[serde(default = "default_within_ms")]
    pub within_ms: u32,
    /// The latency between two regions that none is given for, and from or to a place that is not known, in
    /// milliseconds.
    #[serde(default = "default_missing_pair_ms")]
    pub missing_pair_ms: u32,
    /// The latency from which on the term is 0, in milliseconds; at least 1.
    #[serde(default = "default_horizon_ms")]
    pub horizon_ms: u32,
}

/// Within a region, a few milliseconds.
const WITHIN_MS: u32 = 5;
/// Half the way round the world and back: about 20,000 km of fibre each way, at 200 km a millisecond.
const MISSING_PAIR_MS: u32 = 200;

fn default_within_ms() -> u32 {
    WITHIN_MS
}

fn default_missing_pair_ms() -> u32 {
    MISSING_PAIR_MS
}

/// Where the missing pair's default is worth half of everything.
fn default_horizon_ms() -> u32 {
    400
}

/// No regions, and every default.
impl Default for GeographyConfig {
    fn default() -> Self {
        Self {
            regions: BTreeSet::new(),
            latencies: Vec::new(),
            within_ms: default_within_ms(),
            missing_pair_ms: default_missing_pair_ms(),
            horizon_ms: default_horizon_ms(),
        }
    }
}

/// The latency from one region to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RegionLatency {
    /// Where the job comes from.
    pub from: Region,
    /// Where the worker stands.
    pub to: Region,
    /// The round trip in milliseconds.
    pub latency_ms: u32,
}

/// A configuration makes no sense, or a job names a region that it does not have.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GeographyError {
    /// A region is not among the configured ones.
    #[error("region {region} is unknown: add it to the regions, or use one of them")]
    UnknownRegion {
        /// Which.
        region: Region,
    },
    /// A pair has two latencies.
    #[error("latencies: the pair from {from} to {to} is given twice")]
    DuplicatePair {
        /// Where the job comes from.
        from: Region,
        /// Where the worker stands.
        to: Region,
    },
    /// More than a round's inputs should hold.
    #[error("latencies: {count} are given, but at most {MAX_LATENCIES} can be")]
    TooMany {
        /// How many.
        count: usize,
    },
    /// A term that is 0 everywhere says nothing.
    #[error("horizon_ms must be at least 1 millisecond")]
    Horizon,
}

/// Orders workers by latency to a job's region.
///
/// A job or a worker that names no region is in a place that is not known, and so is a worker whose region is not
/// configured: anybody may register one, and that must not stop a plan. Such a place is
/// [`GeographyConfig::missing_pair_ms`] from everywhere.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "GeographyConfig", into = "GeographyConfig")]
pub struct GeoOptimizer {
    config: GeographyConfig,
    latencies_ms: BTreeMap<(Region, Region), u32>,
}

/// A worker with its distance from the job.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LocatedWorker {
    /// The worker.
    pub worker_id: WorkerId,
    /// The round trip in milliseconds.
    pub latency_ms: u32,
    /// What that is worth, 0 to 10,000, nearer better.
    pub term: u16,
}

impl GeoOptimizer {
    /// Takes a configuration.
    ///
    /// # Errors
    /// Names the first region of a latency that is not among the regions, a pair that is given twice, or a horizon of
    /// nothing.
    pub fn new(config: GeographyConfig) -> Result<Self, GeographyError> {
        if config.horizon_ms == 0 {
            return Err(GeographyError::Horizon);
        }
        let mut latencies_ms = BTreeMap::new();
        for &RegionLatency { from, to, latency_ms } in &config.latencies {
            let unknown = [from, to].into_iter().find(|region| !config.regions.contains(region));
            if let Some(region) = unknown {
                return Err(GeographyError::UnknownRegion { region });
            }
            if latencies_ms.insert((from, to), latency_ms).is_some() {
                return Err(GeographyError::DuplicatePair { from, to });
            }
        }
        Ok(Self { config, latencies_ms })
    }

    /// The configuration.
    pub fn config(&self) -> &GeographyConfig {
        &self.config
    }

    /// The round trip from a job to a worker, in milliseconds: what is given for the pair, else for the reverse pair,
    /// else the default.
    ///
    /// # Errors
    /// Names the job's region where it is not configured.
    pub fn latency_ms(&self, job: Option<Region>, worker: Option<Region>) -> Result<u32, GeographyError> {
        let unknown = job.filter(|region| !self.config.regions.contains(region));
        if let Some(region) = unknown {
            return Err(GeographyError::UnknownRegion { region });
        }
        Ok(self.between(job, worker))
    }

    /// What a latency is worth: 10,000 for none, falling evenly to 0 at the horizon.
    pub fn term(&self, latency_ms: u32) -> u16 {
        FULL_BPS - share(u64::from(latency_ms), u64::from(self.config.horizon_ms))
    }

    /// The workers that are within `max_latency_ms` of the job, 0 for any, the nearest first and the lowest id first
    /// of those that are equally near.
    ///
    /// # Errors
    /// Names the job's region where it is not configured.
    pub fn optimize_for_latency(
        &self,
        job: Option<Region>,
        max_latency_ms: u16,
        workers: &[(WorkerId, Option<Region>)],
    ) -> Result<Vec<LocatedWorker>, GeographyError> {
        self.latency_ms(job, None)?;
        let mut located: Vec<_> = workers
            .iter()
            .map(|(worker_id, region)| {
                let latency_ms = self.between(job, *region);
                LocatedWorker { worker_id: *worker_id, latency_ms, term: self.term(latency_ms) }
            })
            .filter(|worker| max_latency_ms == 0 || worker.latency_ms <= u32::from(max_latency_ms))
            .collect();
        located.sort_unstable_by_key(|worker| (worker.latency_ms, worker.worker_id));
        Ok(located)
    }

    fn between(&self, job: Option<Region>, worker: Option<Region>) -> u32 {
        let known = |region: Option<Region>| region.filter(|region| self.config.regions.contains(region));
        let (Some(from), Some(to)) = (known(job), known(worker)) else { return self.config.missing_pair_ms };
        let given = self.latencies_ms.get(&(from, to)).or_else(|| self.latencies_ms.get(&(to, from))).copied();
        given.unwrap_or(if from == to { self.config.within_ms } else { self.config.missing_pair_ms })
    }
}

impl TryFrom<GeographyConfig> for GeoOptimizer {
    type Error = GeographyError;

    fn try_from(config: GeographyConfig) -> Result<Self, Self::Error> {
        Self::new(config)
    }
}

impl From<GeoOptimizer> for GeographyConfig {
    fn from(optimizer: GeoOptimizer) -> Self {
        optimizer.config
    }
}

#[cfg(test)]
mod tests;
