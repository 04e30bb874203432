//! Everything that can be seen from outside, one question at a time.

use keeper_types::{Felt, JobId};

use crate::{
    actors::{Actor, Contract},
    model::Model,
};

/// A view with its arguments.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum View {
    Job(u64),
    IsExcluded(u64, u32),
    JobCount,
    Group(u64),
    Dispute(u64),
    CreditOf(Actor),
    JobMgrConfig,
    Worker(u32),
    WorkerOwner(u32),
    WorkerOf(Actor),
    WorkerCount,
    IsAlive(u32),
    CdcPoolConfig,
    Stats,
    LastRound(Actor),
    LastRoundBlock,
    IsKeeper(Actor),
    Keeper(Actor),
    Policy(u64),
    Metrics(u32),
    MetricsReportedAt(u32),
    Load(u32),
    TaskAllocatorConfig,
    PaymasterBalance(Actor),
    GatewayAllowance(Actor, Actor),
    Sponsorship(Actor, Actor),
    IsRelayer(Actor, Actor),
    PaymasterConfig,
    Admin(Contract),
    PendingAdmin(Contract),
    Guardian(Contract),
    IsPaused(Contract),
    Upgrade(Contract),
}

/// Policies that are ever announced have the ids from 1 to this.
pub(crate) const POLICIES: u64 = 4;

impl View {
    /// What is asked every few calls: everything but what other views show as well.
    pub(crate) fn often(model: &Model) -> Vec<Self> {
        let jobs = model.job_mgr.jobs.len() as u64;
        let workers = model.cdc_pool.workers.len() as u32;
        let mut views = vec![Self::JobCount, Self::WorkerCount, Self::Stats];
        views.extend((0..=jobs).map(Self::Job));
        views.extend((0..=workers).map(Self::Worker));
        views.extend(model.job_mgr.groups.keys().map(|id| Self::Group(*id)));
        views.extend(model.job_mgr.disputes.keys().map(|id| Self::Dispute(*id)));
        views.extend(model.job_mgr.excluded.iter().map(|(job_id, worker_id)| Self::IsExcluded(*job_id, *worker_id)));
        views.extend((1..=POLICIES).map(Self::Policy));
        for actor in Actor::ALL {
            views.extend([Self::CreditOf(actor), Self::WorkerOf(actor)]);
            views.extend([Self::Keeper(actor), Self::PaymasterBalance(actor)]);
        }
        for contract in Contract::OURS.into_iter().filter(|contract| model.control(*contract).is_embedded) {
            views.extend([Self::Admin(contract), Self::PendingAdmin(contract), Self::Guardian(contract)]);
            views.extend([Self::IsPaused(contract), Self::Upgrade(contract)]);
        }
        views
    }

    /// What is asked at the end of a sequence on top of that.
    pub(crate) fn at_the_end(model: &Model) -> Vec<Self> {
        let jobs = model.job_mgr.jobs.len() as u64;
        let workers = model.cdc_pool.workers.len() as u32;
        let mut views = vec![Self::Job(u64::MAX), Self::Worker(u32::MAX), Self::Group(u64::MAX), Self::Dispute(0)];
        views.extend([Self::JobMgrConfig, Self::CdcPoolConfig, Self::TaskAllocatorConfig, Self::PaymasterConfig]);
        views.push(Self::LastRoundBlock);
        views.extend(Actor::KEEPERS.map(Self::LastRound));
        views.extend(Actor::KEEPERS.map(Self::IsKeeper));
        for worker_id in 1..=workers {
            views.extend([Self::WorkerOwner(worker_id), Self::IsAlive(worker_id), Self::Load(worker_id)]);
            views.extend([Self::Metrics(worker_id), Self::MetricsReportedAt(worker_id)]);
        }
        if workers > 0 {
            // One worker of each job, and of each replica that is not a group's first.
            views.extend((1..=jobs).map(|job_id| Self::IsExcluded(job_id, 1 + (job_id % u64::from(workers)) as u32)));
        }
        for (client, gateway) in [(Actor::Client1, Actor::Keeper2), (Actor::Client2, Actor::Keeper2)] {
            views.push(Self::GatewayAllowance(client, gateway));
        }
        for sponsor in [Actor::Client1, Actor::Client2] {
            views.extend([Self::Sponsorship(sponsor, Actor::Account), Self::IsRelayer(sponsor, Actor::Keeper1)]);
        }
        views
    }

    /// Whether the answer depends on the time.
    pub(crate) fn is_of_the_moment(self) -> bool {
        matches!(self, Self::IsAlive(_) | Self::Sponsorship(..))
    }

