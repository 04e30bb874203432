//! Which jobs are not at their end, so that nobody has to look through all that ever were.

use imbl::{OrdMap, OrdSet};
use serde::{Deserialize, Serialize};

use super::{JobId, JobState, Market, MarketEvent};
use crate::{Address, Job, WorkerId};

/// A job that holds a slot and GPUs of its worker until it ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RunningJob {
    /// The job.
    pub job_id: JobId,
    /// Who submitted it.
    pub client: Address,
    /// Where it runs.
    pub worker_id: WorkerId,
    /// GPUs that it holds.
    pub gpus: u8,
    /// How long it reserves its worker, in seconds.
    pub execution_timeout_s: u32,
    /// When it was submitted: block timestamp, in seconds.
    pub submitted_at: u64,
    /// When its result is due, so that the worker is free at the latest: Unix timestamp in seconds.
    pub ends_by: u64,
}

impl RunningJob {
    /// A job of the market that is allocated; none otherwise.
    pub fn new(job: &Job) -> Option<Self> {
        if job.state != JobState::Allocated {
            return None;
        }
        Some(Self {
            job_id: job.job_id,
            client: job.client,
            worker_id: job.worker_id?,
            gpus: job.spec.requirements.gpu_count,
            execution_timeout_s: job.spec.execution_timeout_s,
            submitted_at: job.submitted_at,
            ends_by: job.attempt_deadline?.0,
        })
    }
}

/// The jobs that are not at their end, by where they are. It follows from the jobs' states.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Standing {
    queued: OrdSet<JobId>,
    /// With what every round wants to know of them: to look for each among all jobs takes longer than all else of a
    /// round once some ten thousand run.
    allocated: OrdMap<JobId, RunningJob>,
    /// Those of both, and of every other state that is not final.
    open: OrdSet<JobId>,
}

impl Standing {
    /// What is kept of a running job does not change as long as it runs. The one event that takes its deadline and leaves it
    /// allocated, an attempt that failed for good, is followed by the job's end in the same transaction.
    fn moved(&mut self, job_id: JobId, to: Option<&Job>) {
        let set = |jobs: &mut OrdSet<JobId>, belongs: bool| {
            if belongs {
                jobs.insert(job_id);
            } else {
                jobs.remove(&job_id);
            }
        };
        set(&mut self.queued, to.is_some_and(|job| job.state == JobState::Queued));
        set(&mut self.open, to.is_some_and(|job| !job.state.is_final()));
        match to.and_then(RunningJob::new) {
            Some(running) => _ = self.allocated.insert(job_id, running),
            None => _ = self.allocated.remove(&job_id),
        }
    }
}

impl Market {
    /// Jobs that wait for a worker, by their numbers.
    pub fn queued_jobs(&self) -> impl Iterator<Item = &Job> {
        self.standing.queued.iter().filter_map(|job_id| self.jobs.get(job_id))
    }

    /// Jobs that hold a worker's slot, by their numbers.
    pub fn allocated_jobs(&self) -> impl Iterator<Item = &Job> {
        self.standing.allocated.keys().filter_map(|job_id| self.jobs.get(job_id))
    }

    /// What they hold, by their numbers.
    pub fn running_jobs(&self) -> impl Iterator<Item = &RunningJob> {
        self.standing.allocated.values()
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
            let to = self.jobs.get(job_id);
            if to.map(|job| job.state) != *from {
                self.standing.moved(*job_id, to);
            }
        }
    }
}
