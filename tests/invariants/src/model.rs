//! What the contracts should do, told a second time: from the interface documents and docs/job-lifecycle.md, with
//! plain structs and maps and no packing. Whatever can be counted is counted rather than kept: a worker's free
//! slots are its slots less the jobs that are allocated to it.

mod allocation;
mod cdc_pool;
mod job_mgr;
mod show;
mod task_allocator;
#[cfg(test)]
mod tests;
mod token;

use keeper_types::Felt;

use crate::{
    actors::{Actor, Contract},
    calls::{Call, Moment, Step},
};
pub(crate) use allocation::is_hardware_enough;
pub(crate) use cdc_pool::Worker;
use job_mgr::Placement;
pub(crate) use job_mgr::{Job, max_rate, price};

/// Named felts, in the order of the ABI.
pub(crate) type Fields = Vec<(&'static str, Felt)>;

/// The text of a revert.
pub(crate) type Refusal = &'static str;

/// What the contracts were deployed with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Terms {
    /// Fri.
    pub(crate) min_stake_per_slot: u128,
    pub(crate) unbonding_s: u64,
    pub(crate) challenge_window_s: u64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Event {
    pub(crate) contract: Contract,
    pub(crate) name: &'static str,
    pub(crate) fields: Fields,
}

/// What a call came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Outcome {
    pub(crate) result: Result<Vec<Felt>, Refusal>,
    pub(crate) events: Vec<Event>,
}

/// The whole market.
#[derive(Clone, Debug)]
pub(crate) struct Model {
    pub(crate) terms: Terms,
    pub(crate) now: Moment,
    pub(crate) token: token::Token,
    pub(crate) job_mgr: job_mgr::JobMgr,
    pub(crate) cdc_pool: cdc_pool::CdcPool,
    pub(crate) task_allocator: task_allocator::TaskAllocator,
    /// Of the call that is being executed.
    events: Vec<Event>,
}

impl Model {
    /// The contracts just deployed, and what each account holds and allows each of the two that take money.
    pub(crate) fn new(terms: Terms, now: Moment, balance: u128) -> Self {
        Self {
            terms,
            now,
            token: token::Token::new(balance),
            job_mgr: job_mgr::JobMgr::default(),
            cdc_pool: cdc_pool::CdcPool::default(),
            task_allocator: task_allocator::TaskAllocator::default(),
            events: Vec::new(),
        }
    }

    /// Makes a call after its pause. One that is refused changes nothing but the time.
    pub(crate) fn execute(&mut self, step: &Step) -> Outcome {
        self.now.timestamp += step.after_s;
        self.now.block += step.after_blocks;
        let mut next = self.clone();
        match next.call(step.caller.address(), &step.call) {
            Ok(felts) => {
                let events = std::mem::take(&mut next.events);
                *self = next;
                Outcome { result: Ok(felts), events }
            }
            Err(refusal) => Outcome { result: Err(refusal), events: Vec::new() },
        }
    }

    fn call(&mut self, caller: Felt, call: &Call) -> Result<Vec<Felt>, Refusal> {
        match call {
            Call::SubmitJob(spec) => self.submit_job(caller, spec),
            Call::CancelJob(id) => self.cancel_job(caller, *id),
            Call::AcceptResult(id) => self.accept_result(caller, *id),
            Call::SubmitResult { job_id, attempt, result_hash } => {
                self.submit_result(caller, *job_id, *attempt, *result_hash)
            }
            Call::FailAttempt { job_id, attempt, reason } => self.fail_attempt(caller, *job_id, *attempt, *reason),
            Call::ExpireJob(id) => self.expire_job(*id),
            Call::ExpireAttempt(id) => self.expire_attempt(*id),
            Call::Settle(id) => self.settle(*id),
            Call::AllocateBatch(items) => {
                let reasons = self.allocate_batch(caller, items)?;
                let skipped = items.iter().zip(reasons).filter(|(_, reason)| *reason != 0);
                let skips: Vec<Felt> =
                    skipped.flat_map(|(item, reason)| [without_excess(*item), reason.into()]).collect();
                Ok(std::iter::once((skips.len() / 2).into()).chain(skips).collect())
            }
            Call::SetTaskAllocator(address) => self.set_task_allocator(caller, *address),
            Call::GetJobs { first, count } => self.get_jobs(*first, *count),
            Call::RegisterWorker { offer, stake } => self.register_worker(caller, offer, *stake),
            Call::UpdateWorker(offer) => self.update_worker(caller, offer),
            Call::DrainWorker => self.drain_worker(caller),
            Call::ResumeWorker => self.resume_worker(caller),
            Call::ExitWorker => self.exit_worker(caller),
            Call::WithdrawStake => self.withdraw_stake(caller),
            // No account is the job manager, which alone may make these four.
            Call::ReserveBatch(_) | Call::Release { .. } | Call::RecordFailure { .. } | Call::RecordSettlement(_) => {
                Err(cdc_pool::NOT_JOB_MGR)
            }
            Call::SetJobMgr(address) => self.set_job_mgr(caller, *address),
            Call::GetWorkers { first, count } => self.get_workers(*first, *count),
            Call::ApplyBatch { round, snapshot_block, items } => {
                self.apply_batch(caller, *round, *snapshot_block, items)
            }
            Call::AddKeeper(keeper) => self.add_keeper(caller, *keeper),
            Call::RemoveKeeper(keeper) => self.remove_keeper(caller, *keeper),
            Call::UpdateWorkerMetrics { worker_id, metrics } => {
                self.update_worker_metrics(caller, *worker_id, *metrics)
            }
            Call::AllocateJob(params) => Ok(self.allocate_job(params)),
            Call::GetWorkerLoad(worker_id) => self.get_worker_load(*worker_id).map(|load| vec![load]),
            Call::GetWorkerMetrics(worker_id) => self.get_worker_metrics(*worker_id),
            Call::MetricsReportedAt(worker_id) => self.metrics_reported_at(*worker_id).map(|at| vec![at]),
            Call::Approve { spender, amount } => {
                self.token.approve(caller, spender.address(), *amount);
                Ok(vec![Felt::ONE])
            }
        }
    }

    fn emit(&mut self, contract: Contract, name: &'static str, fields: Fields) {
        self.events.push(Event { contract, name, fields });
    }
}

/// An item without what a malformed one has above its lower half.
fn without_excess(item: Felt) -> Felt {
    Felt::from_bytes_be_slice(&item.to_bytes_be()[16..])
}

/// Only the admin of the deployment is one.
fn is_admin(caller: Felt) -> bool {
    caller == Actor::Admin.address()
}

impl Moment {
    /// The deadline so many seconds later; ten of them, or a part of ten, count as a block.
    pub(crate) fn after(self, seconds: u64) -> Self {
        Self { timestamp: self.timestamp + seconds, block: self.block + seconds.div_ceil(10) }
    }

    /// Whether `now` lies beyond this deadline by the clock and by the block number.
    pub(crate) fn has_passed(self, now: Self) -> bool {
        self.timestamp < now.timestamp && self.block < now.block
    }
}
