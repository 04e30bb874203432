//! The fold of the contracts' events: what the keeper believes about jobs and workers.
//!
//! [`Market::apply`] mirrors the contracts' state machine. An event that does not follow from what came before
//! is refused, since it means that events were lost or misread; the keeper then reads the chain again rather
//! than guess.
//!
//! ```text
//!            JobAllocated             ResultSubmitted            JobSettled
//!  Queued ----------------> Allocated ---------------> Revealed ------------> Settled
//!   ^  |                        |
//!   |  +--> Cancelled, Expired  | AttemptFailed
//!   +---------------------------+--> Failed
//! ```

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{
    Address, Attempt, BlockNumber, EventPosition, Fri, Job, JobId, JobState, MarketEvent, Worker, WorkerId,
    WorkerStatus,
};

/// What a worker has for its transaction on top of the execution timeout, in seconds; as in `deadlines.cairo`.
const ATTEMPT_GRACE_S: u64 = 60;
/// Seconds that a deadline counts as one block; as in `deadlines.cairo`.
const SECONDS_PER_BLOCK: u64 = 10;

/// A new worker's reputation.
const INITIAL_REPUTATION: u16 = crate::MAX_REPUTATION / 2;

/// Jobs and workers as of some event.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Market {
    /// Every job ever submitted.
    pub jobs: BTreeMap<JobId, Job>,
    /// Every worker ever registered.
    pub workers: BTreeMap<WorkerId, Worker>,
    /// Each keeper's latest round.
    pub rounds: BTreeMap<Address, u64>,
}

/// An event does not follow from the ones before it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("event {event} at block {block} does not follow from what came before: {kind}")]
pub struct ApplyError {
    event: &'static str,
    block: u64,
    kind: ApplyErrorKind,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
enum ApplyErrorKind {
    #[error("job {0} is unknown")]
    JobUnknown(JobId),
    #[error("job {0} exists already")]
    JobKnown(JobId),
    #[error("job {job_id} is {state}")]
    JobState { job_id: JobId, state: JobState },
    #[error("job {job_id} is at attempt {known}, not {told}")]
    Attempt { job_id: JobId, known: Attempt, told: Attempt },
    #[error("worker {0} is unknown")]
    WorkerUnknown(WorkerId),
    #[error("worker {0} exists already")]
    WorkerKnown(WorkerId),
    #[error("worker {0} would run more than it has room for")]
    OverCapacity(WorkerId),
}

impl Market {
    /// Applies one event. Nothing changes where it is refused.
    ///
    /// # Errors
    /// Fails where the event does not follow from the ones before.
    pub fn apply(&mut self, event: &MarketEvent, position: &EventPosition) -> Result<(), ApplyError> {
        let applied = match event {
            MarketEvent::JobSubmitted { .. }
            | MarketEvent::JobAllocated { .. }
            | MarketEvent::ResultSubmitted { .. }
            | MarketEvent::JobSettled { .. }
            | MarketEvent::AttemptFailed { .. }
            | MarketEvent::JobCancelled { .. }
            | MarketEvent::JobExpired { .. }
            | MarketEvent::JobFailed { .. } => self.apply_to_job(event, position),
            MarketEvent::RoundApplied { keeper, round, .. } => {
                self.rounds.insert(*keeper, *round);
                Ok(())
            }
            MarketEvent::AllocationSkipped { .. }
            | MarketEvent::JobMgrSet { .. }
            | MarketEvent::TaskAllocatorSet { .. }
            | MarketEvent::KeeperAdded { .. }
            | MarketEvent::KeeperRemoved { .. }
            | MarketEvent::WorkerMetricsUpdated { .. } => Ok(()),
            _ => self.apply_to_worker(event),
        };
        applied.map_err(|kind| ApplyError { event: event.name(), block: position.block.0, kind })
    }

