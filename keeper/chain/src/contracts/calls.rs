//! What clients, workers, keepers and anyone do, as transactions.

use cainome::cairo_serde::ContractAddress;
use keeper_bindings::{cdc_pool::CdcPool, job_mgr::JobMgr, task_allocator::TaskAllocator};
use keeper_types::{Address, Felt, Fri, JobId, JobSpec, MarketEvent, Verification};
use starknet::{core::types::Call, macros::selector};

pub use governance::Governance;

use super::{Contracts, DueExit, STRK_TOKEN};
use crate::{ChainJob, DecodeError, Receipt, RpcError, SendError, Sender, convert, sender::Wallet};

mod admin;
mod governance;
mod keepers;
mod paymaster;
mod workers;

/// The least bond of a dispute that the referee rules; as in `job_mgr/disputes.cairo`.
const MIN_DISPUTE_BOND: Fri = Fri(50_000_000_000_000_000_000);
/// Replicas in the committee of a dispute.
const COMMITTEE: u128 = 3;

/// Calls that are not sent yet, to be made in one transaction.
#[derive(Clone, Debug)]
pub struct Calls(pub(crate) Vec<Call>);

impl Calls {
    /// A payment of STRK to another account.
    pub fn transfer(to: Address, amount: Fri) -> Self {
        let calldata = vec![to.0, Felt::from(amount.0), Felt::ZERO];
        Self(vec![Call { to: STRK_TOKEN.0, selector: selector!("transfer"), calldata }])
    }
}

impl Contracts {
    // Calls of clients

    /// Submits jobs: the approval of their escrow and the submissions, in one transaction. The jobs' numbers are
    /// in the order of `specs`; a replicated job has one for each replica, and they follow each other. Where the
    /// client has credit, that is spent first, and as much of the allowance is left.
    ///
    /// # Errors
    /// Fails where the contract refuses one of the jobs or the client cannot pay; then none is submitted.
    pub async fn submit_jobs(&self, sender: &Sender, specs: &[JobSpec]) -> Result<(Vec<JobId>, Receipt), SendError> {
        let contract = self.job_mgr(sender);
        let mut calls = vec![self.approve(self.deployment.job_mgr.address, escrow(specs)?)];
        calls.extend(specs.iter().map(|spec| contract.submit_job_getcall(&convert::job_spec_to_chain(spec))));
        let receipt = sender.execute(calls).await?;
        self.submitted(specs, receipt)
    }

    /// The numbers of the jobs that a transaction submitted.
    fn submitted(&self, specs: &[JobSpec], receipt: Receipt) -> Result<(Vec<JobId>, Receipt), SendError> {
        let submitted =
            self.events(&receipt).map_err(|error| unreadable(&error))?.into_iter().filter_map(|event| match event {
                MarketEvent::JobSubmitted { job_id, .. } => Some(job_id),
                _ => None,
            });
        let job_ids: Vec<JobId> = submitted.collect();
        let replicas: usize = specs.iter().map(|spec| usize::from(spec.replicas)).sum();
        if job_ids.len() == replicas { Ok((job_ids, receipt)) } else { Err(missing_event("JobSubmitted")) }
    }

    /// Withdraws a queued job.
    ///
    /// # Errors
    /// Fails where it is not queued or not the client's.
    pub async fn cancel_job(&self, sender: &Sender, job_id: JobId) -> Result<Receipt, SendError> {
        sender.execute(vec![self.job_mgr(sender).cancel_job_getcall(&job_id.0)]).await
    }

    /// Accepts a result before its challenge window ends.
    ///
    /// # Errors
    /// Fails where there is none to accept.
    pub async fn accept_result(&self, sender: &Sender, job_id: JobId) -> Result<Receipt, SendError> {
        sender.execute(vec![self.job_mgr(sender).accept_result_getcall(&job_id.0)]).await
    }

    /// Disputes the result of `job`: the approval of what it costs and the dispute, in one transaction.
    ///
    /// # Errors
    /// Fails where there is no result that can be disputed, or the client cannot pay.
    pub async fn dispute_result(&self, sender: &Sender, job: &ChainJob) -> Result<Receipt, SendError> {
        let dispute = self.job_mgr(sender).dispute_result_getcall(&job.job_id.0);
        let approve = self.approve(self.deployment.job_mgr.address, dispute_cost(job));
        sender.execute(vec![approve, dispute]).await
    }

