use keeper_types::{
    Address, AllocationItem, Attempt, BlockNumber, Capabilities, EventPosition, Felt, Fri, JobSpec, Queue, Rate,
    Requirements, Strategy, TxHash, Verification,
};

use super::*;

fn submitted(id: u64, queue: Queue) -> MarketEvent {
    let spec = JobSpec {
        manifest_hash: Felt::ONE,
        model_id: Felt::ZERO,
        requirements: Requirements::default(),
        priority: 5,
        queue,
        max_price: Fri(1_000_000_000_000),
        deadline: 1_000_000,
        execution_timeout_s: 60,
        max_attempts: 2,
        max_latency_ms: 0,
        verification: Verification::None,
        replicas: 1,
        quorum: 1,
    };
    let (client, deadline_block) = (Address(Felt::TWO), BlockNumber(9));
    MarketEvent::JobSubmitted { job_id: JobId(id), client, spec: Box::new(spec), deadline_block, group_id: None }
}

fn registered(id: u32) -> MarketEvent {
    MarketEvent::WorkerRegistered {
        worker_id: WorkerId(id),
        owner: Address(Felt::THREE),
        capabilities: Capabilities { region: Some("eu-w1".parse().unwrap()), ..Capabilities::default() },
        slots: 2,
        rate: Rate(1),
        stake: Fri(1),
    }
}

fn allocated(id: u64, attempt: u8) -> MarketEvent {
    let item = AllocationItem {
        job_id: JobId(id),
        worker_id: WorkerId(1),
        attempt: Attempt(attempt),
        strategy: Strategy::Standard,
        score: 1,
        rate: Rate(1),
    };
    MarketEvent::JobsAllocated { items: vec![item] }
}

fn failed(id: u64, attempt: u8, requeued: bool) -> MarketEvent {
    let (job_id, worker_id, attempt) = (JobId(id), WorkerId(1), Attempt(attempt));
    MarketEvent::AttemptFailed { job_id, worker_id, attempt, expired: false, reason: Felt::ZERO, requeued }
}

fn result(id: u64) -> MarketEvent {
    MarketEvent::ResultSubmitted {
        job_id: JobId(id),
        worker_id: WorkerId(1),
        attempt: Attempt(1),
        result_hash: Felt::ONE,
        challenge_ends_at: 0,
        challenge_ends_block: BlockNumber(0),
    }
}

fn settled(id: u64) -> MarketEvent {
    let (client, paid) = (Address(Felt::TWO), Fri(1));
    MarketEvent::JobSettled { job_id: JobId(id), worker_id: WorkerId(1), client, paid, refunded: Fri(0) }
}

/// Applies events at their times and counts them.
fn observed(events: &[(u64, MarketEvent)]) -> MarketMetrics {
    observed_under(&QueueRules::default(), events)
}

/// The same, where the queues are these.
fn observed_under(rules: &QueueRules, events: &[(u64, MarketEvent)]) -> MarketMetrics {
    let (mut market, mut metrics) = (Market::default(), MarketMetrics::new(rules));
    for (timestamp, event) in events {
        let (block, tx_hash) = (BlockNumber(*timestamp), TxHash(Felt::ONE));
        let position = EventPosition { block, timestamp: *timestamp, index: 0, tx_hash };
        market.apply(event, &position).unwrap();
        metrics.observe(event, *timestamp, &market);
    }
    metrics
}

