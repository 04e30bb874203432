//! Calls that a market might see: mostly sensible ones, so that jobs reach every state, and among them whatever a
//! confused, late or hostile account might send.
//!
//! The generator looks at the model alone, so that the same dice give the same calls whatever the contracts do.

mod batches;
mod offers;
mod pauses;
mod specs;

use keeper_types::{Attempt, Felt, JobId, JobState, WorkerId, WorkerStatus};

use crate::{
    actors::{Actor, Contract, felt_of},
    calls::{AllocationParams, Call, Metrics, Step},
    dice::Dice,
    model::{Job, Model, Terms},
};

/// What a generated call is about.
#[derive(Clone, Copy, Debug)]
enum Aim {
    Register,
    Submit,
    Allocate,
    Answer,
    GiveUp,
    Accept,
    Exit,
    Cancel,
    Worker,
    Report,
    Admin,
    Forbidden,
    Read,
    Money,
}

/// Draws the calls of one sequence.
#[derive(Debug)]
pub(crate) struct Generator {
    dice: Dice,
    /// In a wild sequence nothing was set up, and the set-up is left to the dice too.
    is_wild: bool,
    drawn: usize,
}

impl Generator {
    pub(crate) fn new(mut dice: Dice) -> Self {
        let is_wild = dice.chance(8);
        Self { dice, is_wild, drawn: 0 }
    }

    /// The terms that a sequence's contracts are deployed with: one of a few, so that deployments can be shared.
    pub(crate) fn terms(dice: &mut Dice) -> Terms {
        let strk = 1_000_000_000_000_000_000;
        dice.weighted(&[
            (4, Terms { min_stake_per_slot: strk, unbonding_s: 600, challenge_window_s: 300 }),
            (2, Terms { min_stake_per_slot: 7, unbonding_s: 95, challenge_window_s: 41 }),
            (1, Terms { min_stake_per_slot: 1, unbonding_s: 0, challenge_window_s: 0 }),
            (1, Terms { min_stake_per_slot: strk, unbonding_s: 63_072_000, challenge_window_s: 63_072_000 }),
        ])
    }

    /// The next call.
    pub(crate) fn next(&mut self, model: &Model) -> Step {
        self.drawn += 1;
        if let Some(step) = self.set_up() {
            return step;
        }
        if self.dice.chance(8)
            && let Some(step) = self.at_a_deadline(model)
        {
            return step;
        }
        let (after_s, after_blocks) = self.pause(model);
        let aim = self.aim(model);
        let (caller, call) = self.call(aim, model);
        // Now and then it is somebody else who calls.
        let caller = if self.dice.chance(4) { self.dice.pick(&Actor::ALL) } else { caller };
        Step { after_s, after_blocks, caller, call }
    }

    /// The first calls of an ordinary sequence wire the contracts and name the keepers.
    fn set_up(&self) -> Option<Step> {
        if self.is_wild {
            return None;
        }
        let call = match self.drawn {
            1 => Call::SetJobMgr(Contract::JobMgr.address()),
            2 => Call::SetTaskAllocator(Contract::TaskAllocator.address()),
            3 => Call::AddKeeper(Actor::Keeper1.address()),
            4 => Call::AddKeeper(Actor::Keeper2.address()),
            _ => return None,
        };
        Some(Step { after_s: 0, after_blocks: 0, caller: Actor::Admin, call })
    }

    fn aim(&mut self, model: &Model) -> Aim {
        let jobs = &model.job_mgr.jobs;
        let count = |state: JobState| jobs.iter().filter(|job| job.state == state).count() as u64;
        let active =
            model.cdc_pool.workers.iter().filter(|worker| worker.status == WorkerStatus::Active).count() as u64;
        let (queued, allocated, revealed) =
            (count(JobState::Queued), count(JobState::Allocated), count(JobState::Revealed));
        let some = |count: u64, weight: u64| if count == 0 { 1 } else { weight };
        self.dice.weighted(&[
            (if active < 2 { 40 } else { 3 }, Aim::Register),
            (if queued < 4 { 24 } else { 6 }, Aim::Submit),
            (some(queued.min(active), 24), Aim::Allocate),
            (some(allocated, 16), Aim::Answer),
            (some(allocated, 9), Aim::GiveUp),
            (some(revealed, 9), Aim::Accept),
            (some(queued + allocated + revealed, 5), Aim::Exit),
            (some(queued, 2), Aim::Cancel),
            (8, Aim::Worker),
            (3, Aim::Report),
            (if self.is_wild { 14 } else { 3 }, Aim::Admin),
            (4, Aim::Forbidden),
            (4, Aim::Read),
            (2, Aim::Money),
        ])
    }

