//! Attempts that end without a result, and jobs that leave the queue without one.

use keeper_types::{Attempt, Felt, Fri, JobId, JobSpec, JobState, MarketEvent, SkipReason, WorkerId};

use crate::world::{CLIENT, GRACE_S, KEEPER, Moment, OTHER, STRK, W1, W2, World, item, out_of_memory, refused};

/// When an attempt that was allocated at `now` may be expired.
fn due(now: Moment) -> Moment {
    now.after(100 + GRACE_S)
}

fn reputation(worker_id: WorkerId, old_reputation: u16, new_reputation: u16) -> MarketEvent {
    MarketEvent::ReputationChanged { worker_id, old_reputation, new_reputation }
}

async fn is_excluded(world: &World, job_id: JobId, worker_id: WorkerId) -> bool {
    world.job_mgr().is_excluded(&job_id.0, &worker_id.0).call().await.unwrap()
}

#[tokio::test]
async fn a_worker_gives_its_attempt_back() {
    let world = World::start().await;
    let (worker_id, _) = (world.register(W1).await, world.register(W2).await);
    refused(world.fail_attempt(W1, JobId(1), 1).await, "JobMgr: no such job");
    let job_id = world.submit(&world.spec().await).await;
    refused(world.fail_attempt(W1, job_id, 1).await, "JobMgr: not allocated");
    world.allocate(job_id, worker_id).await;
    for attempt in [0, 2] {
        refused(world.fail_attempt(OTHER, job_id, attempt).await, "JobMgr: wrong attempt");
    }
    for stranger in [W2, CLIENT, KEEPER, OTHER] {
        refused(world.fail_attempt(stranger, job_id, 1).await, "JobMgr: caller not the worker");
    }
    let failed = MarketEvent::AttemptFailed {
        job_id,
        worker_id,
        attempt: Attempt(1),
        expired: false,
        reason: out_of_memory(),
        requeued: true,
    };
    let events = world.events(world.fail_attempt(W1, job_id, 1).await);
    assert_eq!(events, [reputation(worker_id, 500, 475), failed]);
    let job = world.job(job_id).await;
    assert_eq!((job.state, job.attempt, job.worker_id), (JobState::Queued, Attempt(2), None));
    assert_eq!((job.rate.0, job.score, job.allocated_at, job.attempt_deadline), (0, 0, 0, 0));
    let worker = world.worker(worker_id).await;
    assert_eq!((worker.free_slots(), worker.free_gpus()), (2, 4));
    refused(world.fail_attempt(W1, job_id, 1).await, "JobMgr: not allocated");
    world.conserved().await;
}

#[tokio::test]
async fn a_worker_that_gave_an_attempt_back_is_excluded_from_the_job() {
    let world = World::start().await;
    let (first, second) = (world.register(W1).await, world.register(W2).await);
    let (job_id, _) = world.running(&world.spec().await, first).await;
    assert!(!is_excluded(&world, job_id, first).await);
    world.fail_attempt(W1, job_id, 1).await.unwrap();
    assert!(is_excluded(&world, job_id, first).await);
    assert!(!is_excluded(&world, job_id, second).await);
    assert!(!is_excluded(&world, JobId(job_id.0 + 1), first).await);
    let again = keeper_types::AllocationItem { attempt: Attempt(2), ..item(job_id, first) };
    let events = world.apply(&[again]).await;
    assert!(
        matches!(events[0], MarketEvent::AllocationSkipped { reason: SkipReason::WorkerExcluded, .. }),
        "{events:?}"
    );
    world.allocate(job_id, second).await;
    world.conserved().await;
}

#[tokio::test]
async fn anyone_expires_an_attempt_that_is_overdue() {
    let world = World::start().await;
    let (first, second) = (world.register(W1).await, world.register(W2).await);
    refused(world.expire_attempt(OTHER, JobId(1)).await, "JobMgr: no such job");
    let job_id = world.submit(&world.spec().await).await;
    refused(world.expire_attempt(OTHER, job_id).await, "JobMgr: not allocated");
    let allocated = world.allocate(job_id, first).await;
    let expire = async || world.expire_attempt(OTHER, job_id).await;
    let receipt = world.only_after(due(allocated), "JobMgr: deadline not passed", expire).await;
    let failed = MarketEvent::AttemptFailed {
        job_id,
        worker_id: first,
        attempt: Attempt(1),
        expired: true,
        reason: Felt::ZERO,
        requeued: true,
    };
    assert_eq!(world.contracts().events(&receipt).unwrap(), [reputation(first, 500, 400), failed]);
    assert!(is_excluded(&world, job_id, first).await);
    assert!(!is_excluded(&world, job_id, second).await);
    let worker = world.worker(first).await;
    assert_eq!((worker.free_slots(), worker.free_gpus()), (2, 4));
    refused(world.expire_attempt(OTHER, job_id).await, "JobMgr: not allocated");
    world.conserved().await;
}