#[test]
fn waits_ends_and_busy_time_are_what_happened() {
    let client = Address(Felt::TWO);
    let cancelled = MarketEvent::JobCancelled { job_id: JobId(3), client, refunded: Fri(1) };
    let summary = observed(&[
        (0, registered(1)),
        (10, submitted(1, Queue::High)),
        (10, submitted(2, Queue::Default)),
        (20, submitted(3, Queue::Default)),
        (30, allocated(1, 1)),
        (400, cancelled),
        (410, allocated(2, 1)),
        (430, result(1)),
        (430, failed(2, 1, true)),
        (440, settled(1)),
    ])
    .summary(830);
    assert_eq!((summary.success_rate_bps, summary.failed_attempts), (10_000, 1));
    // One slot of two for 400 s and both for 20 of them, over 830 s.
    assert_eq!(summary.utilisation_bps, Some(share(400 + 20, 2 * 830)));
    assert_eq!((summary.allocation_s.count, summary.allocation_s.mean), (2, 210));
    let eu_west = summary.regions.first().unwrap();
    assert_eq!((eu_west.region, eu_west.allocations, eu_west.share_bps), (Some("eu-w1".parse().unwrap()), 2, 10_000));
    let QueueSummary { submitted, length, max_length, wait_s, abandonment_rate_bps, retried, .. } = summary.default;
    assert_eq!((submitted, length, max_length, retried), (2, 1, 2, 1));
    assert_eq!((wait_s.count, wait_s.max, abandonment_rate_bps), (1, 400, 5_000));
    assert_eq!((summary.high.success_rate_bps, summary.high.sla_misses, summary.high.length), (10_000, 0, 0));
}

#[test]
fn waits_of_urgent_jobs_and_of_others_are_held_against_their_targets() {
    let client = Address(Felt::TWO);
    let important = |id| {
        let MarketEvent::JobSubmitted { mut spec, job_id, deadline_block, group_id, .. } =
            submitted(id, Queue::Default)
        else {
            unreachable!()
        };
        (spec.priority, spec.verification) = (8, Verification::Matmul);
        MarketEvent::JobSubmitted { job_id, client, spec, deadline_block, group_id }
    };
    let given_up = |id| MarketEvent::JobCancelled { job_id: JobId(id), client, refunded: Fri(1) };
    let summary = observed(&[
        (0, registered(1)),
        (10, important(1)),
        (10, submitted(2, Queue::High)),
        (10, submitted(3, Queue::Default)),
        (10, submitted(4, Queue::Default)),
        (10, submitted(5, Queue::Low)),
        (10, important(6)),
        (14, given_up(6)),
        (15, allocated(1, 1)),
        // Another attempt is no first start.
        (16, failed(1, 1, true)),
        (39, allocated(1, 2)),
        (40, allocated(3, 1)),
        (40, failed(3, 1, false)),
        (41, given_up(5)),
        (50, allocated(2, 1)),
    ])
    .summary(60);
    let WaitSummary { target_s, wait_s, late, in_time_bps, met } = summary.urgent;
    assert_eq!(met, Some(false));
    assert_eq!((target_s, wait_s.count, wait_s.max, late, in_time_bps), (5, 2, 40, 1, 5_000));
    let WaitSummary { target_s, wait_s, late, in_time_bps, met } = summary.ordinary;
    assert_eq!(met, Some(false));
    assert_eq!((target_s, wait_s.count, wait_s.max, late, in_time_bps), (30, 1, 30, 1, 5_000));
    assert_eq!(summary.kinds, [("matmul".to_owned(), 2), ("none".to_owned(), 4)].into());
    let nothing = observed(&[]).summary(1).urgent;
    assert_eq!((nothing.in_time_bps, nothing.met), (10_000, None));
    let prompt = observed(&[(0, registered(1)), (0, submitted(1, Queue::High)), (5, allocated(1, 1))]);
    assert_eq!(prompt.summary(6).urgent.met, Some(true));
}

/// Registers a worker and has it do `jobs` jobs, one after the other.
fn done(jobs: u64) -> Vec<(u64, MarketEvent)> {
    let done = (1..=jobs).flat_map(|id| {
        [(id, submitted(id, Queue::Default)), (id, allocated(id, 1)), (id, result(id)), (id, settled(id))]
    });
    std::iter::once((0, registered(1))).chain(done).collect()
}

