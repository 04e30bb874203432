//! What TaskAllocator answers, what workers report, and which classes stand on the chain.

use cainome::cairo_serde::U256;
use keeper_bindings::task_allocator::{AllocationParams, AllocationResult, WorkerMetrics};
use keeper_chain::built_in_class;
use keeper_types::{Felt, JobId, JobSpec, JobState, MarketEvent, WorkerId, WorkerStatus};
use serde_json::{Value, json};
use starknet::{
    core::types::{BlockId, BlockTag, FunctionCall},
    macros::selector,
    providers::Provider as _,
};

use crate::world::{CLIENT, KEEPER, OTHER, RATE, SCORE, STRK, UNBONDING_S, W1, W2, World, cap, refused, view_refused};

/// Asks about a job without asking anything of it.
fn about(job_id: JobId) -> AllocationParams {
    AllocationParams {
        job_id: U256 { low: u128::from(job_id.0), high: 0 },
        model_id: Felt::ZERO,
        priority: 0,
        region: Felt::ZERO,
        min_reputation: 0,
    }
}

#[tokio::test]
async fn allocate_job_shows_the_recorded_allocation() {
    let world = World::start().await;
    let worker_id = world.register(W1).await;
    let allocator = world.task_allocator();
    let ask = async |params: &AllocationParams| allocator.allocate_job(params).call().await.unwrap();
    let spec = JobSpec { model_id: Felt::from(77), max_attempts: 1, ..world.spec().await };
    let job_id = world.submit(&spec).await;
    assert_eq!(ask(&about(JobId(999))).await, None);
    assert_eq!(ask(&about(JobId(0))).await, None);
    assert_eq!(ask(&about(job_id)).await, None);

    let now = world.allocate(job_id, worker_id).await;
    let recorded = Some(AllocationResult {
        worker_id: Felt::from(worker_id.0),
        expected_completion_time: now.timestamp + 100,
        allocation_score: u32::from(SCORE),
    });
    let eu = Felt::from_bytes_be_slice(b"eu");
    let matching = [
        about(job_id),
        AllocationParams { model_id: Felt::from(77), ..about(job_id) },
        AllocationParams { priority: 5, ..about(job_id) },
        AllocationParams { region: eu, ..about(job_id) },
        AllocationParams { min_reputation: 500, ..about(job_id) },
        AllocationParams { model_id: Felt::from(77), priority: 5, region: eu, min_reputation: 500, ..about(job_id) },
    ];
    for params in &matching {
        assert_eq!(ask(params).await, recorded, "{params:?}");
    }
    let job = u128::from(job_id.0);
    let failing = [
        AllocationParams { job_id: U256 { low: job | 1 << 64, high: 0 }, ..about(job_id) },
        AllocationParams { job_id: U256 { low: job, high: 1 }, ..about(job_id) },
        AllocationParams { model_id: Felt::from(78), ..about(job_id) },
        AllocationParams { priority: 6, ..about(job_id) },
        AllocationParams { region: Felt::from_bytes_be_slice(b"us"), ..about(job_id) },
        AllocationParams { min_reputation: 501, ..about(job_id) },
        AllocationParams { min_reputation: u32::MAX, ..about(job_id) },
    ];
    for params in &failing {
        assert_eq!(ask(params).await, None, "{params:?}");
    }
    world.submit_result(W1, job_id, 1).await.unwrap();
    assert_eq!(ask(&about(job_id)).await, recorded);
    world.accept_result(CLIENT, job_id).await.unwrap();
    assert_eq!(ask(&about(job_id)).await, recorded);

    let (failed, _) = world.running(&spec, worker_id).await;
    world.fail_attempt(W1, failed, 1).await.unwrap();
    let cancelled = world.submit(&spec).await;
    world.cancel_job(CLIENT, cancelled).await.unwrap();
    for job_id in [failed, cancelled] {
        assert_eq!(ask(&about(job_id)).await, None);
    }
    world.conserved().await;
}

