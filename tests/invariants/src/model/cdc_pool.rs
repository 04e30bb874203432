//! Workers, their stake and their reputation, as `cdc_pool/interface.cairo` has it.

use std::collections::BTreeMap;

use keeper_types::{Felt, JobState, WorkerStatus};

use super::{Model, Refusal, Terms, is_admin, show::capability_fields};
use crate::{
    actors::Contract,
    calls::{Capabilities, Moment, Offer},
};

pub(super) const NOT_JOB_MGR: Refusal = "CdcPool: caller not job manager";
const NOT_A_WORKER: Refusal = "CdcPool: caller not a worker";
const IS_LEAVING: Refusal = "CdcPool: worker is leaving";
const JOBS_RUNNING: Refusal = "CdcPool: jobs running";

const INITIAL_REPUTATION: u16 = 500;
const MAX_REPUTATION: u16 = 1000;
const MAX_PAGE: u8 = 50;

#[derive(Clone, Debug, Default)]
pub(crate) struct CdcPool {
    /// Worker `n` stands at `n - 1`.
    pub(crate) workers: Vec<Worker>,
    /// The latest worker of each owner.
    pub(crate) worker_of: BTreeMap<Felt, u32>,
    /// 0 until it was set.
    pub(crate) job_mgr: Felt,
}

#[derive(Clone, Debug)]
pub(crate) struct Worker {
    pub(crate) owner: Felt,
    pub(crate) status: WorkerStatus,
    pub(crate) offer: Offer,
    /// Fri.
    pub(crate) stake: u128,
    pub(crate) reputation: u16,
    pub(crate) registered_at: u64,
    /// When the stake is free, of a worker that left.
    pub(crate) exit: Option<Moment>,
}

/// How an attempt ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Settled,
    Failed,
    Expired,
}

/// The rule by which an outcome moves a reputation.
pub(crate) fn reputation_after(reputation: u16, outcome: Outcome) -> u16 {
    match outcome {
        Outcome::Settled => reputation + (MAX_REPUTATION - reputation).div_ceil(50),
        Outcome::Failed => reputation - reputation.div_ceil(20),
        Outcome::Expired => reputation - reputation.div_ceil(5),
    }
}

fn ensure(holds: bool, refusal: Refusal) -> Result<(), Refusal> {
    if holds { Ok(()) } else { Err(refusal) }
}

fn check(offer: &Offer, stake: u128, terms: &Terms) -> Result<(), Refusal> {
    ensure(offer.slots > 0, "CdcPool: zero slots")?;
    ensure(offer.rate_gfri > 0, "CdcPool: zero rate")?;
    ensure(offer.rate_gfri < 1 << 40, "CdcPool: rate too high")?;
    check_capabilities(&offer.capabilities)?;
    let least = terms.min_stake_per_slot.checked_mul(u128::from(offer.slots));
    ensure(least.is_some_and(|least| stake >= least), "CdcPool: stake too low")
}

fn check_capabilities(offered: &Capabilities) -> Result<(), Refusal> {
    ensure(offered.gpu_count <= 63, "CdcPool: too many GPUs")?;
    ensure(offered.vram_gib <= 1023, "CdcPool: too much VRAM")?;
    ensure(offered.compute_capability <= 127, "CdcPool: bad compute capability")?;
    ensure(offered.driver_version <= 1023, "CdcPool: bad driver version")?;
    ensure(offered.cpu_cores <= 511, "CdcPool: too many CPU cores")?;
    ensure(offered.memory_gib <= 4095, "CdcPool: too much memory")?;
    ensure(offered.region != Felt::ZERO, "CdcPool: zero region")?;
    ensure(offered.region < Felt::from(1_u64 << 40), "CdcPool: region too long")
}

impl Model {
    pub(crate) fn worker(&self, worker_id: u32) -> Option<&Worker> {
        let index = usize::try_from(worker_id.checked_sub(1)?).ok()?;
        self.cdc_pool.workers.get(index)
    }

