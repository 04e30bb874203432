use super::*;
use crate::{
    AllocationItem, Capabilities, JobSpec, Queue, Rate, RejectionCause, Requirements, Strategy, TxHash, Verification,
    WorkerFault,
};

fn at(block: u64) -> EventPosition {
    EventPosition { block: BlockNumber(block), timestamp: block * 10, index: 0, tx_hash: TxHash(Felt::from(block)) }
}

fn submitted(job_id: u64, gpus: u8) -> MarketEvent {
    let spec = JobSpec {
        manifest_hash: Felt::ONE,
        model_id: Felt::ZERO,
        requirements: Requirements { gpu_count: gpus, ..Requirements::default() },
        priority: 5,
        queue: Queue::Default,
        max_price: Fri(1_000_000_000_000),
        deadline: 10_000,
        execution_timeout_s: 60,
        max_attempts: 2,
        max_latency_ms: 0,
        verification: Verification::None,
        replicas: 1,
        quorum: 1,
    };
    let client = Address(Felt::TWO);
    MarketEvent::JobSubmitted {
        job_id: JobId(job_id),
        client,
        spec: Box::new(spec),
        deadline_block: BlockNumber(900),
        group_id: None,
    }
}

fn registered(worker_id: u32, slots: u8, gpu_count: u8) -> MarketEvent {
    MarketEvent::WorkerRegistered {
        worker_id: WorkerId(worker_id),
        owner: Address(Felt::THREE),
        capabilities: Capabilities { gpu_count, ..Capabilities::default() },
        slots,
        rate: Rate(1),
        stake: Fri(1),
    }
}

fn item(job_id: u64, worker_id: u32, attempt: u8) -> AllocationItem {
    AllocationItem {
        job_id: JobId(job_id),
        worker_id: WorkerId(worker_id),
        attempt: Attempt(attempt),
        rate: Rate(1),
        score: 1,
        strategy: Strategy::Standard,
    }
}

fn allocated(job_id: u64, worker_id: u32, attempt: u8) -> MarketEvent {
    MarketEvent::JobsAllocated { items: vec![item(job_id, worker_id, attempt)] }
}

fn failed(job_id: u64, worker_id: u32, attempt: u8, requeued: bool) -> MarketEvent {
    MarketEvent::AttemptFailed {
        job_id: JobId(job_id),
        worker_id: WorkerId(worker_id),
        attempt: Attempt(attempt),
        expired: true,
        reason: Felt::ZERO,
        requeued,
    }
}

fn market(events: &[MarketEvent]) -> Result<Market, ApplyError> {
    let mut market = Market::default();
    for (block, event) in (1..).zip(events) {
        market.apply(event, &at(block))?;
        assert_known_where(&market);
    }
    Ok(market)
}

/// The jobs that it says are somewhere are those that are there.
fn assert_known_where(market: &Market) {
    let ids = |belongs: fn(JobState) -> bool| -> Vec<_> {
        market.jobs.values().filter(|job| belongs(job.state)).map(|job| job.job_id).collect()
    };
    let told = |jobs: Vec<&Job>| jobs.into_iter().map(|job| job.job_id).collect::<Vec<_>>();
    assert_eq!(told(market.queued_jobs().collect()), ids(|state| state == JobState::Queued));
    assert_eq!(told(market.allocated_jobs().collect()), ids(|state| state == JobState::Allocated));
    assert_eq!(told(market.open_jobs().collect()), ids(|state| !state.is_final()));
    // A job that failed for good has no deadline any more, and is allocated until the event that ends it.
    let held = market.allocated_jobs().zip(market.running_jobs());
    for (job, running) in held.filter(|(job, _)| job.attempt_deadline.is_some()) {
        assert_eq!(Some(*running), RunningJob::new(job));
    }
    assert_eq!(market.running_jobs().count(), market.allocated_jobs().count());
}

#[test]
fn a_job_goes_through_its_life() {
    let result = MarketEvent::ResultSubmitted {
        job_id: JobId(1),
        worker_id: WorkerId(1),
        attempt: Attempt(1),
        result_hash: Felt::from(7),
        challenge_ends_at: 99,
        challenge_ends_block: BlockNumber(9),
    };
    let settled = MarketEvent::JobSettled {
        job_id: JobId(1),
        worker_id: WorkerId(1),
        client: Address(Felt::TWO),
        paid: Fri(60),
        refunded: Fri(40),
    };
    let market = market(&[submitted(1, 2), registered(1, 1, 4), allocated(1, 1, 1), result, settled]).unwrap();
    let job = &market.jobs[&JobId(1)];
    assert_eq!((job.state, job.paid, job.refunded), (JobState::Settled, Fri(60), Fri(40)));
    assert_eq!(job.allocated_at, Some(30));
    let worker = &market.workers[&WorkerId(1)];
    assert_eq!((worker.used_slots, worker.used_gpus), (0, 0));
}

