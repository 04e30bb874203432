//! Whatever anyone does in whatever order: nothing is lost, and nobody is given more than it has room for.

use cainome::cairo_serde::ContractAddress;
use keeper_chain::SendError;
use keeper_types::{
    AllocationItem, Attempt, Capabilities, Fri, JobId, JobSpec, JobState, MarketEvent, Rate, Requirements, Strategy,
    WorkerId,
};
use rand::{Rng as _, SeedableRng as _, rngs::StdRng};

use crate::world::{CLIENT, KEEPER, OTHER, RATE, STRK, Sent, W1, World, cap, item, out_of_memory, result_of};

const SEED: u64 = 20_260_801;
const WORKERS: usize = 5;
const ACCOUNTS: usize = W1 + WORKERS - 1;
const JOBS: u64 = 20;
const STEPS: usize = 200;

/// Someone who does anything.
struct Chance<'a> {
    world: &'a World,
    random: StdRng,
}

impl Chance<'_> {
    fn below(&mut self, end: u64) -> u64 {
        self.random.random_range(0..end)
    }

    fn owner(&mut self) -> usize {
        W1 + usize::try_from(self.below(WORKERS as u64)).unwrap()
    }

    /// Mostly the account that may, now and then any.
    fn rather(&mut self, account: usize) -> usize {
        if self.below(5) == 0 { 1 + usize::try_from(self.below(ACCOUNTS as u64)).unwrap() } else { account }
    }

    /// A job of any state, or none at all.
    fn job(&mut self) -> JobId {
        JobId(self.below(JOBS + 2))
    }

    /// Mostly a job in that state, where there is one.
    async fn job_in(&mut self, state: JobState) -> JobId {
        let told = self.world.told().await;
        let fitting: Vec<_> = told.jobs.values().filter(|job| job.state == state).map(|job| job.job_id).collect();
        if fitting.is_empty() || self.below(8) == 0 {
            return self.job();
        }
        fitting[self.random.random_range(0..fitting.len())]
    }

    fn spec(&mut self, now: u64) -> JobSpec {
        JobSpec {
            requirements: Requirements {
                gpu_count: u8::try_from(self.below(4)).unwrap(),
                min_reputation: u16::try_from(self.below(600)).unwrap(),
                ..Requirements::default()
            },
            max_price: Fri(STRK + u128::from(self.random.random::<u64>())),
            deadline: now + 100 + self.below(2_000),
            execution_timeout_s: 30 + u32::try_from(self.below(300)).unwrap(),
            max_attempts: 1 + u8::try_from(self.below(4)).unwrap(),
            ..crate::world::spec(now)
        }
    }

    async fn round(&mut self) -> Sent {
        let mut items = Vec::new();
        for _ in 0..1 + self.below(6) {
            let job_id = self.job_in(JobState::Queued).await;
            let attempt = self.world.told().await.jobs.get(&job_id).map_or(Attempt(1), |job| job.attempt);
            let attempt = if self.below(10) == 0 { Attempt(attempt.0 + 1) } else { attempt };
            let worker_id = WorkerId(u32::try_from(self.below(WORKERS as u64 + 2)).unwrap());
            let strategy = Strategy::from_number(u8::try_from(self.below(4)).unwrap()).unwrap();
            let rate = self.world.told().await.workers.get(&worker_id).map_or(Rate(RATE), |worker| worker.rate);
            let score = self.random.random();
            items.push(AllocationItem { job_id, worker_id, attempt, strategy, score, rate }.pack());
        }
        let keeper = self.rather(KEEPER);
        let round = self.world.contracts().last_round(self.world.address(keeper)).await.unwrap() + self.below(3);
        self.world.apply_batch(keeper, round, 0, &items).await
    }

    /// Answers for an attempt: mostly its worker does, and mostly to the right one.
    async fn answer(&mut self) -> Sent {
        let job_id = self.job_in(JobState::Allocated).await;
        let told = self.world.told().await;
        let job = told.jobs.get(&job_id);
        let attempt = job.map_or(1, |job| job.attempt.0);
        let attempt = if self.below(10) == 0 { attempt.wrapping_sub(1) } else { attempt };
        let owner = job.and_then(|job| job.worker_id).map(|worker_id| told.workers[&worker_id].owner);
        let owner = owner.and_then(|owner| (1..=ACCOUNTS).find(|account| self.world.address(*account) == owner));
        let account = self.rather(owner.unwrap_or(W1));
        match self.below(3) {
            0 => self.world.fail_attempt(account, job_id, attempt).await,
            _ => self.world.submit_result(account, job_id, attempt).await,
        }
    }

    async fn worker_moves(&mut self) -> Sent {
        let (contracts, account) = (self.world.contracts(), self.owner());
        let owner = self.world.sender(account);
        match self.below(6) {
            0 => contracts.drain_worker(owner).await,
            1 | 2 => contracts.resume_worker(owner).await,
            3 if self.below(3) == 0 => contracts.exit_worker(owner).await,
            4 => contracts.withdraw_stake(owner).await,
            _ => {
                let slots = 1 + u8::try_from(self.below(5)).unwrap();
                contracts.update_worker(owner, &cap(), slots, Rate(RATE + self.below(RATE))).await
            }
        }
    }

    async fn exit_or_end(&mut self) -> Sent {
        let world = self.world;
        match self.below(6) {
            0 => {
                let (job_id, account) = (self.job_in(JobState::Queued).await, self.rather(CLIENT));
                world.cancel_job(account, job_id).await
            }
            1 => world.expire_job(OTHER, self.job_in(JobState::Queued).await).await,
            2 | 3 => world.expire_attempt(OTHER, self.job_in(JobState::Allocated).await).await,
            4 => world.settle(OTHER, self.job_in(JobState::Revealed).await).await,
            _ => {
                let (job_id, account) = (self.job_in(JobState::Revealed).await, self.rather(CLIENT));
                world.accept_result(account, job_id).await
            }
        }
    }

    /// Does something; `None` where only time passed.
    async fn step(&mut self) -> Option<Sent> {
        let world = self.world;
        match self.below(20) {
            0..5 => {
                let spec = self.spec(world.now().await.timestamp);
                let submitted = world.told().await.jobs.len() as u64;
                if submitted == JOBS {
                    return Some(self.round().await);
                }
                let sent = world.contracts().submit_jobs(world.sender(CLIENT), &[spec]).await;
                Some(sent.map(|(_, receipt)| receipt))
            }
            5..10 => Some(self.round().await),
            10..13 => Some(self.answer().await),
            13..17 => Some(self.exit_or_end().await),
            17 => Some(self.worker_moves().await),
            _ => {
                let (now, seconds) = (world.now().await, self.below(400));
                world.set_time(now.timestamp + seconds).await;
                world.market.chain.make_blocks(self.below(40)).await;
                None
            }
        }
    }
}