    /// Jobs that the worker runs, and the GPUs that they occupy.
    pub(crate) fn in_use(&self, worker_id: u32) -> (u8, u8) {
        let running = self.job_mgr.jobs.iter().filter(|job| {
            job.state == JobState::Allocated && job.placement.is_some_and(|placement| placement.worker_id == worker_id)
        });
        running.fold((0, 0), |(slots, gpus), job| (slots + 1, gpus + job.spec.requirements.gpu_count))
    }

    pub(super) fn register_worker(&mut self, caller: Felt, offer: &Offer, stake: u128) -> Result<Vec<Felt>, Refusal> {
        let earlier = self.cdc_pool.worker_of.get(&caller).and_then(|id| self.worker(*id));
        let is_free = earlier.is_none_or(|worker| worker.status == WorkerStatus::Exited);
        ensure(is_free, "CdcPool: already registered")?;
        check(offer, stake, &self.terms)?;
        self.token.take(caller, Contract::CdcPool, stake)?;
        self.cdc_pool.workers.push(Worker {
            owner: caller,
            status: WorkerStatus::Active,
            offer: *offer,
            stake,
            reputation: INITIAL_REPUTATION,
            registered_at: self.now.timestamp,
            exit: None,
        });
        let worker_id = u32::try_from(self.cdc_pool.workers.len()).expect("a sequence is short");
        self.cdc_pool.worker_of.insert(caller, worker_id);
        let mut fields = vec![("worker_id", worker_id.into()), ("owner", caller)];
        fields.extend(capability_fields(&offer.capabilities));
        let terms = [("slots", offer.slots.into()), ("rate_gfri", offer.rate_gfri.into()), ("stake", stake.into())];
        fields.extend(terms);
        self.emit(Contract::CdcPool, "WorkerRegistered", fields);
        Ok(vec![worker_id.into()])
    }

    pub(super) fn update_worker(&mut self, caller: Felt, offer: &Offer) -> Result<Vec<Felt>, Refusal> {
        let worker_id = self.worker_id_of(caller)?;
        let is_idle = self.in_use(worker_id).0 == 0;
        let terms = self.terms;
        let worker = self.worker_mut(worker_id);
        ensure(is_staying(worker), IS_LEAVING)?;
        ensure(is_idle, JOBS_RUNNING)?;
        check(offer, worker.stake, &terms)?;
        worker.offer = *offer;
        let mut fields = vec![("worker_id", worker_id.into())];
        fields.extend(capability_fields(&offer.capabilities));
        fields.extend([("slots", offer.slots.into()), ("rate_gfri", offer.rate_gfri.into())]);
        self.emit(Contract::CdcPool, "WorkerUpdated", fields);
        Ok(Vec::new())
    }

    pub(super) fn drain_worker(&mut self, caller: Felt) -> Result<Vec<Felt>, Refusal> {
        let worker_id = self.worker_id_of(caller)?;
        let worker = self.worker_mut(worker_id);
        ensure(worker.status == WorkerStatus::Active, "CdcPool: not active")?;
        worker.status = WorkerStatus::Draining;
        self.emit(Contract::CdcPool, "WorkerDrained", vec![("worker_id", worker_id.into())]);
        Ok(Vec::new())
    }

    pub(super) fn resume_worker(&mut self, caller: Felt) -> Result<Vec<Felt>, Refusal> {
        let worker_id = self.worker_id_of(caller)?;
        let worker = self.worker_mut(worker_id);
        ensure(worker.status == WorkerStatus::Draining, "CdcPool: not draining")?;
        worker.status = WorkerStatus::Active;
        self.emit(Contract::CdcPool, "WorkerResumed", vec![("worker_id", worker_id.into())]);
        Ok(Vec::new())
    }

