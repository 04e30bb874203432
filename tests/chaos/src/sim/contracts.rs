//! The contracts' rules, as far as keepers, workers and clients meet them here: one worker for a job, no disputes.
//!
//! Written from `docs/job-lifecycle.md` and not from the keeper's own fold of the events, with which it is compared.

mod jobs;
mod rounds;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use keeper_chain::JobStanding;
use keeper_store::{IntentAction, MaintenanceCall};
use keeper_types::{
    Address, Attempt, Capabilities, Fri, JobId, JobSpec, JobState, MAX_REPUTATION, MarketEvent, Rate, WorkerId,
    WorkerStatus,
};

/// A timestamp in seconds and a block; both must lie behind for a deadline to have passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Moment {
    pub(super) timestamp: u64,
    pub(super) block: u64,
}

impl Moment {
    fn after(self, seconds: u64) -> Self {
        Self { timestamp: self.timestamp + seconds, block: self.block + seconds.div_ceil(10) }
    }

    fn has_passed(self, now: Self) -> bool {
        now.timestamp > self.timestamp && now.block > self.block
    }
}

/// Why a call is refused. Nothing of it happens then.
pub(super) type Refusal = &'static str;

/// What clients and workers do.
#[derive(Clone, Debug)]
pub(super) enum Call {
    Register {
        capabilities: Capabilities,
        slots: u8,
        rate: Rate,
    },
    Drain,
    Resume,
    SetRate(Rate),
    /// The spec's manifest tells one submission from another.
    Submit(Arc<JobSpec>),
    Cancel(JobId),
    Accept(JobId),
    Submitted(JobId, Attempt),
    Commit(JobId, Attempt),
    Reveal(JobId, Attempt),
    Fail(JobId, Attempt),
}

/// A job as the contract holds it.
#[derive(Clone, Debug)]
pub(super) struct ChainJob {
    pub(super) client: Address,
    pub(super) spec: Arc<JobSpec>,
    pub(super) state: JobState,
    pub(super) attempt: Attempt,
    deadline: Moment,
    pub(super) worker: Option<WorkerId>,
    rate: Rate,
    due: Option<Moment>,
    challenge_ends: Option<Moment>,
    excluded: BTreeSet<WorkerId>,
}

/// A worker as the contract holds it.
#[derive(Clone, Debug)]
pub(super) struct ChainWorker {
    pub(super) owner: Address,
    capabilities: Capabilities,
    slots: u8,
    used_slots: u8,
    used_gpus: u8,
    pub(super) rate: Rate,
    pub(super) status: WorkerStatus,
    reputation: u16,
}

/// Everything that the contracts hold.
#[derive(Clone, Debug, Default)]
pub(super) struct Contracts {
    /// Whether allocations are compared with what is there: the guard that everything else leans on.
    pub(super) ignores_state: bool,
    pub(super) jobs: BTreeMap<JobId, ChainJob>,
    pub(super) workers: BTreeMap<WorkerId, ChainWorker>,
    pub(super) credits: BTreeMap<Address, Fri>,
    rounds: BTreeMap<Address, u64>,
    paid_in: u128,
    withdrawn: u128,
}

impl Contracts {
    /// Executes what a keeper sends; nothing where all of it is not allowed.
    ///
    /// # Errors
    /// Says what the contract would.
    pub(super) fn keep(
        &mut self,
        now: Moment,
        keeper: Address,
        action: &IntentAction,
    ) -> Result<Vec<MarketEvent>, Refusal> {
        match action {
            IntentAction::ApplyBatch { round, snapshot_block, items } => {
                self.apply_batch(now, keeper, (*round, *snapshot_block), items)
            }
            IntentAction::Maintenance { calls } => {
                let mut events = Vec::new();
                for call in calls {
                    events.extend(self.maintain(now, call)?);
                }
                Ok(events)
            }
            IntentAction::FillNonce => Ok(Vec::new()),
        }
    }

    fn maintain(&mut self, now: Moment, call: &MaintenanceCall) -> Result<Vec<MarketEvent>, Refusal> {
        match call {
            MaintenanceCall::ExpireJob(of) => self.expire_job(now, of.job_id),
            MaintenanceCall::ExpireAttempt(of) => self.expire_attempt(now, of.job_id),
            MaintenanceCall::Settle(of) => self.settle(now, of.job_id),
            MaintenanceCall::SettleDispute(_) => Err("JobMgr: not disputed"),
            MaintenanceCall::PayOut { account } => self.withdraw(*account),
        }
    }

