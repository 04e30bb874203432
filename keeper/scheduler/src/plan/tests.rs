use keeper_types::{
    Address, AgentView, Attempt, BlockNumber, Capabilities, EventPosition, Felt, Fri, Job, JobSpec, ManifestView,
    Market, MarketEvent, Rate, Requirements, Strategy, TxHash, Verification, WorkerId, WorkerStatus,
};

use super::{fixtures::*, *};
use crate::{Ordering, Rejection, WorkerView};

fn planned(jobs: Vec<PendingJob>, workers: Vec<WorkerView>) -> Plan {
    plan(&snapshot(jobs, workers), &Policy::BALANCED)
}

/// Pairs of job and worker, in the order of the decisions.
fn pairs(plan: &Plan) -> Vec<(u64, u32)> {
    plan.items.iter().map(|item| (item.job_id.0, item.worker_id.0)).collect()
}

fn outcome(plan: &Plan, job_id: u64) -> &Outcome {
    &plan.explanations[&JobId(job_id)].outcome
}

/// A job that any worker can take, and one GPU's worth of it.
fn easy_job(id: u64) -> PendingJob {
    PendingJob { requirements: Requirements { gpu_count: 1, ..Requirements::default() }, ..job(id) }
}

#[test]
fn a_job_goes_to_the_worker_that_fits_and_the_item_says_so() {
    let plan = planned(vec![PendingJob { attempt: Attempt(3), queued_at: NOW - 60, ..job(7) }], vec![worker(4)]);
    let [item] = plan.items[..] else { panic!("{plan:?}") };
    assert_eq!((item.job_id, item.worker_id, item.attempt), (JobId(7), WorkerId(4), Attempt(3)));
    assert_eq!(item.strategy, Strategy::Standard);
    let explanation = &plan.explanations[&JobId(7)];
    assert_eq!(explanation.outcome, Outcome::Placed { worker_id: WorkerId(4) });
    assert_eq!(explanation.winner.unwrap().total, item.score);
    assert_eq!((explanation.runner_up, explanation.workers_evaluated), (None, 1));
    assert!(explanation.rejections.is_empty());
}

#[test]
fn queues_then_priority_then_id_decide_who_goes_first() {
    let jobs = vec![
        PendingJob { queue: Queue::Low, priority: 10, ..job(1) },
        job(2),
        job(3),
        PendingJob { priority: 6, ..job(5) },
        PendingJob { queue: Queue::High, priority: 1, ..job(6) },
    ];
    let policy = Policy { ordering: Ordering::Priority, ..Policy::BALANCED };
    let plan = plan(&snapshot(jobs, (1..=6).map(worker).collect()), &policy);
    assert_eq!(pairs(&plan).into_iter().map(|(job, _)| job).collect::<Vec<_>>(), [6, 5, 2, 3, 1]);
}

#[test]
fn waiting_makes_up_for_priority() {
    let fresh = PendingJob { priority: 6, ..job(1) };
    let waited = PendingJob { priority: 5, submitted_at: NOW - 600, ..job(2) };
    let policy = Policy { ordering: Ordering::Priority, ..Policy::BALANCED };
    let jobs = vec![fresh, waited];
    assert_eq!(pairs(&plan(&snapshot(jobs.clone(), vec![worker(1)]), &policy)), [(2, 1)]);
    for aging_interval_s in [0, 601] {
        let slower = Policy { aging_interval_s, ..policy.clone() };
        assert_eq!(pairs(&plan(&snapshot(jobs.clone(), vec![worker(1)]), &slower)), [(1, 1)], "{aging_interval_s}");
    }
}

#[test]
fn ties_go_to_the_lowest_worker_id() {
    assert_eq!(pairs(&planned(vec![job(1)], vec![worker(9), worker(3), worker(5)])), [(1, 3)]);
}

#[test]
fn a_tight_fit_wins_and_the_loser_is_the_runner_up() {
    let mut large = worker(1);
    (large.capabilities.gpu_count, large.free_gpus) = (8, 8);
    let plan = planned(vec![job(1)], vec![large, worker(2)]);
    assert_eq!(pairs(&plan), [(1, 2)]);
    assert_eq!(plan.explanations[&JobId(1)].runner_up.unwrap().worker_id, WorkerId(1));
}