#[test]
fn the_last_item_tells_who_was_given_a_job_last() {
    let events = [submitted(1, 0), submitted(2, 0), submitted(3, 0), registered(1, 4, 4), registered(2, 4, 4)];
    let mut market = market(&events).unwrap();
    let last = |market: &Market, ids: &[u32]| market.turns.last_among(ids.iter().copied().map(WorkerId));
    assert_eq!(last(&market, &[1, 2]), None);
    market.apply(&MarketEvent::JobsAllocated { items: vec![item(2, 2, 1), item(1, 1, 1)] }, &at(6)).unwrap();
    assert_eq!(last(&market, &[1, 2]), Some(WorkerId(1)));
    assert_eq!(last(&market, &[2, 3]), Some(WorkerId(2)), "among those that are asked about");
    assert_eq!(last(&market, &[3]), None);
    market.apply(&MarketEvent::JobsAllocated { items: Vec::new() }, &at(7)).unwrap();
    assert!(market.apply(&allocated(9, 2, 1), &at(7)).is_err());
    assert_eq!(last(&market, &[1, 2]), Some(WorkerId(1)), "what is nothing, or refused, changes nothing");
    market.apply(&allocated(3, 2, 1), &at(8)).unwrap();
    assert_eq!(last(&market, &[1, 2]), Some(WorkerId(2)));
}

#[test]
fn an_attempt_is_due_a_minute_after_its_timeout() {
    let market = market(&[submitted(1, 2), registered(1, 1, 4), allocated(1, 1, 1)]).unwrap();
    // Allocated in block 3, at 30 s, with a timeout of 60 s.
    assert_eq!(market.jobs[&JobId(1)].attempt_deadline, Some((150, BlockNumber(15))));
}

#[test]
fn a_failed_attempt_queues_the_next_and_frees_the_worker() {
    let market = market(&[submitted(1, 2), registered(1, 1, 4), allocated(1, 1, 1), failed(1, 1, 1, true)]).unwrap();
    let job = &market.jobs[&JobId(1)];
    assert_eq!((job.state, job.attempt, job.worker_id), (JobState::Queued, Attempt(2), None));
    assert_eq!(job.excluded, [WorkerId(1)]);
    assert_eq!(market.workers[&WorkerId(1)].free_gpus(), 4);
}

#[test]
fn what_a_client_holds_and_has_used_follows_its_jobs() {
    let client = Address(Felt::TWO);
    let until = |events: &[MarketEvent]| market(events).unwrap().usage[&client];
    let events = [submitted(1, 3), submitted(2, 0), registered(1, 2, 4), allocated(1, 1, 1), allocated(2, 1, 1)];
    assert_eq!(until(&events).held_gpus, 4, "three GPUs, and a job without that counts as one");
    let ended = [&events[..], &[failed(1, 1, 1, true), failed(2, 1, 1, false)]].concat();
    let usage = until(&ended);
    assert_eq!(usage.held_gpus, 0);
    // Blocks are 10 s apart: three GPUs for 20 s, one for 20 s.
    assert!((79_900..=80_000).contains(&usage.used_milli(70)), "{}", usage.used_milli(70));
    let requeued = market(&ended).unwrap();
    assert_eq!((requeued.jobs[&JobId(1)].submitted_at, requeued.jobs[&JobId(1)].queued_at), (10, 60));
}

#[test]
fn the_last_failed_attempt_ends_the_job() {
    let refund = MarketEvent::JobFailed { job_id: JobId(1), client: Address(Felt::TWO), refunded: Fri(5) };
    let market =
        market(&[submitted(1, 0), registered(1, 1, 0), allocated(1, 1, 1), failed(1, 1, 1, false), refund]).unwrap();
    assert_eq!(market.jobs[&JobId(1)].state, JobState::Failed);
    assert_eq!(market.jobs[&JobId(1)].refunded, Fri(5));
}

