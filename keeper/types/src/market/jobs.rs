//! What events do to jobs.

use super::{
    ApplyErrorKind, Attempt, BlockNumber, EventPosition, Job, JobId, JobState, Market, MarketEvent, REVEAL_WINDOW_S,
    SECONDS_PER_BLOCK, WorkerId,
};
use crate::{Address, AllocationItem, Dispute, Fri, Usage, Worker};

/// What a worker has for its transaction on top of the execution timeout, in seconds; as in `deadlines.cairo`.
const ATTEMPT_GRACE_S: u64 = 60;

/// States in which an attempt has a worker and no result that all can see.
const RUNNING: [JobState; 2] = [JobState::Allocated, JobState::Committed];
/// States of a result that all can see.
const SHOWN: [JobState; 2] = [JobState::Revealed, JobState::Disputed];

impl Market {
    pub(super) fn apply_to_job(&mut self, event: &MarketEvent, position: &EventPosition) -> Result<(), ApplyErrorKind> {
        match event {
            MarketEvent::JobSubmitted { .. } => self.submit(event, position),
            MarketEvent::ResultCommitted { job_id, attempt, commitment, .. } => {
                let group_id = self.release_worker(*job_id, *attempt, position)?.group_id;
                self.hold(*job_id)?;
                let job = self.job(*job_id)?;
                (job.state, job.commitment) = (JobState::Committed, Some(*commitment));
                job.attempt_deadline =
                    job.attempt_deadline.filter(|_| group_id.is_none()).map(|due| reveal_deadline(due, position));
                self.leave_pending(group_id, position);
                Ok(())
            }
            MarketEvent::ResultSubmitted { .. } => self.reveal(event, position),
            MarketEvent::ResultDisputed { job_id, bond, ends_at, ends_block, committee, .. } => {
                let worker_id = self.worker_of(*job_id, &[JobState::Revealed])?;
                self.hold(*job_id)?;
                let job = self.job(*job_id)?;
                let ends = (*ends_at, *ends_block);
                job.dispute = Some(Dispute { bond: *bond, ends, committee: *committee, is_right: None });
                (job.state, job.challenge_ends) = (JobState::Disputed, None);
                self.exclude_from_group(*committee, worker_id);
                Ok(())
            }
            MarketEvent::DisputeRuled { job_id, is_right, .. } => self.rule(*job_id, *is_right),
            MarketEvent::ResultRejected { job_id, cause, .. } => {
                self.job(*job_id)?.rejected = Some(*cause);
                Ok(())
            }
            MarketEvent::AttemptFailed { .. } => self.fail_attempt(event, position),
            MarketEvent::JobSettled { job_id, client, paid, refunded, .. } => {
                let worker_id = self.worker_of(*job_id, &SHOWN)?;
                let owner = self.worker(worker_id)?.owner;
                self.unhold(*job_id)?;
                let job = self.job(*job_id)?;
                job.challenge_ends = None;
                (job.state, job.paid, job.refunded) = (JobState::Settled, *paid, *refunded);
                self.give_credit(owner, *paid);
                self.give_credit(*client, *refunded);
                Ok(())
            }
            MarketEvent::JobCancelled { job_id, client, refunded } => {
                self.close(*job_id, &[JobState::Queued], JobState::Cancelled, *client, *refunded)
            }
            MarketEvent::JobExpired { job_id, client, refunded } => {
                self.close(*job_id, &[JobState::Queued], JobState::Expired, *client, *refunded)?;
                let group_id = self.job(*job_id)?.group_id;
                self.leave_pending(group_id, position);
                Ok(())
            }
            MarketEvent::JobFailed { job_id, client, refunded } => {
                let from = [RUNNING, SHOWN].concat();
                self.close(*job_id, &from, JobState::Failed, *client, *refunded)
            }
            _ => Ok(()),
        }
    }

