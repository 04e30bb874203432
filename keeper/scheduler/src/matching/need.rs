//! What a job needs, packed.

use keeper_types::{Rate, Region, Requirements};

use super::lanes::Lanes;
use crate::PendingJob;

/// The hard requirements of a job: what a million pending jobs keep of theirs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Need {
    pub(super) lanes: Lanes,
    pub(super) max_rate: u64,
    pub(super) region: Option<Region>,
}

impl Need {
    /// What a job with these requirements needs that pays `max_rate` at most.
    pub fn new(requirements: &Requirements, max_rate: Rate) -> Self {
        Self { lanes: Lanes::of_requirements(requirements), max_rate: max_rate.0, region: requirements.region }
    }

    /// What a pending job needs.
    pub fn of(job: &PendingJob) -> Self {
        Self::new(&job.requirements, job.max_rate)
    }

    /// GPUs on one worker.
    pub fn gpus(&self) -> u8 {
        self.lanes.gpus()
    }
}
