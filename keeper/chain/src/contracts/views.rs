//! What the contracts hold, as of the newest block unless a function says otherwise.

use std::ops::ControlFlow;

use alloy_primitives::U256;
use cainome::cairo_serde::ContractAddress;
use keeper_bindings::{
    cdc_pool::CdcPoolReader,
    job_mgr::JobMgrReader,
    paymaster::PaymasterReader,
    task_allocator::{self, TaskAllocatorReader},
};
use keeper_types::{Address, BlockNumber, Felt, Fri, JobId, PolicyId, PolicyState, Worker, WorkerId};
use starknet::{
    core::types::{BlockId, BlockTag, FunctionCall},
    macros::selector,
    providers::Provider as _,
};

use super::{AllocationStats, Contracts};
use crate::{
    ChainDispute, ChainGroup, ChainJob, ChainKeeper, Rpc, RpcError, convert,
    rpc::{Client, readable_revert},
};

/// Entries that one paged view returns at most.
const PAGE: u8 = 50;
const LATEST: BlockId = BlockId::Tag(BlockTag::Latest);

impl Contracts {
    /// One job, or `None` where there is none of that number.
    ///
    /// # Errors
    /// Fails where the node does not answer.
    pub async fn job(&self, job_id: JobId) -> Result<Option<ChainJob>, RpcError> {
        // The contract begins with the first there is.
        Ok(self.jobs_from(job_id, 1).await?.into_iter().find(|found| found.job_id == job_id))
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
        self.jobs_at(LATEST, first, count).await
    }

    /// Up to `count` jobs from number `first` on, as of the end of a block. Nodes that keep no earlier states answer for
    /// the newest block only.
    pub(crate) async fn jobs_at(&self, at: BlockId, first: JobId, count: u8) -> Result<Vec<ChainJob>, RpcError> {
        let reader = self.job_mgr_reader();
        let views = reader.get_jobs(&first.0, &count.min(PAGE)).block_id(at).call().await;
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
        Ok(self.workers_from(worker_id, 1).await?.into_iter().find(|found| found.worker_id == worker_id))
    }

    /// The group of replicas whose first job this is, or `None` where there is none.
    ///
    /// # Errors
    /// Fails where the node does not answer.
    pub async fn group(&self, group_id: JobId) -> Result<Option<ChainGroup>, RpcError> {
        let view = self.job_mgr_reader().get_group(&group_id.0).block_id(LATEST).call().await;
        Ok(convert::group(&view.map_err(|error| self.view_error("a group", &error))?))
    }

    /// The latest dispute about a job, or `None` where there was none.
    ///
    /// # Errors
    /// Fails where the node does not answer.
    pub async fn dispute(&self, job_id: JobId) -> Result<Option<ChainDispute>, RpcError> {
        let view = self.job_mgr_reader().get_dispute(&job_id.0).block_id(LATEST).call().await;
        Ok(convert::dispute(&view.map_err(|error| self.view_error("a dispute", &error))?))
    }

    /// What JobMgr owes to an account.
    ///
    /// # Errors
    /// Fails where the node does not answer.
    pub async fn credit_of(&self, account: Address) -> Result<Fri, RpcError> {
        let credit = self.job_mgr_reader().credit_of(&ContractAddress(account.0)).block_id(LATEST).call().await;
        Ok(Fri(credit.map_err(|error| self.view_error("an account's credit", &error))?))
    }

    /// An account's balance with the Paymaster; nothing where none is deployed.
    ///
    /// # Errors
    /// Fails where the node does not answer.
    pub async fn deposit_of(&self, account: Address) -> Result<Fri, RpcError> {
        let Some(paymaster) = self.deployment.paymaster else { return Ok(Fri::ZERO) };
        let reader = PaymasterReader::new(paymaster.address.0, &self.rpc.client);
        let balance = reader.balance_of(&ContractAddress(account.0)).block_id(LATEST).call().await;
        balance.map(Fri).map_err(|error| self.view_error("a balance with the Paymaster", &error))
    }

    /// Every worker, in the order of registration.
    ///
    /// # Errors
    /// Fails where the node does not answer.
    pub async fn workers(&self) -> Result<Vec<Worker>, RpcError> {
        let mut workers = Vec::new();
        let visit = |page: &mut Vec<Worker>| {
            workers.append(page);
            ControlFlow::Continue(())
        };
        self.visit_workers(visit).await?;
        Ok(workers)
    }

