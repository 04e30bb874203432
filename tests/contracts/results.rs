//! Results and what is paid for them.

use keeper_types::{
    Attempt, ContentHash, Felt, Fri, JobId, JobSpec, JobState, MarketEvent, Rate, WorkerId, WorkerStatus,
};

use crate::world::{
    CHALLENGE_S, CLIENT, KEEPER, OTHER, RATE, STRK, UNBONDING_S, W1, W2, World, cap, refused, result_of,
};

/// What [`crate::world::spec`] costs at [`RATE`].
const PRICE: u128 = STRK / 10;

/// A job with a result, and when its challenge window ends.
async fn revealed(world: &World, spec: &JobSpec, worker_id: WorkerId) -> (JobId, crate::world::Moment) {
    let (job_id, _) = world.running(spec, worker_id).await;
    let ends = world.now().await.after(CHALLENGE_S);
    world.submit_result(W1, job_id, 1).await.unwrap();
    (job_id, ends)
}

#[tokio::test]
async fn only_the_worker_of_the_attempt_submits_its_result() {
    let world = World::start().await;
    let (worker_id, _) = (world.register(W1).await, world.register(W2).await);
    refused(world.submit_result(W1, JobId(0), 1).await, "JobMgr: no such job");
    refused(world.submit_result(W1, JobId(1), 1).await, "JobMgr: no such job");
    let job_id = world.submit(&world.spec().await).await;
    refused(world.submit_result(W1, job_id, 1).await, "JobMgr: not allocated");
    world.allocate(job_id, worker_id).await;
    let submit = async |account, attempt, result| {
        let call = world.job_mgr().submit_result_getcall(&job_id.0, &attempt, &result);
        world.send(account, call).await
    };
    // The first fault is named: the attempt before the caller, the caller before the result.
    for attempt in [0, 2, 255] {
        refused(submit(OTHER, attempt, Felt::ZERO).await, "JobMgr: wrong attempt");
    }
    for stranger in [W2, CLIENT, KEEPER, OTHER] {
        refused(submit(stranger, 1, Felt::ZERO).await, "JobMgr: caller not the worker");
    }
    refused(submit(W1, 1, Felt::ZERO).await, "JobMgr: zero result hash");

    let ends = world.now().await.after(CHALLENGE_S);
    let result = result_of(job_id);
    let submitted = MarketEvent::ResultSubmitted {
        job_id,
        worker_id,
        attempt: Attempt(1),
        result_hash: result.to_felt(),
        challenge_ends_at: ends.timestamp,
        challenge_ends_block: ends.block,
    };
    assert_eq!(world.events(world.submit_result(W1, job_id, 1).await), [submitted]);
    let worker = world.worker(worker_id).await;
    assert_eq!((worker.free_slots(), worker.free_gpus(), worker.reputation), (2, 4, 500));
    let job = world.job(job_id).await;
    assert_eq!((job.state, job.worker_id), (JobState::Revealed, Some(worker_id)));
    assert_eq!(ContentHash::from_felt(job.result_hash).unwrap(), result);
    assert_eq!((job.challenge_ends_at, job.challenge_ends_block), (ends.timestamp, ends.block));
    refused(world.submit_result(W1, job_id, 1).await, "JobMgr: not allocated");
    refused(world.fail_attempt(W1, job_id, 1).await, "JobMgr: not allocated");
    refused(world.expire_attempt(OTHER, job_id).await, "JobMgr: not allocated");
    world.conserved().await;
}

#[tokio::test]
async fn the_client_accepts_a_result_and_pays_at_once() {
    let world = World::start().await;
    let worker_id = world.register(W1).await;
    refused(world.accept_result(CLIENT, JobId(1)).await, "JobMgr: no such job");
    let job_id = world.submit(&world.spec().await).await;
    let accept = async |account| world.accept_result(account, job_id).await;
    for stranger in [OTHER, KEEPER, W1] {
        refused(accept(stranger).await, "JobMgr: caller not client");
    }
    refused(accept(CLIENT).await, "JobMgr: not revealed");
    world.allocate(job_id, worker_id).await;
    refused(accept(CLIENT).await, "JobMgr: not revealed");
    world.submit_result(W1, job_id, 1).await.unwrap();
    for stranger in [OTHER, KEEPER, W1] {
        refused(accept(stranger).await, "JobMgr: caller not client");
    }

    let before = (world.balance(CLIENT).await, world.balance(W1).await);
    let receipt = accept(CLIENT).await.unwrap();
    let (client, paid, refunded) = (world.address(CLIENT), Fri(PRICE), Fri(STRK - PRICE));
    let raised = MarketEvent::ReputationChanged { worker_id, old_reputation: 500, new_reputation: 510 };
    let settled = MarketEvent::JobSettled { job_id, worker_id, client, paid, refunded };
    assert_eq!(world.contracts().events(&receipt).unwrap(), [raised, settled]);
    assert_eq!((world.balance(CLIENT).await, world.balance(W1).await), (before.0 - receipt.fee.0, before.1));
    assert_eq!((world.credit(CLIENT).await, world.credit(W1).await), (refunded.0, paid.0));
    assert_eq!(world.contracts().held().await.unwrap(), Fri(STRK));
    let job = world.job(job_id).await;
    assert_eq!((job.state, job.worker_id, job.rate), (JobState::Settled, Some(worker_id), Rate(RATE)));
    refused(accept(CLIENT).await, "JobMgr: not revealed");
    refused(world.settle(OTHER, job_id).await, "JobMgr: not revealed");
    world.conserved().await;
}

