//! Jobs: submitted, answered, paid for, or ended otherwise.

use std::sync::Arc;

use keeper_types::{Address, Attempt, BlockNumber, Felt, Fri, JobId, JobSpec, JobState, MarketEvent};

use super::{ChainJob, Contracts, Moment, Refusal};

/// Seconds in which a result may be disputed; the contracts have this as a parameter.
const CHALLENGE_WINDOW_S: u64 = 60;
/// Seconds that a worker has to show what it is committed to.
const REVEAL_WINDOW_S: u64 = 21_600;

impl Contracts {
    pub(super) fn submit(&mut self, now: Moment, client: Address, spec: &Arc<JobSpec>) -> Vec<MarketEvent> {
        let job_id = JobId(self.jobs.len() as u64 + 1);
        let deadline = now.after(spec.deadline.saturating_sub(now.timestamp));
        let job = ChainJob {
            client,
            spec: spec.clone(),
            state: JobState::Queued,
            attempt: Attempt(1),
            deadline: Moment { timestamp: spec.deadline, ..deadline },
            worker: None,
            rate: keeper_types::Rate(0),
            due: None,
            challenge_ends: None,
            excluded: std::collections::BTreeSet::new(),
        };
        self.paid_in += spec.max_price.0;
        self.jobs.insert(job_id, job);
        let (spec, deadline_block) = (Box::new((**spec).clone()), BlockNumber(deadline.block));
        vec![MarketEvent::JobSubmitted { job_id, client, spec, deadline_block, group_id: None }]
    }

    fn in_state(&mut self, job_id: JobId, states: &[JobState], refusal: Refusal) -> Result<&mut ChainJob, Refusal> {
        let job = self.jobs.get_mut(&job_id).ok_or("JobMgr: no such job")?;
        if states.contains(&job.state) { Ok(job) } else { Err(refusal) }
    }

    /// The attempt, which must be the caller's.
    fn attempt_of(
        &mut self,
        caller: Address,
        (job_id, attempt): (JobId, Attempt),
        state: JobState,
    ) -> Result<(), Refusal> {
        let job = self.in_state(job_id, &[state], "JobMgr: not allocated")?;
        let (known, worker) = (job.attempt, job.worker);
        let owner = worker.and_then(|worker| self.workers.get(&worker)).map(|worker| worker.owner);
        match (known == attempt, owner == Some(caller)) {
            (false, _) => Err("JobMgr: wrong attempt"),
            (_, false) => Err("JobMgr: caller not owner"),
            _ => Ok(()),
        }
    }

    /// Its worker has its slot and GPUs back.
    fn release(&mut self, job_id: JobId) {
        let Some(job) = self.jobs.get(&job_id) else { return };
        let gpus = job.spec.requirements.gpu_count;
        if let Some(worker) = job.worker.and_then(|worker| self.workers.get_mut(&worker)) {
            worker.used_slots = worker.used_slots.saturating_sub(1);
            worker.used_gpus = worker.used_gpus.saturating_sub(gpus);
        }
    }

    pub(super) fn cancel(&mut self, caller: Address, job_id: JobId) -> Result<Vec<MarketEvent>, Refusal> {
        let job = self.in_state(job_id, &[JobState::Queued], "JobMgr: not queued")?;
        if job.client != caller {
            return Err("JobMgr: caller not client");
        }
        let (client, refunded) = self.refund(job_id, JobState::Cancelled);
        Ok(vec![MarketEvent::JobCancelled { job_id, client, refunded }])
    }

    pub(super) fn expire_job(&mut self, now: Moment, job_id: JobId) -> Result<Vec<MarketEvent>, Refusal> {
        let job = self.in_state(job_id, &[JobState::Queued], "JobMgr: not queued")?;
        if !job.deadline.has_passed(now) {
            return Err("JobMgr: deadline not passed");
        }
        let (client, refunded) = self.refund(job_id, JobState::Expired);
        Ok(vec![MarketEvent::JobExpired { job_id, client, refunded }])
    }

    fn refund(&mut self, job_id: JobId, state: JobState) -> (Address, Fri) {
        let Some(job) = self.jobs.get_mut(&job_id) else { return (Address(Felt::ZERO), Fri::ZERO) };
        job.state = state;
        let (client, refunded) = (job.client, job.spec.max_price);
        self.credit(client, refunded);
        (client, refunded)
    }

    pub(super) fn submit_result(
        &mut self,
        now: Moment,
        caller: Address,
        of: (JobId, Attempt),
    ) -> Result<Vec<MarketEvent>, Refusal> {
        self.attempt_of(caller, of, JobState::Allocated)?;
        self.release(of.0);
        Ok(self.show(now, of))
    }

    pub(super) fn reveal(
        &mut self,
        now: Moment,
        caller: Address,
        of: (JobId, Attempt),
    ) -> Result<Vec<MarketEvent>, Refusal> {
        self.attempt_of(caller, of, JobState::Committed)?;
        Ok(self.show(now, of))
    }

