//! What the owners of workers do.

use keeper_types::{Attempt, Capabilities, ContentHash, Felt, Fri, JobId, MarketEvent, Rate, WorkerId};

use super::{missing_event, unreadable};
use crate::{Contracts, Receipt, SendError, Sender, convert};

impl Contracts {
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

    /// Commits to the result of an attempt.
    ///
    /// # Errors
    /// Fails where the attempt is not the sender's or no longer runs.
    pub async fn commit_result(
        &self,
        sender: &Sender,
        job_id: JobId,
        attempt: Attempt,
        commitment: Felt,
    ) -> Result<Receipt, SendError> {
        sender.execute(vec![self.job_mgr(sender).commit_result_getcall(&job_id.0, &attempt.0, &commitment)]).await
    }

    /// Shows the result that the sender is committed to.
    ///
    /// # Errors
    /// Fails where it is not, or results of the group cannot be shown yet.
    pub async fn reveal_result(
        &self,
        sender: &Sender,
        job_id: JobId,
        attempt: Attempt,
        result: ContentHash,
        salt: Felt,
    ) -> Result<Receipt, SendError> {
        let call = self.job_mgr(sender).reveal_result_getcall(&job_id.0, &attempt.0, &result.to_felt(), &salt);
        sender.execute(vec![call]).await
    }

    /// Takes a queued job for the sender's worker, while no keeper is at work.
    ///
    /// # Errors
    /// Fails where a keeper is, or the job is not for this worker.
    pub async fn claim_job(&self, sender: &Sender, job_id: JobId) -> Result<Receipt, SendError> {
        sender.execute(vec![self.job_mgr(sender).claim_job_getcall(&job_id.0)]).await
    }

    /// Adds to the stake of the sender's worker: the approval and the payment, in one transaction.
    ///
    /// # Errors
    /// Fails where it has no worker, or one that is leaving, or cannot pay.
    pub async fn add_stake(&self, sender: &Sender, amount: Fri) -> Result<Receipt, SendError> {
        let approve = self.approve(self.deployment.cdc_pool.address, amount);
        sender.execute(vec![approve, self.cdc_pool(sender).add_stake_getcall(&amount.0)]).await
    }

    /// Says that the sender's worker is alive.
    ///
    /// # Errors
    /// Fails where it has no worker, or one that is leaving.
    pub async fn heartbeat(&self, sender: &Sender) -> Result<Receipt, SendError> {
        sender.execute(vec![self.cdc_pool(sender).heartbeat_getcall()]).await
    }
}