#[tokio::test]
async fn nothing_is_lost_whatever_happens() {
    let world = World::start_with(ACCOUNTS).await;
    for account in W1..W1 + WORKERS {
        world.register(account).await;
    }
    let mut chance = Chance { world: &world, random: StdRng::seed_from_u64(SEED) };
    let (mut done, mut refused) = (0, 0);
    for step in 0..STEPS {
        match chance.step().await {
            Some(Ok(_)) => done += 1,
            Some(Err(SendError::WouldRevert { reason })) => {
                let ours = ["JobMgr: ", "CdcPool: ", "TaskAllocator: "];
                assert!(ours.iter().any(|name| reason.starts_with(name)), "step {step}: {reason}");
                refused += 1;
            }
            Some(Err(error)) => panic!("step {step}: {error}"),
            None => {}
        }
        world.conserved().await;
    }
    assert!(done > STEPS / 4 && refused > STEPS / 20, "{done} calls were taken and {refused} refused");
    let told = world.told().await;
    for job in told.jobs.values() {
        for worker_id in told.workers.keys() {
            let excluded = world.job_mgr().is_excluded(&job.job_id.0, &worker_id.0).call().await.unwrap();
            assert_eq!(excluded, job.excluded.contains(worker_id), "job {}, worker {worker_id}", job.job_id);
        }
    }
    everything_ends(&world).await;
}

/// Nothing is stuck: with time, a stranger brings each job to its end, and all escrow leaves.
async fn everything_ends(world: &World) {
    let later = world.now().await.after(10_000);
    world.pass(later).await;
    while let Some(job) = world.contracts().jobs().await.unwrap().into_iter().find(|job| !job.state.is_final()) {
        let sent = match job.state {
            JobState::Queued => world.expire_job(OTHER, job.job_id).await,
            JobState::Allocated => world.expire_attempt(OTHER, job.job_id).await,
            _ => world.settle(OTHER, job.job_id).await,
        };
        sent.unwrap();
    }
    world.conserved().await;
    for account in world.told().await.credits.keys().copied() {
        let withdraw = world.job_mgr().withdraw_getcall(&ContractAddress(account.0));
        world.send(OTHER, withdraw).await.unwrap();
    }
    assert_eq!(world.contracts().held().await.unwrap(), Fri::ZERO);
    world.conserved().await;
}

#[tokio::test]
async fn a_worker_is_never_over_its_slots_and_gpus() {
    const SLOTS: u8 = 3;
    const GPUS: u8 = 5;
    let world = World::start().await;
    let offer = Capabilities { gpu_count: GPUS, ..cap() };
    let worker_id = world.register_as(W1, &offer, SLOTS, RATE, 3 * STRK).await.unwrap().0;
    let mut random = StdRng::seed_from_u64(SEED);
    let (mut running, mut full): (Vec<(JobId, u8)>, u32) = (Vec::new(), 0);
    for _ in 0..80 {
        if running.is_empty() || random.random_range(0..5) < 3 {
            let gpu_count = random.random_range(0..=GPUS);
            let requirements = Requirements { gpu_count, ..Requirements::default() };
            let job_id = world.submit(&JobSpec { requirements, ..world.spec().await }).await;
            let used: u8 = running.iter().map(|(_, gpus)| gpus).sum();
            let fits = running.len() < usize::from(SLOTS) && used + gpu_count <= GPUS;
            let events = world.apply(&[item(job_id, worker_id)]).await;
            assert_eq!(matches!(events[0], MarketEvent::JobsAllocated { .. }), fits, "{events:?}");
            if fits { running.push((job_id, gpu_count)) } else { full += 1 }
        } else {
            let (job_id, _) = running.swap_remove(random.random_range(0..running.len()));
            let contracts = world.contracts();
            let sent = match random.random_range(0..2) {
                0 => contracts.submit_result(world.sender(W1), job_id, Attempt(1), result_of(job_id)).await,
                _ => contracts.fail_attempt(world.sender(W1), job_id, Attempt(1), out_of_memory()).await,
            };
            sent.unwrap();
        }
        let shown = world.cdc_pool().get_worker(&worker_id.0).call().await.unwrap();
        let used: u8 = running.iter().map(|(_, gpus)| gpus).sum();
        assert_eq!(usize::from(SLOTS - shown.free_slots), running.len());
        assert_eq!(GPUS - shown.free_gpus, used);
    }
    assert!(full > 5, "it was full only {full} times");
    world.conserved().await;
}
