//! Why an item is skipped: each reason, and that nothing changes then.

use keeper_types::{
    AllocationItem, Attempt, Capabilities, Features, Felt, Fri, JobId, JobSpec, MarketEvent, Rate, Requirements,
    SkipReason, Strategy, WorkerId,
};

use crate::world::{CLIENT, OTHER, RATE, STRK, UNBONDING_S, W1, W2, World, cap, item};

/// The item is skipped for this reason and leaves everything as it was.
async fn skips_felt(world: &World, felt: Felt, expected: MarketEvent) {
    let contracts = world.contracts();
    let before = (contracts.jobs().await.unwrap(), contracts.workers().await.unwrap());
    let events = world.apply_felts(&[felt]).await;
    assert_eq!(events[0], expected);
    assert!(matches!(events[1..], [MarketEvent::RoundApplied { allocated: 0, skipped: 1, .. }]), "{events:?}");
    assert_eq!((contracts.jobs().await.unwrap(), contracts.workers().await.unwrap()), before);
}

async fn skips(world: &World, item: AllocationItem, reason: SkipReason) {
    let AllocationItem { job_id, worker_id, attempt, .. } = item;
    let expected = MarketEvent::AllocationSkipped { job_id, worker_id, attempt, reason };
    skips_felt(world, item.pack(), expected).await;
}

#[tokio::test]
async fn for_the_job() {
    let world = World::start().await;
    let worker_id = world.register(W1).await;
    let spec = world.spec().await;
    skips(&world, item(JobId(999), worker_id), SkipReason::JobUnknown).await;

    let job_id = world.submit(&spec).await;
    for attempt in [0, 2, 3, 15, 255] {
        let early = AllocationItem { attempt: Attempt(attempt), ..item(job_id, worker_id) };
        skips(&world, early, SkipReason::AttemptMismatch).await;
    }
    world.allocate(job_id, worker_id).await;
    skips(&world, item(job_id, worker_id), SkipReason::JobNotQueued).await;
    world.submit_result(W1, job_id, 1).await.unwrap();
    skips(&world, item(job_id, worker_id), SkipReason::JobNotQueued).await;
    world.accept_result(CLIENT, job_id).await.unwrap();
    skips(&world, item(job_id, worker_id), SkipReason::JobNotQueued).await;

    let job_id = world.submit(&spec).await;
    world.cancel_job(CLIENT, job_id).await.unwrap();
    skips(&world, item(job_id, worker_id), SkipReason::JobNotQueued).await;
    world.conserved().await;
}

#[tokio::test]
async fn for_its_deadline_once_time_and_block_have_passed() {
    let world = World::start().await;
    let worker_id = world.register_as(W1, &cap(), 10, RATE, 10 * STRK).await.unwrap().0;
    let submit = async || {
        let now = world.now().await;
        let mut spec = crate::world::spec(now.timestamp);
        spec.requirements.gpu_count = 0;
        (world.submit(&spec).await, now.after(600))
    };
    // The clock alone, and then at the deadline's very block.
    let ((by_clock, _), (at_block, deadline)) = (submit().await, submit().await);
    world.set_time(deadline.timestamp + 1).await;
    world.allocate(by_clock, worker_id).await;
    world.reach_block(deadline.block).await;
    world.allocate(at_block, worker_id).await;
    // The blocks alone, and at the deadline's very second.
    let (by_blocks, deadline) = submit().await;
    let (late, _) = submit().await;
    let (at_second, last) = submit().await;
    world.reach_block(last.block).await;
    world.set_time(deadline.timestamp).await;
    world.allocate(by_blocks, worker_id).await;
    world.set_time(last.timestamp).await;
    world.allocate(at_second, worker_id).await;
    world.set_time(last.timestamp + 1).await;
    skips(&world, item(late, worker_id), SkipReason::DeadlinePassed).await;
    world.expire_job(OTHER, late).await.unwrap();
    world.conserved().await;
}

