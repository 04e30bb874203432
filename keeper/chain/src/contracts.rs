//! The contracts as the rest of the keeper sees them: views answered in the market's terms, and calls that a
//! [`Sender`] sends.

use alloy_primitives::U256;
use cainome::cairo_serde::ContractAddress;
use keeper_bindings::{
    cdc_pool::{self, CdcPool, CdcPoolReader},
    job_mgr::{self, JobMgr, JobMgrReader},
    task_allocator::{self, TaskAllocator, TaskAllocatorReader},
};
use keeper_types::{
    Address, AllocationItem, Attempt, BlockNumber, Capabilities, ContentHash, Felt, Fri, JobId, JobSpec, MarketEvent,
    Rate, TxHash, Worker, WorkerId,
};
use starknet::{
    core::types::{BlockId, BlockTag, Call, FunctionCall},
    macros::selector,
    providers::Provider as _,
};

use crate::{
    ChainJob, DecodeError, Deployment, Receipt, Rpc, RpcError, SendError, Sender, SignedTransaction, convert,
    decode::decode_event,
    rpc::{Client, readable_revert},
    sender::Wallet,
};

/// The STRK token, at the same address on every network.
pub const STRK_TOKEN: Address =
    Address(Felt::from_hex_unchecked("0x4718f5a0fc34cc1af16a1cdee98ffb20c31f5cd61d6ab07201858f4287c938d"));

/// Entries that one paged view returns at most.
const PAGE: u8 = 50;
const LATEST: BlockId = BlockId::Tag(BlockTag::Latest);

/// The contracts of one deployment.
#[derive(Clone, Debug)]
pub struct Contracts {
    rpc: Rpc,
    deployment: Deployment,
}

/// What TaskAllocator counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
pub struct AllocationStats {
    /// Rounds applied, by every keeper.
    pub rounds: u64,
    /// Items allocated.
    pub allocated: u64,
    /// Items skipped.
    pub skipped: u64,
    /// The block of the latest round.
    pub last_round_block: u64,
}

/// What a round that was sent did.
#[derive(Clone, Debug)]
pub struct RoundReceipt {
    /// The transaction's receipt.
    pub receipt: Receipt,
    /// Items that were allocated.
    pub allocated: u32,
    /// Items that were skipped.
    pub skipped: u32,
}

impl Contracts {
    /// The contracts of `deployment`, reached through `rpc`.
    pub fn new(rpc: &Rpc, deployment: &Deployment) -> Self {
        Self { rpc: rpc.clone(), deployment: deployment.clone() }
    }

    /// Where they stand.
    pub fn deployment(&self) -> &Deployment {
        &self.deployment
    }

    /// The connection that they are reached through.
    pub fn rpc(&self) -> &Rpc {
        &self.rpc
    }

    // Views

    /// One job, or `None` where there is none of that number.
    ///
    /// # Errors
    /// Fails where the node does not answer.
    pub async fn job(&self, job_id: JobId) -> Result<Option<ChainJob>, RpcError> {
        Ok(self.jobs_from(job_id, 1).await?.into_iter().next())
    }

    /// Every job, in the order of submission.
    ///
    /// # Errors
    /// Fails where the node does not answer.
    pub async fn jobs(&self) -> Result<Vec<ChainJob>, RpcError> {
        let mut jobs = Vec::new();
        loop {
            let first = JobId(jobs.len() as u64 + 1);
            let page = self.jobs_from(first, PAGE).await?;
            let last = page.len() < usize::from(PAGE);
            jobs.extend(page);
            if last {
                return Ok(jobs);
            }
        }
    }

    async fn jobs_from(&self, first: JobId, count: u8) -> Result<Vec<ChainJob>, RpcError> {
        let reader = self.job_mgr_reader();
        let views = reader.get_jobs(&first.0, &count).block_id(LATEST).call().await;
        let views = views.map_err(|error| self.view_error("jobs", &error))?;
        let jobs: Result<Vec<_>, _> = views.into_iter().map(convert::job).collect();
        let jobs = jobs.map_err(|error| RpcError::Malformed { request: "jobs", reason: error.to_string() })?;
        Ok(jobs.into_iter().flatten().collect())
    }