    fn show(&mut self, now: Moment, (job_id, attempt): (JobId, Attempt)) -> Vec<MarketEvent> {
        let ends = now.after(CHALLENGE_WINDOW_S);
        let Some(job) = self.jobs.get_mut(&job_id) else { return Vec::new() };
        (job.state, job.challenge_ends, job.due) = (JobState::Revealed, Some(ends), None);
        let Some(worker_id) = job.worker else { return Vec::new() };
        let result_hash = Felt::from(job_id.0 << 8 | u64::from(attempt.0));
        let (challenge_ends_at, challenge_ends_block) = (ends.timestamp, BlockNumber(ends.block));
        vec![MarketEvent::ResultSubmitted {
            job_id,
            worker_id,
            attempt,
            result_hash,
            challenge_ends_at,
            challenge_ends_block,
        }]
    }

    pub(super) fn commit(
        &mut self,
        now: Moment,
        caller: Address,
        (job_id, attempt): (JobId, Attempt),
    ) -> Result<Vec<MarketEvent>, Refusal> {
        self.attempt_of(caller, (job_id, attempt), JobState::Allocated)?;
        self.release(job_id);
        let job = self.in_state(job_id, &[JobState::Allocated], "JobMgr: not allocated")?;
        job.state = JobState::Committed;
        let due = job.due.unwrap_or(now);
        let later = Moment { timestamp: due.timestamp.max(now.timestamp), block: due.block.max(now.block) };
        job.due = Some(later.after(REVEAL_WINDOW_S));
        let worker_id = job.worker.ok_or("JobMgr: no worker")?;
        Ok(vec![MarketEvent::ResultCommitted { job_id, worker_id, attempt, commitment: Felt::ONE }])
    }

    pub(super) fn fail(&mut self, caller: Address, of: (JobId, Attempt)) -> Result<Vec<MarketEvent>, Refusal> {
        self.attempt_of(caller, of, JobState::Allocated)?;
        Ok(self.end_attempt(of.0, false))
    }

    pub(super) fn expire_attempt(&mut self, now: Moment, job_id: JobId) -> Result<Vec<MarketEvent>, Refusal> {
        let job = self.in_state(job_id, &[JobState::Allocated, JobState::Committed], "JobMgr: not allocated")?;
        if !job.due.is_some_and(|due| due.has_passed(now)) {
            return Err("JobMgr: deadline not passed");
        }
        Ok(self.end_attempt(job_id, true))
    }

    fn end_attempt(&mut self, job_id: JobId, expired: bool) -> Vec<MarketEvent> {
        if self.jobs.get(&job_id).is_some_and(|job| job.state == JobState::Allocated) {
            self.release(job_id);
        }
        let Some(job) = self.jobs.get_mut(&job_id) else { return Vec::new() };
        let (attempt, Some(worker_id)) = (job.attempt, job.worker) else { return Vec::new() };
        let requeued = attempt.0 < job.spec.max_attempts;
        job.excluded.insert(worker_id);
        job.due = None;
        if requeued {
            (job.state, job.worker, job.attempt) = (JobState::Queued, None, Attempt(attempt.0 + 1));
        }
        let reason = Felt::ZERO;
        let mut events = vec![MarketEvent::AttemptFailed { job_id, worker_id, attempt, expired, reason, requeued }];
        if !requeued {
            let (client, refunded) = self.refund(job_id, JobState::Failed);
            events.push(MarketEvent::JobFailed { job_id, client, refunded });
        }
        events.extend(self.rate_worker(worker_id, if expired { -60 } else { -25 }));
        events
    }

    pub(super) fn accept(&mut self, caller: Address, job_id: JobId) -> Result<Vec<MarketEvent>, Refusal> {
        let job = self.in_state(job_id, &[JobState::Revealed], "JobMgr: not revealed")?;
        if job.client != caller {
            return Err("JobMgr: caller not client");
        }
        Ok(self.pay(job_id))
    }

    pub(super) fn settle(&mut self, now: Moment, job_id: JobId) -> Result<Vec<MarketEvent>, Refusal> {
        let job = self.in_state(job_id, &[JobState::Revealed], "JobMgr: not revealed")?;
        if !job.challenge_ends.is_some_and(|ends| ends.has_passed(now)) {
            return Err("JobMgr: window open");
        }
        Ok(self.pay(job_id))
    }

    fn pay(&mut self, job_id: JobId) -> Vec<MarketEvent> {
        let Some(job) = self.jobs.get_mut(&job_id) else { return Vec::new() };
        let Some(worker_id) = job.worker else { return Vec::new() };
        job.state = JobState::Settled;
        let (client, spec) = (job.client, job.spec.clone());
        let paid = job.rate.cost(spec.requirements.billed_units(), spec.execution_timeout_s);
        let refunded = Fri(spec.max_price.0.saturating_sub(paid.0));
        let owner = self.workers.get(&worker_id).map(|worker| worker.owner);
        if let Some(owner) = owner {
            self.credit(owner, paid);
        }
        self.credit(client, refunded);
        let mut events = vec![MarketEvent::JobSettled { job_id, worker_id, client, paid, refunded }];
        events.extend(self.rate_worker(worker_id, 10));
        events
    }
}
