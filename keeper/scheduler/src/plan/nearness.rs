//! Which workers are nearest to where a job says that its client is.

use std::collections::{BTreeMap, BTreeSet};

use keeper_types::{Region, WorkerId};

use crate::{Nearness, Policy, Snapshot, WorkerView, geography::GeoOptimizer};

/// How far the workers are, by the policy's latencies between regions.
pub(super) struct Distances {
    geography: GeoOptimizer,
    regions: BTreeMap<WorkerId, Option<Region>>,
}

impl Distances {
    /// None where no job says where its client is.
    pub(super) fn new(workers: &BTreeMap<WorkerId, &WorkerView>, snapshot: &Snapshot, policy: &Policy) -> Option<Self> {
        let near = snapshot.jobs.iter().filter_map(|job| job.manifest_view.placement.prefers.near);
        let mut named: BTreeSet<Region> = near.collect();
        if named.is_empty() {
            return None;
        }
        let regions: BTreeMap<_, _> = workers.iter().map(|(id, worker)| (*id, worker.capabilities.region)).collect();
        named.extend(regions.values().flatten());
        let geography = policy.geography.among(named).expect("the policy was validated");
        Some(Self { geography, regions })
    }

    /// Leaves those that are nearest to the region; none where there are none.
    pub(super) fn nearest(&self, to: Region, among: &mut Vec<WorkerId>) -> Option<Nearness> {
        let located: Vec<_> = among.iter().map(|id| (*id, self.regions.get(id).copied().flatten())).collect();
        let ordered = self.geography.optimize_for_latency(Some(to), 0, &located).expect("every job's region is known");
        let latency_ms = ordered.first()?.latency_ms;
        *among = ordered.iter().filter(|near| near.latency_ms == latency_ms).map(|near| near.worker_id).collect();
        Some(Nearness { to, latency_ms, among: u32::try_from(among.len()).unwrap_or(u32::MAX) })
    }
}
