use super::*;
use crate::{BlockNumber, Capabilities, Felt, JobSpec, Queue, Rate, Requirements, Strategy, TxHash};

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
    };
    let client = Address(Felt::TWO);
    MarketEvent::JobSubmitted { job_id: JobId(job_id), client, spec: Box::new(spec), deadline_block: BlockNumber(900) }
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

fn allocated(job_id: u64, worker_id: u32, attempt: u8) -> MarketEvent {
    MarketEvent::JobAllocated {
        job_id: JobId(job_id),
        worker_id: WorkerId(worker_id),
        attempt: Attempt(attempt),
        rate: Rate(1),
        score: 1,
        strategy: Strategy::Standard,
    }
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
    }
    Ok(market)
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
