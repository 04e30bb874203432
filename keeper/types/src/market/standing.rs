//! Which jobs are not at their end, so that nobody has to look through all that ever were.

use imbl::OrdSet;

use super::{JobId, JobState, Market, MarketEvent};
use crate::Job;

/// The jobs that are not at their end, by where they are. It follows from the jobs' states.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Standing {
    queued: OrdSet<JobId>,
    allocated: OrdSet<JobId>,
    /// Those of both, and of every other state that is not final.
    open: OrdSet<JobId>,
}

impl Standing {
    fn moved(&mut self, job_id: JobId, to: Option<JobState>) {
        let set = |jobs: &mut OrdSet<JobId>, belongs: bool| {
            if belongs {
                jobs.insert(job_id);
            } else {
                jobs.remove(&job_id);
            }
        };
        set(&mut self.queued, to == Some(JobState::Queued));
        set(&mut self.allocated, to == Some(JobState::Allocated));
        set(&mut self.open, to.is_some_and(|state| !state.is_final()));
    }
}

impl Market {
    /// Jobs that wait for a worker, by their numbers.
    pub fn queued_jobs(&self) -> impl Iterator<Item = &Job> {
        self.standing.queued.iter().filter_map(|job_id| self.jobs.get(job_id))
    }

    /// Jobs that hold a worker's slot, by their numbers.
    pub fn allocated_jobs(&self) -> impl Iterator<Item = &Job> {
        self.standing.allocated.iter().filter_map(|job_id| self.jobs.get(job_id))
    }

    /// Jobs that are not at their end, by their numbers.
    pub fn open_jobs(&self) -> impl Iterator<Item = &Job> {
        self.standing.open.iter().filter_map(|job_id| self.jobs.get(job_id))
    }

    /// The jobs that an event speaks of, with their states.
    pub(super) fn states_of(&self, event: &MarketEvent) -> Vec<(JobId, Option<JobState>)> {
        let state = |job_id: &JobId| self.jobs.get(job_id).map(|job| job.state);
        event.job_ids().into_iter().map(|job_id| (job_id, state(&job_id))).collect()
    }

    /// Takes note of where jobs are that were elsewhere before.
    pub(super) fn note_moves(&mut self, before: &[(JobId, Option<JobState>)]) {
        for (job_id, from) in before {
            let to = self.jobs.get(job_id).map(|job| job.state);
            if to != *from {
                self.standing.moved(*job_id, to);
            }
        }
    }
}