#[tokio::test]
async fn anyone_settles_once_the_challenge_window_is_over() {
    let world = World::start().await;
    let worker_id = world.register(W1).await;
    refused(world.settle(OTHER, JobId(1)).await, "JobMgr: no such job");
    let job_id = world.submit(&world.spec().await).await;
    refused(world.settle(OTHER, job_id).await, "JobMgr: not revealed");
    world.allocate(job_id, worker_id).await;
    refused(world.settle(OTHER, job_id).await, "JobMgr: not revealed");
    let ends = world.now().await.after(CHALLENGE_S);
    world.submit_result(W1, job_id, 1).await.unwrap();

    let before = (world.balance(CLIENT).await, world.balance(W1).await);
    let settle = async || world.settle(OTHER, job_id).await;
    let receipt = world.only_after(ends, "JobMgr: challenge window open", settle).await;
    let (client, paid, refunded) = (world.address(CLIENT), Fri(PRICE), Fri(STRK - PRICE));
    let raised = MarketEvent::ReputationChanged { worker_id, old_reputation: 500, new_reputation: 510 };
    let settled = MarketEvent::JobSettled { job_id, worker_id, client, paid, refunded };
    assert_eq!(world.contracts().events(&receipt).unwrap(), [raised, settled]);
    assert_eq!((world.balance(CLIENT).await, world.balance(W1).await), before);
    assert_eq!((world.credit(CLIENT).await, world.credit(W1).await), (refunded.0, paid.0));
    refused(world.settle(OTHER, job_id).await, "JobMgr: not revealed");
    world.conserved().await;
}

#[tokio::test]
async fn the_price_is_the_rate_at_allocation() {
    let world = World::start().await;
    let worker_id = world.register(W1).await;
    // Exactly what the job can pay: nothing is left to refund.
    let exact = JobSpec { max_price: Fri(PRICE), ..world.spec().await };
    let (job_id, _) = revealed(&world, &exact, worker_id).await;
    world.accept_result(CLIENT, job_id).await.unwrap();
    assert_eq!((world.credit(CLIENT).await, world.credit(W1).await), (0, PRICE));
    let told = world.told().await.jobs[&job_id].clone();
    assert_eq!((told.paid, told.refunded), (Fri(PRICE), Fri::ZERO));

    // The worker asks more from now on, and is still paid what was agreed.
    let (job_id, _) = revealed(&world, &world.spec().await, worker_id).await;
    let dearer = Rate(RATE * 2);
    world.contracts().update_worker(world.sender(W1), &cap(), 2, dearer).await.unwrap();
    world.accept_result(CLIENT, job_id).await.unwrap();
    assert_eq!(world.told().await.jobs[&job_id].paid, Fri(PRICE));

    // By the GPU and the second, rounded nowhere.
    let mut spec = world.spec().await;
    (spec.requirements.gpu_count, spec.execution_timeout_s, spec.max_price) = (3, 7, Fri(STRK + 1));
    let (job_id, _) = revealed(&world, &spec, worker_id).await;
    world.accept_result(CLIENT, job_id).await.unwrap();
    let told = world.told().await.jobs[&job_id].clone();
    let price = u128::from(dearer.0) * 1_000_000_000 * 3 * 7;
    assert_eq!((told.paid, told.refunded), (Fri(price), Fri(STRK + 1 - price)));
    world.conserved().await;
}

#[tokio::test]
async fn a_worker_that_has_left_is_still_paid() {
    let world = World::start().await;
    let worker_id = world.register(W1).await;
    let exit = world.now().await.after(UNBONDING_S + 100);
    let (by_client, _) = revealed(&world, &world.spec().await, worker_id).await;
    let (by_anyone, ends) = revealed(&world, &world.spec().await, worker_id).await;
    world.contracts().exit_worker(world.sender(W1)).await.unwrap();
    world.pass(exit).await;
    world.contracts().withdraw_stake(world.sender(W1)).await.unwrap();
    world.pass(ends.after(1_000)).await;

    world.settle(OTHER, by_anyone).await.unwrap();
    world.accept_result(CLIENT, by_client).await.unwrap();
    assert_eq!(world.credit(W1).await, 2 * PRICE);
    let worker = world.worker(worker_id).await;
    assert_eq!((worker.status, worker.reputation, worker.stake), (WorkerStatus::Exited, 520, Fri::ZERO));
    world.conserved().await;

    // Should the owner come back, its new worker has no part in it.
    let (again, _) = world.register_as(W1, &cap(), 2, RATE, 2 * STRK).await.unwrap();
    assert_eq!((again, world.reputation(again).await), (WorkerId(2), 500));
    world.conserved().await;
}

#[tokio::test]
async fn a_late_result_counts_until_someone_expires_the_attempt() {
    let world = World::start().await;
    let worker_id = world.register(W1).await;
    let (job_id, allocated) = world.running(&world.spec().await, worker_id).await;
    let (other_job, _) = world.running(&world.spec().await, worker_id).await;
    world.pass(allocated.after(1_000)).await;
    world.submit_result(W1, job_id, 1).await.unwrap();
    refused(world.expire_attempt(OTHER, job_id).await, "JobMgr: not allocated");
    world.accept_result(CLIENT, job_id).await.unwrap();
    world.expire_attempt(OTHER, other_job).await.unwrap();
    refused(world.submit_result(W1, other_job, 1).await, "JobMgr: not allocated");
    world.conserved().await;
}