#[tokio::test]
async fn messages_that_are_late_by_an_attempt_are_refused() {
    let world = World::start().await;
    let (first, second) = (world.register(W1).await, world.register(W2).await);
    let spec = JobSpec { deadline: world.now().await.timestamp + 10_000, ..world.spec().await };
    let (job_id, allocated) = world.running(&spec, first).await;
    world.pass(due(allocated)).await;
    world.expire_attempt(OTHER, job_id).await.unwrap();
    let late = async |account| {
        refused(world.submit_result(account, job_id, 1).await, "JobMgr: wrong attempt");
        refused(world.fail_attempt(account, job_id, 1).await, "JobMgr: wrong attempt");
    };
    world.allocate(job_id, second).await;
    late(W1).await;
    late(W2).await;
    refused(world.submit_result(W1, job_id, 2).await, "JobMgr: caller not the worker");
    world.submit_result(W2, job_id, 2).await.unwrap();
    world.accept_result(CLIENT, job_id).await.unwrap();
    world.conserved().await;
}

#[tokio::test]
async fn the_last_attempt_ends_the_job_with_a_refund() {
    let world = World::start().await;
    let worker_id = world.register(W1).await;
    let client = world.address(CLIENT);
    let spec = JobSpec { max_attempts: 1, ..world.spec().await };
    let ended = |job_id, expired, reason| {
        let attempt = Attempt(1);
        let failed = MarketEvent::AttemptFailed { job_id, worker_id, attempt, expired, reason, requeued: false };
        [failed, MarketEvent::JobFailed { job_id, client, refunded: Fri(STRK) }]
    };
    let (given_back, _) = world.running(&spec, worker_id).await;
    let events = world.events(world.fail_attempt(W1, given_back, 1).await);
    assert_eq!(events[0], reputation(worker_id, 500, 475));
    assert_eq!(events[1..], ended(given_back, false, out_of_memory()));
    assert_eq!(world.credit(CLIENT).await, STRK);

    let (overdue, allocated) = world.running(&spec, worker_id).await;
    world.pass(due(allocated)).await;
    // The credit paid for this one.
    assert_eq!(world.credit(CLIENT).await, 0);
    let events = world.events(world.expire_attempt(OTHER, overdue).await);
    assert_eq!(events[0], reputation(worker_id, 475, 380));
    assert_eq!(events[1..], ended(overdue, true, Felt::ZERO));
    assert_eq!(world.credit(CLIENT).await, STRK);
    for job_id in [given_back, overdue] {
        let job = world.job(job_id).await;
        assert_eq!((job.state, job.attempt, job.worker_id), (JobState::Failed, Attempt(1), Some(worker_id)));
    }
    let worker = world.worker(worker_id).await;
    assert_eq!((worker.free_slots(), worker.free_gpus()), (2, 4));
    world.conserved().await;
}

#[tokio::test]
async fn fifteen_attempts_by_fifteen_workers() {
    let world = World::start_with(W1 + 14).await;
    let deadline = world.now().await.timestamp + 1_000_000;
    let job_id = world.submit(&JobSpec { max_attempts: 15, deadline, ..world.spec().await }).await;
    for attempt in 1..=15_u8 {
        let account = W1 + usize::from(attempt) - 1;
        let worker_id = world.register(account).await;
        assert_eq!(world.job(job_id).await.attempt, Attempt(attempt));
        let allocated = world.allocate(job_id, worker_id).await;
        let fail_first = attempt % 2 == 1;
        if fail_first {
            world.fail_attempt(account, job_id, attempt).await.unwrap();
        } else {
            world.pass(due(allocated)).await;
            world.expire_attempt(OTHER, job_id).await.unwrap();
        }
        assert_eq!(world.reputation(worker_id).await, if fail_first { 475 } else { 400 });
        assert_eq!(world.state(job_id).await, if attempt < 15 { JobState::Queued } else { JobState::Failed });
    }
    assert_eq!(world.job(job_id).await.attempt, Attempt(15));
    world.conserved().await;
}