    /// Whether the model may know more fields than the contract has.
    pub(crate) fn is_a_configuration(self) -> bool {
        matches!(self, Self::JobMgrConfig | Self::CdcPoolConfig | Self::TaskAllocatorConfig | Self::PaymasterConfig)
    }

    /// The contract, its function, and the arguments.
    pub(crate) fn question(self) -> (Contract, &'static str, Vec<Felt>) {
        use Contract::{CdcPool, JobMgr, Paymaster, TaskAllocator};
        match self {
            Self::Job(id) => (JobMgr, "get_job", vec![id.into()]),
            Self::IsExcluded(job_id, worker_id) => (JobMgr, "is_excluded", vec![job_id.into(), worker_id.into()]),
            Self::JobCount => (JobMgr, "job_count", Vec::new()),
            Self::Group(id) => (JobMgr, "get_group", vec![id.into()]),
            Self::Dispute(id) => (JobMgr, "get_dispute", vec![id.into()]),
            Self::CreditOf(actor) => (JobMgr, "credit_of", vec![actor.address()]),
            Self::JobMgrConfig => (JobMgr, "get_config", Vec::new()),
            Self::Worker(id) => (CdcPool, "get_worker", vec![id.into()]),
            Self::WorkerOwner(id) => (CdcPool, "worker_owner", vec![id.into()]),
            Self::WorkerOf(actor) => (CdcPool, "worker_of", vec![actor.address()]),
            Self::WorkerCount => (CdcPool, "worker_count", Vec::new()),
            Self::IsAlive(id) => (CdcPool, "is_alive", vec![id.into()]),
            Self::CdcPoolConfig => (CdcPool, "get_config", Vec::new()),
            Self::Stats => (TaskAllocator, "get_allocation_stats", Vec::new()),
            Self::LastRound(actor) => (TaskAllocator, "last_round", vec![actor.address()]),
            Self::LastRoundBlock => (TaskAllocator, "last_round_block", Vec::new()),
            Self::IsKeeper(actor) => (TaskAllocator, "is_keeper", vec![actor.address()]),
            Self::Keeper(actor) => (TaskAllocator, "get_keeper", vec![actor.address()]),
            Self::Policy(id) => (TaskAllocator, "get_policy", vec![id.into()]),
            Self::Metrics(id) => (TaskAllocator, "get_worker_metrics", vec![id.into()]),
            Self::MetricsReportedAt(id) => (TaskAllocator, "metrics_reported_at", vec![id.into()]),
            Self::Load(id) => (TaskAllocator, "get_worker_load", vec![id.into()]),
            Self::TaskAllocatorConfig => (TaskAllocator, "get_config", Vec::new()),
            Self::PaymasterBalance(actor) => (Paymaster, "balance_of", vec![actor.address()]),
            Self::GatewayAllowance(client, gateway) => {
                (Paymaster, "gateway_allowance", vec![client.address(), gateway.address()])
            }
            Self::Sponsorship(sponsor, account) => {
                (Paymaster, "get_sponsorship", vec![sponsor.address(), account.address()])
            }
            Self::IsRelayer(sponsor, relayer) => (Paymaster, "is_relayer", vec![sponsor.address(), relayer.address()]),
            Self::PaymasterConfig => (Paymaster, "get_config", Vec::new()),
            Self::Admin(contract) => (contract, "admin", Vec::new()),
            Self::PendingAdmin(contract) => (contract, "pending_admin", Vec::new()),
            Self::Guardian(contract) => (contract, "guardian", Vec::new()),
            Self::IsPaused(contract) => (contract, "is_paused", Vec::new()),
            Self::Upgrade(contract) => (contract, "get_upgrade", Vec::new()),
        }
    }
}

/// The jobs and workers that differ between two states of the model.
pub(crate) fn touched(before: &Model, after: &Model) -> Vec<View> {
    let mut views = Vec::new();
    for (index, job) in after.job_mgr.jobs.iter().enumerate() {
        let id = index as u64 + 1;
        if before.job(JobId(id)) != Some(job) {
            views.push(View::Job(id));
        }
    }
    for (index, worker) in after.cdc_pool.workers.iter().enumerate() {
        let id = index as u32 + 1;
        let is_same = before.worker(id) == Some(worker)
            && before.in_use(id) == after.in_use(id)
            && before.holds(id) == after.holds(id);
        if !is_same {
            views.push(View::Worker(id));
        }
    }
    views
}