    /// One worker, or `None` where there is none of that number.
    ///
    /// # Errors
    /// Fails where the node does not answer.
    pub async fn worker(&self, worker_id: WorkerId) -> Result<Option<Worker>, RpcError> {
        Ok(self.workers_from(worker_id, 1).await?.into_iter().next())
    }

    /// Every worker, in the order of registration.
    ///
    /// # Errors
    /// Fails where the node does not answer.
    pub async fn workers(&self) -> Result<Vec<Worker>, RpcError> {
        let mut workers = Vec::new();
        loop {
            let first = u32::try_from(workers.len() + 1).unwrap_or(u32::MAX);
            let page = self.workers_from(WorkerId(first), PAGE).await?;
            let last = page.len() < usize::from(PAGE);
            workers.extend(page);
            if last {
                return Ok(workers);
            }
        }
    }

    async fn workers_from(&self, first: WorkerId, count: u8) -> Result<Vec<Worker>, RpcError> {
        let reader = self.cdc_pool_reader();
        let views = reader.get_workers(&first.0, &count).block_id(LATEST).call().await;
        let views = views.map_err(|error| self.view_error("workers", &error))?;
        let workers: Result<Vec<_>, _> = views.iter().map(convert::worker).collect();
        let workers = workers.map_err(|error| RpcError::Malformed { request: "workers", reason: error.to_string() })?;
        Ok(workers.into_iter().flatten().collect())
    }

    /// The worker that an account registered.
    ///
    /// # Errors
    /// Fails where the node does not answer.
    pub async fn worker_of(&self, owner: Address) -> Result<Option<WorkerId>, RpcError> {
        let reader = self.cdc_pool_reader();
        let id = reader.worker_of(&ContractAddress(owner.0)).block_id(LATEST).call().await;
        let id = id.map_err(|error| self.view_error("an account's worker", &error))?;
        Ok((id != 0).then_some(WorkerId(id)))
    }

    /// The stake that each slot needs.
    ///
    /// # Errors
    /// Fails where the node does not answer.
    pub async fn min_stake_per_slot(&self) -> Result<Fri, RpcError> {
        let config = self.cdc_pool_reader().get_config().block_id(LATEST).call().await;
        Ok(Fri(config.map_err(|error| self.view_error("the pool's configuration", &error))?.min_stake_per_slot))
    }

    /// Whether `account` may apply rounds.
    ///
    /// # Errors
    /// Fails where the node does not answer.
    pub async fn is_keeper(&self, account: Address) -> Result<bool, RpcError> {
        let answer = self.task_allocator_reader().is_keeper(&ContractAddress(account.0)).block_id(LATEST).call().await;
        answer.map_err(|error| self.view_error("the keepers", &error))
    }

    /// The latest round that `keeper` applied, 0 before the first.
    ///
    /// # Errors
    /// Fails where the node does not answer.
    pub async fn last_round(&self, keeper: Address) -> Result<u64, RpcError> {
        let block = BlockId::Tag(BlockTag::PreConfirmed);
        let answer = self.task_allocator_reader().last_round(&ContractAddress(keeper.0)).block_id(block).call().await;
        answer.map_err(|error| self.view_error("the last round", &error))
    }

    /// What TaskAllocator counts.
    ///
    /// # Errors
    /// Fails where the node does not answer.
    pub async fn allocation_stats(&self) -> Result<AllocationStats, RpcError> {
        let stats = self.task_allocator_reader().get_allocation_stats().block_id(LATEST).call().await;
        let stats = stats.map_err(|error| self.view_error("allocation statistics", &error))?;
        let task_allocator::AllocationStats { rounds, allocated, skipped, last_round_block } = stats;
        Ok(AllocationStats { rounds, allocated, skipped, last_round_block })
    }

    /// What JobMgr holds in escrow.
    ///
    /// # Errors
    /// Fails where the node does not answer.
    pub async fn held(&self) -> Result<Fri, RpcError> {
        Self::balance(&self.rpc, self.deployment.token, self.deployment.job_mgr.address).await
    }

