//! Rounds: which batches are taken, what an allocation leaves behind, and how the items of a batch meet.

use cainome::cairo_serde::ContractAddress;
use e2e::spec_to_chain;
use keeper_bindings::{job_mgr, task_allocator::AllocationStats};
use keeper_types::{
    AllocationItem, Attempt, BlockNumber, Capabilities, Felt, Fri, JobId, JobSpec, JobState, MarketEvent, Rate,
    SkipReason, Strategy, WorkerId,
};

use crate::world::{
    ADMIN, CLIENT, GRACE_S, KEEPER, OTHER, PLAN_ROOT, RATE, SCORE, SNAPSHOT_ROOT, STRK, W1, W2, World, cap, item,
    refused,
};

/// The highest number that a round can have.
const LAST_ROUND: u64 = (1 << 48) - 1;

#[tokio::test]
async fn only_fresh_rounds_of_keepers_are_taken() {
    let world = World::start().await;
    let worker_id = world.register(W1).await;
    let job_id = world.submit(&world.spec().await).await;
    let items = [item(job_id, worker_id).pack()];
    for account in [ADMIN, CLIENT, W1, OTHER] {
        refused(world.apply_batch(account, 1, 0, &items).await, "TaskAllocator: not a keeper");
    }
    refused(world.apply_batch(KEEPER, 1, 0, &[]).await, "TaskAllocator: empty batch");
    refused(world.apply_batch(KEEPER, 1, 0, &[Felt::ZERO; 501]).await, "TaskAllocator: batch too large");
    refused(world.apply_batch(KEEPER, 0, 0, &items).await, "TaskAllocator: stale round");
    let next = world.now().await.block.0;
    refused(world.apply_batch(KEEPER, 1, next + 1, &items).await, "TaskAllocator: future snapshot");
    world.apply_batch(KEEPER, 1, next, &items).await.unwrap();

    // A batch that is sent twice is applied once; numbers may be left out.
    refused(world.apply_batch(KEEPER, 1, next, &items).await, "TaskAllocator: stale round");
    world.apply_batch(KEEPER, 10, 0, &items).await.unwrap();
    for stale in [0, 1, 9, 10] {
        refused(world.apply_batch(KEEPER, stale, 0, &items).await, "TaskAllocator: stale round");
    }
    // Another keeper counts its own rounds.
    let other = world.address(OTHER);
    world.hire_keeper(OTHER).await;
    world.apply_batch(OTHER, 1, 0, &items).await.unwrap();
    refused(world.apply_batch(KEEPER, LAST_ROUND + 1, 0, &items).await, "TaskAllocator: round too high");
    refused(world.apply_batch(KEEPER, u64::MAX, 0, &items).await, "TaskAllocator: round too high");
    world.apply_batch(KEEPER, LAST_ROUND, 0, &items).await.unwrap();
    refused(world.apply_batch(KEEPER, LAST_ROUND, 0, &items).await, "TaskAllocator: stale round");
    world.apply_batch(OTHER, 2, 0, &items).await.unwrap();
    assert_eq!(world.contracts().last_round(other).await.unwrap(), 2);
    assert_eq!(world.contracts().last_round(world.address(KEEPER)).await.unwrap(), LAST_ROUND);
    world.conserved().await;
}

#[tokio::test]
async fn an_allocation_is_told_and_shown() {
    let world = World::start().await;
    let worker_id = world.register(W1).await;
    let spec = world.spec().await;
    let job_id = world.submit(&spec).await;
    let (client, keeper) = (world.address(CLIENT), world.address(KEEPER));
    let now = world.now().await;
    let due = now.after(100 + GRACE_S);
    assert_eq!(due.block.0, now.block.0 + 16);
    let sent = world.apply_batch(KEEPER, 1, now.block.0 - 1, &[item(job_id, worker_id).pack()]).await;
    let allocated = MarketEvent::JobsAllocated { items: vec![item(job_id, worker_id)] };
    let snapshot_block = BlockNumber(now.block.0 - 1);
    let applied = MarketEvent::RoundApplied {
        keeper,
        round: 1,
        snapshot_block,
        snapshot_root: SNAPSHOT_ROOT,
        policy_id: world.policy,
        plan_root: PLAN_ROOT,
        allocated: 1,
        skipped: 0,
    };
    assert_eq!(world.events(sent), [allocated, applied]);

    let shown = job_mgr::JobView {
        job_id: job_id.0,
        client: ContractAddress(client.0),
        state: job_mgr::JobState::Allocated,
        attempt: 1,
        worker_id: worker_id.0,
        spec: spec_to_chain(&spec),
        rate_gfri: RATE,
        score: SCORE,
        strategy: 0,
        allocated_at: now.timestamp,
        attempt_deadline: due.timestamp,
        deadline_block: world.job(job_id).await.deadline_block.0,
        attempt_deadline_block: due.block.0,
        result_hash: Felt::ZERO,
        challenge_ends_at: 0,
        challenge_ends_block: 0,
        commitment: Felt::ZERO,
        group_id: 0,
    };
    assert_eq!(world.job_mgr().get_job(&job_id.0).call().await.unwrap(), shown);
    let worker = world.worker(worker_id).await;
    assert_eq!((worker.free_slots(), worker.free_gpus()), (1, 3));
    assert_eq!(world.task_allocator().get_worker_load(&Felt::ONE).call().await.unwrap(), 5_000);
    let stats = AllocationStats { rounds: 1, allocated: 1, skipped: 0, last_round_block: now.block.0 };
    assert_eq!(world.task_allocator().get_allocation_stats().call().await.unwrap(), stats);
    assert_eq!(world.contracts().last_round(keeper).await.unwrap(), 1);
    world.conserved().await;
}