    /// Shows every worker, in the order of registration and some at a time, until it is told that these were enough.
    ///
    /// # Errors
    /// Fails where the node does not answer.
    pub async fn visit_workers(
        &self,
        mut visit: impl FnMut(&mut Vec<Worker>) -> ControlFlow<()>,
    ) -> Result<(), RpcError> {
        let mut next = 1;
        loop {
            let mut page = self.workers_from(WorkerId(next), PAGE).await?;
            let is_last = page.len() < usize::from(PAGE);
            if visit(&mut page).is_break() || is_last {
                return Ok(());
            }
            next += u32::from(PAGE);
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

    /// How `account` stands as a keeper.
    ///
    /// # Errors
    /// Fails where the node does not answer.
    pub async fn keeper(&self, account: Address) -> Result<ChainKeeper, RpcError> {
        let reader = self.task_allocator_reader();
        let view = reader.get_keeper(&ContractAddress(account.0)).block_id(LATEST).call().await;
        let view = view.map_err(|error| self.view_error("a keeper", &error))?;
        let config = reader.get_config().block_id(LATEST).call().await;
        let config = config.map_err(|error| self.view_error("the allocator's configuration", &error))?;
        let (bond, least_bond) = (Fri(view.bond), Fri(config.min_keeper_bond));
        Ok(ChainKeeper { is_admitted: view.is_admitted, bond, least_bond })
    }

    /// A policy, or `None` where it was never announced.
    ///
    /// # Errors
    /// Fails where the node does not answer.
    pub async fn policy(&self, policy_id: PolicyId) -> Result<Option<PolicyState>, RpcError> {
        let view = self.task_allocator_reader().get_policy(&policy_id.0).block_id(LATEST).call().await;
        let view = view.map_err(|error| self.view_error("a policy", &error))?;
        let active_from = (view.active_from, BlockNumber(view.active_from_block));
        Ok((view.active_from != 0).then_some(PolicyState { active_from, is_retired: view.is_retired }))
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

    /// The names of the contracts that are paused: nothing new gets into them.
    ///
    /// # Errors
    /// Fails where the node does not answer.
    pub async fn paused(&self) -> Result<Vec<&'static str>, RpcError> {
        let mut pauses = vec![
            ("JobMgr", self.job_mgr_reader().is_paused().block_id(LATEST).call().await),
            ("CdcPool", self.cdc_pool_reader().is_paused().block_id(LATEST).call().await),
            ("TaskAllocator", self.task_allocator_reader().is_paused().block_id(LATEST).call().await),
        ];
        if let Some(paymaster) = &self.deployment.paymaster {
            let reader = PaymasterReader::new(paymaster.address.0, &self.rpc.client);
            pauses.push(("Paymaster", reader.is_paused().block_id(LATEST).call().await));
        }
        let mut paused = Vec::new();
        for (name, is_paused) in pauses {
            if is_paused.map_err(|error| self.view_error("a pause", &error))? {
                paused.push(name);
            }
        }
        Ok(paused)
    }

    /// What JobMgr holds in escrow.
    ///
    /// # Errors
    /// Fails where the node does not answer.
    pub async fn held(&self) -> Result<Fri, RpcError> {
        Self::balance(&self.rpc, self.deployment.token, self.deployment.job_mgr.address).await
    }

    /// What JobMgr held at the end of a block: to be compared with what the events until then say.
    ///
    /// # Errors
    /// Fails where the node does not answer, or does not know the state of that block any more.
    pub async fn held_at(&self, block: BlockNumber) -> Result<Fri, RpcError> {
        let (token, job_mgr) = (self.deployment.token, self.deployment.job_mgr.address);
        Self::balance_at(&self.rpc, token, job_mgr, BlockId::Number(block.0)).await
    }

    /// What `account` holds of the ERC-20 `token`.
    ///
    /// # Errors
    /// Fails where the node does not answer, or the balance exceeds `u128`.
    pub async fn balance(rpc: &Rpc, token: Address, account: Address) -> Result<Fri, RpcError> {
        Self::balance_at(rpc, token, account, LATEST).await
    }

    async fn balance_at(rpc: &Rpc, token: Address, account: Address, block: BlockId) -> Result<Fri, RpcError> {
        let request = FunctionCall {
            contract_address: token.0,
            entry_point_selector: selector!("balance_of"),
            calldata: vec![account.0],
        };
        let answer = rpc.client.call(request, block).await.map_err(|error| rpc.error("a balance", &error))?;
        let malformed = |reason: String| RpcError::Malformed { request: "a balance", reason };
        let [low, high] = answer[..] else { return Err(malformed(format!("{} felts, not 2", answer.len()))) };
        let part = |felt: Felt| u128::try_from(felt).map(U256::from).map_err(|error| malformed(error.to_string()));
        let balance: U256 = (part(high)? << 128) | part(low)?;
        u128::try_from(balance).map(Fri).map_err(|_| malformed("it exceeds 128 bits".to_owned()))
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
