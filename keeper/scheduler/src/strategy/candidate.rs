//! One job: to the best worker that meets its preferences, or to the one that misses the least.

use std::cmp::Reverse;

use keeper_types::{Strategy, WorkerId};
use serde::{Deserialize, Serialize};

use super::{Preference, PreferenceSet};

/// Where a worker comes from. Static before dynamic.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Pool {
    /// Admitted by the admin ([`Worker::is_static`](keeper_types::Worker::is_static)).
    Static,
    /// Registered by anybody.
    Dynamic,
}

impl Pool {
    /// The pool of a worker that is static or not.
    pub fn of(is_static: bool) -> Self {
        if is_static { Self::Static } else { Self::Dynamic }
    }
}

/// A worker that meets every requirement of a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Candidate {
    /// The worker.
    pub worker_id: WorkerId,
    /// Where it comes from.
    pub pool: Pool,
    /// How well it suits the job, 0 to 10,000.
    pub score: u16,
    /// The preferences of the job that it meets.
    pub meets: PreferenceSet,
}

/// A worker's place among candidates, the lowest first.
pub(super) type Place = (Pool, Reverse<u16>, WorkerId);

impl Candidate {
    /// Static before dynamic, the higher score, the lower id: a total order.
    pub(super) fn place(&self) -> Place {
        (self.pool, Reverse(self.score), self.worker_id)
    }

    pub(super) fn misses(&self, wanted: PreferenceSet) -> PreferenceSet {
        wanted.without(self.meets)
    }

    pub(super) fn allocation(&self, strategy: Strategy, wanted: PreferenceSet) -> Allocation {
        Allocation {
            worker_id: self.worker_id,
            strategy,
            pool: self.pool,
            score: self.score,
            dropped: self.misses(wanted).iter().collect(),
        }
    }
}

/// Who would get a job, and at what cost to its preferences.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Allocation {
    /// The worker.
    pub worker_id: WorkerId,
    /// How it came about.
    pub strategy: Strategy,
    /// Where the worker comes from.
    pub pool: Pool,
    /// The worker's score, 0 to 10,000.
    pub score: u16,
    /// The preferences that the job does without, in the order in which they were dropped.
    pub dropped: Vec<Preference>,
}

/// The best of the workers that meet everything that is wanted; none where nobody does.
pub fn standard(wanted: PreferenceSet, candidates: &[Candidate]) -> Option<Allocation> {
    let meeting = candidates.iter().filter(|candidate| candidate.misses(wanted).is_empty());
    let best = meeting.min_by_key(|candidate| candidate.place())?;
    Some(best.allocation(Strategy::Standard, wanted))
}

/// The best worker when preferences are dropped, the first of [`Preference::RELAXATION_ORDER`] first, until one fits;
/// none only where there are no candidates. Of those dropped, what the worker meets all the same is kept. Where it
/// meets everything, this is [`standard`].
///
/// What costs more to do without counts before the pool, the pool before the score.
pub fn fallback(wanted: PreferenceSet, candidates: &[Candidate]) -> Option<Allocation> {
    let best = candidates.iter().min_by_key(|candidate| (candidate.misses(wanted), candidate.place()))?;
    let strategy = if best.misses(wanted).is_empty() { Strategy::Standard } else { Strategy::Fallback };
    Some(best.allocation(strategy, wanted))
}