/// What became of each item, in the order of the items: allocated, or why not.
fn verdicts(items: &[AllocationItem], events: &[MarketEvent]) -> Vec<Option<SkipReason>> {
    let (mut allocated, mut skipped) = (Vec::new(), Vec::new());
    for event in events {
        match event {
            MarketEvent::JobsAllocated { items } => {
                allocated.extend(items.iter().map(|item| (item.job_id, item.worker_id)));
            }
            MarketEvent::AllocationSkipped { job_id, worker_id, reason, .. } => {
                skipped.push((*job_id, *worker_id, *reason));
            }
            MarketEvent::RoundApplied { allocated: told, skipped: refused, .. } => {
                assert_eq!((*told as usize, *refused as usize), (allocated.len(), skipped.len()));
            }
            other => panic!("a round does not say {other:?}"),
        }
    }
    // What JobMgr refuses is told before what the pool refuses.
    let mut allocated = allocated.into_iter().peekable();
    let verdict = |item: &AllocationItem| {
        if allocated.next_if_eq(&(item.job_id, item.worker_id)).is_some() {
            return None;
        }
        let of_item = |(job_id, worker_id, _): &(JobId, WorkerId, SkipReason)| {
            (*job_id, *worker_id) == (item.job_id, item.worker_id)
        };
        let place = skipped.iter().position(of_item).expect("each item has its event");
        Some(skipped.remove(place).2)
    };
    items.iter().map(verdict).collect()
}

#[tokio::test]
async fn items_of_a_batch_see_what_earlier_ones_took() {
    let world = World::start().await;
    let (first, second) = (world.register(W1).await, world.register(W2).await);
    let spec = world.spec().await;
    let submit = async |gpu_count| {
        let mut spec = spec.clone();
        spec.requirements.gpu_count = gpu_count;
        world.submit(&spec).await
    };
    let round = async |items: &[AllocationItem]| verdicts(items, &world.apply(items).await);
    let (not_queued, no_slot, no_gpu) =
        (Some(SkipReason::JobNotQueued), Some(SkipReason::NoFreeSlot), Some(SkipReason::NoFreeGpu));

    // A job goes once, to whoever comes first.
    let (a, b, c) = (submit(1).await, submit(1).await, submit(1).await);
    assert_eq!(round(&[item(a, first), item(a, first), item(a, second)]).await, [None, not_queued, not_queued]);
    // The slots of a worker are counted down. Whom the pool refuses has held its job for the rest of the batch.
    let items = [item(b, first), item(c, first), item(c, second), item(c, second)];
    assert_eq!(round(&items).await, [None, no_slot, not_queued, not_queued]);
    assert_eq!(round(&[item(c, second)]).await, [None]);
    for (account, job_id) in [(W1, a), (W1, b), (W2, c)] {
        world.submit_result(account, job_id, 1).await.unwrap();
    }
    // Its GPUs are as well.
    let (three, two, one) = (submit(3).await, submit(2).await, submit(1).await);
    assert_eq!(round(&[item(three, first), item(two, first), item(one, first)]).await, [None, no_gpu, None]);
    let worker = world.worker(first).await;
    assert_eq!((worker.free_slots(), worker.free_gpus()), (0, 0));
    // Three jobs for two slots.
    let jobs = [submit(0).await, submit(0).await, submit(0).await];
    assert_eq!(round(&jobs.map(|job_id| item(job_id, second))).await, [None, None, no_slot]);
    world.conserved().await;
}

