use keeper_types::{AllocationItem, BlockNumber, ContentHash, Fri, PolicyId, Rate, Strategy};

use super::*;

fn result(job: u64) -> ContentHash {
    ContentHash::of(&job.to_le_bytes())
}

fn allocation(job: u64) -> MarketEvent {
    MarketEvent::JobsAllocated {
        items: vec![AllocationItem {
            job_id: JobId(job),
            worker_id: WorkerId(1),
            attempt: Attempt(1),
            strategy: Strategy::Standard,
            score: 1,
            rate: Rate(1),
        }],
    }
}

fn round(number: u64) -> MarketEvent {
    MarketEvent::RoundApplied {
        keeper: keeper_types::Address(Felt::ONE),
        round: number,
        snapshot_block: BlockNumber(1),
        snapshot_root: Felt::ONE,
        policy_id: PolicyId(Felt::ONE),
        plan_root: Felt::ONE,
        allocated: 1,
        skipped: 0,
    }
}

fn answer(job: u64) -> MarketEvent {
    MarketEvent::ResultSubmitted {
        job_id: JobId(job),
        worker_id: WorkerId(1),
        attempt: Attempt(1),
        result_hash: result(job).to_felt(),
        challenge_ends_at: 1,
        challenge_ends_block: BlockNumber(1),
    }
}

fn settlement(job: u64) -> MarketEvent {
    MarketEvent::JobSettled {
        job_id: JobId(job),
        worker_id: WorkerId(1),
        client: keeper_types::Address(Felt::TWO),
        paid: Fri(1),
        refunded: Fri(0),
    }
}

/// Two jobs, each in a round of its own, and nothing wrong.
fn sound() -> Evidence {
    let mut evidence = Evidence::default();
    for job in 1..=2 {
        evidence.acknowledged.push(Acknowledged { job_id: JobId(job), result: result(job) });
        for event in [allocation(job), round(job), answer(job), settlement(job)] {
            let tx_hash = TxHash(Felt::from(100 + job));
            evidence.events.push((EventPosition { block: BlockNumber(job), timestamp: 1, index: 0, tx_hash }, event));
            evidence.recorded.insert(tx_hash);
        }
        evidence.jobs.insert(JobId(job), (JobState::Settled, result(job).to_felt()));
        evidence.runs.insert((JobId(job), Attempt(1)), 1);
    }
    evidence
}

fn again(evidence: &mut Evidence, event: MarketEvent) {
    let (position, _) = evidence.events[0].clone();
    evidence.events.push((position, event));
}

/// Lost, doubled, stuck, unrecorded.
fn counts(change: impl FnOnce(&mut Evidence)) -> (u64, u64, u64, u64) {
    let mut evidence = sound();
    change(&mut evidence);
    let tally = evidence.tally();
    assert_eq!(tally.is_clean(), tally.told.is_empty(), "{tally:?}");
    (tally.lost, tally.doubled, tally.stuck, tally.unrecorded)
}

#[test]
fn nothing_is_counted_where_nothing_is_wrong() {
    assert_eq!(counts(|_| {}), (0, 0, 0, 0));
    let tally = sound().tally();
    assert_eq!((tally.jobs, tally.rounds, tally.attempts), (2, 2, 2));
}

#[test]
fn a_job_is_lost_where_the_chain_lacks_it_or_it_ended_otherwise() {
    assert_eq!(counts(|evidence| evidence.jobs.retain(|job_id, _| job_id.0 == 1)), (1, 0, 0, 0));
    for state in [JobState::Cancelled, JobState::Expired, JobState::Failed] {
        let end = |evidence: &mut Evidence| {
            evidence.jobs.insert(JobId(2), (state, Felt::ZERO));
        };
        assert_eq!(counts(end), (1, 0, 0, 0));
    }
    let anothers = |evidence: &mut Evidence| {
        evidence.jobs.insert(JobId(2), (JobState::Settled, result(1).to_felt()));
    };
    assert_eq!(counts(anothers), (1, 0, 0, 0));
}

#[test]
fn a_job_is_stuck_where_it_is_not_over_and_an_intent_where_it_is_open() {
    for state in [JobState::Queued, JobState::Allocated, JobState::Revealed] {
        let leave = |evidence: &mut Evidence| {
            evidence.jobs.insert(JobId(2), (state, Felt::ZERO));
        };
        assert_eq!(counts(leave), (0, 0, 1, 0));
    }
    assert_eq!(counts(|evidence| evidence.open_intents = 3), (0, 0, 3, 0));
}

#[test]
fn what_happens_twice_is_doubled() {
    for event in [allocation(1), answer(1), settlement(1)] {
        assert_eq!(counts(|evidence| again(evidence, event)), (0, 1, 0, 0));
    }
    let run = |evidence: &mut Evidence| {
        evidence.runs.insert((JobId(1), Attempt(1)), 2);
    };
    assert_eq!(counts(run), (0, 1, 0, 0));
    // Its agent was killed in the middle, so it had to run once more.
    let cut_short = |evidence: &mut Evidence| {
        run(evidence);
        evidence.agent_kills.insert(WorkerId(1), 1);
    };
    assert_eq!(counts(cut_short), (0, 0, 0, 0));
    let never_allocated = |evidence: &mut Evidence| {
        evidence.runs.insert((JobId(1), Attempt(2)), 1);
    };
    assert_eq!(counts(never_allocated), (0, 1, 0, 0));
}

#[test]
fn a_round_that_was_not_written_down_is_noticed() {
    assert_eq!(counts(|evidence| evidence.recorded = BTreeSet::new()), (0, 0, 0, 2));
}

#[test]
fn runs_are_read_from_what_jobs_wrote() {
    let read = runs("1 1\n2 1\n1 1\n").unwrap();
    assert_eq!(read, BTreeMap::from([((JobId(1), Attempt(1)), 2), ((JobId(2), Attempt(1)), 1)]));
    assert!(runs("1\n").is_err());
}