#[test]
fn what_does_not_follow_is_refused_and_changes_nothing() {
    let base = [submitted(1, 2), registered(1, 1, 4), allocated(1, 1, 1)];
    for (event, text) in [
        (allocated(1, 1, 1), "job 1 is allocated"),
        (allocated(2, 1, 1), "job 2 is unknown"),
        (submitted(1, 0), "job 1 exists already"),
        (failed(1, 1, 2, true), "job 1 is at attempt 1, not 2"),
        (registered(1, 1, 1), "worker 1 exists already"),
        (MarketEvent::CreditWithdrawn { account: Address(Felt::TWO), amount: Fri(1) }, "has a credit of 0 STRK"),
        (MarketEvent::PolicyRetired { policy_id: PolicyId(Felt::ONE) }, "was not announced"),
        (committed(2, 1), "job 2 is unknown"),
    ] {
        let mut market = market(&base).unwrap();
        let before = market.clone();
        let error = market.apply(&event, &at(4)).unwrap_err();
        assert!(error.to_string().contains(text), "{error}");
        assert_eq!(market, before);
    }
}

#[test]
fn a_worker_is_never_given_more_than_it_has() {
    let error = market(&[submitted(1, 3), registered(1, 2, 2), allocated(1, 1, 1)]).unwrap_err();
    assert!(error.to_string().contains("more than it has room for"), "{error}");
}

#[test]
fn an_event_of_many_items_is_applied_whole_or_not_at_all() {
    let base = [submitted(1, 1), submitted(2, 1), registered(1, 2, 2), registered(2, 2, 2)];
    let both = MarketEvent::JobsAllocated { items: vec![item(1, 1, 1), item(2, 2, 1)] };
    let mut market = market(&base).unwrap();
    let before = market.clone();
    let twice = MarketEvent::JobsAllocated { items: vec![item(1, 1, 1), item(2, 2, 1), item(1, 1, 1)] };
    assert!(market.apply(&twice, &at(9)).unwrap_err().to_string().contains("job 1 is allocated"));
    assert_eq!(market, before);
    market.apply(&both, &at(9)).unwrap();
    assert_eq!(both.job_ids(), [JobId(1), JobId(2)]);
    assert!(market.jobs.values().all(|job| job.state == JobState::Allocated));
}

fn committed(job_id: u64, worker_id: u32) -> MarketEvent {
    MarketEvent::ResultCommitted {
        job_id: JobId(job_id),
        worker_id: WorkerId(worker_id),
        attempt: Attempt(1),
        commitment: Felt::from(70),
    }
}

#[test]
fn a_commitment_has_six_hours_from_the_deadline_or_itself() {
    let mut market = market(&[submitted(1, 2), registered(1, 1, 4), allocated(1, 1, 1)]).unwrap();
    let mut late = market.clone();
    market.apply(&committed(1, 1), &at(4)).unwrap();
    assert_eq!(market.jobs[&JobId(1)].attempt_deadline, Some((150 + 21_600, BlockNumber(15 + 2_160))));
    // The clock has gone beyond the deadline at 150 s, the blocks have not come to the 15th.
    late.apply(&committed(1, 1), &EventPosition { timestamp: 9_000, ..at(5) }).unwrap();
    assert_eq!(late.jobs[&JobId(1)].attempt_deadline, Some((9_000 + 21_600, BlockNumber(15 + 2_160))));
}

fn revealed(job_id: u64, worker_id: u32) -> MarketEvent {
    MarketEvent::ResultSubmitted {
        job_id: JobId(job_id),
        worker_id: WorkerId(worker_id),
        attempt: Attempt(1),
        result_hash: Felt::from(7),
        challenge_ends_at: 0,
        challenge_ends_block: BlockNumber(0),
    }
}

fn replicas(count: u64) -> Vec<MarketEvent> {
    (1..=count)
        .map(|job_id| {
            let MarketEvent::JobSubmitted { job_id, client, mut spec, deadline_block, .. } = submitted(job_id, 1)
            else {
                unreachable!("submitted gives a submission")
            };
            (spec.replicas, spec.quorum) = (3, 2);
            MarketEvent::JobSubmitted { job_id, client, spec, deadline_block, group_id: Some(JobId(1)) }
        })
        .collect()
}