#[test]
fn assignments_are_held_against_their_target_with_those_that_were_skipped() {
    let assignments = |events: &[(u64, MarketEvent)]| observed(events).summary(1_000).assignments;
    assert_eq!(assignments(&[]).met, None);
    let mut events = done(101);
    assert_eq!(assignments(&events), TargetedShare::above(101, 101, 9_900));
    events.extend([(102, submitted(102, Queue::Default)), (103, allocated(102, 1))]);
    assert_eq!(assignments(&events).of, 101, "one that is on its worker has not ended");
    events.push((104, failed(102, 1, true)));
    let one_failed = assignments(&events);
    assert_eq!((one_failed.count, one_failed.of, one_failed.met), (101, 102, Some(true)));
    let (job_id, worker_id, attempt) = (JobId(102), WorkerId(1), Attempt(2));
    let reason = keeper_types::SkipReason::NoFreeSlot;
    events.push((105, MarketEvent::AllocationSkipped { job_id, worker_id, attempt, reason }));
    let one_skipped = assignments(&events);
    assert_eq!((one_skipped.count, one_skipped.of, one_skipped.share_bps), (101, 103, 9_805));
    assert_eq!((one_skipped.target_bps, one_skipped.met), (9_900, Some(false)));
}

#[test]
fn jobs_that_find_their_queue_full_are_held_against_their_target() {
    let mut rules = QueueRules::default();
    (rules.high.max_jobs, rules.low.max_jobs) = (2, 1);
    let overflow = |events: &[(u64, MarketEvent)]| {
        let summary = observed_under(&rules, events).summary(1_000);
        ([summary.default.overflowed, summary.high.overflowed, summary.low.overflowed], summary.overflow)
    };
    let mut events = vec![(0, registered(1))];
    assert_eq!(overflow(&events), ([0; 3], TargetedShare::below(0, 0, 10)));
    events.extend((1..=2).map(|id| (id, submitted(id, Queue::High))));
    events.push((3, submitted(3, Queue::Low)));
    assert_eq!(overflow(&events), ([0; 3], TargetedShare::below(0, 3, 10)));
    assert_eq!(overflow(&events).1.met, Some(true));
    // A third and a fourth find two; once one has gone there is room for one.
    events.extend([(4, submitted(4, Queue::High)), (5, submitted(5, Queue::High)), (6, submitted(6, Queue::Low))]);
    events.extend([1, 2].map(|id| (7, allocated(id, 1))));
    let client = Address(Felt::TWO);
    events.push((7, MarketEvent::JobCancelled { job_id: JobId(4), client, refunded: Fri(1) }));
    events.push((8, submitted(7, Queue::High)));
    let (by_queue, all) = overflow(&events);
    assert_eq!((by_queue, all), ([0, 2, 1], TargetedShare::below(3, 7, 10)));
    assert_eq!((all.share_bps, all.met), (4_285, Some(false)));
    // A failed job that waits once more is not one more job.
    events.push((9, failed(1, 1, true)));
    assert_eq!(overflow(&events).1, all);
}

#[test]
fn waiting_too_long_is_a_miss_once_whether_started_or_given_up() {
    let client = Address(Felt::TWO);
    let expired = MarketEvent::JobExpired { job_id: JobId(2), client, refunded: Fri(1) };
    let summary = observed(&[
        (0, registered(1)),
        (0, submitted(1, Queue::High)),
        (0, submitted(2, Queue::High)),
        (0, submitted(3, Queue::Low)),
        (301, allocated(1, 1)),
        (302, failed(1, 1, true)),
        (900, expired),
        (901, allocated(3, 1)),
    ])
    .summary(1_000);
    assert_eq!((summary.high.sla_misses, summary.high.retried, summary.high.length), (2, 1, 1));
    assert_eq!(summary.low.sla_misses, 0, "a day is allowed there");
}

#[test]
fn a_worker_that_leaves_keeps_its_time_in_the_sum() {
    let (owner, worker_id) = (Address(Felt::THREE), WorkerId(1));
    let exiting = MarketEvent::WorkerExiting { worker_id, exit_at: 0, exit_block: BlockNumber(0) };
    let gone = MarketEvent::StakeWithdrawn { worker_id, owner, amount: Fri(1) };
    let events = [
        (0, registered(1)),
        (0, submitted(1, Queue::Default)),
        (50, allocated(1, 1)),
        (100, result(1)),
        (100, exiting),
        (200, gone),
    ];
    assert_eq!(observed(&events).summary(10_000).utilisation_bps, Some(share(50, 400)));
}