    fn call(&mut self, aim: Aim, model: &Model) -> (Actor, Call) {
        match aim {
            Aim::Register => self.register(model),
            Aim::Submit => self.submit(model),
            Aim::Allocate => self.apply_batch(model),
            Aim::Answer | Aim::GiveUp => self.answer(matches!(aim, Aim::GiveUp), model),
            Aim::Accept => {
                let (job_id, job) = self.job_in(model, JobState::Revealed);
                (client_of(job), Call::AcceptResult(job_id))
            }
            Aim::Exit => self.exit(model),
            Aim::Cancel => {
                let (job_id, job) = self.job_in(model, JobState::Queued);
                (client_of(job), Call::CancelJob(job_id))
            }
            Aim::Worker => self.worker_life(model),
            Aim::Report => self.report(model),
            Aim::Admin => self.administer(),
            Aim::Forbidden => self.forbidden(model),
            Aim::Read => self.read(model),
            Aim::Money => {
                let amount = self.dice.weighted(&[
                    (2, 0),
                    (3, 1_000_000_000_000_000_000_000),
                    (6, 1_000_000_000_000_000_000_000_000),
                    (1, u128::MAX >> 1),
                ]);
                let spender = self.dice.pick(&[Contract::JobMgr, Contract::CdcPool]);
                (self.dice.pick(&Actor::ALL), Call::Approve { spender, amount })
            }
        }
    }