#[test]
fn the_runner_up_is_second_best_whatever_the_order_of_ids() {
    let with_rate = |id, rate| WorkerView { rate: Rate(rate), ..worker(id) };
    for rates in [[10, 500, 900], [10, 900, 500], [500, 10, 900], [500, 900, 10], [900, 10, 500], [900, 500, 10]] {
        let workers: Vec<_> = (1..).zip(rates).map(|(id, rate)| with_rate(id, rate)).collect();
        let of_rate = |rate| workers.iter().find(|worker| worker.rate == Rate(rate)).map(|worker| worker.worker_id);
        let plan = planned(vec![job(1)], workers.clone());
        let explanation = &plan.explanations[&JobId(1)];
        assert_eq!(explanation.winner.map(|score| score.worker_id), of_rate(10));
        assert_eq!(explanation.runner_up.map(|score| score.worker_id), of_rate(500));
    }
}

#[test]
fn slots_and_gpus_are_given_away_as_the_plan_goes() {
    let mut host = worker(1);
    (host.slots, host.free_slots, host.free_gpus) = (4, 4, 2);
    let plan = planned((1..=3).map(easy_job).collect(), vec![host.clone()]);
    assert_eq!(pairs(&plan), [(1, 1), (2, 1)]);
    assert_eq!(outcome(&plan, 3), &Outcome::NoCapacity);
    assert_eq!(plan.explanations[&JobId(3)].rejections, [(Rejection::NoFreeGpu, 1)].into());

    host.free_slots = 1;
    let plan = planned((1..=2).map(easy_job).collect(), vec![host]);
    assert_eq!(pairs(&plan), [(1, 1)]);
    assert_eq!(plan.explanations[&JobId(2)].rejections, [(Rejection::NoFreeSlot, 1)].into());
}

#[test]
fn each_way_of_not_being_placed_has_its_outcome() {
    let full = WorkerView { free_slots: 0, ..worker(1) };
    let offline = WorkerView { online: false, ..worker(2) };
    let draining = WorkerView { status: WorkerStatus::Draining, ..worker(3) };
    let pricey = WorkerView { rate: Rate(1_001), ..worker(4) };
    let full_and_pricey = WorkerView { free_slots: 0, ..pricey.clone() };
    for (workers, expected) in [
        (vec![], Outcome::NoWorkers),
        (vec![WorkerView { status: WorkerStatus::Exited, ..worker(1) }], Outcome::NoWorkers),
        (vec![draining.clone()], Outcome::NoFeasibleWorker),
        (vec![pricey.clone(), full_and_pricey], Outcome::NoFeasibleWorker),
        (vec![full.clone(), pricey], Outcome::NoCapacity),
        (vec![full, offline.clone()], Outcome::NoCapacity),
        (vec![offline.clone(), draining], Outcome::WorkersOffline),
        (vec![WorkerView { free_slots: 0, ..offline }], Outcome::WorkersOffline),
    ] {
        let plan = planned(vec![job(1)], workers.clone());
        assert_eq!(outcome(&plan, 1), &expected, "{workers:?}");
        assert!(plan.items.is_empty());
    }
}

#[test]
fn what_rules_out_a_job_is_said_before_workers_are_looked_at() {
    let malformed = ManifestStatus::Malformed("not JSON".to_owned());
    let jobs = vec![
        PendingJob { manifest: ManifestStatus::Missing, ..job(1) },
        PendingJob { manifest: malformed.clone(), ..job(2) },
        PendingJob { deadline: (NOW - 1, BlockNumber(999)), manifest: malformed, ..job(3) },
    ];
    let plan = planned(jobs, vec![worker(1)]);
    assert_eq!(outcome(&plan, 1), &Outcome::ManifestMissing);
    assert_eq!(outcome(&plan, 2), &Outcome::ManifestMalformed { reason: "not JSON".to_owned() });
    assert_eq!(outcome(&plan, 3), &Outcome::DeadlinePassed);
    assert!(plan.explanations.values().all(|explanation| explanation.workers_evaluated == 0));
}

#[test]
fn a_deadline_passes_only_by_clock_and_block() {
    for deadline in [(NOW, BlockNumber(0)), (0, BlockNumber(1_000)), (NOW, BlockNumber(1_000))] {
        let plan = planned(vec![PendingJob { deadline, ..job(1) }], vec![worker(1)]);
        assert_eq!(plan.items.len(), 1, "{deadline:?}");
    }
}

