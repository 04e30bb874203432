//! Attempts that end without a result.

use keeper_types::{Attempt, Felt, JobId, JobState};

use super::{
    Answered, Job, Model, ensure,
    outcomes::{Fault, Outcome},
};
use crate::{actors::Contract, calls::Moment};

impl Model {
    pub(super) fn fail_attempt(&mut self, caller: Felt, job_id: JobId, attempt: Attempt, reason: Felt) -> Answered {
        let worker_id = self.attempt_of(caller, job_id, attempt)?;
        let ended = self.end_attempt(job_id);
        self.record_outcome(worker_id, Outcome::Failed);
        self.report_end(job_id, ended, false, reason)
    }

    pub(super) fn expire_attempt(&mut self, caller: Felt, job_id: JobId) -> Answered {
        let states = [JobState::Allocated, JobState::Committed];
        let job = self.in_state(job_id, &states, "JobMgr: not allocated")?;
        let due = self.answer_due(job);
        ensure(due.is_some_and(|due| due.has_passed(self.now)), "JobMgr: deadline not passed")?;
        let (worker_id, client) = (job.worker_id(), job.client);
        let penalty = 10 * job.price();
        let is_unrevealed = job.state == JobState::Committed;
        let ended = self.end_attempt(job_id);
        if is_unrevealed {
            self.record_fault(worker_id, Fault::Unrevealed, penalty, caller, client)?;
        } else {
            self.record_outcome(worker_id, Outcome::Expired);
        }
        self.report_end(job_id, ended, true, Felt::ZERO)
    }

    /// When the commitment, the result, or what was committed to is due; None while others are waited for.
    pub(crate) fn answer_due(&self, job: &Job) -> Option<Moment> {
        let due = job.placement?.due;
        match job.state {
            JobState::Committed if job.group != 0 => self.job_mgr.groups[&job.group].closes(),
            JobState::Committed => job.reveal_due,
            _ => Some(due),
        }
    }

    /// Queues the job again or, after its last attempt, ends it. Returns it as it was, and whether it is queued: what the
    /// token is armed for may come before the report, and end the job by its deadline.
    fn end_attempt(&mut self, job_id: JobId) -> (Job, bool) {
        let before = self.job(job_id).expect("it was found before").clone();
        self.job_mgr.excluded.insert((before.exclusion(job_id), before.worker_id()));
        let is_lost = before.group != 0 && before.state == JobState::Committed;
        let job = self.job_mut(job_id).expect("it was found before");
        job.is_held = false;
        (job.commitment, job.reveal_due) = (Felt::ZERO, None);
        let is_requeued = before.attempt < before.spec.max_attempts && !is_lost;
        if is_requeued {
            job.state = JobState::Queued;
            job.attempt += 1;
            job.placement = None;
        } else {
            job.state = JobState::Failed;
            let (client, amount) = (job.client, job.spec.max_price);
            self.credit(client, amount);
            self.has_left_the_pending(job_id);
        }
        (before, is_requeued)
    }

    fn report_end(
        &mut self,
        job_id: JobId,
        (ended, is_requeued): (Job, bool),
        is_expired: bool,
        reason: Felt,
    ) -> Answered {
        let fields = vec![
            ("job_id", job_id.0.into()),
            ("worker_id", ended.worker_id().into()),
            ("attempt", ended.attempt.into()),
            ("expired", is_expired.into()),
            ("reason", reason),
            ("requeued", is_requeued.into()),
        ];
        self.emit(Contract::JobMgr, "AttemptFailed", fields);
        if !is_requeued {
            self.report_refund(job_id, "JobFailed");
        }
        Ok(Vec::new())
    }
}