    fn submit(&mut self, event: &MarketEvent, position: &EventPosition) -> Result<(), ApplyErrorKind> {
        let MarketEvent::JobSubmitted { job_id, client, spec, deadline_block, group_id } = event else {
            return Ok(());
        };
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
            queued_at: position.timestamp,
            submitted_block: position.block,
            worker_id: None,
            allocated_at: None,
            allocated_block: None,
            rate: None,
            score: None,
            strategy: None,
            attempt_deadline: None,
            group_id: *group_id,
            commitment: None,
            result_hash: None,
            challenge_ends: None,
            is_held: false,
            dispute: None,
            rejected: None,
            excluded: Vec::new(),
            paid: Fri::ZERO,
            refunded: Fri::ZERO,
            last_failure: None,
        };
        self.join_group(*group_id, job.spec.quorum);
        self.jobs.insert(*job_id, job);
        Ok(())
    }

    /// Every item of one event, or none.
    pub(super) fn allocate_all(
        &mut self,
        items: &[AllocationItem],
        position: &EventPosition,
    ) -> Result<(), ApplyErrorKind> {
        let before: Vec<_> = items.iter().map(|item| self.touched_by(item)).collect();
        for (done, item) in items.iter().enumerate() {
            let Err(error) = self.allocate(item, position) else { continue };
            for (job, usage, worker) in before.into_iter().take(done).rev() {
                if let Some(job) = job {
                    match usage {
                        Some(usage) => _ = self.usage.insert(job.client, usage),
                        None => _ = self.usage.remove(&job.client),
                    }
                    self.jobs.insert(job.job_id, job);
                }
                if let Some(worker) = worker {
                    self.workers.insert(worker.worker_id, worker);
                }
            }
            return Err(error);
        }
        for item in items {
            let group_id = self.job(item.job_id)?.group_id;
            self.exclude_from_group(group_id, item.worker_id);
        }
        self.turns.give(items);
        Ok(())
    }

    /// What allocating an item changes, as it is now.
    fn touched_by(&self, item: &AllocationItem) -> (Option<Job>, Option<Usage>, Option<Worker>) {
        let job = self.jobs.get(&item.job_id).cloned();
        let usage = job.as_ref().and_then(|job| self.usage.get(&job.client)).copied();
        (job, usage, self.workers.get(&item.worker_id).cloned())
    }

    fn allocate(&mut self, item: &AllocationItem, position: &EventPosition) -> Result<(), ApplyErrorKind> {
        let AllocationItem { job_id, worker_id, attempt, strategy, score, rate } = *item;
        let job = self.job_in(job_id, &[JobState::Queued])?;
        if job.attempt != attempt {
            return Err(ApplyErrorKind::Attempt { job_id, known: job.attempt, told: attempt });
        }
        let gpus = job.spec.requirements.gpu_count;
        let worker = self.worker(worker_id)?;
        if worker.free_slots() == 0 || worker.free_gpus() < gpus {
            return Err(ApplyErrorKind::OverCapacity(worker_id));
        }
        worker.used_slots += 1;
        worker.used_gpus += gpus;
        let job = self.job(job_id)?;
        let (client, units) = (job.client, job.spec.requirements.billed_units());
        job.state = JobState::Allocated;
        job.worker_id = Some(worker_id);
        (job.allocated_at, job.allocated_block) = (Some(position.timestamp), Some(position.block));
        (job.rate, job.score, job.strategy) = (Some(rate), Some(score), Some(strategy));
        job.attempt_deadline = Some(attempt_deadline(position, job.spec.execution_timeout_s));
        self.usage.get_or_default(client).hold(units, position.timestamp);
        Ok(())
    }

    fn reveal(&mut self, event: &MarketEvent, position: &EventPosition) -> Result<(), ApplyErrorKind> {
        let MarketEvent::ResultSubmitted {
            job_id, attempt, result_hash, challenge_ends_at, challenge_ends_block, ..
        } = event
        else {
            return Ok(());
        };
        let job = self.job_in(*job_id, &RUNNING)?;
        if job.attempt != *attempt {
            return Err(ApplyErrorKind::Attempt { job_id: *job_id, known: job.attempt, told: *attempt });
        }
        if job.state == JobState::Allocated {
            self.release_worker(*job_id, *attempt, position)?;
        }
        let job = self.job(*job_id)?;
        (job.state, job.result_hash, job.attempt_deadline) = (JobState::Revealed, Some(*result_hash), None);
        // The result of a replica waits for its group, not for a window of its own.
        job.challenge_ends = job.group_id.is_none().then_some((*challenge_ends_at, *challenge_ends_block));
        Ok(())
    }

    fn fail_attempt(&mut self, event: &MarketEvent, position: &EventPosition) -> Result<(), ApplyErrorKind> {
        let MarketEvent::AttemptFailed { job_id, worker_id, attempt, reason, requeued, .. } = event else {
            return Ok(());
        };
        let job = self.job_in(*job_id, &RUNNING)?;
        let was_running = job.state == JobState::Allocated;
        if job.attempt != *attempt {
            return Err(ApplyErrorKind::Attempt { job_id: *job_id, known: job.attempt, told: *attempt });
        }
        if was_running {
            self.release_worker(*job_id, *attempt, position)?;
        }
        self.unhold(*job_id)?;
        let job = self.job(*job_id)?;
        job.excluded.push(*worker_id);
        (job.last_failure, job.attempt_deadline, job.commitment) = (Some(*reason), None, None);
        let group_id = job.group_id;
        // A job that is not queued again is closed by the JobFailed that follows.
        if *requeued {
            job.state = JobState::Queued;
            job.attempt = Attempt(attempt.0.saturating_add(1));
            job.queued_at = position.timestamp;
            (job.rate, job.score, job.strategy) = (None, None, None);
            (job.allocated_at, job.allocated_block, job.worker_id) = (None, None, None);
        } else if was_running {
            self.leave_pending(group_id, position);
        }
        Ok(())
    }

    /// The bond of a dispute without a committee goes to whom the ruling favours.
    fn rule(&mut self, job_id: JobId, is_right: bool) -> Result<(), ApplyErrorKind> {
        let job = self.job(job_id)?;
        let (client, worker_id) = (job.client, job.worker_id);
        let dispute = job.dispute.as_mut().ok_or(ApplyErrorKind::NoDispute(job_id))?;
        dispute.is_right = Some(is_right);
        let bond = if dispute.committee.is_none() { dispute.bond } else { Fri::ZERO };
        let owner = match worker_id {
            Some(worker_id) => self.worker(worker_id)?.owner,
            None => return Err(ApplyErrorKind::NoWorker(job_id)),
        };
        self.give_credit(if is_right { owner } else { client }, bond);
        Ok(())
    }

    /// Frees what the job's attempt holds on its worker.
    fn release_worker(
        &mut self,
        job_id: JobId,
        attempt: Attempt,
        position: &EventPosition,
    ) -> Result<&Job, ApplyErrorKind> {
        let job = self.job_in(job_id, &[JobState::Allocated])?;
        if job.attempt != attempt {
            return Err(ApplyErrorKind::Attempt { job_id, known: job.attempt, told: attempt });
        }
        let gpus = job.spec.requirements.gpu_count;
        let (client, units, worker_id) = (job.client, job.spec.requirements.billed_units(), job.worker_id);
        self.usage.get_or_default(client).release(units, position.timestamp);
        if let Some(worker_id) = worker_id {
            let worker = self.worker(worker_id)?;
            worker.used_slots = worker.used_slots.saturating_sub(1);
            worker.used_gpus = worker.used_gpus.saturating_sub(gpus);
        }
        self.job(job_id).map(|job| &*job)
    }

    fn hold(&mut self, job_id: JobId) -> Result<(), ApplyErrorKind> {
        let job = self.job(job_id)?;
        let was_held = std::mem::replace(&mut job.is_held, true);
        if let (false, Some(worker_id)) = (was_held, job.worker_id) {
            let worker = self.worker(worker_id)?;
            worker.holds = worker.holds.saturating_add(1);
        }
        Ok(())
    }

    fn unhold(&mut self, job_id: JobId) -> Result<(), ApplyErrorKind> {
        let job = self.job(job_id)?;
        let was_held = std::mem::replace(&mut job.is_held, false);
        if let (true, Some(worker_id)) = (was_held, job.worker_id) {
            let worker = self.worker(worker_id)?;
            worker.holds = worker.holds.saturating_sub(1);
        }
        Ok(())
    }

    fn worker_of(&mut self, job_id: JobId, expected: &[JobState]) -> Result<WorkerId, ApplyErrorKind> {
        self.job_in(job_id, expected)?.worker_id.ok_or(ApplyErrorKind::NoWorker(job_id))
    }

    fn close(
        &mut self,
        job_id: JobId,
        from: &[JobState],
        to: JobState,
        client: Address,
        refunded: Fri,
    ) -> Result<(), ApplyErrorKind> {
        self.job_in(job_id, from)?;
        self.unhold(job_id)?;
        let job = self.job(job_id)?;
        (job.state, job.refunded, job.challenge_ends) = (to, refunded, None);
        self.give_credit(client, refunded);
        Ok(())
    }
}

/// When a result must be shown that was committed to at `position`, where it was due at `due`: the whole window after
/// whichever is later, of the timestamp and of the block each for itself.
fn reveal_deadline((at, block): (u64, BlockNumber), position: &EventPosition) -> (u64, BlockNumber) {
    let (at, block) = (at.max(position.timestamp), block.max(position.block));
    (at + REVEAL_WINDOW_S, BlockNumber(block.0 + REVEAL_WINDOW_S.div_ceil(SECONDS_PER_BLOCK)))
}

/// When the result of an attempt is due that was allocated at `position`: the contracts count the execution timeout
/// and a minute for the transaction, and a block for each ten seconds.
fn attempt_deadline(position: &EventPosition, execution_timeout_s: u32) -> (u64, BlockNumber) {
    let seconds = u64::from(execution_timeout_s) + ATTEMPT_GRACE_S;
    (position.timestamp + seconds, BlockNumber(position.block.0 + seconds.div_ceil(SECONDS_PER_BLOCK)))
}