#[tokio::test]
async fn load_is_the_share_of_slots_in_use() {
    let world = World::start().await;
    let worker_id = world.register(W1).await;
    let three = world.register_as(W2, &cap(), 3, RATE, 3 * STRK).await.unwrap().0;
    let allocator = world.task_allocator();
    let load = async |worker_id: Felt| allocator.get_worker_load(&worker_id).call().await;
    let unknown = [Felt::ZERO, Felt::from(99), Felt::from(1_u64 << 32), Felt::from(u32::MAX), Felt::ZERO - Felt::ONE];
    for worker_id in unknown {
        view_refused(load(worker_id).await, "TaskAllocator: unknown worker");
    }
    let spec = world.spec().await;
    for expected in [0, 5_000, 10_000] {
        assert_eq!(load(Felt::from(worker_id.0)).await.unwrap(), expected);
        if expected < 10_000 {
            world.running(&spec, worker_id).await;
        }
    }
    for expected in [3_333, 6_666, 10_000] {
        world.running(&spec, three).await;
        assert_eq!(load(Felt::from(three.0)).await.unwrap(), expected);
    }
    world.conserved().await;
}

#[tokio::test]
async fn metrics_are_reported_by_keepers_and_owners() {
    let world = World::start().await;
    let (worker_id, _) = (world.register(W1).await, world.register(W2).await);
    let allocator = world.task_allocator();
    let (first, unknown) = (Felt::from(worker_id.0), Felt::from(99));
    let report = async |account, worker_id: Felt, metrics: &WorkerMetrics| {
        world.send(account, allocator.update_worker_metrics_getcall(&worker_id, metrics)).await
    };
    let none = WorkerMetrics { queue_length: 0, response_ms: 0, success_bps: 0, utilisation_bps: 0 };
    let largest =
        WorkerMetrics { queue_length: u32::MAX, response_ms: u32::MAX, success_bps: 10_000, utilisation_bps: 10_000 };
    let shown = async || {
        let metrics = allocator.get_worker_metrics(&first).call().await.unwrap();
        (metrics, allocator.metrics_reported_at(&first).call().await.unwrap())
    };
    assert_eq!(shown().await, (none.clone(), 0));
    for stranger in [OTHER, CLIENT, W2] {
        refused(report(stranger, first, &largest).await, "TaskAllocator: not worker owner");
    }
    for nobody in [Felt::ZERO, unknown, Felt::from(1_u64 << 32) + Felt::ONE] {
        refused(report(KEEPER, nobody, &largest).await, "TaskAllocator: unknown worker");
    }
    for bad in [
        WorkerMetrics { success_bps: 10_001, ..largest.clone() },
        WorkerMetrics { utilisation_bps: 10_001, ..largest.clone() },
        WorkerMetrics { success_bps: u16::MAX, utilisation_bps: u16::MAX, ..none.clone() },
    ] {
        refused(report(KEEPER, first, &bad).await, "TaskAllocator: bad metrics");
    }
    assert_eq!(shown().await, (none.clone(), 0));

    let other = WorkerMetrics { queue_length: 1, response_ms: 2, success_bps: 3, utilisation_bps: 4 };
    for (account, metrics) in [(KEEPER, &largest), (W1, &other), (KEEPER, &none)] {
        let now = world.now().await.timestamp;
        let events = world.events(report(account, first, metrics).await);
        assert_eq!(events, [MarketEvent::WorkerMetricsUpdated { worker_id }]);
        assert_eq!(shown().await, (metrics.clone(), now));
    }
    view_refused(allocator.get_worker_metrics(&Felt::from(1_u64 << 32)).call().await, "TaskAllocator: unknown worker");
    view_refused(allocator.metrics_reported_at(&Felt::from(1_u64 << 32)).call().await, "TaskAllocator: unknown worker");
    assert_eq!(allocator.get_worker_metrics(&unknown).call().await.unwrap(), none);
    world.conserved().await;
}

/// The number that a view gives for a state or status, which stands third in both views.
async fn number(world: &World, contract: Felt, selector: Felt, id: u64) -> u8 {
    let request =
        FunctionCall { contract_address: contract, entry_point_selector: selector, calldata: vec![Felt::from(id)] };
    let answer = world.job_mgr().provider().call(request, BlockId::Tag(BlockTag::Latest)).await.unwrap();
    u8::try_from(u64::try_from(answer[2]).unwrap()).unwrap()
}