#[tokio::test]
async fn for_the_worker() {
    let world = World::start().await;
    let (contracts, w1) = (world.contracts(), world.sender(W1));
    let worker_id = world.register(W1).await;
    let spec = world.spec().await;
    let job_id = world.submit(&spec).await;
    for unknown in [0, 99, u32::MAX] {
        skips(&world, item(job_id, WorkerId(unknown)), SkipReason::WorkerUnknown).await;
    }
    // Slots are full.
    let (running, _) = world.running(&spec, worker_id).await;
    world.running(&spec, worker_id).await;
    skips(&world, item(job_id, worker_id), SkipReason::NoFreeSlot).await;
    world.submit_result(W1, running, 1).await.unwrap();

    // Not enough GPUs: more than it has, and more than are free.
    let with_gpus = async |gpu_count| {
        let mut spec = spec.clone();
        spec.requirements.gpu_count = gpu_count;
        world.submit(&spec).await
    };
    skips(&world, item(with_gpus(5).await, worker_id), SkipReason::NoFreeGpu).await;
    skips(&world, item(with_gpus(4).await, worker_id), SkipReason::NoFreeGpu).await;
    let three = with_gpus(3).await;
    world.allocate(three, worker_id).await;
    world.fail_attempt(W1, three, 1).await.unwrap();

    // Not taking jobs.
    contracts.drain_worker(w1).await.unwrap();
    skips(&world, item(job_id, worker_id), SkipReason::WorkerUnavailable).await;
    contracts.resume_worker(w1).await.unwrap();
    world.allocate(job_id, worker_id).await;
    contracts.exit_worker(w1).await.unwrap();
    let job_id = world.submit(&JobSpec { deadline: spec.deadline + 100_000, ..spec }).await;
    skips(&world, item(job_id, worker_id), SkipReason::WorkerUnavailable).await;
    for running in contracts.jobs().await.unwrap() {
        if running.state == keeper_types::JobState::Allocated {
            world.submit_result(W1, running.job_id, 1).await.unwrap();
        }
    }
    let exit = world.now().await.after(UNBONDING_S);
    world.pass(exit).await;
    contracts.withdraw_stake(w1).await.unwrap();
    skips(&world, item(job_id, worker_id), SkipReason::WorkerUnavailable).await;
    world.conserved().await;
}

#[tokio::test]
async fn for_a_requirement_and_never_at_its_limit() {
    let world = World::start().await;
    let worker_id = world.register_as(W1, &cap(), 100, RATE, 100 * STRK).await.unwrap().0;
    let spec = world.spec().await;
    type Bend = fn(&mut JobSpec);
    let cases: [(Bend, Option<SkipReason>); 17] = [
        (|spec| spec.requirements.vram_gib = 80, None),
        (|spec| spec.requirements.vram_gib = 81, Some(SkipReason::RequirementUnmet)),
        (|spec| spec.requirements.compute_capability = 90, None),
        (|spec| spec.requirements.compute_capability = 91, Some(SkipReason::RequirementUnmet)),
        (|spec| spec.requirements.cuda_version = 125, Some(SkipReason::RequirementUnmet)),
        (|spec| spec.requirements.driver_version = 551, Some(SkipReason::RequirementUnmet)),
        (|spec| spec.requirements.cpu_cores = 64, None),
        (|spec| spec.requirements.cpu_cores = 65, Some(SkipReason::RequirementUnmet)),
        (|spec| spec.requirements.memory_gib = 512, None),
        (|spec| spec.requirements.memory_gib = 513, Some(SkipReason::RequirementUnmet)),
        (|spec| spec.requirements.features = Features(0b1000), Some(SkipReason::RequirementUnmet)),
        (|spec| spec.max_price = Fri(STRK / 10), None),
        (|spec| spec.max_price = Fri(STRK / 10 - 1), Some(SkipReason::RateTooHigh)),
        (|spec| spec.requirements.min_reputation = 500, None),
        (|spec| spec.requirements.min_reputation = 501, Some(SkipReason::ReputationTooLow)),
        (|spec| spec.requirements.region = Some("us".parse().unwrap()), Some(SkipReason::RegionMismatch)),
        (|spec| spec.requirements.region = None, None),
    ];
    for (bend, expected) in cases {
        let mut spec = spec.clone();
        bend(&mut spec);
        // The GPUs are not what is tested here, and must suffice for every case.
        spec.requirements.gpu_count = 0;
        let job_id = world.submit(&spec).await;
        match expected {
            Some(reason) => skips(&world, item(job_id, worker_id), reason).await,
            None => {
                world.allocate(job_id, worker_id).await;
            }
        }
    }
    world.conserved().await;
}