    fn apply_to_job(&mut self, event: &MarketEvent, position: &EventPosition) -> Result<(), ApplyErrorKind> {
        match event {
            MarketEvent::JobSubmitted { .. } => self.submit(event, position),
            MarketEvent::JobAllocated { .. } => self.allocate(event, position),
            MarketEvent::ResultSubmitted {
                job_id,
                attempt,
                result_hash,
                challenge_ends_at,
                challenge_ends_block,
                ..
            } => {
                self.release_worker(*job_id, *attempt)?;
                let job = self.job_in(*job_id, JobState::Allocated)?;
                job.state = JobState::Revealed;
                job.result_hash = Some(*result_hash);
                job.attempt_deadline = None;
                job.challenge_ends = Some((*challenge_ends_at, *challenge_ends_block));
                Ok(())
            }
            MarketEvent::AttemptFailed { job_id, worker_id, attempt, reason, requeued, .. } => {
                self.release_worker(*job_id, *attempt)?;
                let job = self.job_in(*job_id, JobState::Allocated)?;
                job.excluded.push(*worker_id);
                job.last_failure = Some(*reason);
                job.attempt_deadline = None;
                // A job that is not queued again is closed by the JobFailed that follows.
                if *requeued {
                    job.state = JobState::Queued;
                    job.attempt = Attempt(attempt.0.saturating_add(1));
                    (job.rate, job.score, job.strategy, job.allocated_at) = (None, None, None, None);
                    job.worker_id = None;
                }
                Ok(())
            }
            MarketEvent::JobSettled { job_id, paid, refunded, .. } => {
                let job = self.job_in(*job_id, JobState::Revealed)?;
                job.challenge_ends = None;
                (job.state, job.paid, job.refunded) = (JobState::Settled, *paid, *refunded);
                Ok(())
            }
            MarketEvent::JobCancelled { job_id, refunded, .. } => {
                self.close(*job_id, JobState::Queued, JobState::Cancelled, *refunded)
            }
            MarketEvent::JobExpired { job_id, refunded, .. } => {
                self.close(*job_id, JobState::Queued, JobState::Expired, *refunded)
            }
            MarketEvent::JobFailed { job_id, refunded, .. } => {
                self.close(*job_id, JobState::Allocated, JobState::Failed, *refunded)
            }
            _ => Ok(()),
        }
    }

    fn submit(&mut self, event: &MarketEvent, position: &EventPosition) -> Result<(), ApplyErrorKind> {
        let MarketEvent::JobSubmitted { job_id, client, spec, deadline_block } = event else { return Ok(()) };
        if self.jobs.contains_key(job_id) {
            return Err(ApplyErrorKind::JobKnown(*job_id));
        }
        let job = Job {
            job_id: *job_id,
            client: *client,
            spec: (**spec).clone(),
            state: JobState::Queued,
            attempt: Attempt(1),
            deadline_block: *deadline_block,
            submitted_at: position.timestamp,
            submitted_block: position.block,
            worker_id: None,
            allocated_at: None,
            rate: None,
            score: None,
            strategy: None,
            attempt_deadline: None,
            result_hash: None,
            challenge_ends: None,
            excluded: Vec::new(),
            paid: Fri::ZERO,
            refunded: Fri::ZERO,
            last_failure: None,
        };
        self.jobs.insert(*job_id, job);
        Ok(())
    }

    fn allocate(&mut self, event: &MarketEvent, position: &EventPosition) -> Result<(), ApplyErrorKind> {
        let MarketEvent::JobAllocated { job_id, worker_id, attempt, rate, score, strategy } = event else {
            return Ok(());
        };
        let job = self.job_in(*job_id, JobState::Queued)?;
        if job.attempt != *attempt {
            return Err(ApplyErrorKind::Attempt { job_id: *job_id, known: job.attempt, told: *attempt });
        }
        let gpus = job.spec.requirements.gpu_count;
        let worker = self.worker(*worker_id)?;
        if worker.free_slots() == 0 || worker.free_gpus() < gpus {
            return Err(ApplyErrorKind::OverCapacity(*worker_id));
        }
        worker.used_slots += 1;
        worker.used_gpus += gpus;
        let job = self.job_in(*job_id, JobState::Queued)?;
        job.state = JobState::Allocated;
        job.worker_id = Some(*worker_id);
        job.allocated_at = Some(position.timestamp);
        (job.rate, job.score, job.strategy) = (Some(*rate), Some(*score), Some(*strategy));
        job.attempt_deadline = Some(attempt_deadline(position, job.spec.execution_timeout_s));
        Ok(())
    }