#[tokio::test]
async fn one_bad_item_does_not_stop_the_others() {
    let world = World::start().await;
    let worker_id = world.register(W1).await;
    let (a, b) = (world.submit(&world.spec().await).await, world.submit(&world.spec().await).await);
    let malformed = item(a, worker_id).pack() + Felt::TWO.pow(164_u32);
    let items = [malformed, item(JobId(999), worker_id).pack(), item(a, worker_id).pack(), item(b, worker_id).pack()];
    let events = world.apply_felts(&items).await;
    let skipped = |job_id, reason| MarketEvent::AllocationSkipped { job_id, worker_id, attempt: Attempt(1), reason };
    assert_eq!(events[0], MarketEvent::JobsAllocated { items: vec![item(a, worker_id), item(b, worker_id)] });
    assert_eq!(events[1..3], [skipped(a, SkipReason::ItemMalformed), skipped(JobId(999), SkipReason::JobUnknown)]);
    assert!(matches!(events[3], MarketEvent::RoundApplied { allocated: 2, skipped: 2, .. }), "{events:?}");
    assert_eq!(events.len(), 4);
    world.conserved().await;
}

#[tokio::test]
async fn a_job_without_gpus_takes_a_slot_and_pays_for_one_unit() {
    let world = World::start().await;
    let without = Capabilities { gpu_count: 0, vram_gib: 0, ..cap() };
    let worker_id = world.register_as(W1, &without, 1, RATE, STRK).await.unwrap().0;
    let mut spec = world.spec().await;
    (spec.requirements.gpu_count, spec.requirements.vram_gib) = (0, 0);
    spec.max_price = Fri(STRK / 10);
    let (job_id, _) = world.running(&spec, worker_id).await;
    let worker = world.worker(worker_id).await;
    assert_eq!((worker.free_slots(), worker.free_gpus()), (0, 0));
    world.submit_result(W1, job_id, 1).await.unwrap();
    world.accept_result(CLIENT, job_id).await.unwrap();
    assert_eq!(world.told().await.jobs[&job_id].paid, Fri(STRK / 10));
    world.conserved().await;
}

#[tokio::test]
async fn statistics_add_up_and_items_come_back_as_they_were_packed() {
    let world = World::start().await;
    let worker_id = world.register_as(W1, &cap(), 10, RATE, 10 * STRK).await.unwrap().0;
    let spec = JobSpec { requirements: keeper_types::Requirements::default(), ..world.spec().await };
    let (mut sums, mut blocks) = ((0, 0), Vec::new());
    for strategy in [Strategy::Standard, Strategy::Batch, Strategy::Emergency, Strategy::Fallback] {
        for score in [0, u16::MAX] {
            let job_id = world.submit(&spec).await;
            let sent = AllocationItem { strategy, score, ..item(job_id, worker_id) };
            blocks.push(world.now().await.block.0);
            let events = world.apply(&[sent, item(JobId(999), WorkerId(u32::MAX))]).await;
            assert_eq!(events[0], MarketEvent::JobsAllocated { items: vec![sent] });
            let shown = world.job_mgr().get_job(&job_id.0).call().await.unwrap();
            assert_eq!((shown.strategy, shown.score, shown.worker_id), (strategy as u8, score, worker_id.0));
            let MarketEvent::RoundApplied { allocated, skipped, .. } = events[2] else { panic!("{events:?}") };
            sums = (sums.0 + u64::from(allocated), sums.1 + u64::from(skipped));
            let stats = world.contracts().allocation_stats().await.unwrap();
            assert_eq!((stats.allocated, stats.skipped), sums);
            assert_eq!((stats.rounds, stats.last_round_block), (blocks.len() as u64, *blocks.last().unwrap()));
        }
    }
    assert_eq!(sums, (8, 8));
    // The largest numbers that an item can carry.
    let largest = AllocationItem {
        job_id: JobId(u64::MAX),
        worker_id: WorkerId(u32::MAX),
        attempt: Attempt(u8::MAX),
        strategy: Strategy::Fallback,
        score: u16::MAX,
        rate: Rate::MAX,
    };
    let skipped = MarketEvent::AllocationSkipped {
        job_id: JobId(u64::MAX),
        worker_id: WorkerId(u32::MAX),
        attempt: Attempt(u8::MAX),
        reason: SkipReason::JobUnknown,
    };
    assert_eq!(world.apply(&[largest]).await[0], skipped);
    assert_eq!(world.state(JobId(1)).await, JobState::Allocated);
    world.conserved().await;
}