    /// What `account` holds of the ERC-20 `token`.
    ///
    /// # Errors
    /// Fails where the node does not answer, or the balance exceeds `u128`.
    pub async fn balance(rpc: &Rpc, token: Address, account: Address) -> Result<Fri, RpcError> {
        let request = FunctionCall {
            contract_address: token.0,
            entry_point_selector: selector!("balance_of"),
            calldata: vec![account.0],
        };
        let answer = rpc.client.call(request, LATEST).await.map_err(|error| rpc.error("a balance", &error))?;
        let malformed = |reason: String| RpcError::Malformed { request: "a balance", reason };
        let [low, high] = answer[..] else { return Err(malformed(format!("{} felts, not 2", answer.len()))) };
        let part = |felt: Felt| u128::try_from(felt).map(U256::from).map_err(|error| malformed(error.to_string()));
        let balance: U256 = (part(high)? << 128) | part(low)?;
        u128::try_from(balance).map(Fri).map_err(|_| malformed("it exceeds 128 bits".to_owned()))
    }

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
        let submitted = self.job_events(&receipt).filter_map(|event| match event {
            job_mgr::Event::JobSubmitted(event) => Some(JobId(event.job_id)),
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
        let pool = self.deployment.cdc_pool.address.0;
        let events = receipt.events.iter().filter(|event| event.from_address == pool);
        let worker_id =
            events.filter_map(|event| cdc_pool::Event::try_from(event).ok()).find_map(|event| match event {
                cdc_pool::Event::WorkerRegistered(event) => Some(WorkerId(event.worker_id)),
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

    // Calls of keepers and of anyone

    /// Signs and sends a round, in the order of the jobs' ids; `before_send` is told what will be sent, and may
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
        // The contract checks a run of items with rising job ids at once.
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
        let allocator = self.deployment.task_allocator.address.0;
        let events = receipt.events.iter().filter(|event| event.from_address == allocator);
        let applied =
            events.filter_map(|event| task_allocator::Event::try_from(event).ok()).find_map(|event| match event {
                task_allocator::Event::RoundApplied(event) => Some((event.allocated, event.skipped)),
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

    /// What the contracts said in a transaction, in order.
    ///
    /// # Errors
    /// Fails where an event of one of the contracts cannot be read.
    pub fn events(&self, receipt: &Receipt) -> Result<Vec<MarketEvent>, DecodeError> {
        let Deployment { cdc_pool, job_mgr, task_allocator, .. } = &self.deployment;
        let contracts = [cdc_pool, job_mgr, task_allocator].map(|contract| contract.address.0);
        let ours = receipt.events.iter().filter(|event| contracts.contains(&event.from_address));
        ours.map(|event| decode_event(event, &contracts)).collect()
    }

    fn job_events<'a>(&self, receipt: &'a Receipt) -> impl Iterator<Item = job_mgr::Event> + 'a {
        let manager = self.deployment.job_mgr.address.0;
        let events = receipt.events.iter().filter(move |event| event.from_address == manager);
        events.filter_map(|event| job_mgr::Event::try_from(event).ok())
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

    fn job_mgr_reader(&self) -> JobMgrReader<&Client> {
        JobMgrReader::new(self.deployment.job_mgr.address.0, &self.rpc.client)
    }

    fn cdc_pool_reader(&self) -> CdcPoolReader<&Client> {
        CdcPoolReader::new(self.deployment.cdc_pool.address.0, &self.rpc.client)
    }

    fn task_allocator_reader(&self) -> TaskAllocatorReader<&Client> {
        TaskAllocatorReader::new(self.deployment.task_allocator.address.0, &self.rpc.client)
    }

    fn view_error(&self, request: &'static str, error: &cainome::cairo_serde::Error) -> RpcError {
        match error {
            cainome::cairo_serde::Error::Provider(error) => self.rpc.error(request, error),
            other => RpcError::Malformed { request, reason: readable_revert(&other.to_string()) },
        }
    }
}

/// Something that anyone may do to a job because its time has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum DueExit {
    /// The job's deadline has passed while it was queued.
    ExpireJob(JobId),
    /// The attempt's deadline has passed without a result.
    ExpireAttempt(JobId),
    /// The challenge window has passed without a dispute.
    Settle(JobId),
}

impl DueExit {
    /// The job.
    pub fn job_id(self) -> JobId {
        match self {
            Self::ExpireJob(job_id) | Self::ExpireAttempt(job_id) | Self::Settle(job_id) => job_id,
        }
    }
}

fn missing_event(name: &'static str) -> SendError {
    let reason = format!("the receipt has no {name} event");
    RpcError::Malformed { request: "a receipt", reason }.into()
}
