//! The contracts' state as their views show it, for the invariants. The model has no part in it.

use anyhow::{Context as _, Result, anyhow};
use keeper_types::Felt;

use crate::{
    actors::{Actor, Contract},
    calls::{Capabilities, Requirements},
    market::Market,
    views::View,
};

/// The numbers of the contract's enums.
pub(crate) mod state {
    pub(crate) const QUEUED: u8 = 1;
    pub(crate) const ALLOCATED: u8 = 2;
    pub(crate) const REVEALED: u8 = 4;
    pub(crate) const SETTLED: u8 = 6;
    pub(crate) const FAILED: u8 = 9;
    pub(crate) const ACTIVE: u8 = 1;
    pub(crate) const DRAINING: u8 = 2;
    pub(crate) const EXITED: u8 = 4;

    /// Whether no job ever leaves the state.
    pub(crate) fn is_final(state: u8) -> bool {
        (SETTLED..=FAILED).contains(&state)
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct JobSeen {
    pub(crate) job_id: u64,
    pub(crate) client: Felt,
    pub(crate) state: u8,
    pub(crate) attempt: u8,
    pub(crate) worker_id: u32,
    pub(crate) requirements: Requirements,
    pub(crate) max_price: u128,
    pub(crate) execution_timeout_s: u32,
    pub(crate) max_attempts: u8,
    pub(crate) rate_gfri: u64,
    /// Every felt of the view.
    pub(crate) felts: Vec<Felt>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct WorkerSeen {
    pub(crate) worker_id: u32,
    pub(crate) owner: Felt,
    pub(crate) status: u8,
    pub(crate) capabilities: Capabilities,
    pub(crate) slots: u8,
    pub(crate) free_slots: u8,
    pub(crate) free_gpus: u8,
    pub(crate) rate_gfri: u64,
    pub(crate) stake: u128,
    pub(crate) reputation: u16,
}

/// All of it at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Sight {
    pub(crate) jobs: Vec<JobSeen>,
    pub(crate) workers: Vec<WorkerSeen>,
    /// Fri, in this order.
    pub(crate) held_by_job_mgr: u128,
    pub(crate) held_by_cdc_pool: u128,
    pub(crate) held_by_accounts: u128,
}

/// A view's felts by name.
struct Named {
    names: Vec<String>,
    felts: Vec<Felt>,
}

impl Named {
    fn look(market: &mut Market, view: View) -> Result<Self> {
        let names = market.names(view);
        let felts = market.look(view).clone().map_err(|text| anyhow!("{view:?} reverts: {text}"))?;
        Ok(Self { names, felts })
    }

    fn get<T: TryFrom<Felt>>(&self, name: &str) -> Result<T> {
        let position = self.names.iter().position(|known| known == name).with_context(|| format!("no field {name}"))?;
        let felt = *self.felts.get(position).with_context(|| format!("no value of {name}"))?;
        T::try_from(felt).map_err(|_| anyhow!("{name} is out of range: {felt:#x}"))
    }

    fn single<T: TryFrom<Felt>>(&self) -> Result<T> {
        let felt = *self.felts.first().context("no value")?;
        T::try_from(felt).map_err(|_| anyhow!("out of range: {felt:#x}"))
    }
}

impl Sight {
    pub(crate) fn of(market: &mut Market) -> Result<Self> {
        let jobs: u64 = Named::look(market, View::JobCount)?.single()?;
        let workers: u32 = Named::look(market, View::WorkerCount)?.single()?;
        let balance = |market: &mut Market, view| Named::look(market, view)?.get::<u128>("low");
        let mut held_by_accounts = 0;
        for actor in Actor::ALL {
            held_by_accounts += balance(market, View::BalanceOf(actor))?;
        }
        Ok(Self {
            jobs: (1..=jobs).map(|id| JobSeen::of(market, id)).collect::<Result<_>>()?,
            workers: (1..=workers).map(|id| WorkerSeen::of(market, id)).collect::<Result<_>>()?,
            held_by_job_mgr: balance(market, View::Held(Contract::JobMgr))?,
            held_by_cdc_pool: balance(market, View::Held(Contract::CdcPool))?,
            held_by_accounts,
        })
    }

    pub(crate) fn job(&self, job_id: u64) -> Option<&JobSeen> {
        self.jobs.iter().find(|job| job.job_id == job_id)
    }

    pub(crate) fn worker(&self, worker_id: u32) -> Option<&WorkerSeen> {
        self.workers.iter().find(|worker| worker.worker_id == worker_id)
    }
}

impl JobSeen {
    fn of(market: &mut Market, job_id: u64) -> Result<Self> {
        let view = Named::look(market, View::Job(job_id))?;
        let wanted = |name: &str| format!("spec.requirements.{name}");
        Ok(Self {
            job_id,
            client: view.get("client")?,
            state: view.get("state")?,
            attempt: view.get("attempt")?,
            worker_id: view.get("worker_id")?,
            requirements: Requirements {
                gpu_count: view.get(&wanted("gpu_count"))?,
                vram_gib: view.get(&wanted("vram_gib"))?,
                compute_capability: view.get(&wanted("compute_capability"))?,
                cuda_version: view.get(&wanted("cuda_version"))?,
                driver_version: view.get(&wanted("driver_version"))?,
                cpu_cores: view.get(&wanted("cpu_cores"))?,
                memory_gib: view.get(&wanted("memory_gib"))?,
                min_reputation: view.get(&wanted("min_reputation"))?,
                features: view.get(&wanted("features"))?,
                region: view.get(&wanted("region"))?,
            },
            max_price: view.get("spec.max_price")?,
            execution_timeout_s: view.get("spec.execution_timeout_s")?,
            max_attempts: view.get("spec.max_attempts")?,
            rate_gfri: view.get("rate_gfri")?,
            felts: view.felts,
        })
    }

    /// Fri, at a rate.
    pub(crate) fn price(&self, rate_gfri: u64) -> u128 {
        let units = u128::from(self.requirements.gpu_count.max(1));
        u128::from(rate_gfri) * 1_000_000_000 * units * u128::from(self.execution_timeout_s)
    }
}

impl WorkerSeen {
    fn of(market: &mut Market, worker_id: u32) -> Result<Self> {
        let view = Named::look(market, View::Worker(worker_id))?;
        let offered = |name: &str| format!("capabilities.{name}");
        Ok(Self {
            worker_id,
            owner: view.get("owner")?,
            status: view.get("status")?,
            capabilities: Capabilities {
                gpu_count: view.get(&offered("gpu_count"))?,
                vram_gib: view.get(&offered("vram_gib"))?,
                compute_capability: view.get(&offered("compute_capability"))?,
                cuda_version: view.get(&offered("cuda_version"))?,
                driver_version: view.get(&offered("driver_version"))?,
                cpu_cores: view.get(&offered("cpu_cores"))?,
                memory_gib: view.get(&offered("memory_gib"))?,
                features: view.get(&offered("features"))?,
                region: view.get(&offered("region"))?,
            },
            slots: view.get("slots")?,
            free_slots: view.get("free_slots")?,
            free_gpus: view.get("free_gpus")?,
            rate_gfri: view.get("rate_gfri")?,
            stake: view.get("stake")?,
            reputation: view.get("reputation")?,
        })
    }
}