#[test]
fn a_full_batch_leaves_the_rest_for_the_next_and_still_explains_it() {
    let policy = Policy { max_items: 2, ..Policy::BALANCED };
    let mut needy = job(5);
    needy.requirements.memory_gib = 4_000;
    let jobs = vec![job(1), job(2), job(3), job(4), needy];
    let plan = plan(&snapshot(jobs, (1..=3).map(worker).collect()), &policy);
    assert_eq!(pairs(&plan), [(1, 1), (2, 2)]);
    // Nothing was taken for job 3, so job 4 finds the same worker.
    assert_eq!(outcome(&plan, 3), &Outcome::BatchFull);
    assert_eq!(outcome(&plan, 4), &Outcome::BatchFull);
    assert_eq!(outcome(&plan, 5), &Outcome::NoFeasibleWorker);
}

#[test]
fn a_failed_job_does_not_return_to_the_worker_that_failed_it() {
    let again = PendingJob { excluded: vec![WorkerId(1)], attempt: Attempt(2), queued_at: NOW - 60, ..job(1) };
    let plan = planned(vec![again], vec![worker(1), worker(2)]);
    assert_eq!(pairs(&plan), [(1, 2)]);
    assert_eq!(plan.explanations[&JobId(1)].rejections, [(Rejection::Excluded, 1)].into());
}

#[test]
fn what_is_in_the_snapshot_twice_counts_once() {
    let plan = planned(vec![job(1), job(1), job(2)], vec![worker(1), worker(1)]);
    assert_eq!(pairs(&plan), [(1, 1)]);
    assert_eq!(plan.explanations.len(), 2);
}

/// Pins a plan, so that a change of what is decided does not go unnoticed.
#[test]
fn a_known_snapshot_gives_a_known_plan() {
    let mut host = worker(1);
    (host.slots, host.free_slots, host.reputation, host.rate) = (4, 3, 800, Rate(400));
    (host.capabilities.gpu_count, host.free_gpus) = (8, 6);
    let waited = PendingJob { submitted_at: NOW - 1_800, ..job(1) };
    let plan = planned(vec![waited, easy_job(2), job(3)], vec![host, worker(2)]);
    let found: Vec<_> = plan.items.iter().map(|item| (item.job_id.0, item.worker_id.0, item.score)).collect();
    // The narrower job first.
    assert_eq!(found, [(2, 1, 5_038), (1, 1, 7_047), (3, 2, 6_250)]);
    let winner = plan.explanations[&JobId(1)].winner.unwrap();
    let terms = [("fit", 8_888), ("load", 5_000), ("reputation", 8_000), ("price", 6_000)];
    assert_eq!(winner.terms.named()[..4], terms);
    assert_eq!(winner.terms.named()[4..], [("fragmentation", 6_250), ("age", 5_000)]);
}