#[tokio::test]
async fn states_have_the_numbers_that_the_keeper_gives_them() {
    let world = World::start().await;
    let worker_id = world.register(W1).await;
    let (jobs, pool) = (world.deployment().job_mgr.address.0, world.deployment().cdc_pool.address.0);
    let spec = JobSpec { max_attempts: 1, ..world.spec().await };
    let state = async |job_id: JobId| number(&world, jobs, selector!("get_job"), job_id.0).await;
    assert_eq!(state(JobId(1)).await, 0);
    let job_id = world.submit(&spec).await;
    assert_eq!(state(job_id).await, JobState::Queued as u8);
    world.allocate(job_id, worker_id).await;
    assert_eq!(state(job_id).await, JobState::Allocated as u8);
    world.submit_result(W1, job_id, 1).await.unwrap();
    assert_eq!(state(job_id).await, JobState::Revealed as u8);
    world.accept_result(CLIENT, job_id).await.unwrap();
    assert_eq!(state(job_id).await, JobState::Settled as u8);
    let cancelled = world.submit(&spec).await;
    world.cancel_job(CLIENT, cancelled).await.unwrap();
    assert_eq!(state(cancelled).await, JobState::Cancelled as u8);
    let (failed, _) = world.running(&spec, worker_id).await;
    world.fail_attempt(W1, failed, 1).await.unwrap();
    assert_eq!(state(failed).await, JobState::Failed as u8);
    let expired = world.submit(&spec).await;
    let later = world.now().await.after(1_000);
    world.pass(later).await;
    world.expire_job(OTHER, expired).await.unwrap();
    assert_eq!(state(expired).await, JobState::Expired as u8);

    let status = async |worker_id: WorkerId| number(&world, pool, selector!("get_worker"), worker_id.0.into()).await;
    let (contracts, w1) = (world.contracts(), world.sender(W1));
    assert_eq!(status(WorkerId(99)).await, 0);
    assert_eq!(status(worker_id).await, WorkerStatus::Active as u8);
    contracts.drain_worker(w1).await.unwrap();
    assert_eq!(status(worker_id).await, WorkerStatus::Draining as u8);
    contracts.exit_worker(w1).await.unwrap();
    assert_eq!(status(worker_id).await, WorkerStatus::Exiting as u8);
    let exit = world.now().await.after(UNBONDING_S);
    world.pass(exit).await;
    contracts.withdraw_stake(w1).await.unwrap();
    assert_eq!(status(worker_id).await, WorkerStatus::Exited as u8);
    world.conserved().await;
}

#[tokio::test]
async fn the_chain_has_the_classes_that_the_manifest_names() {
    let world = World::start_with(OTHER).await;
    let chain = &world.market.chain;
    let mut declared = Vec::new();
    for number in 0..world.now().await.block.0 {
        let block = json!({ "block_id": { "block_number": number } });
        let update = chain.ask("starknet_getStateUpdate", block).await;
        declared.extend(update["state_diff"]["declared_classes"].as_array().unwrap().clone());
    }
    let deployment = world.deployment();
    let contracts = [
        ("JobMgr", &deployment.job_mgr),
        ("CdcPool", &deployment.cdc_pool),
        ("TaskAllocator", &deployment.task_allocator),
    ];
    let felt = |value: &Value| Felt::from_hex(value.as_str().unwrap()).unwrap();
    for (name, contract) in contracts {
        let expected = built_in_class(name).unwrap();
        let at = json!({ "block_id": "latest", "contract_address": contract.address });
        assert_eq!(felt(&chain.ask("starknet_getClassHashAt", at).await), expected.class_hash, "{name}");
        let class = declared.iter().find(|class| felt(&class["class_hash"]) == expected.class_hash).unwrap();
        assert_eq!(felt(&class["compiled_class_hash"]), expected.compiled_class_hash, "{name}");
    }
}