#[tokio::test]
async fn a_client_takes_a_queued_job_back() {
    let world = World::start().await;
    let worker_id = world.register(W1).await;
    let client = world.address(CLIENT);
    refused(world.cancel_job(CLIENT, JobId(1)).await, "JobMgr: no such job");
    let job_id = world.submit(&world.spec().await).await;
    for stranger in [OTHER, KEEPER, W1] {
        refused(world.cancel_job(stranger, job_id).await, "JobMgr: caller not client");
    }
    let before = world.balance(CLIENT).await;
    let receipt = world.cancel_job(CLIENT, job_id).await.unwrap();
    let cancelled = MarketEvent::JobCancelled { job_id, client, refunded: Fri(STRK) };
    assert_eq!(world.contracts().events(&receipt).unwrap(), [cancelled]);
    assert_eq!(world.balance(CLIENT).await, before - receipt.fee.0);
    assert_eq!(world.credit(CLIENT).await, STRK);

    let (job_id, _) = world.running(&world.spec().await, worker_id).await;
    refused(world.cancel_job(CLIENT, job_id).await, "JobMgr: not queued");
    world.fail_attempt(W1, job_id, 1).await.unwrap();
    let cancelled = MarketEvent::JobCancelled { job_id, client, refunded: Fri(STRK) };
    assert_eq!(world.events(world.cancel_job(CLIENT, job_id).await), [cancelled]);
    let job = world.job(job_id).await;
    assert_eq!((job.state, job.attempt, job.worker_id), (JobState::Cancelled, Attempt(2), None));

    let (job_id, _) = world.running(&world.spec().await, worker_id).await;
    world.submit_result(W1, job_id, 1).await.unwrap();
    refused(world.cancel_job(CLIENT, job_id).await, "JobMgr: not queued");
    world.conserved().await;
}

#[tokio::test]
async fn anyone_expires_a_job_that_found_no_worker() {
    let world = World::start().await;
    let worker_id = world.register(W1).await;
    let client = world.address(CLIENT);
    refused(world.expire_job(OTHER, JobId(1)).await, "JobMgr: no such job");
    let now = world.now().await;
    let deadline = now.after(600);
    let job_id = world.submit(&crate::world::spec(now.timestamp)).await;
    let (requeued, _) = world.running(&crate::world::spec(now.timestamp), worker_id).await;
    refused(world.expire_job(OTHER, requeued).await, "JobMgr: not queued");
    world.fail_attempt(W1, requeued, 1).await.unwrap();

    let expire = async || world.expire_job(OTHER, job_id).await;
    let receipt = world.only_after(deadline, "JobMgr: deadline not passed", expire).await;
    let expired = MarketEvent::JobExpired { job_id, client, refunded: Fri(STRK) };
    assert_eq!(world.contracts().events(&receipt).unwrap(), [expired]);
    assert_eq!(world.credit(CLIENT).await, STRK);
    refused(world.expire_job(OTHER, job_id).await, "JobMgr: not queued");

    // A job that is queued again keeps its first deadline.
    world.pass(deadline.after(100)).await;
    let second = world.register(W2).await;
    let late = keeper_types::AllocationItem { attempt: Attempt(2), ..item(requeued, second) };
    let events = world.apply(&[late]).await;
    assert!(
        matches!(events[0], MarketEvent::AllocationSkipped { reason: SkipReason::DeadlinePassed, .. }),
        "{events:?}"
    );
    let expired = MarketEvent::JobExpired { job_id: requeued, client, refunded: Fri(STRK) };
    assert_eq!(world.events(world.expire_job(OTHER, requeued).await), [expired]);
    assert_eq!(world.job(requeued).await.attempt, Attempt(2));
    world.conserved().await;
}

#[tokio::test]
async fn what_is_final_stays_final() {
    let world = World::start().await;
    let worker_id = world.register(W1).await;
    let spec = JobSpec { max_attempts: 1, ..world.spec().await };
    let (settled, _) = world.running(&spec, worker_id).await;
    world.submit_result(W1, settled, 1).await.unwrap();
    world.accept_result(CLIENT, settled).await.unwrap();
    let (failed, _) = world.running(&spec, worker_id).await;
    world.fail_attempt(W1, failed, 1).await.unwrap();
    let cancelled = world.submit(&spec).await;
    world.cancel_job(CLIENT, cancelled).await.unwrap();
    let expired = world.submit(&spec).await;
    let later = world.now().await.after(100_000);
    world.pass(later).await;
    world.expire_job(OTHER, expired).await.unwrap();

    let states = [
        (settled, JobState::Settled),
        (cancelled, JobState::Cancelled),
        (expired, JobState::Expired),
        (failed, JobState::Failed),
    ];
    for (job_id, state) in states {
        assert_eq!(world.state(job_id).await, state);
        refused(world.cancel_job(CLIENT, job_id).await, "JobMgr: not queued");
        refused(world.expire_job(OTHER, job_id).await, "JobMgr: not queued");
        refused(world.submit_result(W1, job_id, 1).await, "JobMgr: not allocated");
        refused(world.fail_attempt(W1, job_id, 1).await, "JobMgr: not allocated");
        refused(world.expire_attempt(OTHER, job_id).await, "JobMgr: not allocated");
        refused(world.accept_result(CLIENT, job_id).await, "JobMgr: not revealed");
        refused(world.settle(OTHER, job_id).await, "JobMgr: not revealed");
        let events = world.apply(&[item(job_id, worker_id)]).await;
        assert!(
            matches!(events[0], MarketEvent::AllocationSkipped { reason: SkipReason::JobNotQueued, .. }),
            "{events:?}"
        );
        assert_eq!(world.state(job_id).await, state);
    }
    world.conserved().await;
}