#[test]
fn a_snapshot_of_the_market_holds_queued_jobs_and_registered_workers() {
    let mut market = Market::default();
    let position = EventPosition { block: BlockNumber(5), timestamp: 50, index: 0, tx_hash: TxHash(Felt::ONE) };
    let spec = JobSpec {
        manifest_hash: Felt::ONE,
        model_id: Felt::THREE,
        requirements: Requirements { gpu_count: 2, ..Requirements::default() },
        priority: 4,
        queue: Queue::High,
        max_price: Fri(240_000_000_000),
        deadline: 99,
        execution_timeout_s: 60,
        max_attempts: 2,
        max_latency_ms: 0,
        verification: Verification::None,
        replicas: 1,
        quorum: 1,
    };
    let client = Address(Felt::TWO);
    let registered = |worker_id| MarketEvent::WorkerRegistered {
        worker_id,
        owner: client,
        capabilities: Capabilities { gpu_count: 4, ..Capabilities::default() },
        slots: 3,
        rate: Rate(1),
        stake: Fri(1),
    };
    let submitted = |job_id| MarketEvent::JobSubmitted {
        job_id,
        client,
        spec: Box::new(spec.clone()),
        deadline_block: BlockNumber(9),
        group_id: None,
    };
    for event in [
        submitted(JobId(1)),
        submitted(JobId(2)),
        MarketEvent::JobCancelled { job_id: JobId(2), client, refunded: Fri(1) },
        registered(WorkerId(1)),
        registered(WorkerId(2)),
        MarketEvent::StakeWithdrawn { worker_id: WorkerId(2), owner: client, amount: Fri(1) },
    ] {
        market.apply(&event, &position).unwrap();
    }
    let manifest = |_: &Job| (ManifestStatus::Available, ManifestView::default());
    let agent = |worker| (worker == WorkerId(1)).then(AgentView::default);
    let snapshot = Snapshot::of_market(&market, (BlockNumber(6), 60), 7, manifest, agent);
    assert!(snapshot.used_milli.is_empty() && snapshot.running.is_empty());
    let [job] = &snapshot.jobs[..] else { panic!("{snapshot:?}") };
    assert_eq!((job.job_id, job.max_rate, job.deadline), (JobId(1), Rate(2), (99, BlockNumber(9))));
    assert_eq!((job.submitted_at, job.waited_s(snapshot.now), job.queue), (50, 10, Queue::High));
    let [worker] = &snapshot.workers[..] else { panic!("{snapshot:?}") };
    assert_eq!((worker.free_slots, worker.free_gpus, worker.online), (3, 4, true));
    assert_eq!(pairs(&plan(&snapshot, &Policy::BALANCED)), [(1, 1)]);

    let json = serde_json::to_string(&snapshot).unwrap();
    assert_eq!(serde_json::from_str::<Snapshot>(&json).unwrap(), snapshot);

    // Admitted by the admin, running the job, and with another queued behind it.
    market.apply(&MarketEvent::WorkerAdmitted { worker_id: WorkerId(1) }, &position).unwrap();
    let of_market = |market: &Market| Snapshot::of_market(market, (BlockNumber(6), 60), 7, manifest, agent);
    let admitted = of_market(&market);
    let items = plan(&admitted, &Policy::BALANCED).items;
    market.apply(&MarketEvent::JobsAllocated { items: items.clone() }, &position).unwrap();
    let (applied, expected) = (of_market(&market), admitted.once_applied(&items));
    assert_eq!((&applied.jobs, &applied.workers), (&expected.jobs, &expected.workers));
    assert_ne!(applied.workers, admitted.workers);

    market.apply(&submitted(JobId(3)), &position).unwrap();
    let snapshot = of_market(&market);
    assert!(snapshot.workers[0].is_static);
    let [running] = snapshot.running[..] else { panic!("{snapshot:?}") };
    assert_eq!((running.job_id, running.worker_id, running.gpus), (JobId(1), WorkerId(1), 2));
    assert_eq!(running.ends_by, 50 + u64::from(running.execution_timeout_s) + 60);
    assert_eq!(snapshot.used_milli.keys().copied().collect::<Vec<_>>(), [client]);

    let in_turn = Policy { balancing: crate::Balancing::RoundRobin, ..Policy::BALANCED };
    assert_eq!(snapshot.clone().with_turn(&market, &in_turn).turn, Some(WorkerId(1)), "who was given job 1");
    assert_eq!(snapshot.clone().with_turn(&market, &Policy::BALANCED), snapshot, "scores do not look at turns");
    let elsewhere = Snapshot { workers: vec![super::fixtures::worker(7)], ..snapshot };
    assert_eq!(elsewhere.with_turn(&market, &in_turn).turn, None, "nobody of these was given one");
}

#[test]
fn replicas_of_a_group_go_to_different_workers() {
    let replica = |id| PendingJob { group_id: Some(JobId(1)), ..job(id) };
    let roomy = |id| WorkerView { slots: 4, free_slots: 4, free_gpus: 8, ..worker(id) };
    let jobs = vec![replica(1), replica(2), replica(3), job(4)];
    let plan = plan(&snapshot(jobs, vec![roomy(1), roomy(2)]), &Policy::BALANCED);
    let of_group: Vec<_> = plan.items.iter().filter(|item| item.job_id < JobId(4)).collect();
    assert_eq!(of_group.len(), 2, "two workers take two of three replicas");
    assert_ne!(of_group[0].worker_id, of_group[1].worker_id);
    assert_eq!(plan.explanations[&JobId(3)].rejections[&crate::Rejection::Excluded], 2);
    assert!(plan.items.iter().any(|item| item.job_id == JobId(4)), "another job may go to the same workers");
}

#[test]
fn a_batch_is_sorted_by_worker_and_carries_rates() {
    let rated = |id: u32| WorkerView { rate: keeper_types::Rate(1_000 - u64::from(id)), ..worker(id) };
    let plan = plan(&snapshot(vec![job(1), job(2)], vec![rated(1), rated(2)]), &Policy::BALANCED);
    let batch = plan.batch();
    assert!(batch.is_sorted_by_key(|item| item.worker_id) && batch.len() == 2);
    assert!(batch.iter().all(|item| item.rate.0 == 1_000 - u64::from(item.worker_id.0)));
}
