//! What the simulation asks of a scheduler, so that several can be driven by the same events.

use keeper_scheduler::queueing::{AfterFailure, FailureClass, Gang};
use keeper_types::{JobId, WorkerId};

use super::{
    jobs::Job,
    parameters::{ParameterSet, WorkerKind},
    plan_engine::PlanEngine,
    queue_engine::QueueEngine,
};

/// What became of a submission.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Submission {
    /// The job waits; another had to go for it.
    Queued { shed: Option<JobId> },
    /// There was no room.
    Refused,
}

/// A job that a round placed, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Placement {
    pub(crate) job_id: JobId,
    pub(crate) gang: Gang,
}

/// A scheduler with its books. Times are seconds from the start of the run.
///
/// It knows of a worker's failure only what it is told, and then it is told of each attempt that was there.
pub(crate) trait Engine {
    fn submit(&mut self, job: &Job, now_s: u32) -> Submission;

    /// A round.
    fn decide(&mut self, now_s: u32) -> Vec<Placement>;

    /// Placements that a round makes at most.
    fn most_placements(&self) -> usize {
        usize::MAX
    }

    /// A placed job has succeeded.
    fn succeed(&mut self, job_id: JobId, now_s: u32);

    /// An attempt has failed on this worker. None where the job is not placed.
    fn fail(&mut self, attempt: (JobId, WorkerId), class: FailureClass, now: (u32, u64)) -> Option<AfterFailure>;

    /// A client takes back a waiting job. False where the job does not wait.
    fn cancel(&mut self, job_id: JobId, now_s: u32) -> bool;

    /// Gives up the waiting jobs whose deadline has passed; their ids.
    fn expire(&mut self, now_s: u32) -> Vec<JobId>;

    /// A worker has gone.
    fn worker_left(&mut self, worker_id: WorkerId);

    /// It is back, or it came.
    fn worker_returned(&mut self, worker_id: WorkerId);

    /// How many jobs wait.
    fn waiting(&self) -> usize;
}

/// The scheduler that a set describes, with all its workers there and nothing to do.
pub(crate) fn engine(set: &ParameterSet, workers: &[WorkerKind], tenants: &[(String, u32)]) -> Box<dyn Engine> {
    match set {
        ParameterSet::Queues(set) => Box::new(QueueEngine::new(set, workers, tenants)),
        ParameterSet::Plan(set) => Box::new(PlanEngine::new(set, workers)),
    }
}

/// Every worker's kind, by the worker's number: the first kind's first.
pub(crate) fn each_worker(workers: &[WorkerKind]) -> impl Iterator<Item = (u32, &WorkerKind)> {
    (0..).zip(workers.iter().flat_map(|kind| (0..kind.count).map(move |_| kind)))
}
