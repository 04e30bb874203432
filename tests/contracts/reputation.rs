//! How outcomes move reputation, against a mirror of the rules.

use keeper_chain::DueExit;
use keeper_types::{Fri, JobId, JobSpec, MarketEvent, Requirements, WorkerId};
use rand::{Rng as _, SeedableRng as _, rngs::StdRng, seq::SliceRandom as _};

use crate::world::{CLIENT, GRACE_S, OTHER, RATE, STRK, W1, W2, World, cap, item, result_of};

#[derive(Clone, Copy, Debug)]
enum Outcome {
    Settled,
    Failed,
    Expired,
}

/// The rules of `docs/job-lifecycle.md`.
fn after(reputation: u16, outcome: Outcome) -> u16 {
    match outcome {
        Outcome::Settled => reputation + (1_000 - reputation).div_ceil(50),
        Outcome::Failed => reputation - reputation.div_ceil(20),
        Outcome::Expired => reputation - reputation.div_ceil(5),
    }
}

/// The moves that `count` outcomes of one kind make, from `reputation`; one that changes nothing is not told.
fn moves(mut reputation: u16, outcome: Outcome, count: usize) -> Vec<(u16, u16)> {
    let mut moves = Vec::new();
    for _ in 0..count {
        let next = after(reputation, outcome);
        if next != reputation {
            moves.push((reputation, next));
        }
        reputation = next;
    }
    moves
}

/// Jobs that a worker runs, each with one attempt.
async fn running(world: &World, worker_id: WorkerId, count: usize) -> Vec<JobId> {
    let now = world.now().await.timestamp;
    let spec = JobSpec {
        requirements: Requirements::default(),
        max_attempts: 1,
        max_price: Fri(STRK / 10),
        ..crate::world::spec(now)
    };
    let (job_ids, _) = world.contracts().submit_jobs(world.sender(CLIENT), &vec![spec; count]).await.unwrap();
    let items: Vec<_> = job_ids.iter().map(|job_id| item(*job_id, worker_id)).collect();
    let events = world.apply(&items).await;
    assert!(events.len() == 2 && matches!(&events[0], MarketEvent::JobsAllocated { items: told } if *told == items));
    job_ids
}

/// Lets `count` jobs end in one way and returns how the worker's reputation moved.
async fn end(world: &World, account: usize, worker_id: WorkerId, outcome: Outcome, count: usize) -> Vec<(u16, u16)> {
    let job_ids = running(world, worker_id, count).await;
    let contract = world.job_mgr();
    let sent = match outcome {
        Outcome::Settled => {
            let submit = |job: &JobId| contract.submit_result_getcall(&job.0, &1, &result_of(*job).to_felt());
            world.caller(account).send(job_ids.iter().map(submit).collect()).await.unwrap();
            let accept = |job: &JobId| contract.accept_result_getcall(&job.0);
            world.caller(CLIENT).send(job_ids.iter().map(accept).collect()).await
        }
        Outcome::Failed => {
            let fail = |job: &JobId| contract.fail_attempt_getcall(&job.0, &1, &crate::world::out_of_memory());
            world.caller(account).send(job_ids.iter().map(fail).collect()).await
        }
        Outcome::Expired => {
            let due = world.now().await.after(1_000);
            world.pass(due).await;
            let due: Vec<_> = job_ids.iter().map(|job_id| DueExit::ExpireAttempt(*job_id)).collect();
            world.contracts().exit_due(world.sender(OTHER), &due).await
        }
    };
    let told = world.events(sent).into_iter().filter_map(|event| match event {
        MarketEvent::ReputationChanged { worker_id: told, old_reputation, new_reputation } => {
            assert_eq!(told, worker_id);
            Some((old_reputation, new_reputation))
        }
        _ => None,
    });
    told.collect()
}

#[tokio::test]
async fn it_stays_between_nothing_and_a_thousand() {
    let world = World::start().await;
    let first = world.register_as(W1, &cap(), 100, RATE, 100 * STRK).await.unwrap().0;
    let second = world.register_as(W2, &cap(), 100, RATE, 100 * STRK).await.unwrap().0;

    let expected = moves(500, Outcome::Settled, 200);
    for known in [(500, 510), (990, 991), (999, 1_000)] {
        assert!(expected.contains(&known), "{known:?}");
    }
    let mut told = end(&world, W1, first, Outcome::Settled, 100).await;
    told.extend(end(&world, W1, first, Outcome::Settled, 100).await);
    assert_eq!(told, expected);
    assert_eq!(world.reputation(first).await, 1_000);

    let expected = moves(1_000, Outcome::Failed, 120);
    for known in [(1_000, 950), (19, 18), (1, 0)] {
        assert!(expected.contains(&known), "{known:?}");
    }
    let mut told = end(&world, W1, first, Outcome::Failed, 60).await;
    told.extend(end(&world, W1, first, Outcome::Failed, 60).await);
    assert_eq!(told, expected);
    assert_eq!(world.reputation(first).await, 0);
    // From nothing upwards again.
    assert_eq!(end(&world, W1, first, Outcome::Settled, 1).await, [(0, 20)]);

    let expected = moves(500, Outcome::Expired, 30);
    for known in [(500, 400), (4, 3), (1, 0)] {
        assert!(expected.contains(&known), "{known:?}");
    }
    assert_eq!(end(&world, W2, second, Outcome::Expired, 30).await, expected);
    assert_eq!(world.reputation(second).await, 0);
    world.conserved().await;
}

#[tokio::test]
async fn it_follows_from_the_outcomes_alone() {
    const SEED: u64 = 20_260_731;
    let world = World::start().await;
    let mut random = StdRng::seed_from_u64(SEED);
    let mut expected = Vec::new();
    let mut open = Vec::new();
    for account in [W1, W2] {
        let worker_id = world.register_as(account, &cap(), 25, RATE, 25 * STRK).await.unwrap().0;
        let jobs = running(&world, worker_id, 25).await;
        open.extend(jobs.into_iter().map(|job_id| (account, worker_id, job_id)));
        expected.push(500);
    }
    // Late, but none is expired yet: each of the outcomes is possible.
    let due = world.now().await.after(100 + GRACE_S);
    world.pass(due).await;
    open.shuffle(&mut random);
    for (account, worker_id, job_id) in open {
        let outcome = match random.random_range(0..3) {
            0 => Outcome::Settled,
            1 => Outcome::Failed,
            _ => Outcome::Expired,
        };
        match outcome {
            Outcome::Settled => {
                world.submit_result(account, job_id, 1).await.unwrap();
                world.accept_result(CLIENT, job_id).await.unwrap();
            }
            Outcome::Failed => drop(world.fail_attempt(account, job_id, 1).await.unwrap()),
            Outcome::Expired => drop(world.expire_attempt(OTHER, job_id).await.unwrap()),
        }
        let mirror = &mut expected[worker_id.0 as usize - 1];
        *mirror = after(*mirror, outcome);
        assert_eq!(world.reputation(worker_id).await, *mirror, "after {outcome:?}");
    }
    world.conserved().await;
}
