//! What a worker's owner answers: a result at once, or a commitment and then what it was to.

use keeper_types::{Attempt, Felt, JobId, JobState};
use starknet_types_core::hash::{Poseidon, StarkHash as _};

use super::{Answered, Model, Refusal, ensure, groups::REVEAL_WINDOW_S, job_mgr::IS_REPLICA};
use crate::{
    actors::{Contract, felt_of},
    chain::CHAIN_ID,
};

const NOT_ALLOCATED: Refusal = "JobMgr: not allocated";
const WRONG_ATTEMPT: Refusal = "JobMgr: wrong attempt";
const ZERO_RESULT: Refusal = "JobMgr: zero result hash";

/// The id of the chain that calls are executed on.
fn chain_id() -> Felt {
    felt_of(CHAIN_ID)
}

impl Model {
    /// What an owner commits to a result with.
    pub(crate) fn commitment(job_id: u64, attempt: u8, owner: Felt, result_hash: Felt, salt: Felt) -> Felt {
        Poseidon::hash_array(&[
            felt_of("ciro-commit-v1"),
            chain_id(),
            Contract::JobMgr.address(),
            job_id.into(),
            attempt.into(),
            owner,
            result_hash,
            salt,
        ])
    }

    pub(super) fn submit_result(
        &mut self,
        caller: Felt,
        job_id: JobId,
        attempt: Attempt,
        result_hash: Felt,
    ) -> Answered {
        let job = self.in_state(job_id, &[JobState::Allocated], NOT_ALLOCATED)?;
        ensure(job.attempt == attempt.0, WRONG_ATTEMPT)?;
        ensure(job.group == 0, IS_REPLICA)?;
        let worker_id = job.worker_id();
        self.only_owner(caller, worker_id)?;
        ensure(result_hash != Felt::ZERO, ZERO_RESULT)?;
        self.job_mut(job_id)?.state = JobState::Revealed;
        self.put_off_exit(worker_id);
        self.take_result(job_id, result_hash);
        Ok(Vec::new())
    }

    pub(super) fn commit_result(
        &mut self,
        caller: Felt,
        job_id: JobId,
        attempt: Attempt,
        commitment: Felt,
    ) -> Answered {
        let worker_id = self.attempt_of(caller, job_id, attempt)?;
        ensure(commitment != Felt::ZERO, "JobMgr: zero commitment")?;
        let now = self.now;
        let job = self.job_mut(job_id)?;
        job.state = JobState::Committed;
        let begins = job.placement.filter(|_| job.group == 0).map(|placement| placement.due.later(now));
        job.reveal_due = begins.map(|begins| begins.after(REVEAL_WINDOW_S));
        job.commitment = commitment;
        job.is_held = true;
        self.put_off_exit(worker_id);
        self.has_left_the_pending(job_id);
        let fields = vec![
            ("job_id", job_id.0.into()),
            ("worker_id", worker_id.into()),
            ("attempt", attempt.0.into()),
            ("commitment", commitment),
        ];
        self.emit(Contract::JobMgr, "ResultCommitted", fields);
        Ok(Vec::new())
    }

    pub(super) fn reveal_result(
        &mut self,
        caller: Felt,
        job_id: JobId,
        attempt: Attempt,
        result_hash: Felt,
        salt: Felt,
    ) -> Answered {
        let job = self.in_state(job_id, &[JobState::Committed], "JobMgr: not committed")?;
        ensure(job.attempt == attempt.0, WRONG_ATTEMPT)?;
        if job.group != 0 {
            ensure(self.job_mgr.groups[&job.group].takes_reveals(self.now), "JobMgr: reveals closed")?;
        }
        let commitment = Self::commitment(job_id.0, attempt.0, caller, result_hash, salt);
        ensure(commitment == job.commitment, "JobMgr: wrong reveal")?;
        ensure(result_hash != Felt::ZERO, ZERO_RESULT)?;
        self.job_mut(job_id)?.state = JobState::Revealed;
        self.take_result(job_id, result_hash);
        Ok(Vec::new())
    }

    /// Notes a result; of a job alone it can be challenged from now on, of a replica it is counted.
    fn take_result(&mut self, job_id: JobId, result_hash: Felt) {
        let ends = self.now.after(self.terms.challenge_window_s);
        let job = self.job_mut(job_id).expect("it was found before");
        job.result_hash = result_hash;
        job.challenge_ends = if job.group == 0 { Some(ends) } else { None };
        let (group, worker_id, attempt) = (job.group, job.worker_id(), job.attempt);
        let ends = job.challenge_ends.unwrap_or_default();
        let fields = vec![
            ("job_id", job_id.0.into()),
            ("worker_id", worker_id.into()),
            ("attempt", attempt.into()),
            ("result_hash", result_hash),
            ("challenge_ends_at", ends.timestamp.into()),
            ("challenge_ends_block", ends.block.into()),
        ];
        self.emit(Contract::JobMgr, "ResultSubmitted", fields);
        if group != 0 {
            self.count_result(group, result_hash);
        }
    }

    /// The worker of the job's running attempt, which the caller must own.
    pub(super) fn attempt_of(&self, caller: Felt, job_id: JobId, attempt: Attempt) -> Result<u32, Refusal> {
        let job = self.in_state(job_id, &[JobState::Allocated], NOT_ALLOCATED)?;
        ensure(job.attempt == attempt.0, WRONG_ATTEMPT)?;
        self.only_owner(caller, job.worker_id())?;
        Ok(job.worker_id())
    }

    fn only_owner(&self, caller: Felt, worker_id: u32) -> Result<(), Refusal> {
        let is_owner = self.worker(worker_id).is_some_and(|worker| worker.owner == caller);
        ensure(is_owner, "JobMgr: caller not the worker")
    }
}