    /// Posts the evidence in a dispute that the referee rules: the manifest's numbers and the output, packed as the
    /// referee reads it. Anyone may.
    ///
    /// # Errors
    /// Fails where no referee is deployed, or it takes this for no evidence.
    pub async fn judge(
        &self,
        sender: &Sender,
        job_id: JobId,
        (size, seed): (u32, u64),
        output: &[Felt],
    ) -> Result<Receipt, SendError> {
        let referee = self.deployment.referee.ok_or_else(|| SendError::Signing("no referee is deployed".to_owned()))?;
        let mut calldata = vec![Felt::from(job_id.0), Felt::from(size), Felt::from(seed), Felt::from(output.len())];
        calldata.extend_from_slice(output);
        sender.execute(vec![Call { to: referee.address.0, selector: selector!("judge"), calldata }]).await
    }

    // Calls of anyone

    /// Ends jobs and attempts whose deadlines have passed and pays for results whose challenge window has, in
    /// one transaction. Anyone may.
    ///
    /// # Errors
    /// Fails where one of them is not due; then none is done.
    pub async fn exit_due(&self, sender: &Sender, due: &[DueExit]) -> Result<Receipt, SendError> {
        sender.execute(self.exit_calls(sender, due).0).await
    }

    /// The calls of [`Contracts::exit_due`].
    pub fn exit_calls(&self, sender: &Sender, due: &[DueExit]) -> Calls {
        let contract = self.job_mgr(sender);
        let calls = due.iter().map(|exit| match exit {
            DueExit::ExpireJob(job_id) => contract.expire_job_getcall(&job_id.0),
            DueExit::ExpireAttempt(job_id) => contract.expire_attempt_getcall(&job_id.0),
            DueExit::Settle(job_id) => contract.settle_getcall(&job_id.0),
            DueExit::SettleDispute(job_id) => contract.settle_dispute_getcall(&job_id.0),
        });
        Calls(calls.collect())
    }

    /// Pays accounts what they are owed, in one transaction. Anyone may; the money goes to the accounts.
    ///
    /// # Errors
    /// Fails where one of them is owed nothing; then none is paid.
    pub async fn withdraw_credit(&self, sender: &Sender, accounts: &[Address]) -> Result<Receipt, SendError> {
        sender.execute(self.withdraw_calls(sender, accounts).0).await
    }

    /// The calls of [`Contracts::withdraw_credit`].
    pub fn withdraw_calls(&self, sender: &Sender, accounts: &[Address]) -> Calls {
        let contract = self.job_mgr(sender);
        Calls(accounts.iter().map(|account| contract.withdraw_getcall(&ContractAddress(account.0))).collect())
    }

    /// Lets `spender` take `amount` of the sender's STRK.
    fn approve(&self, spender: Address, amount: Fri) -> Call {
        Call { to: self.deployment.token.0, ..approval(spender, amount) }
    }

    fn job_mgr<'a>(&self, sender: &'a Sender) -> JobMgr<&'a Wallet> {
        JobMgr::new(self.deployment.job_mgr.address.0, &sender.wallet)
    }

    fn task_allocator<'a>(&self, sender: &'a Sender) -> TaskAllocator<&'a Wallet> {
        TaskAllocator::new(self.deployment.task_allocator.address.0, &sender.wallet)
    }

    fn cdc_pool<'a>(&self, sender: &'a Sender) -> CdcPool<&'a Wallet> {
        CdcPool::new(self.deployment.cdc_pool.address.0, &sender.wallet)
    }
}

/// Lets `spender` take `amount` of the sender's STRK. The amount is 256 bits wide at this edge only.
pub(crate) fn approval(spender: Address, amount: Fri) -> Call {
    let calldata = vec![spender.0, Felt::from(amount.0), Felt::ZERO];
    Call { to: STRK_TOKEN.0, selector: selector!("approve"), calldata }
}

/// What the jobs put into escrow.
fn escrow(specs: &[JobSpec]) -> Result<Fri, SendError> {
    let sum = specs.iter().try_fold(Fri::ZERO, |sum, spec| sum.checked_add(spec.escrow()));
    sum.ok_or_else(|| SendError::Signing("the escrow exceeds 128 bits".to_owned()))
}

/// What disputing the job's result costs: a bond of its price, or three more runs of it.
fn dispute_cost(job: &ChainJob) -> Fri {
    match job.spec.verification {
        Verification::Rerun => Fri(job.spec.max_price.0.saturating_mul(COMMITTEE)),
        Verification::None | Verification::Matmul => job.price().max(MIN_DISPUTE_BOND),
    }
}

fn unreadable(error: &DecodeError) -> SendError {
    RpcError::Malformed { request: "a receipt", reason: error.to_string() }.into()
}

fn missing_event(name: &'static str) -> SendError {
    let reason = format!("the receipt has no {name} event");
    RpcError::Malformed { request: "a receipt", reason }.into()
}