    /// A job, mostly one in that state; an id without a job where there is none.
    fn job_in<'m>(&mut self, model: &'m Model, state: JobState) -> (JobId, Option<&'m Job>) {
        let last = model.job_mgr.jobs.len() as u64;
        let is_late = |job: &Job| state == JobState::Queued && job.deadline.has_passed(model.now);
        let is_fitting = |job: &Job| job.state == state && !is_late(job);
        let fitting: Vec<u64> = (1..=last).filter(|id| model.job(JobId(*id)).is_some_and(is_fitting)).collect();
        let any = self.dice.chance(10);
        let id = match self.dice.pick_any(&fitting) {
            Some(id) if !any => id,
            _ if self.dice.chance(90) => self.dice.between(0, last + 1),
            _ => self.dice.edge(u64::MAX),
        };
        (JobId(id), model.job(JobId(id)))
    }

    /// A worker's id, mostly of one that exists.
    fn worker_id(&mut self, model: &Model) -> u32 {
        let last = model.cdc_pool.workers.len() as u64;
        let id = if last > 0 && self.dice.chance(92) {
            self.dice.between(1, last)
        } else if self.dice.chance(70) {
            self.dice.between(0, last + 1)
        } else {
            self.dice.edge(u32::MAX.into())
        };
        u32::try_from(id).unwrap_or(u32::MAX)
    }

    fn answer(&mut self, gives_up: bool, model: &Model) -> (Actor, Call) {
        let (job_id, job) = self.job_in(model, JobState::Allocated);
        let placement = job.and_then(|job| job.placement);
        let owner = placement.and_then(|placement| model.worker(placement.worker_id)).map(|worker| worker.owner);
        let caller = owner.and_then(Actor::of_address).unwrap_or(Actor::Worker1);
        let attempt = self.attempt_of(job);
        let call = if gives_up {
            Call::FailAttempt { job_id, attempt, reason: self.dice.pick(&[Felt::ZERO, felt_of("out of memory")]) }
        } else {
            let hash = Felt::from(self.dice.next());
            let result_hash = self.dice.weighted(&[(20, hash), (1, Felt::ZERO), (1, Felt::MAX)]);
            Call::SubmitResult { job_id, attempt, result_hash }
        };
        (caller, call)
    }

    fn attempt_of(&mut self, job: Option<&Job>) -> Attempt {
        let right = job.map_or(1, |job| job.attempt);
        let any = u8::try_from(self.dice.edge(255)).unwrap_or(u8::MAX);
        Attempt(self.dice.weighted(&[(40, right), (1, right.wrapping_sub(1)), (1, right + 1), (1, 0), (1, any)]))
    }

    /// A deadline's exit, by anyone, whether it is time or not.
    fn exit(&mut self, model: &Model) -> (Actor, Call) {
        let state = self.dice.pick(&[JobState::Queued, JobState::Allocated, JobState::Revealed]);
        let (job_id, _) = self.job_in(model, state);
        let right = match state {
            JobState::Queued => Call::ExpireJob(job_id),
            JobState::Allocated => Call::ExpireAttempt(job_id),
            _ => Call::Settle(job_id),
        };
        let any = self.dice.pick(&[Call::ExpireJob(job_id), Call::ExpireAttempt(job_id), Call::Settle(job_id)]);
        (self.dice.pick(&Actor::ALL), self.dice.weighted(&[(8, right), (1, any)]))
    }

    fn report(&mut self, model: &Model) -> (Actor, Call) {
        let id = self.worker_id(model);
        let owner = model.worker(id).and_then(|worker| Actor::of_address(worker.owner)).unwrap_or(Actor::Worker1);
        let beyond = [Felt::from(1_u64 << 32), Felt::MAX, Felt::from(id)];
        let worker_id = self.dice.weighted(&[(12, Felt::from(id)), (1, self.dice.clone().pick(&beyond))]);
        let mut share =
            || u16::try_from(self.dice.weighted(&[(6, 9_000), (2, 10_000), (1, 10_001), (1, 65_535), (2, 0)]));
        let (success_bps, utilisation_bps) = (share().unwrap_or(0), share().unwrap_or(0));
        let mut number = || u32::try_from(self.dice.edge(u32::MAX.into())).unwrap_or(u32::MAX);
        let metrics = Metrics { queue_length: number(), response_ms: number(), success_bps, utilisation_bps };
        let caller = self.dice.weighted(&[(4, owner), (3, Actor::Keeper1), (1, Actor::Client1), (1, Actor::Worker2)]);
        (caller, Call::UpdateWorkerMetrics { worker_id, metrics })
    }

    fn administer(&mut self) -> (Actor, Call) {
        let caller = self.dice.weighted(&[(6, Actor::Admin), (1, Actor::Keeper1), (1, Actor::Client1)]);
        let keeper = self.dice.weighted(&[
            (4, Actor::Keeper1.address()),
            (4, Actor::Keeper2.address()),
            (1, Actor::Client2.address()),
            (1, Felt::ZERO),
        ]);
        // Whoever names another contract has lost the deployment; only the zero address is refused.
        let job_mgr = self.dice.weighted(&[(4, Contract::JobMgr.address()), (1, Felt::ZERO)]);
        let allocator = self.dice.weighted(&[(4, Contract::TaskAllocator.address()), (1, Felt::ZERO)]);
        let call = self.dice.weighted(&[
            (4, Call::AddKeeper(keeper)),
            (if self.is_wild { 1 } else { 3 }, Call::RemoveKeeper(keeper)),
            (3, Call::SetJobMgr(job_mgr)),
            (3, Call::SetTaskAllocator(allocator)),
        ]);
        (caller, call)
    }

    /// What only another contract may call.
    fn forbidden(&mut self, model: &Model) -> (Actor, Call) {
        let (job_id, _) = self.job_in(model, JobState::Queued);
        let worker_id = WorkerId(self.worker_id(model));
        let item = self.item(model, job_id);
        let gpu_count = u8::try_from(self.dice.below(5)).unwrap_or(0);
        let failure = u8::try_from(self.dice.below(2)).unwrap_or(0);
        let owner = self.dice.pick(&Actor::ALL).address();
        let call = self.dice.pick(&[
            Call::AllocateBatch(vec![item]),
            Call::AllocateBatch(Vec::new()),
            Call::ReserveBatch(worker_id),
            Call::Release { worker_id, gpu_count, owner },
            Call::RecordFailure { worker_id, gpu_count, failure },
            Call::RecordSettlement(worker_id),
        ]);
        (self.dice.pick(&Actor::ALL), call)
    }

    /// Views with arguments that the comparison of all views does not try.
    fn read(&mut self, model: &Model) -> (Actor, Call) {
        let first = self.dice.edge(u64::MAX).min(self.dice.below(40));
        let count = u8::try_from(self.dice.weighted(&[(6, 5), (3, 50), (1, 51), (1, 0), (1, 255)])).unwrap_or(0);
        let far = self.dice.edge(u64::MAX);
        let worker = Felt::from(self.worker_id(model));
        let worker = self.dice.weighted(&[(8, worker), (1, Felt::from(1_u64 << 32)), (1, Felt::MAX)]);
        let params = self.params(model);
        let call = self.dice.weighted(&[
            (2, Call::GetJobs { first, count }),
            (1, Call::GetJobs { first: far, count }),
            (2, Call::GetWorkers { first: u32::try_from(first).unwrap_or(0), count }),
            (1, Call::GetWorkers { first: u32::MAX, count }),
            (1, Call::GetWorkerLoad(worker)),
            (1, Call::GetWorkerMetrics(worker)),
            (1, Call::MetricsReportedAt(worker)),
            (6, Call::AllocateJob(Box::new(params))),
        ]);
        (self.dice.pick(&Actor::ALL), call)
    }

    /// Parameters around what is recorded of a job.
    fn params(&mut self, model: &Model) -> AllocationParams {
        let state = self.dice.pick(&[JobState::Allocated, JobState::Revealed, JobState::Settled, JobState::Failed]);
        let (job_id, job) = self.job_in(model, state);
        let worker = job.and_then(|job| job.placement).and_then(|placement| model.worker(placement.worker_id));
        let priority = job.map_or(1, |job| job.spec.priority);
        let model_id = job.map_or(Felt::ZERO, |job| job.spec.model_id);
        let region = worker.map_or(Felt::ZERO, |worker| worker.offer.capabilities.region);
        let reputation = worker.map_or(0, |worker| u32::from(worker.reputation));
        AllocationParams {
            job_id: (job_id.0.into(), u128::from(self.dice.chance(4))),
            model_id: self.dice.weighted(&[(4, Felt::ZERO), (4, model_id), (1, felt_of("another"))]),
            priority: self.dice.weighted(&[(4, 0), (4, priority), (1, priority.wrapping_add(1))]),
            region: self.dice.weighted(&[(4, Felt::ZERO), (4, region), (1, felt_of("zz"))]),
            min_reputation: self.dice.weighted(&[(4, 0), (4, reputation), (1, reputation + 1)]),
        }
    }
}

fn client_of(job: Option<&Job>) -> Actor {
    job.and_then(|job| Actor::of_address(job.client)).unwrap_or(Actor::Client1)
}
