//! The contracts' state as their views show it, for the rules. The model has no part in it.

use std::collections::HashMap;

use anyhow::{Context as _, Result, anyhow};
use keeper_types::Felt;

use crate::{
    actors::{Actor, Contract},
    calls::{Capabilities, Moment, Requirements},
    market::{Answer, Market},
    views::View,
};

/// The numbers of the contract's enums.
pub(crate) mod state {
    pub(crate) const QUEUED: u8 = 1;
    pub(crate) const ALLOCATED: u8 = 2;
    pub(crate) const COMMITTED: u8 = 3;
    pub(crate) const DISPUTED: u8 = 5;
    pub(crate) const SETTLED: u8 = 6;
    pub(crate) const CANCELLED: u8 = 7;
    pub(crate) const EXPIRED: u8 = 8;
    pub(crate) const FAILED: u8 = 9;
    pub(crate) const ACTIVE: u8 = 1;
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
    pub(crate) verification: u8,
    pub(crate) rate_gfri: u64,
    pub(crate) group_id: u64,
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
    pub(crate) reputation_at: u64,
    pub(crate) holds: u16,
}

/// Jobs and workers as they were last seen, and who holds what.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Sight {
    pub(crate) now: Moment,
    /// Job `n` stands at `n - 1`, and so does a worker.
    pub(crate) jobs: Vec<JobSeen>,
    pub(crate) workers: Vec<WorkerSeen>,
    /// Fri.
    pub(crate) held: HashMap<Felt, u128>,
}

/// Where the fields that are looked at stand in a view.
struct Named<'a> {
    names: &'a [String],
    felts: &'a [Felt],
}

impl Named<'_> {
    fn get<T: TryFrom<Felt>>(&self, name: &str) -> Result<T> {
        let position = self.names.iter().position(|known| known == name).with_context(|| format!("no field {name}"))?;
        let felt = *self.felts.get(position).with_context(|| format!("no value of {name}"))?;
        T::try_from(felt).map_err(|_| anyhow!("{name} is out of range: {felt:#x}"))
    }
}

impl Sight {
    /// Looks again at what was asked anew, and at the money.
    pub(crate) fn update(&mut self, market: &mut Market, now: Moment) -> Result<()> {
        self.now = now;
        for view in market.take_asked() {
            let names = market.names(view);
            let felts = match market.look(view, now) {
                Answer::Ok(felts) => felts.clone(),
                Answer::Err(_) => continue,
            };
            let named = Named { names: &names, felts: &felts };
            match view {
                View::Job(id) => put(&mut self.jobs, id, JobSeen::of(&named, id)?),
                View::Worker(id) => put(&mut self.workers, id.into(), WorkerSeen::of(&named, id)?),
                _ => {}
            }
        }
        for (holder, amount) in market.balances() {
            let amount = amount.with_context(|| format!("{holder:#x} holds more than there is"))?;
            self.held.insert(holder, amount);
        }
        Ok(())
    }

    pub(crate) fn job(&self, job_id: u64) -> Option<&JobSeen> {
        self.jobs.get(usize::try_from(job_id.checked_sub(1)?).ok()?)
    }

    pub(crate) fn worker(&self, worker_id: u32) -> Option<&WorkerSeen> {
        self.workers.get(usize::try_from(worker_id.checked_sub(1)?).ok()?)
    }

    /// What a contract holds, in fri.
    pub(crate) fn held_by(&self, contract: Contract) -> u128 {
        self.held.get(&contract.address()).copied().unwrap_or_default()
    }

    /// What all accounts hold, in fri.
    pub(crate) fn held_by_accounts(&self) -> u128 {
        Actor::ALL.iter().filter_map(|actor| self.held.get(&actor.address())).sum()
    }
}

/// Ids are seen in order; what lies beyond does not exist.
fn put<T>(seen: &mut Vec<T>, id: u64, value: T) {
    let Some(index) = id.checked_sub(1).and_then(|index| usize::try_from(index).ok()) else { return };
    if index < seen.len() {
        seen[index] = value;
    } else if index == seen.len() {
        seen.push(value);
    }
}

impl JobSeen {
    fn of(view: &Named<'_>, job_id: u64) -> Result<Self> {
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
            verification: view.get("spec.verification")?,
            rate_gfri: view.get("rate_gfri")?,
            group_id: view.get("group_id")?,
            felts: view.felts.to_vec(),
        })
    }

    /// Fri, at a rate.
    pub(crate) fn price(&self, rate_gfri: u64) -> u128 {
        let units = u128::from(self.requirements.gpu_count.max(1));
        u128::from(rate_gfri) * 1_000_000_000 * units * u128::from(self.execution_timeout_s)
    }
}

impl WorkerSeen {
    fn of(view: &Named<'_>, worker_id: u32) -> Result<Self> {
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
            reputation_at: view.get("reputation_at")?,
            holds: view.get("holds")?,
        })
    }
}