/// Everything that a worker can have, with no room above.
fn largest() -> Capabilities {
    Capabilities {
        gpu_count: 63,
        vram_gib: 1_023,
        compute_capability: 127,
        cuda_version: 255,
        driver_version: 1_023,
        cpu_cores: 511,
        memory_gib: 4_095,
        features: Features(u16::MAX),
        region: Some("zzzzz".parse().unwrap()),
    }
}

#[tokio::test]
async fn for_one_thing_lacking_whatever_stands_beside_it() {
    let world = World::start().await;
    let worker_id = world.register_as(W1, &largest(), 255, RATE, 255 * STRK).await.unwrap().0;
    // Each: the worker lacks this one thing and has all else in plenty; the job asks for one of it.
    type Lack = (fn(&mut Capabilities), fn(&mut Requirements), SkipReason);
    let lacks: [Lack; 8] = [
        (|have| have.gpu_count = 0, |need| need.gpu_count = 1, SkipReason::NoFreeGpu),
        (|have| have.vram_gib = 0, |need| need.vram_gib = 1, SkipReason::RequirementUnmet),
        (|have| have.compute_capability = 0, |need| need.compute_capability = 1, SkipReason::RequirementUnmet),
        (|have| have.cuda_version = 0, |need| need.cuda_version = 1, SkipReason::RequirementUnmet),
        (|have| have.driver_version = 0, |need| need.driver_version = 1, SkipReason::RequirementUnmet),
        (|have| have.cpu_cores = 0, |need| need.cpu_cores = 1, SkipReason::RequirementUnmet),
        (|have| have.memory_gib = 0, |need| need.memory_gib = 1, SkipReason::RequirementUnmet),
        (|have| have.features.0 &= !1, |need| need.features.0 = 1, SkipReason::RequirementUnmet),
    ];
    let all = Requirements {
        gpu_count: 63,
        vram_gib: 1_023,
        compute_capability: 127,
        cuda_version: 255,
        driver_version: 1_023,
        cpu_cores: 511,
        memory_gib: 4_095,
        min_reputation: 500,
        features: Features(u16::MAX),
        region: Some("zzzzz".parse().unwrap()),
    };
    for (lack, want, reason) in lacks {
        let mut offer = largest();
        lack(&mut offer);
        world.contracts().update_worker(world.sender(W1), &offer, 255, Rate(RATE)).await.unwrap();
        let mut spec = JobSpec { requirements: Requirements::default(), ..world.spec().await };
        want(&mut spec.requirements);
        let asks_one = world.submit(&spec).await;
        skips(&world, item(asks_one, worker_id), reason).await;
        // The same with everything else asked for to the last.
        spec.requirements = all.clone();
        spec.max_price = Fri(63 * STRK / 10);
        let asks_all = world.submit(&spec).await;
        skips(&world, item(asks_all, worker_id), reason).await;
    }
    world.contracts().update_worker(world.sender(W1), &largest(), 255, Rate(RATE)).await.unwrap();
    let spec = JobSpec { requirements: all, max_price: Fri(63 * STRK / 10), ..world.spec().await };
    let (job_id, _) = world.running(&spec, worker_id).await;
    assert_eq!(world.worker(worker_id).await.free_gpus(), 0);
    world.submit_result(W1, job_id, 1).await.unwrap();
    world.conserved().await;
}

