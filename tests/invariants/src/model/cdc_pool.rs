//! Workers and their stake, as `cdc_pool/interface.cairo` has it.

use std::collections::{BTreeMap, BTreeSet};

use keeper_types::{Felt, JobState, WorkerStatus};

use super::{Answered, Model, Refusal, Terms, ensure};
use crate::{
    actors::Contract,
    calls::{Capabilities, Moment, Offer},
};

pub(super) const NOT_JOB_MGR: Refusal = "CdcPool: caller not job manager";
pub(super) const UNKNOWN_WORKER: Refusal = "CdcPool: unknown worker";
const IS_LEAVING: Refusal = "CdcPool: worker is leaving";
const JOBS_RUNNING: Refusal = "CdcPool: jobs running";
const STAKE_TOO_LOW: Refusal = "CdcPool: stake too low";
const ZERO_ADDRESS: Refusal = "CdcPool: zero address";

pub(super) const INITIAL_REPUTATION: u16 = 500;
const MAX_PAGE: u8 = 50;

#[derive(Clone, Debug, Default)]
pub(crate) struct CdcPool {
    /// Worker `n` stands at `n - 1`.
    pub(crate) workers: Vec<Worker>,
    /// The latest worker of each owner.
    pub(crate) worker_of: BTreeMap<Felt, u32>,
    /// Worker and epoch of every heartbeat.
    pub(super) beats: BTreeSet<(u32, u64)>,
    /// These are 0 until they were set.
    pub(crate) job_mgr: Felt,
    pub(crate) task_allocator: Felt,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Worker {
    pub(crate) owner: Felt,
    pub(crate) status: WorkerStatus,
    pub(crate) offer: Offer,
    /// Fri.
    pub(crate) stake: u128,
    pub(crate) reputation: u16,
    /// Since when it decays.
    pub(crate) reputation_at: u64,
    pub(crate) registered_at: u64,
    /// When the stake is free, of a worker that left.
    pub(crate) exit: Option<Moment>,
    pub(crate) is_static: bool,
}

fn check(offer: &Offer, stake: u128, terms: &Terms) -> Result<(), Refusal> {
    ensure(offer.slots > 0, "CdcPool: zero slots")?;
    ensure(offer.rate_gfri > 0, "CdcPool: zero rate")?;
    ensure(offer.rate_gfri < 1 << 40, "CdcPool: rate too high")?;
    check_capabilities(&offer.capabilities)?;
    ensure(is_covered(offer, stake, terms), STAKE_TOO_LOW)
}

/// Whether the stake is enough for the slots.
pub(super) fn is_covered(offer: &Offer, stake: u128, terms: &Terms) -> bool {
    let least = terms.min_stake_per_slot.checked_mul(u128::from(offer.slots));
    least.is_some_and(|least| stake >= least)
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

    /// Of a worker that a job has.
    pub(super) fn owner_of(&self, worker_id: u32) -> Felt {
        self.worker(worker_id).expect("workers are never forgotten").owner
    }

    /// Jobs that the worker runs, and the GPUs that they occupy.
    pub(crate) fn in_use(&self, worker_id: u32) -> (u8, u8) {
        let running = self.job_mgr.jobs.iter().filter(|job| {
            job.state == JobState::Allocated && job.placement.is_some_and(|placement| placement.worker_id == worker_id)
        });
        running.fold((0, 0), |(slots, gpus), job| (slots + 1, gpus + job.spec.requirements.gpu_count))
    }

    /// Results of the worker that its stake is held for.
    pub(crate) fn holds(&self, worker_id: u32) -> u16 {
        let held = self.job_mgr.jobs.iter().filter(|job| job.is_held && job.worker_id() == worker_id);
        u16::try_from(held.count()).expect("a sequence is short")
    }

    pub(super) fn register_worker(&mut self, caller: Felt, offer: &Offer, stake: u128) -> Answered {
        self.unless_paused(Contract::CdcPool)?;
        let earlier = self.cdc_pool.worker_of.get(&caller).and_then(|id| self.worker(*id));
        let is_free = earlier.is_none_or(|worker| worker.status == WorkerStatus::Exited);
        ensure(is_free, "CdcPool: already registered")?;
        check(offer, stake, &self.terms)?;
        self.cdc_pool.workers.push(Worker {
            owner: caller,
            status: WorkerStatus::Active,
            offer: *offer,
            stake,
            reputation: INITIAL_REPUTATION,
            reputation_at: self.now.timestamp,
            registered_at: self.now.timestamp,
            exit: None,
            is_static: false,
        });
        let worker_id = u32::try_from(self.cdc_pool.workers.len()).expect("a sequence is short");
        self.cdc_pool.worker_of.insert(caller, worker_id);
        self.take(caller, Contract::CdcPool, stake)?;
        let mut fields = vec![("worker_id", worker_id.into()), ("owner", caller)];
        fields.extend(offer.capabilities.fields());
        let terms = [("slots", offer.slots.into()), ("rate_gfri", offer.rate_gfri.into()), ("stake", stake.into())];
        fields.extend(terms);
        self.emit(Contract::CdcPool, "WorkerRegistered", fields);
        Ok(vec![worker_id.into()])
    }

    pub(super) fn update_worker(&mut self, caller: Felt, offer: &Offer) -> Answered {
        self.unless_paused(Contract::CdcPool)?;
        let worker_id = self.worker_id_of(caller)?;
        let is_idle = self.in_use(worker_id).0 == 0;
        let terms = self.terms;
        let worker = self.worker_mut(worker_id);
        ensure(is_staying(worker), IS_LEAVING)?;
        ensure(is_idle, JOBS_RUNNING)?;
        check(offer, worker.stake, &terms)?;
        worker.offer = *offer;
        let mut fields = vec![("worker_id", worker_id.into())];
        fields.extend(offer.capabilities.fields());
        fields.extend([("slots", offer.slots.into()), ("rate_gfri", offer.rate_gfri.into())]);
        self.emit(Contract::CdcPool, "WorkerUpdated", fields);
        Ok(Vec::new())
    }

    pub(super) fn drain_worker(&mut self, caller: Felt) -> Answered {
        let worker_id = self.worker_id_of(caller)?;
        let worker = self.worker_mut(worker_id);
        ensure(worker.status == WorkerStatus::Active, "CdcPool: not active")?;
        worker.status = WorkerStatus::Draining;
        self.emit(Contract::CdcPool, "WorkerDrained", vec![("worker_id", worker_id.into())]);
        Ok(Vec::new())
    }

    pub(super) fn resume_worker(&mut self, caller: Felt) -> Answered {
        self.unless_paused(Contract::CdcPool)?;
        let worker_id = self.worker_id_of(caller)?;
        let terms = self.terms;
        let worker = self.worker_mut(worker_id);
        ensure(worker.status == WorkerStatus::Draining, "CdcPool: not draining")?;
        ensure(is_covered(&worker.offer, worker.stake, &terms), STAKE_TOO_LOW)?;
        worker.status = WorkerStatus::Active;
        self.emit(Contract::CdcPool, "WorkerResumed", vec![("worker_id", worker_id.into())]);
        Ok(Vec::new())
    }

    pub(super) fn add_stake(&mut self, caller: Felt, amount: u128) -> Answered {
        self.unless_paused(Contract::CdcPool)?;
        let worker_id = self.worker_id_of(caller)?;
        let worker = self.worker_mut(worker_id);
        ensure(is_staying(worker), IS_LEAVING)?;
        ensure(amount != 0, "CdcPool: zero amount")?;
        // More than there is of the token is refused by the token, if not before.
        worker.stake = worker.stake.checked_add(amount).ok_or("u128_add Overflow")?;
        let stake = worker.stake;
        self.take(caller, Contract::CdcPool, amount)?;
        let fields = vec![("worker_id", worker_id.into()), ("amount", amount.into()), ("stake", stake.into())];
        self.emit(Contract::CdcPool, "StakeAdded", fields);
        Ok(Vec::new())
    }

    pub(super) fn exit_worker(&mut self, caller: Felt) -> Answered {
        let worker_id = self.worker_id_of(caller)?;
        let worker = self.worker_mut(worker_id);
        ensure(is_staying(worker), IS_LEAVING)?;
        worker.status = WorkerStatus::Exiting;
        self.put_off_exit(worker_id);
        Ok(Vec::new())
    }

    /// The unbonding time of a worker that is leaving begins anew.
    pub(super) fn put_off_exit(&mut self, worker_id: u32) {
        let exit = self.now.after(self.terms.unbonding_s);
        let worker = self.worker_mut(worker_id);
        if worker.status != WorkerStatus::Exiting {
            return;
        }
        worker.exit = Some(exit);
        let fields = vec![
            ("worker_id", worker_id.into()),
            ("exit_at", exit.timestamp.into()),
            ("exit_block", exit.block.into()),
        ];
        self.emit(Contract::CdcPool, "WorkerExiting", fields);
    }

    pub(super) fn withdraw_stake(&mut self, caller: Felt) -> Answered {
        let worker_id = self.worker_id_of(caller)?;
        let is_idle = self.in_use(worker_id).0 == 0;
        let is_held = self.holds(worker_id) > 0;
        let now = self.now;
        let worker = self.worker_mut(worker_id);
        ensure(worker.status == WorkerStatus::Exiting, "CdcPool: not exiting")?;
        ensure(is_idle, JOBS_RUNNING)?;
        ensure(!is_held, "CdcPool: dispute pending")?;
        ensure(worker.exit.is_some_and(|exit| exit.has_passed(now)), "CdcPool: still bonded")?;
        worker.status = WorkerStatus::Exited;
        let amount = std::mem::take(&mut worker.stake);
        self.pay(Contract::CdcPool, caller, amount)?;
        let fields = vec![("worker_id", worker_id.into()), ("owner", caller), ("amount", amount.into())];
        self.emit(Contract::CdcPool, "StakeWithdrawn", fields);
        Ok(Vec::new())
    }

    /// Puts a worker into the static pool, or takes it out.
    pub(super) fn admit_worker(&mut self, caller: Felt, worker_id: u32, is_admitted: bool) -> Answered {
        self.only_admin(caller, Contract::CdcPool)?;
        let worker = self.worker(worker_id).ok_or(UNKNOWN_WORKER)?;
        let refusal = if is_admitted { "CdcPool: already admitted" } else { "CdcPool: not admitted" };
        ensure(worker.is_static != is_admitted, refusal)?;
        self.worker_mut(worker_id).is_static = is_admitted;
        let event = if is_admitted { "WorkerAdmitted" } else { "WorkerDismissed" };
        self.emit(Contract::CdcPool, event, vec![("worker_id", worker_id.into())]);
        Ok(Vec::new())
    }

    pub(super) fn set_job_mgr(&mut self, caller: Felt, address: Felt) -> Answered {
        self.only_admin(caller, Contract::CdcPool)?;
        ensure(address != Felt::ZERO, ZERO_ADDRESS)?;
        ensure(self.cdc_pool.job_mgr == Felt::ZERO, "CdcPool: job manager set before")?;
        self.cdc_pool.job_mgr = address;
        self.emit(Contract::CdcPool, "JobMgrSet", vec![("job_mgr", address)]);
        Ok(Vec::new())
    }

    pub(super) fn set_allocator_of_pool(&mut self, caller: Felt, address: Felt) -> Answered {
        self.only_admin(caller, Contract::CdcPool)?;
        ensure(address != Felt::ZERO, ZERO_ADDRESS)?;
        ensure(self.cdc_pool.task_allocator == Felt::ZERO, "CdcPool: allocator set before")?;
        self.cdc_pool.task_allocator = address;
        self.emit(Contract::CdcPool, "TaskAllocatorSet", vec![("task_allocator", address)]);
        Ok(Vec::new())
    }

    pub(super) fn get_workers(&self, first: u32, count: u8) -> Answered {
        ensure(count <= MAX_PAGE, "CdcPool: too many asked")?;
        let last = u32::try_from(self.cdc_pool.workers.len()).expect("a sequence is short");
        let ids: Vec<u32> = (first.max(1)..=last).take(usize::from(count)).collect();
        let views = ids.iter().flat_map(|id| self.worker_view(*id));
        Ok(std::iter::once(ids.len().into()).chain(views.map(|(_, felt)| felt)).collect())
    }

    /// The caller's worker, which must not be leaving.
    pub(super) fn staying_worker_of(&self, caller: Felt) -> Result<u32, Refusal> {
        let worker_id = self.worker_id_of(caller)?;
        ensure(self.worker(worker_id).is_some_and(is_staying), IS_LEAVING)?;
        Ok(worker_id)
    }

    fn worker_id_of(&self, caller: Felt) -> Result<u32, Refusal> {
        self.cdc_pool.worker_of.get(&caller).copied().ok_or("CdcPool: caller not a worker")
    }

    pub(super) fn worker_mut(&mut self, worker_id: u32) -> &mut Worker {
        let index = usize::try_from(worker_id - 1).expect("ids are small");
        &mut self.cdc_pool.workers[index]
    }
}

fn is_staying(worker: &Worker) -> bool {
    matches!(worker.status, WorkerStatus::Active | WorkerStatus::Draining)
}