#[test]
fn replicas_open_together_and_exclude_each_others_workers() {
    let mut events = replicas(3);
    events.extend((1..=3).map(|worker_id| registered(worker_id, 1, 1)));
    events.push(MarketEvent::JobsAllocated { items: vec![item(1, 1, 1), item(2, 2, 1)] });
    events.extend([committed(1, 1), committed(2, 2)]);
    let waiting = market(&events).unwrap();
    let third = &waiting.jobs[&JobId(3)];
    assert_eq!(waiting.excluded_workers(third), [WorkerId(1), WorkerId(2)]);
    assert_eq!((waiting.groups[&JobId(1)].pending, waiting.groups[&JobId(1)].opened), (1, None));
    assert_eq!((waiting.workers[&WorkerId(1)].free_gpus(), waiting.workers[&WorkerId(1)].holds), (1, 1));

    events.extend([allocated(3, 3, 1), failed(3, 3, 1, false)]);
    let client = Address(Felt::TWO);
    events.push(MarketEvent::JobFailed { job_id: JobId(3), client, refunded: Fri(5) });
    let opened = market(&events).unwrap();
    let failed_in = 6 + 1 + 2 + 2;
    assert_eq!(opened.groups[&JobId(1)].opened, Some((failed_in * 10, BlockNumber(failed_in))));

    events.extend([revealed(1, 1), revealed(2, 2)]);
    events.push(MarketEvent::GroupDecided { group_id: JobId(1), winner: Some(Felt::from(7)) });
    let decided = market(&events).unwrap();
    assert_eq!(decided.group_of(&decided.jobs[&JobId(2)]).unwrap().winner, Some(Felt::from(7)));
    assert_eq!(decided.jobs[&JobId(2)].challenge_ends, None);
}

#[test]
fn a_lost_dispute_gives_the_client_its_money_and_bond() {
    let (client, owner) = (Address(Felt::TWO), Address(Felt::THREE));
    let disputed = MarketEvent::ResultDisputed {
        job_id: JobId(1),
        client,
        bond: Fri(30),
        ends_at: 500,
        ends_block: BlockNumber(50),
        committee: None,
    };
    let mut events = vec![submitted(1, 1), registered(1, 1, 1), allocated(1, 1, 1), revealed(1, 1), disputed];
    let open = market(&events).unwrap();
    assert_eq!((open.jobs[&JobId(1)].state, open.workers[&WorkerId(1)].holds), (JobState::Disputed, 1));
    let ruled =
        |is_right| MarketEvent::DisputeRuled { job_id: JobId(1), worker_id: WorkerId(1), is_right, by_default: false };
    let mut won = events.clone();
    won.push(ruled(true));
    let paid =
        MarketEvent::JobSettled { job_id: JobId(1), worker_id: WorkerId(1), client, paid: Fri(60), refunded: Fri(40) };
    won.push(paid);
    let won = market(&won).unwrap();
    assert_eq!((won.credit_of(owner), won.credit_of(client)), (Fri(90), Fri(40)));

    events.extend([
        ruled(false),
        MarketEvent::ResultRejected { job_id: JobId(1), worker_id: WorkerId(1), cause: RejectionCause::Ruled },
        MarketEvent::WorkerSlashed {
            worker_id: WorkerId(1),
            fault: WorkerFault::Wrong,
            amount: Fri(1),
            burned: Fri(1),
            to_challenger: Fri(0),
            to_client: Fri(0),
        },
        MarketEvent::JobFailed { job_id: JobId(1), client, refunded: Fri(100) },
        MarketEvent::CreditSpent { account: client, amount: Fri(20) },
    ]);
    let lost = market(&events).unwrap();
    assert_eq!((lost.credit_of(owner), lost.credit_of(client)), (Fri(0), Fri(110)));
    let worker = &lost.workers[&WorkerId(1)];
    assert_eq!((worker.holds, worker.stake, lost.jobs[&JobId(1)].state), (0, Fri(0), JobState::Failed));
}

#[test]
fn keepers_policies_heartbeats_and_pauses_are_known() {
    let keeper = Address(Felt::ONE);
    let policy_id = PolicyId(Felt::from(9));
    let beats = Felt::from(0b101) + Felt::TWO.pow(100_u32);
    let events = [
        registered(101, 1, 1),
        registered(103, 1, 1),
        MarketEvent::KeeperAdded { keeper },
        MarketEvent::BondPosted { keeper, amount: Fri(5), bond: Fri(5) },
        MarketEvent::PolicyAnnounced { policy_id, active_from: 100, active_from_block: BlockNumber(10) },
        MarketEvent::HeartbeatsRecorded { reporter: keeper, epoch: 4, groups: vec![beats] },
        MarketEvent::Administered {
            contract: MarketContract::CdcPool,
            admin_event: AdminEvent::Paused { account: keeper },
        },
    ];
    let market = market(&events).unwrap();
    assert_eq!(
        market.beats.iter().map(|(id, epoch)| (*id, *epoch)).collect::<Vec<_>>(),
        [(WorkerId(101), 4), (WorkerId(103), 4)]
    );
    assert_eq!(market.keepers[&keeper], KeeperBond { is_admitted: true, bond: Fri(5), leaves: None });
    let policy = market.policies[&policy_id];
    assert!(policy.is_active(100, BlockNumber(10)) && !policy.is_active(100, BlockNumber(9)));
    assert_eq!(market.paused.into_iter().collect::<Vec<_>>(), [MarketContract::CdcPool]);
}
