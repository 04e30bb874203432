//! Which worker holds which model already.

use std::collections::{BTreeMap, BTreeSet};

use keeper_types::{Felt, WorkerId};
use serde::{Deserialize, Serialize};

use crate::FULL_BPS;

/// The models that workers hold, so that a job can go where its model need not be fetched.
///
/// Models are named as jobs name theirs, by [`PendingJob::model_id`](crate::PendingJob::model_id).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelWarmth {
    held: BTreeMap<WorkerId, BTreeSet<Felt>>,
}

impl ModelWarmth {
    /// Nobody holds any.
    pub fn new() -> Self {
        Self::default()
    }

    /// Notes that a worker holds exactly these models. No models, no entry.
    pub fn set(&mut self, worker_id: WorkerId, models: impl IntoIterator<Item = Felt>) {
        let models: BTreeSet<_> = models.into_iter().collect();
        if models.is_empty() {
            self.held.remove(&worker_id);
        } else {
            self.held.insert(worker_id, models);
        }
    }

    /// Whether a worker holds a job's model; true of the model zero, which is none.
    pub fn holds(&self, worker_id: WorkerId, model_id: Felt) -> bool {
        model_id == Felt::ZERO || self.held.get(&worker_id).is_some_and(|models| models.contains(&model_id))
    }

    /// The term of a score: 10,000 where the model is held, else 0. The same for every worker where the job uses none.
    pub fn term(&self, worker_id: WorkerId, model_id: Felt) -> u16 {
        if self.holds(worker_id, model_id) { FULL_BPS } else { 0 }
    }
}