    pub(super) fn exit_worker(&mut self, caller: Felt) -> Result<Vec<Felt>, Refusal> {
        let worker_id = self.worker_id_of(caller)?;
        let exit = self.now.after(self.terms.unbonding_s);
        let worker = self.worker_mut(worker_id);
        ensure(is_staying(worker), IS_LEAVING)?;
        worker.status = WorkerStatus::Exiting;
        worker.exit = Some(exit);
        let fields = vec![
            ("worker_id", worker_id.into()),
            ("exit_at", exit.timestamp.into()),
            ("exit_block", exit.block.into()),
        ];
        self.emit(Contract::CdcPool, "WorkerExiting", fields);
        Ok(Vec::new())
    }

    pub(super) fn withdraw_stake(&mut self, caller: Felt) -> Result<Vec<Felt>, Refusal> {
        let worker_id = self.worker_id_of(caller)?;
        let is_idle = self.in_use(worker_id).0 == 0;
        let now = self.now;
        let worker = self.worker_mut(worker_id);
        ensure(worker.status == WorkerStatus::Exiting, "CdcPool: not exiting")?;
        ensure(is_idle, JOBS_RUNNING)?;
        ensure(worker.exit.is_some_and(|exit| exit.has_passed(now)), "CdcPool: still bonded")?;
        worker.status = WorkerStatus::Exited;
        let amount = std::mem::take(&mut worker.stake);
        self.token.pay(Contract::CdcPool, caller, amount)?;
        let fields = vec![("worker_id", worker_id.into()), ("owner", caller), ("amount", amount.into())];
        self.emit(Contract::CdcPool, "StakeWithdrawn", fields);
        Ok(Vec::new())
    }

    pub(super) fn set_job_mgr(&mut self, caller: Felt, address: Felt) -> Result<Vec<Felt>, Refusal> {
        ensure(is_admin(caller), "CdcPool: caller not admin")?;
        ensure(address != Felt::ZERO, "CdcPool: zero address")?;
        ensure(self.cdc_pool.job_mgr == Felt::ZERO, "CdcPool: job manager set before")?;
        self.cdc_pool.job_mgr = address;
        self.emit(Contract::CdcPool, "JobMgrSet", vec![("job_mgr", address)]);
        Ok(Vec::new())
    }

    pub(super) fn get_workers(&self, first: u32, count: u8) -> Result<Vec<Felt>, Refusal> {
        ensure(count <= MAX_PAGE, "CdcPool: too many asked")?;
        let last = u32::try_from(self.cdc_pool.workers.len()).expect("a sequence is short");
        let ids: Vec<u32> = (first.max(1)..=last).take(usize::from(count)).collect();
        let views = ids.iter().flat_map(|id| self.worker_view(*id));
        Ok(std::iter::once(ids.len().into()).chain(views.map(|(_, felt)| felt)).collect())
    }

    /// Moves a worker's reputation by the rule.
    pub(super) fn record_outcome(&mut self, worker_id: u32, outcome: Outcome) {
        let worker = self.worker_mut(worker_id);
        let old = worker.reputation;
        let new = reputation_after(old, outcome);
        worker.reputation = new;
        if old != new {
            let fields =
                vec![("worker_id", worker_id.into()), ("old_reputation", old.into()), ("new_reputation", new.into())];
            self.emit(Contract::CdcPool, "ReputationChanged", fields);
        }
    }

    fn worker_id_of(&self, caller: Felt) -> Result<u32, Refusal> {
        self.cdc_pool.worker_of.get(&caller).copied().ok_or(NOT_A_WORKER)
    }

    fn worker_mut(&mut self, worker_id: u32) -> &mut Worker {
        let index = usize::try_from(worker_id - 1).expect("ids are small");
        &mut self.cdc_pool.workers[index]
    }
}

fn is_staying(worker: &Worker) -> bool {
    matches!(worker.status, WorkerStatus::Active | WorkerStatus::Draining)
}
