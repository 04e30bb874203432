//! Everything that can be seen from outside, one question at a time.

use keeper_types::Felt;

use crate::actors::{Actor, Contract};

/// A view with its arguments.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum View {
    Job(u64),
    IsExcluded(u64, u32),
    JobCount,
    JobMgrConfig,
    Worker(u32),
    WorkerOwner(u32),
    WorkerOf(Actor),
    WorkerCount,
    CdcPoolConfig,
    Stats,
    LastRound(Actor),
    IsKeeper(Actor),
    Metrics(u32),
    MetricsReportedAt(u32),
    Load(u32),
    TaskAllocatorConfig,
    BalanceOf(Actor),
    Held(Contract),
    Allowance(Actor, Contract),
}

impl View {
    /// Every view of a market with so many jobs and workers, and of ids that do not exist.
    pub(crate) fn all(jobs: u64, workers: u32) -> Vec<Self> {
        let mut views = vec![
            Self::JobCount,
            Self::JobMgrConfig,
            Self::WorkerCount,
            Self::CdcPoolConfig,
            Self::Stats,
            Self::TaskAllocatorConfig,
            Self::Held(Contract::JobMgr),
            Self::Held(Contract::CdcPool),
            Self::Held(Contract::TaskAllocator),
        ];
        for actor in Actor::ALL {
            views.extend([Self::WorkerOf(actor), Self::LastRound(actor), Self::IsKeeper(actor)]);
            views.push(Self::BalanceOf(actor));
            views.extend([Contract::JobMgr, Contract::CdcPool].map(|spender| Self::Allowance(actor, spender)));
        }
        for worker_id in (0..=workers).chain([u32::MAX]) {
            views.extend([Self::Worker(worker_id), Self::WorkerOwner(worker_id)]);
            views.extend([Self::Metrics(worker_id), Self::MetricsReportedAt(worker_id), Self::Load(worker_id)]);
        }
        views.extend((0..=jobs).chain([u64::MAX]).map(Self::Job));
        for job_id in 1..=jobs {
            views.extend((1..=workers).map(|worker_id| Self::IsExcluded(job_id, worker_id)));
        }
        views
    }

    /// The contract, its function, and the arguments.
    pub(crate) fn question(self) -> (Contract, &'static str, Vec<Felt>) {
        use Contract::{CdcPool, JobMgr, TaskAllocator, Token};
        match self {
            Self::Job(id) => (JobMgr, "get_job", vec![id.into()]),
            Self::IsExcluded(job_id, worker_id) => (JobMgr, "is_excluded", vec![job_id.into(), worker_id.into()]),
            Self::JobCount => (JobMgr, "job_count", Vec::new()),
            Self::JobMgrConfig => (JobMgr, "get_config", Vec::new()),
            Self::Worker(id) => (CdcPool, "get_worker", vec![id.into()]),
            Self::WorkerOwner(id) => (CdcPool, "worker_owner", vec![id.into()]),
            Self::WorkerOf(actor) => (CdcPool, "worker_of", vec![actor.address()]),
            Self::WorkerCount => (CdcPool, "worker_count", Vec::new()),
            Self::CdcPoolConfig => (CdcPool, "get_config", Vec::new()),
            Self::Stats => (TaskAllocator, "get_allocation_stats", Vec::new()),
            Self::LastRound(actor) => (TaskAllocator, "last_round", vec![actor.address()]),
            Self::IsKeeper(actor) => (TaskAllocator, "is_keeper", vec![actor.address()]),
            Self::Metrics(id) => (TaskAllocator, "get_worker_metrics", vec![id.into()]),
            Self::MetricsReportedAt(id) => (TaskAllocator, "metrics_reported_at", vec![id.into()]),
            Self::Load(id) => (TaskAllocator, "get_worker_load", vec![id.into()]),
            Self::TaskAllocatorConfig => (TaskAllocator, "get_config", Vec::new()),
            Self::BalanceOf(actor) => (Token, "balance_of", vec![actor.address()]),
            Self::Held(contract) => (Token, "balance_of", vec![contract.address()]),
            Self::Allowance(owner, spender) => (Token, "allowance", vec![owner.address(), spender.address()]),
        }
    }
}
