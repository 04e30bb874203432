//! What workers answer, and what becomes of it.

use keeper_types::{Felt, JobId, JobState};

use super::{Generator, Theme, client_of, is_disputable, is_revealable, owner_of};
use crate::{
    actors::{Actor, felt_of},
    calls::Call,
    model::{Job, Model},
};

/// The verification by which a committee runs a disputed job again.
pub(super) const RERUN: u8 = 1;

/// The result of a job that is run as it should be.
fn honest(job: &Job) -> Felt {
    job.spec.manifest_hash + Felt::ONE
}

impl Generator {
    fn result_of(&mut self, job: Option<&Job>) -> Felt {
        let right = job.map_or(Felt::TWO, honest);
        let own = Felt::from(self.dice.next());
        // A committee convicts only where the first result is wrong and those of its members are right.
        let is_judged = job.is_some_and(|job| job.spec.verification == RERUN);
        if is_judged && self.dice.chance(if self.theme == Theme::Committees { 70 } else { 40 }) {
            return right + Felt::ONE;
        }
        if !is_judged && self.theme == Theme::Committees && self.dice.chance(85) {
            return right;
        }
        self.dice.weighted(&[(60, right), (16, right + Felt::ONE), (6, own), (1, Felt::ZERO), (1, Felt::MAX)])
    }

    /// A result, or a commitment to one: replicas are always committed to.
    pub(super) fn answer(&mut self, model: &Model) -> (Actor, Call) {
        let (job_id, job) = self.job_in(model, JobState::Allocated);
        let caller = owner_of(model, job);
        let attempt = self.attempt_of(job);
        let result_hash = self.result_of(job);
        let is_replica = job.is_some_and(|job| job.group != 0);
        if self.dice.chance(if is_replica { 4 } else { 60 }) {
            return (caller, Call::SubmitResult { job_id, attempt, result_hash });
        }
        let salt = Felt::from(self.dice.next());
        self.secrets.insert((job_id.0, attempt.0), (result_hash, salt));
        let own = Model::commitment(job_id.0, attempt.0, caller.address(), result_hash, salt);
        let others: Vec<Felt> =
            model.job_mgr.jobs.iter().map(|job| job.commitment).filter(|felt| *felt != Felt::ZERO).collect();
        let copied = self.dice.pick_any(&others).unwrap_or(own);
        let commitment = self.dice.weighted(&[(40, own), (2, copied), (1, Felt::ZERO), (1, result_hash)]);
        (caller, Call::CommitResult { job_id, attempt, commitment })
    }

    pub(super) fn reveal(&mut self, model: &Model) -> (Actor, Call) {
        let (job_id, job) = if self.dice.chance(93) {
            self.job_where(model, |job| job.state == JobState::Committed && is_revealable(model, job))
        } else {
            self.job_in(model, JobState::Committed)
        };
        let attempt = self.attempt_of(job);
        let known = job.and_then(|job| self.secrets.get(&(job_id.0, job.attempt))).copied();
        let (result_hash, salt) = known.unwrap_or((job.map_or(Felt::ONE, honest), Felt::ONE));
        let other = self.result_of(job);
        let result_hash = self.dice.weighted(&[(30, result_hash), (1, other)]);
        let salt = self.dice.weighted(&[(30, salt), (1, Felt::ZERO)]);
        (owner_of(model, job), Call::RevealResult { job_id, attempt, result_hash, salt })
    }

    pub(super) fn give_up(&mut self, model: &Model) -> (Actor, Call) {
        let (job_id, job) = self.job_in(model, JobState::Allocated);
        let attempt = self.attempt_of(job);
        let reason = self.dice.pick(&[Felt::ZERO, felt_of("out of memory")]);
        (owner_of(model, job), Call::FailAttempt { job_id, attempt, reason })
    }

    /// Mostly of a result that can be disputed.
    pub(super) fn dispute(&mut self, model: &Model) -> (Actor, Call) {
        let (job_id, job) = if self.dice.chance(90) {
            self.job_where(model, |job| is_disputable(model, job))
        } else {
            self.job_in(model, JobState::Revealed)
        };
        (client_of(job), Call::DisputeResult(job_id))
    }

    pub(super) fn rule(&mut self, model: &Model) -> (Actor, Call) {
        let (job_id, job) = self.job_in(model, JobState::Disputed);
        let is_right = job.is_some_and(|job| job.result_hash == honest(job));
        let is_right = is_right != self.dice.chance(10);
        let anyone = self.dice.pick(&Actor::ALL);
        self.dice.weighted(&[
            (4, (Actor::Referee, Call::RuleDispute { job_id, is_right })),
            (4, (anyone, Call::SettleDispute(job_id))),
        ])
    }

    /// A deadline's exit, by anyone, whether it is time or not.
    pub(super) fn exit(&mut self, model: &Model) -> (Actor, Call) {
        let states =
            [JobState::Queued, JobState::Allocated, JobState::Committed, JobState::Revealed, JobState::Revealed];
        let state = self.dice.pick(&states);
        // Of revealed ones mostly those whose group has decided.
        let has_winner = |job: &Job| model.job_mgr.groups.get(&job.group).is_some_and(|group| group.winner.is_some());
        let (job_id, _) = if state == JobState::Revealed && self.dice.chance(60) {
            self.job_where(model, |job| job.state == state && has_winner(job))
        } else {
            self.job_in(model, state)
        };
        let right = match state {
            JobState::Queued => Call::ExpireJob(job_id),
            JobState::Allocated | JobState::Committed => Call::ExpireAttempt(job_id),
            _ => Call::Settle(job_id),
        };
        let any = self.dice.pick(&[
            Call::ExpireJob(job_id),
            Call::ExpireAttempt(job_id),
            Call::Settle(job_id),
            Call::SettleDispute(job_id),
        ]);
        (self.dice.pick(&Actor::ALL), self.dice.weighted(&[(8, right), (1, any)]))
    }

    /// A job that the caller's own worker may take, while no keeper is at work.
    pub(super) fn claim(&mut self, model: &Model) -> (Actor, Call) {
        let (job_id, job) = if self.dice.chance(80) {
            self.job_where(model, |job| job.state == JobState::Queued && job.group == 0)
        } else {
            self.job_in(model, JobState::Queued)
        };
        let fitting = self.fitting_workers(model, job_id, job);
        let any = self.worker_id(model);
        let worker_id = self.dice.pick_any(&fitting).unwrap_or(any);
        let owner = model.worker(worker_id).and_then(|worker| Actor::of_address(worker.owner));
        (owner.unwrap_or(Actor::Worker1), Call::ClaimJob(job_id))
    }

    /// Mostly for somebody who is owed something.
    pub(super) fn withdraw(&mut self, model: &Model) -> (Actor, Call) {
        let owed: Vec<Actor> = Actor::ALL.into_iter().filter(|actor| model.credit_of(actor.address()) > 0).collect();
        let any = self.dice.pick(&Actor::ALL);
        let account = self.dice.pick_any(&owed).unwrap_or(any);
        let account = self.dice.weighted(&[(8, account), (1, any)]);
        (self.dice.pick(&Actor::ALL), Call::Withdraw(account.address()))
    }

    /// The job's id, whatever becomes of it.
    pub(super) fn queued_job(&mut self, model: &Model) -> JobId {
        self.job_in(model, JobState::Queued).0
    }
}
