//! Who was given jobs, and who last.

use serde::{Deserialize, Serialize};

use crate::{AllocationItem, Versioned, WorkerId};

/// When each worker was given a job last, in the order in which the contracts reported allocations: by a keeper's round
/// or by the worker's own claim.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Turns {
    /// Allocations so far.
    given: u64,
    /// The number of each worker's latest one, from 1.
    latest: Versioned<WorkerId, u64>,
}

impl Turns {
    /// Notes allocations, in their order.
    pub(super) fn give(&mut self, items: &[AllocationItem]) {
        for item in items {
            self.given += 1;
            self.latest.insert(item.worker_id, self.given);
        }
    }

    /// Of these workers the one that was given a job last; none where none of them ever was.
    pub fn last_among(&self, workers: impl IntoIterator<Item = WorkerId>) -> Option<WorkerId> {
        let given = workers.into_iter().filter_map(|worker_id| Some((*self.latest.get(&worker_id)?, worker_id)));
        given.max().map(|(_, worker_id)| worker_id)
    }
}
