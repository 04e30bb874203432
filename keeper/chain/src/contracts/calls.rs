//! What clients, workers, keepers and anyone do, as transactions.

use alloy_primitives::U256;
use cainome::cairo_serde::ContractAddress;
use keeper_bindings::{cdc_pool::CdcPool, job_mgr::JobMgr, task_allocator::TaskAllocator};
use keeper_types::{
    Address, AllocationItem, Attempt, BlockNumber, Capabilities, ContentHash, Felt, Fri, JobId, JobSpec, MarketEvent,
    Rate, TxHash, WorkerId,
};
use starknet::{core::types::Call, macros::selector};

use super::{Contracts, DueExit, RoundReceipt};
use crate::{DecodeError, Receipt, RpcError, SendError, Sender, SignedTransaction, convert, sender::Wallet};

impl Contracts {
    // Calls of clients

    /// Submits jobs: the approval of their escrow and the submissions, in one transaction. The jobs' numbers are
    /// in the order of `specs`.
    ///
    /// # Errors
    /// Fails where the contract refuses one of the jobs or the client cannot pay; then none is submitted.
    pub async fn submit_jobs(&self, sender: &Sender, specs: &[JobSpec]) -> Result<(Vec<JobId>, Receipt), SendError> {
        let escrow = specs.iter().try_fold(Fri::ZERO, |sum, spec| sum.checked_add(spec.max_price));
        let escrow = escrow.ok_or_else(|| SendError::Signing("the escrow exceeds 128 bits".to_owned()))?;
        let contract = self.job_mgr(sender);
        let mut calls = vec![self.approve(self.deployment.job_mgr.address, escrow)];
        calls.extend(specs.iter().map(|spec| contract.submit_job_getcall(&convert::job_spec_to_chain(spec))));
        let receipt = sender.execute(calls).await?;
        let submitted =
            self.events(&receipt).map_err(|error| unreadable(&error))?.into_iter().filter_map(|event| match event {
                MarketEvent::JobSubmitted { job_id, .. } => Some(job_id),
                _ => None,
            });
        let job_ids: Vec<JobId> = submitted.collect();
        if job_ids.len() == specs.len() { Ok((job_ids, receipt)) } else { Err(missing_event("JobSubmitted")) }
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

    // Calls of workers

    /// Registers the sender's account as a worker: the stake's approval and the registration, in one
    /// transaction.
    ///
    /// # Errors
    /// Fails where the contract refuses the worker or the account cannot pay the stake.
    pub async fn register_worker(
        &self,
        sender: &Sender,
        capabilities: &Capabilities,
        slots: u8,
        rate: Rate,
        stake: Fri,
    ) -> Result<(WorkerId, Receipt), SendError> {
        let capabilities = convert::capabilities_to_chain(capabilities);
        let register = self.cdc_pool(sender).register_worker_getcall(&capabilities, &slots, &rate.0, &stake.0);
        let receipt = sender.execute(vec![self.approve(self.deployment.cdc_pool.address, stake), register]).await?;
        let worker_id =
            self.events(&receipt).map_err(|error| unreadable(&error))?.into_iter().find_map(|event| match event {
                MarketEvent::WorkerRegistered { worker_id, .. } => Some(worker_id),
                _ => None,
            });
        Ok((worker_id.ok_or_else(|| missing_event("WorkerRegistered"))?, receipt))
    }

    /// Changes what the sender's worker offers.
    ///
    /// # Errors
    /// Fails while it runs a job.
    pub async fn update_worker(
        &self,
        sender: &Sender,
        capabilities: &Capabilities,
        slots: u8,
        rate: Rate,
    ) -> Result<Receipt, SendError> {
        let capabilities = convert::capabilities_to_chain(capabilities);
        sender.execute(vec![self.cdc_pool(sender).update_worker_getcall(&capabilities, &slots, &rate.0)]).await
    }

    /// Stops new jobs for the sender's worker.
    ///
    /// # Errors
    /// Fails where it is not active.
    pub async fn drain_worker(&self, sender: &Sender) -> Result<Receipt, SendError> {
        sender.execute(vec![self.cdc_pool(sender).drain_worker_getcall()]).await
    }

    /// Takes jobs again.
    ///
    /// # Errors
    /// Fails where the worker is not draining.
    pub async fn resume_worker(&self, sender: &Sender) -> Result<Receipt, SendError> {
        sender.execute(vec![self.cdc_pool(sender).resume_worker_getcall()]).await
    }

    /// Begins to leave: the stake unbonds.
    ///
    /// # Errors
    /// Fails where the worker has left already.
    pub async fn exit_worker(&self, sender: &Sender) -> Result<Receipt, SendError> {
        sender.execute(vec![self.cdc_pool(sender).exit_worker_getcall()]).await
    }

    /// Takes the stake back once it is unbonded.
    ///
    /// # Errors
    /// Fails before that, or while a job runs.
    pub async fn withdraw_stake(&self, sender: &Sender) -> Result<Receipt, SendError> {
        sender.execute(vec![self.cdc_pool(sender).withdraw_stake_getcall()]).await
    }

    /// Publishes the result of an attempt.
    ///
    /// # Errors
    /// Fails where the attempt is not the sender's or no longer runs.
    pub async fn submit_result(
        &self,
        sender: &Sender,
        job_id: JobId,
        attempt: Attempt,
        result: ContentHash,
    ) -> Result<Receipt, SendError> {
        let call = self.job_mgr(sender).submit_result_getcall(&job_id.0, &attempt.0, &result.to_felt());
        sender.execute(vec![call]).await
    }

    /// Gives an attempt back as failed; `reason` is a short string.
    ///
    /// # Errors
    /// Fails where the attempt is not the sender's or no longer runs.
    pub async fn fail_attempt(
        &self,
        sender: &Sender,
        job_id: JobId,
        attempt: Attempt,
        reason: Felt,
    ) -> Result<Receipt, SendError> {
        sender.execute(vec![self.job_mgr(sender).fail_attempt_getcall(&job_id.0, &attempt.0, &reason)]).await
    }

    // Calls of the admin

    /// Lets an account apply rounds.
    ///
    /// # Errors
    /// Fails where the sender is not the admin, or the account may already.
    pub async fn add_keeper(&self, sender: &Sender, keeper: Address) -> Result<Receipt, SendError> {
        let contract = TaskAllocator::new(self.deployment.task_allocator.address.0, &sender.wallet);
        sender.execute(vec![contract.add_keeper_getcall(&ContractAddress(keeper.0))]).await
    }

    /// Takes that right away.
    ///
    /// # Errors
    /// Fails where the sender is not the admin, or the account has not got it.
    pub async fn remove_keeper(&self, sender: &Sender, keeper: Address) -> Result<Receipt, SendError> {
        let contract = TaskAllocator::new(self.deployment.task_allocator.address.0, &sender.wallet);
        sender.execute(vec![contract.remove_keeper_getcall(&ContractAddress(keeper.0))]).await
    }

    // Calls of keepers and of anyone

    /// Signs and sends a round, in the order of the jobs' numbers; `before_send` is told what will be sent, and may
    /// stop it by answering false.
    ///
    /// # Errors
    /// Fails where the contract refuses the round.
    pub async fn send_round<F>(
        &self,
        sender: &Sender,
        round: u64,
        snapshot_block: BlockNumber,
        items: &[AllocationItem],
        before_send: F,
    ) -> Result<TxHash, SendError>
    where
        F: AsyncFnOnce(&SignedTransaction) -> bool,
    {
        // The contract checks a run of items with rising job numbers at once.
        let mut items = items.to_vec();
        items.sort_by_key(|item| item.job_id);
        let packed: Vec<Felt> = items.iter().map(AllocationItem::pack).collect();
        let call = TaskAllocator::new(self.deployment.task_allocator.address.0, &sender.wallet).apply_batch_getcall(
            &round,
            &snapshot_block.0,
            &packed,
        );
        sender.execute_recorded(vec![call], before_send).await
    }

    /// What a sent round did, from its receipt.
    pub fn round_receipt(&self, receipt: Receipt) -> RoundReceipt {
        // The round was applied whatever its receipt reads like; the follower is the one to complain.
        let events = self.events(&receipt).unwrap_or_default();
        let applied = events.into_iter().find_map(|event| match event {
            MarketEvent::RoundApplied { allocated, skipped, .. } => Some((allocated, skipped)),
            _ => None,
        });
        let (allocated, skipped) = applied.unwrap_or_default();
        RoundReceipt { receipt, allocated, skipped }
    }

    /// Ends jobs and attempts whose deadlines have passed and pays for results whose challenge window has, in
    /// one transaction. Anyone may.
    ///
    /// # Errors
    /// Fails where one of them is not due; then none is done.
    pub async fn exit_due(&self, sender: &Sender, due: &[DueExit]) -> Result<Receipt, SendError> {
        let contract = self.job_mgr(sender);
        let calls = due.iter().map(|exit| match exit {
            DueExit::ExpireJob(job_id) => contract.expire_job_getcall(&job_id.0),
            DueExit::ExpireAttempt(job_id) => contract.expire_attempt_getcall(&job_id.0),
            DueExit::Settle(job_id) => contract.settle_getcall(&job_id.0),
        });
        sender.execute(calls.collect()).await
    }

    /// Lets `spender` take `amount` of the sender's STRK. The amount is 256 bits wide at this edge only.
    fn approve(&self, spender: Address, amount: Fri) -> Call {
        let amount = U256::from(amount.0);
        let [low, high] = [amount & U256::from(u128::MAX), amount >> 128].map(|part: U256| part.to::<u128>());
        Call {
            to: self.deployment.token.0,
            selector: selector!("approve"),
            calldata: vec![spender.0, Felt::from(low), Felt::from(high)],
        }
    }

    fn job_mgr<'a>(&self, sender: &'a Sender) -> JobMgr<&'a Wallet> {
        JobMgr::new(self.deployment.job_mgr.address.0, &sender.wallet)
    }

    fn cdc_pool<'a>(&self, sender: &'a Sender) -> CdcPool<&'a Wallet> {
        CdcPool::new(self.deployment.cdc_pool.address.0, &sender.wallet)
    }
}

fn unreadable(error: &DecodeError) -> SendError {
    RpcError::Malformed { request: "a receipt", reason: error.to_string() }.into()
}

fn missing_event(name: &'static str) -> SendError {
    let reason = format!("the receipt has no {name} event");
    RpcError::Malformed { request: "a receipt", reason }.into()
}
