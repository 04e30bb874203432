//! Disputes about results: the referee rules, or a committee that runs the job again.

use keeper_types::{Felt, JobId, JobState};

use super::{
    Answered, Model, Refusal,
    endings::Cause,
    ensure,
    groups::REVEAL_WINDOW_S,
    job_mgr::{IS_REPLICA, NOT_REVEALED},
};
use crate::{
    actors::Contract,
    calls::{JobSpec, Moment},
};

const NOT_DISPUTED: Refusal = "JobMgr: not disputed";
/// The least bond where the referee rules, in fri.
const MIN_BOND: u128 = 50_000_000_000_000_000_000;
/// How a disputed result is verified.
const RERUN: u8 = 1;
const COMMITTEE: u8 = 3;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Dispute {
    /// Fri that the client put up; of a committee, its escrow.
    pub(crate) bond: u128,
    /// When it is decided by default.
    pub(crate) ends: Moment,
    /// The group that judges; 0 where the referee does.
    pub(crate) committee: u64,
}

impl Model {
    pub(super) fn dispute_result(&mut self, caller: Felt, job_id: JobId) -> Answered {
        self.of_client(caller, job_id)?;
        let job = self.in_state(job_id, &[JobState::Revealed], NOT_REVEALED)?;
        ensure(job.group == 0, IS_REPLICA)?;
        ensure(job.spec.verification != 0, "JobMgr: not disputable")?;
        let is_late = job.challenge_ends.is_none_or(|ends| ends.has_passed(self.now));
        ensure(!is_late, "JobMgr: challenge window passed")?;
        let (spec, worker_id, price) = (job.spec, job.worker_id(), job.price());
        let has_committee = spec.verification == RERUN;
        ensure(has_committee || self.job_mgr.referee != Felt::ZERO, "JobMgr: no referee")?;

        let window = self.terms.dispute_window_s;
        let dispute = if has_committee {
            let rerun_s = 2 * window + 3 * u64::from(spec.execution_timeout_s) + REVEAL_WINDOW_S + 3_600;
            let committee = self.summon(caller, &spec, worker_id);
            Dispute { bond: spec.max_price * u128::from(COMMITTEE), ends: self.now.after(rerun_s), committee }
        } else {
            Dispute { bond: price.max(MIN_BOND), ends: self.now.after(window), committee: 0 }
        };
        self.job_mgr.disputes.insert(job_id.0, dispute);
        let job = self.job_mut(job_id)?;
        job.state = JobState::Disputed;
        job.is_held = true;
        self.charge(caller, dispute.bond)?;
        if has_committee {
            self.report_submission(dispute.committee);
        }
        let fields = vec![
            ("job_id", job_id.0.into()),
            ("client", caller),
            ("bond", dispute.bond.into()),
            ("ends_at", dispute.ends.timestamp.into()),
            ("ends_block", dispute.ends.block.into()),
            ("committee", dispute.committee.into()),
        ];
        self.emit(Contract::JobMgr, "ResultDisputed", fields);
        Ok(Vec::new())
    }

    /// Queues the replicas that judge a result, without the worker that it is of.
    fn summon(&mut self, client: Felt, disputed: &JobSpec, worker_id: u32) -> u64 {
        let spec = JobSpec {
            deadline: self.now.timestamp + self.terms.dispute_window_s,
            max_attempts: 3,
            verification: 0,
            replicas: COMMITTEE,
            quorum: 2,
            ..*disputed
        };
        let committee = self.queue(client, &spec, true);
        self.job_mgr.excluded.insert((committee, worker_id));
        committee
    }

    pub(super) fn settle_dispute(&mut self, job_id: JobId) -> Answered {
        let job = self.in_state(job_id, &[JobState::Disputed], NOT_DISPUTED)?;
        let dispute = self.job_mgr.disputes[&job_id.0];
        let has_ended = dispute.ends.has_passed(self.now);
        if dispute.committee == 0 {
            ensure(has_ended, "JobMgr: dispute open")?;
            return self.rule(job_id, false, true);
        }
        let committee = &self.job_mgr.groups[&dispute.committee];
        if let Some(winner) = committee.winner {
            return self.rule(job_id, winner == job.result_hash, false);
        }
        ensure(has_ended || committee.is_closed(self.now), "JobMgr: dispute open")?;
        self.rule(job_id, true, true)
    }

    pub(super) fn rule_dispute(&mut self, caller: Felt, job_id: JobId, is_right: bool) -> Answered {
        ensure(caller == self.job_mgr.referee, "JobMgr: caller not referee")?;
        self.in_state(job_id, &[JobState::Disputed], NOT_DISPUTED)?;
        ensure(self.job_mgr.disputes[&job_id.0].committee == 0, NOT_DISPUTED)?;
        self.rule(job_id, is_right, false)
    }

    fn rule(&mut self, job_id: JobId, is_right: bool, by_default: bool) -> Answered {
        let dispute = self.job_mgr.disputes[&job_id.0];
        let job = self.job(job_id).expect("it was found before");
        let (client, worker_id) = (job.client, job.worker_id());
        let fields = vec![
            ("job_id", job_id.0.into()),
            ("worker_id", worker_id.into()),
            ("is_right", is_right.into()),
            ("by_default", by_default.into()),
        ];
        self.emit(Contract::JobMgr, "DisputeRuled", fields);
        if dispute.committee == 0 {
            let receiver = if is_right { self.owner_of(worker_id) } else { client };
            self.credit(receiver, dispute.bond);
        }
        if is_right { self.pay_worker(job_id) } else { self.reject(job_id, Cause::RuledWrong) }
    }
}
