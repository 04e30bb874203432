//! How jobs end: paid, rejected, or with all the money back.

use keeper_types::{Felt, JobId, JobState};

use super::{
    Answered, Model, ensure,
    job_mgr::{NOT_QUEUED, NOT_REVEALED},
    outcomes::{Fault, Outcome},
};
use crate::actors::Contract;

/// The verification by which the referee decides.
const MATMUL: u8 = 2;

/// Why a result was rejected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cause {
    Outlier = 1,
    NoQuorum = 2,
    RuledWrong = 3,
}

impl Model {
    pub(super) fn expire_job(&mut self, job_id: JobId) -> Answered {
        let job = self.in_state(job_id, &[JobState::Queued], NOT_QUEUED)?;
        ensure(job.deadline.has_passed(self.now), "JobMgr: deadline not passed")?;
        self.refund(job_id, JobState::Expired, "JobExpired")
    }

    pub(super) fn settle(&mut self, job_id: JobId) -> Answered {
        let job = self.in_state(job_id, &[JobState::Revealed], NOT_REVEALED)?;
        if job.group == 0 {
            let ends = job.challenge_ends.expect("a result opens the window");
            ensure(ends.has_passed(self.now), "JobMgr: challenge window open")?;
            return self.pay_worker(job_id);
        }
        let group = job.group;
        match self.job_mgr.groups[&group].winner {
            Some(winner) if winner == job.result_hash => self.pay_worker(job_id),
            Some(_) => self.reject(job_id, Cause::Outlier),
            None => {
                ensure(self.job_mgr.groups[&group].is_closed(self.now), "JobMgr: group open")?;
                self.give_up_on(group);
                self.reject(job_id, Cause::NoQuorum)
            }
        }
    }

    /// Ends a queued job with all its money back to the client.
    pub(super) fn refund(&mut self, job_id: JobId, state: JobState, event: &'static str) -> Answered {
        let job = self.job_mut(job_id)?;
        job.state = state;
        let (client, amount) = (job.client, job.spec.max_price);
        self.credit(client, amount);
        self.has_left_the_pending(job_id);
        self.report_refund(job_id, event);
        Ok(Vec::new())
    }

    pub(super) fn report_refund(&mut self, job_id: JobId, event: &'static str) {
        let job = self.job(job_id).expect("it was found before");
        let fields = vec![("job_id", job_id.0.into()), ("client", job.client), ("refunded", job.spec.max_price.into())];
        self.emit(Contract::JobMgr, event, fields);
    }

    pub(super) fn pay_worker(&mut self, job_id: JobId) -> Answered {
        let job = self.job_mut(job_id)?;
        job.state = JobState::Settled;
        job.is_held = false;
        let (client, worker_id, paid) = (job.client, job.worker_id(), job.price());
        let refunded = job.spec.max_price - paid;
        self.record_outcome(worker_id, Outcome::Settled);
        let owner = self.owner_of(worker_id);
        self.credit(owner, paid);
        self.credit(client, refunded);
        let fields = vec![
            ("job_id", job_id.0.into()),
            ("worker_id", worker_id.into()),
            ("client", client),
            ("paid", paid.into()),
            ("refunded", refunded.into()),
        ];
        self.emit(Contract::JobMgr, "JobSettled", fields);
        Ok(Vec::new())
    }

    /// Ends a job whose result is not paid for.
    pub(super) fn reject(&mut self, job_id: JobId, cause: Cause) -> Answered {
        let job = self.job_mut(job_id)?;
        job.state = JobState::Failed;
        job.is_held = false;
        let (client, worker_id, price, amount) = (job.client, job.worker_id(), job.price(), job.spec.max_price);
        // By votes alone nobody gains.
        let gainer = if job.spec.verification == MATMUL { client } else { Felt::ZERO };
        self.credit(client, amount);
        if cause != Cause::NoQuorum {
            self.record_fault(worker_id, Fault::Wrong, 10 * price, gainer, gainer)?;
        }
        let cause = Felt::from(cause as u8);
        let fields = vec![("job_id", job_id.0.into()), ("worker_id", worker_id.into()), ("cause", cause)];
        self.emit(Contract::JobMgr, "ResultRejected", fields);
        self.report_refund(job_id, "JobFailed");
        Ok(Vec::new())
    }
}
