//! The end of a sequence: nothing is stuck.

use keeper_types::{JobId, JobState, WorkerStatus};

use super::{Run, Violation};
use crate::{
    actors::{Actor, Contract},
    calls::{Call, Step, Trap},
    sight::state,
    views::View,
};

/// More than any deadline is ahead: the longest windows last two years, and a dispute waits for two of them.
const LATER_S: u64 = 150_000_000;

impl Run {
    /// Shows that nothing is stuck: once enough time and blocks have passed, an account without a part in it ends
    /// every job, and everybody gets its money back. Then the contracts hold nothing.
    pub(crate) fn close(&mut self) -> Result<(), Box<Violation>> {
        self.disarm()?;
        let mut last = self.end_jobs()?;
        self.pay_out(&mut last)?;
        let views = [View::often(&self.model), View::at_the_end(&self.model)].concat();
        self.look(&views).map_err(|what| self.violation(what.to_string(), &last))?;
        let held = Contract::HOLDERS.map(|contract| self.sight.held_by(contract));
        if held != [0, 0, 0, self.ledger.balances_of_contracts()] {
            let what = format!("1: after everything has ended the contracts hold {held:?} fri");
            return Err(self.violation(what, &last));
        }
        Ok(())
    }

    /// A trap that is still set is sprung by nobody's way out. Pauses stay: ways out do not ask for them.
    fn disarm(&mut self) -> Result<(), Box<Violation>> {
        if self.model.token.is_armed() {
            let call = Call::IsAlive(1);
            self.make_through(&step(Actor::Admin, Call::ArmToken(Trap::CallBack(Box::new(call)))))?;
        }
        Ok(())
    }

    /// Ends every job, and returns the last call of that.
    fn end_jobs(&mut self) -> Result<Step, Box<Violation>> {
        let mut step = step(Actor::Admin, Call::IsAlive(1));
        (step.after_s, step.after_blocks) = (LATER_S, LATER_S);
        self.make_through(&step)?;
        (step.after_s, step.after_blocks) = (0, 0);
        for job_id in 1..=self.sight.jobs.len() as u64 {
            // An attempt ends first, then the job that was queued again.
            for _ in 0..2 {
                let Some(job) = self.sight.job(job_id).filter(|job| !state::is_final(job.state)) else { break };
                let owner = self.sight.worker(job.worker_id).map(|worker| worker.owner);
                let is_outside = |actor: &Actor| actor.address() != job.client && Some(actor.address()) != owner;
                step.caller = Actor::ALL.into_iter().find(is_outside).unwrap_or(Actor::Admin);
                step.call = match job.state {
                    state::QUEUED => Call::ExpireJob(JobId(job_id)),
                    state::ALLOCATED | state::COMMITTED => Call::ExpireAttempt(JobId(job_id)),
                    state::DISPUTED => Call::SettleDispute(JobId(job_id)),
                    _ => Call::Settle(JobId(job_id)),
                };
                if self.waits_for_others(job_id) {
                    break;
                }
                self.make_through(&step)?;
            }
        }
        self.end_the_late(step)
    }

    /// Whether the job's end has to wait for the others of its group.
    fn waits_for_others(&self, job_id: u64) -> bool {
        let Some(job) = self.model.job(JobId(job_id)).filter(|job| job.group != 0) else { return false };
        let group = &self.model.job_mgr.groups[&job.group];
        let is_closed = group.closes().is_some_and(|closes| closes.has_passed(self.model.now));
        match job.state {
            JobState::Committed => !is_closed,
            JobState::Revealed => !is_closed && group.winner.is_none(),
            _ => false,
        }
    }

    /// What could only open once the others of its group had ended.
    fn end_the_late(&mut self, mut step: Step) -> Result<Step, Box<Violation>> {
        (step.after_s, step.after_blocks) = (LATER_S / 10, LATER_S / 10);
        for job_id in 1..=self.sight.jobs.len() as u64 {
            let Some(job) = self.sight.job(job_id).filter(|job| !state::is_final(job.state)) else { continue };
            step.call = match job.state {
                state::COMMITTED => Call::ExpireAttempt(JobId(job_id)),
                _ => Call::Settle(JobId(job_id)),
            };
            self.make_through(&step)?;
            (step.after_s, step.after_blocks) = (0, 0);
        }
        Ok(step)
    }

    /// Stakes, bonds, balances and credits go back to whose they are.
    fn pay_out(&mut self, last: &mut Step) -> Result<(), Box<Violation>> {
        for owner in Actor::ALL {
            let address = owner.address();
            let worker = self.model.cdc_pool.worker_of.get(&address).and_then(|id| self.model.worker(*id));
            let status = worker.map_or(WorkerStatus::Exited, |worker| worker.status);
            if matches!(status, WorkerStatus::Active | WorkerStatus::Draining) {
                self.make_through(&step(owner, Call::ExitWorker))?;
            }
            if self.model.keeper(address).is_admitted && self.ledger.bond_of(address) > 0 {
                self.make_through(&step(owner, Call::Leave))?;
            }
        }
        (last.after_s, last.after_blocks) = (LATER_S, LATER_S);
        for owner in Actor::ALL {
            let address = owner.address();
            last.caller = owner;
            let worker = self.model.cdc_pool.worker_of.get(&address).and_then(|id| self.model.worker(*id));
            let mut calls = Vec::new();
            if worker.is_some_and(|worker| worker.status == WorkerStatus::Exiting) {
                calls.push(Call::WithdrawStake);
            }
            if self.ledger.bond_of(address) > 0 {
                calls.push(Call::WithdrawBond);
            }
            let balance = self.ledger.balance_of(address);
            if balance > 0 {
                calls.push(Call::WithdrawBalance(balance));
            }
            for call in calls {
                last.call = call;
                self.make_through(last)?;
                (last.after_s, last.after_blocks) = (0, 0);
            }
        }
        for account in self.ledger.creditors() {
            last.call = Call::Withdraw(account);
            self.make_through(last)?;
        }
        Ok(())
    }

    /// Makes a call that must not be refused.
    pub(crate) fn make_through(&mut self, step: &Step) -> Result<(), Box<Violation>> {
        match self.make(step)?.result {
            Ok(_) => Ok(()),
            Err(refusal) => {
                let what = format!("no way out: {refusal}");
                Err(Box::new(Violation { what, states: String::new(), step: step.clone() }))
            }
        }
    }
}

fn step(caller: Actor, call: Call) -> Step {
    Step { after_s: 0, after_blocks: 0, caller, call }
}