    /// Executes what a client or a worker's owner sends.
    ///
    /// # Errors
    /// Says what the contract would.
    pub(super) fn call(&mut self, now: Moment, caller: Address, call: &Call) -> Result<Vec<MarketEvent>, Refusal> {
        match call {
            Call::Register { capabilities, slots, rate } => Ok(self.register(caller, capabilities, *slots, *rate)),
            Call::Drain => self.change(caller, |worker, worker_id| {
                worker.status = WorkerStatus::Draining;
                MarketEvent::WorkerDrained { worker_id }
            }),
            Call::Resume => self.change(caller, |worker, worker_id| {
                worker.status = WorkerStatus::Active;
                MarketEvent::WorkerResumed { worker_id }
            }),
            Call::SetRate(rate) => self.change(caller, |worker, worker_id| {
                worker.rate = *rate;
                let (capabilities, slots) = (worker.capabilities.clone(), worker.slots);
                MarketEvent::WorkerUpdated { worker_id, capabilities, slots, rate: *rate }
            }),
            Call::Submit(spec) => Ok(self.submit(now, caller, spec)),
            Call::Cancel(job_id) => self.cancel(caller, *job_id),
            Call::Accept(job_id) => self.accept(caller, *job_id),
            Call::Submitted(job_id, attempt) => self.submit_result(now, caller, (*job_id, *attempt)),
            Call::Commit(job_id, attempt) => self.commit(now, caller, (*job_id, *attempt)),
            Call::Reveal(job_id, attempt) => self.reveal(now, caller, (*job_id, *attempt)),
            Call::Fail(job_id, attempt) => self.fail(caller, (*job_id, *attempt)),
        }
    }

    fn register(&mut self, owner: Address, capabilities: &Capabilities, slots: u8, rate: Rate) -> Vec<MarketEvent> {
        let worker_id = WorkerId(u32::try_from(self.workers.len()).unwrap_or(u32::MAX) + 1);
        let worker = ChainWorker {
            owner,
            capabilities: capabilities.clone(),
            slots,
            used_slots: 0,
            used_gpus: 0,
            rate,
            status: WorkerStatus::Active,
            reputation: MAX_REPUTATION / 2,
        };
        self.workers.insert(worker_id, worker);
        let capabilities = capabilities.clone();
        vec![MarketEvent::WorkerRegistered { worker_id, owner, capabilities, slots, rate, stake: Fri(1) }]
    }

    fn change(
        &mut self,
        owner: Address,
        change: impl FnOnce(&mut ChainWorker, WorkerId) -> MarketEvent,
    ) -> Result<Vec<MarketEvent>, Refusal> {
        let found = self.workers.iter_mut().find(|(_, worker)| worker.owner == owner);
        let (worker_id, worker) = found.ok_or("CdcPool: no worker")?;
        Ok(vec![change(worker, *worker_id)])
    }

    fn withdraw(&mut self, account: Address) -> Result<Vec<MarketEvent>, Refusal> {
        let amount = self.credits.remove(&account).ok_or("JobMgr: no credit")?;
        self.withdrawn += amount.0;
        Ok(vec![MarketEvent::CreditWithdrawn { account, amount }])
    }

    fn credit(&mut self, account: Address, amount: Fri) {
        if amount > Fri::ZERO {
            self.credits.entry(account).or_default().0 += amount.0;
        }
    }

    /// The reputation moves by so much, and cannot leave its scale.
    fn rate_worker(&mut self, worker_id: WorkerId, by: i16) -> Option<MarketEvent> {
        let worker = self.workers.get_mut(&worker_id)?;
        let old_reputation = worker.reputation;
        worker.reputation = old_reputation.saturating_add_signed(by).min(MAX_REPUTATION);
        let new_reputation = worker.reputation;
        (old_reputation != new_reputation).then_some(MarketEvent::ReputationChanged {
            worker_id,
            old_reputation,
            new_reputation,
        })
    }

    pub(super) fn last_round(&self, keeper: Address) -> u64 {
        self.rounds.get(&keeper).copied().unwrap_or_default()
    }

    /// The job of a submission.
    pub(super) fn submission(&self, spec: &JobSpec) -> Option<(JobId, &ChainJob)> {
        let found = self.jobs.iter().find(|(_, job)| job.spec.manifest_hash == spec.manifest_hash);
        found.map(|(job_id, job)| (*job_id, job))
    }

    /// Whether what came in is what was paid, refunded or is still held.
    pub(super) fn is_conserved(&self) -> bool {
        let open = self.jobs.values().filter(|job| !job.state.is_final());
        let held: u128 = open.map(|job| job.spec.max_price.0).sum();
        let credited: u128 = self.credits.values().map(|credit| credit.0).sum();
        self.paid_in == held + credited + self.withdrawn
    }

    /// How the contract answers when it is asked about jobs.
    pub(super) fn standings(&self, first: JobId, count: u8) -> Vec<JobStanding> {
        let last = JobId(first.0 + u64::from(count));
        let standing = |(job_id, job): (&JobId, &ChainJob)| JobStanding {
            job_id: *job_id,
            state: job.state,
            attempt: job.attempt,
            worker_id: job.worker,
        };
        self.jobs.range(first..last).map(standing).collect()
    }
}