    /// Frees what the job's attempt holds on its worker.
    fn release_worker(&mut self, job_id: JobId, attempt: Attempt) -> Result<(), ApplyErrorKind> {
        let job = self.job_in(job_id, JobState::Allocated)?;
        if job.attempt != attempt {
            return Err(ApplyErrorKind::Attempt { job_id, known: job.attempt, told: attempt });
        }
        let gpus = job.spec.requirements.gpu_count;
        let Some(worker_id) = job.worker_id else { return Ok(()) };
        let worker = self.worker(worker_id)?;
        worker.used_slots = worker.used_slots.saturating_sub(1);
        worker.used_gpus = worker.used_gpus.saturating_sub(gpus);
        Ok(())
    }

    fn close(&mut self, job_id: JobId, from: JobState, to: JobState, refunded: Fri) -> Result<(), ApplyErrorKind> {
        let job = self.job_in(job_id, from)?;
        (job.state, job.refunded) = (to, refunded);
        Ok(())
    }

    fn apply_to_worker(&mut self, event: &MarketEvent) -> Result<(), ApplyErrorKind> {
        match event {
            MarketEvent::WorkerRegistered { worker_id, owner, capabilities, slots, rate, stake } => {
                if self.workers.contains_key(worker_id) {
                    return Err(ApplyErrorKind::WorkerKnown(*worker_id));
                }
                let worker = Worker {
                    worker_id: *worker_id,
                    owner: *owner,
                    status: WorkerStatus::Active,
                    capabilities: capabilities.clone(),
                    slots: *slots,
                    used_slots: 0,
                    used_gpus: 0,
                    rate: *rate,
                    stake: *stake,
                    reputation: INITIAL_REPUTATION,
                };
                self.workers.insert(*worker_id, worker);
            }
            MarketEvent::WorkerUpdated { worker_id, capabilities, slots, rate } => {
                let worker = self.worker(*worker_id)?;
                worker.capabilities = capabilities.clone();
                (worker.slots, worker.rate) = (*slots, *rate);
            }
            MarketEvent::WorkerDrained { worker_id } => self.worker(*worker_id)?.status = WorkerStatus::Draining,
            MarketEvent::WorkerResumed { worker_id } => self.worker(*worker_id)?.status = WorkerStatus::Active,
            MarketEvent::WorkerExiting { worker_id, .. } => self.worker(*worker_id)?.status = WorkerStatus::Exiting,
            MarketEvent::StakeWithdrawn { worker_id, .. } => {
                let worker = self.worker(*worker_id)?;
                (worker.status, worker.stake) = (WorkerStatus::Exited, Fri::ZERO);
            }
            MarketEvent::ReputationChanged { worker_id, new_reputation, .. } => {
                self.worker(*worker_id)?.reputation = *new_reputation;
            }
            _ => {}
        }
        Ok(())
    }

    fn job_in(&mut self, job_id: JobId, expected: JobState) -> Result<&mut Job, ApplyErrorKind> {
        let job = self.jobs.get_mut(&job_id).ok_or(ApplyErrorKind::JobUnknown(job_id))?;
        if job.state == expected { Ok(job) } else { Err(ApplyErrorKind::JobState { job_id, state: job.state }) }
    }

    fn worker(&mut self, worker_id: WorkerId) -> Result<&mut Worker, ApplyErrorKind> {
        self.workers.get_mut(&worker_id).ok_or(ApplyErrorKind::WorkerUnknown(worker_id))
    }
}

/// When the result of an attempt is due that was allocated at `position`: the contracts count the execution timeout
/// and a minute for the transaction, and a block for each ten seconds.
fn attempt_deadline(position: &EventPosition, execution_timeout_s: u32) -> (u64, BlockNumber) {
    let seconds = u64::from(execution_timeout_s) + ATTEMPT_GRACE_S;
    (position.timestamp + seconds, BlockNumber(position.block.0 + seconds.div_ceil(SECONDS_PER_BLOCK)))
}

#[cfg(test)]
mod tests;
