//! Many jobs that are alike, allocated in one go.

use keeper_types::{JobId, Strategy};
use serde::{Deserialize, Serialize};

use super::{
    PreferenceSet,
    candidate::{Allocation, Candidate},
};

/// What a batch of jobs would get.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BatchAllocation {
    /// The jobs that get a worker, in the order of the batch.
    pub allocations: Vec<(JobId, Allocation)>,
    /// The jobs that are left, in the order of the batch.
    pub unplaced: Vec<JobId>,
}

/// Allocates jobs that are alike, with the same requirements, preferences and so the same score on a worker, the first
/// of them to the best worker. A candidate comes with how many of the jobs it can take; for replicas of a group that
/// is 1.
///
/// As many jobs as can be are placed. Since a worker's score is the same for each, filling workers in order misses the
/// fewest preferences and has the highest sum of scores of the static workers, and then of the dynamic ones; jobs that
/// are not alike are what [`assignment`](crate::assignment) is for.
pub fn batch(jobs: &[JobId], wanted: PreferenceSet, candidates: &[(Candidate, u32)]) -> BatchAllocation {
    let mut sorted: Vec<_> = candidates.iter().collect();
    sorted.sort_unstable_by_key(|(candidate, _)| (candidate.misses(wanted), candidate.place()));
    let room = sorted.into_iter().flat_map(|(candidate, room)| (0..*room).map(move |_| candidate));
    let mut left = jobs.iter().copied();
    // Room first: otherwise the zip would take a job before it finds that there is no room.
    let allocations: Vec<_> = room
        .zip(left.by_ref())
        .map(|(candidate, job_id)| (job_id, candidate.allocation(Strategy::Batch, wanted)))
        .collect();
    BatchAllocation { allocations, unplaced: left.collect() }
}