#[tokio::test]
async fn for_an_earlier_attempt_that_the_worker_lost() {
    let world = World::start().await;
    let (first, second) = (world.register(W1).await, world.register(W2).await);
    let again = |job_id, worker_id| AllocationItem { attempt: Attempt(2), ..item(job_id, worker_id) };

    let (failed, _) = world.running(&world.spec().await, first).await;
    world.fail_attempt(W1, failed, 1).await.unwrap();
    skips(&world, again(failed, first), SkipReason::WorkerExcluded).await;
    skips(&world, item(failed, second), SkipReason::AttemptMismatch).await;

    let (expired, allocated) = world.running(&world.spec().await, first).await;
    world.pass(allocated.after(160)).await;
    world.expire_attempt(OTHER, expired).await.unwrap();
    skips(&world, again(expired, first), SkipReason::WorkerExcluded).await;
    skips(&world, item(expired, second), SkipReason::AttemptMismatch).await;

    // Neither stops others, nor this worker on other jobs.
    world.allocate(failed, second).await;
    world.allocate(expired, second).await;
    world.running(&world.spec().await, first).await;
    world.conserved().await;
}

#[tokio::test]
async fn for_an_item_that_means_nothing() {
    let world = World::start().await;
    let worker_id = world.register(W1).await;
    let job_id = world.submit(&world.spec().await).await;
    let good = item(job_id, worker_id);
    let skipped = |item: AllocationItem, reason| MarketEvent::AllocationSkipped {
        job_id: item.job_id,
        worker_id: item.worker_id,
        attempt: item.attempt,
        reason,
    };
    let malformed = skipped(good, SkipReason::ItemMalformed);
    for strategy in 4..=15_u8 {
        let unknown = good.pack() + Felt::from(strategy) * Felt::TWO.pow(104_u32);
        skips_felt(&world, unknown, malformed.clone()).await;
    }
    for bit in [164_u32, 165, 192, 200, 250] {
        skips_felt(&world, good.pack() + Felt::TWO.pow(bit), malformed.clone()).await;
    }
    let last_felt = Felt::ZERO - Felt::ONE;
    let none = AllocationItem { job_id: JobId(0), worker_id: WorkerId(0), attempt: Attempt(0), ..good };
    skips_felt(&world, last_felt, skipped(none, SkipReason::ItemMalformed)).await;
    // Well formed, but there is no job 0.
    let nothing = AllocationItem { strategy: Strategy::Standard, score: 0, rate: Rate(0), ..none };
    assert_eq!(nothing.pack(), Felt::ZERO);
    skips(&world, nothing, SkipReason::JobUnknown).await;
    world.allocate(job_id, worker_id).await;
    world.conserved().await;
}

#[tokio::test]
async fn for_a_rate_that_is_not_the_workers() {
    let world = World::start().await;
    let worker_id = world.register(W1).await;
    let job_id = world.submit(&world.spec().await).await;
    let at = |rate| AllocationItem { rate: Rate(rate), ..item(job_id, worker_id) };
    for rate in [0, 1, RATE - 1, RATE + 1, 10 * RATE] {
        skips(&world, at(rate), SkipReason::RateChanged).await;
    }
    // What the job pays for at most comes first, and counts for the item's rate.
    for rate in [10 * RATE + 1, Rate::MAX.0] {
        skips(&world, at(rate), SkipReason::RateTooHigh).await;
    }
    // The worker has changed its mind since the plan was made.
    world.contracts().update_worker(world.sender(W1), &cap(), 2, Rate(RATE + 1)).await.unwrap();
    skips(&world, at(RATE), SkipReason::RateChanged).await;
    let events = world.apply(&[at(RATE + 1)]).await;
    assert_eq!(events[0], MarketEvent::JobsAllocated { items: vec![at(RATE + 1)] });
    assert_eq!(world.job(job_id).await.rate, Rate(RATE + 1));
    world.conserved().await;
}
