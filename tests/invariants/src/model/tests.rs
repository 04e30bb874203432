use keeper_types::{Attempt, Felt, JobId, JobState, WorkerStatus};

use super::{Model, Outcome, Terms, TokenKind, max_rate, outcomes, price};
use crate::{
    actors::{Actor, Contract, burn_address, felt_of},
    calls::{Call, Capabilities, Item, JobSpec, Moment, Offer, Requirements, RoundHeader, Step, Trap, skip},
};

const TERMS: Terms = Terms {
    min_stake_per_slot: 1_000,
    unbonding_s: 600,
    challenge_window_s: 300,
    dispute_window_s: 900,
    min_keeper_bond: 0,
    policy_delay_s: 0,
    upgrade_delay_s: 0,
    token: TokenKind::Test,
    is_set_up: false,
};
const BALANCE: u128 = 100_000_000_000_000_000_000;
const STAKE: u128 = 5_000_000_000_000_000;

fn model() -> Model {
    let mut model = Model::new(TERMS, Moment { timestamp: 1_000_000, block: 500 }, BALANCE);
    for call in [
        Call::SetJobMgr(Contract::JobMgr.address()),
        Call::SetTaskAllocator(Contract::TaskAllocator.address()),
        Call::SetReferee(Actor::Referee.address()),
        Call::AddKeeper(Actor::Keeper1.address()),
        Call::AnnouncePolicy(Felt::ONE),
    ] {
        make(&mut model, Actor::Admin, call).result.unwrap();
    }
    model
}

fn make(model: &mut Model, caller: Actor, call: Call) -> Outcome {
    model.execute(&Step { after_s: 0, after_blocks: 0, caller, call })
}

fn register(model: &mut Model, owner: Actor) {
    let capabilities = Capabilities { gpu_count: 2, vram_gib: 24, region: felt_of("eu"), ..Capabilities::default() };
    let offer = Box::new(Offer { capabilities, slots: 2, rate_gfri: 3 });
    make(model, owner, Call::RegisterWorker { offer, stake: STAKE }).result.unwrap();
}

fn spec(gpu_count: u8) -> JobSpec {
    let requirements = Requirements { gpu_count, vram_gib: 24, ..Requirements::default() };
    JobSpec {
        manifest_hash: Felt::ONE,
        requirements,
        priority: 1,
        max_price: 5_000_000_000 * 100 * u128::from(gpu_count.max(1)) + 7,
        deadline: 1_000_600,
        execution_timeout_s: 100,
        max_attempts: 2,
        replicas: 1,
        quorum: 1,
        ..JobSpec::default()
    }
}

fn submit(model: &mut Model, spec: JobSpec) -> JobId {
    let outcome = make(model, Actor::Client1, Call::SubmitJob(Box::new(spec)));
    JobId(u64::try_from(outcome.result.unwrap()[0]).unwrap())
}

/// Applies items as (job, worker, attempt), and returns the reasons of those that were skipped.
fn apply(model: &mut Model, round: u64, items: &[(JobId, u32, u8)]) -> Vec<u8> {
    let items = items.iter().map(|(job_id, worker_id, attempt)| {
        let (job_id, worker_id, attempt) = (job_id.0, *worker_id, *attempt);
        Item { job_id, worker_id, attempt, strategy: 0, score: 1, rate_gfri: 3 }.pack()
    });
    let header = RoundHeader { round, policy_id: Felt::ONE, ..RoundHeader::default() };
    let outcome = make(model, Actor::Keeper1, Call::ApplyBatch { header, items: items.collect() });
    outcome.result.unwrap();
    let skipped = outcome.events.iter().filter(|event| event.name == "AllocationSkipped");
    skipped.map(|event| u8::try_from(event.fields.last().unwrap().1).unwrap()).collect()
}

fn pass(model: &mut Model, seconds: u64, blocks: u64) {
    model.now.timestamp += seconds;
    model.now.block += blocks;
}

fn names(outcome: &Outcome) -> Vec<&'static str> {
    outcome.result.clone().unwrap();
    outcome.events.iter().map(|event| event.name).collect()
}

/// A group of three of which two have this result and one another, all revealed.
fn agreed_group(model: &mut Model) -> JobId {
    let workers = [Actor::Worker1, Actor::Worker2, Actor::Worker3];
    for worker in workers {
        register(model, worker);
    }
    let first = submit(model, JobSpec { replicas: 3, quorum: 2, ..spec(1) });
    let ids = [0, 1, 2].map(|index| JobId(first.0 + index));
    assert!(apply(model, 1, &[(ids[0], 1, 1), (ids[1], 2, 1), (ids[2], 3, 1)]).is_empty());
    let hashes = [Felt::ONE, Felt::TWO, Felt::ONE];
    for ((job_id, worker), hash) in ids.into_iter().zip(workers).zip(hashes) {
        let commitment = Model::commitment(job_id.0, 1, worker.address(), hash, Felt::THREE);
        let reveal = Call::RevealResult { job_id, attempt: Attempt(1), result_hash: hash, salt: Felt::THREE };
        let commit = Call::CommitResult { job_id, attempt: Attempt(1), commitment };
        make(model, worker, commit).result.unwrap();
        if job_id != ids[2] {
            assert_eq!(make(model, worker, reveal).result, Err("JobMgr: reveals closed"));
        }
    }
    for ((job_id, worker), hash) in ids.into_iter().zip(workers).zip(hashes) {
        let call = Call::RevealResult { job_id, attempt: Attempt(1), result_hash: hash, salt: Felt::THREE };
        make(model, worker, call).result.unwrap();
    }
    first
}

#[test]
fn a_deadline_passes_only_with_both_its_halves() {
    let deadline = Moment { timestamp: 100, block: 50 }.after(61);
    assert_eq!(deadline, Moment { timestamp: 161, block: 57 });
    for (timestamp, block, has_passed) in [(162, 58, true), (161, 58, false), (162, 57, false), (200, 50, false)] {
        assert_eq!(deadline.has_passed(Moment { timestamp, block }), has_passed, "{timestamp} {block}");
    }
}

#[test]
fn prices_round_for_the_client() {
    assert_eq!(max_rate(&spec(2)), 5);
    assert_eq!(price(&spec(2), 5), 5_000_000_000 * 200);
    assert_eq!(price(&spec(0), 5), price(&spec(1), 5));
}

#[test]
fn reputation_follows_the_table() {
    use outcomes::{Outcome, decayed, reputation_after};
    let after = |reputation, outcome| reputation_after(reputation, outcome);
    assert_eq!([500, 1000, 0, 999].map(|r| after(r, Outcome::Settled)), [510, 1000, 20, 1000]);
    assert_eq!([500, 1000, 0, 1].map(|r| after(r, Outcome::Failed)), [475, 950, 0, 0]);
    assert_eq!([500, 1000, 0, 1].map(|r| after(r, Outcome::Expired)), [400, 800, 0, 0]);
    assert_eq!([500, 1000, 0, 1].map(|r| after(r, Outcome::Wrong)), [333, 666, 0, 0]);
    assert_eq!(
        [(1000, 1), (1000, 2), (501, 1), (400, 9)].map(|(r, periods)| decayed(r, periods)),
        [950, 905, 500, 400]
    );
}

#[test]
fn a_settled_job_credits_the_price_and_the_rest() {
    let mut model = model();
    register(&mut model, Actor::Worker1);
    let job_id = submit(&mut model, spec(1));
    assert!(apply(&mut model, 1, &[(job_id, 1, 1)]).is_empty());
    let result = Call::SubmitResult { job_id, attempt: Attempt(1), result_hash: Felt::ONE };
    make(&mut model, Actor::Worker1, result).result.unwrap();
    assert_eq!(make(&mut model, Actor::Client2, Call::Settle(job_id)).result, Err("JobMgr: challenge window open"));
    make(&mut model, Actor::Client1, Call::AcceptResult(job_id)).result.unwrap();
    let (worker, paid) = (Actor::Worker1.address(), 3_000_000_000 * 100);
    assert_eq!((model.credit_of(worker), model.worker(1).unwrap().reputation), (paid, 510));
    make(&mut model, Actor::Client2, Call::Withdraw(worker)).result.unwrap();
    assert_eq!((model.credit_of(worker), model.token.balance(worker)), (0, BALANCE - STAKE + paid));
    // What is owed to a client pays for its next job.
    let owed = model.credit_of(Actor::Client1.address());
    submit(&mut model, spec(1));
    let spent = spec(1).max_price * 2 - owed;
    assert_eq!(model.token.balance(Actor::Client1.address()), BALANCE - spent);
}

#[test]
fn later_items_see_what_earlier_ones_took() {
    let mut model = model();
    register(&mut model, Actor::Worker1);
    let [one, other, third] = [1, 2, 1].map(|gpus| submit(&mut model, spec(gpus)));
    let reasons = apply(&mut model, 1, &[(other, 9, 1), (one, 1, 1), (one, 1, 1), (other, 1, 1)]);
    // The jobs' side speaks first, and the second item for a job is late even where the first is refused.
    assert_eq!(reasons, [skip::JOB_NOT_QUEUED, skip::JOB_NOT_QUEUED, skip::WORKER_UNKNOWN]);
    assert_eq!(apply(&mut model, 2, &[(other, 1, 1)]), [skip::NO_FREE_GPU]);
    assert!(apply(&mut model, 3, &[(third, 1, 1)]).is_empty());
    assert_eq!(model.in_use(1), (2, 2));
    let fourth = submit(&mut model, spec(0));
    assert_eq!(apply(&mut model, 4, &[(fourth, 1, 1)]), [skip::NO_FREE_SLOT]);
}

#[test]
fn a_group_pays_who_agrees_and_slashes_who_does_not() {
    let mut model = model();
    let first = agreed_group(&mut model);
    let group = &model.job_mgr.groups[&first.0];
    assert_eq!((group.winner, group.revealed(), model.holds(2)), (Some(Felt::ONE), 3, 1));
    assert_eq!(names(&make(&mut model, Actor::Admin, Call::Settle(first))), ["ReputationChanged", "JobSettled"]);
    let outlier = make(&mut model, Actor::Admin, Call::Settle(JobId(first.0 + 1)));
    assert_eq!(names(&outlier), ["ReputationChanged", "WorkerSlashed", "ResultRejected", "JobFailed"]);
    let penalty = 10 * 3_000_000_000 * 100;
    assert_eq!((model.worker(2).unwrap().stake, model.holds(2)), (STAKE - penalty, 0));
    // Nobody gains by votes.
    assert_eq!(model.token.balance(burn_address()), penalty);
    assert_eq!(model.token.balance(Actor::Client1.address()), BALANCE - 3 * spec(1).max_price);
}

#[test]
fn only_a_job_that_runs_alone_is_claimed() {
    let mut model = model();
    register(&mut model, Actor::Worker1);
    let alone = submit(&mut model, spec(1));
    let first = submit(&mut model, JobSpec { replicas: 3, quorum: 2, ..spec(1) });
    for job_id in [first, JobId(first.0 + 2)] {
        let refused = make(&mut model, Actor::Worker1, Call::ClaimJob(job_id));
        assert_eq!(refused.result, Err("JobMgr: is a replica"));
    }
    assert_eq!(names(&make(&mut model, Actor::Worker1, Call::ClaimJob(alone))), ["JobsAllocated", "JobClaimed"]);
    let refused = make(&mut model, Actor::Worker1, Call::ClaimJob(alone));
    assert_eq!(refused.result, Err("JobMgr: not queued"));
}

#[test]
fn groups_have_nearer_limits_than_jobs_alone() {
    let mut model = model();
    let group = JobSpec { replicas: 3, quorum: 2, max_price: 100_000_000_000_000_000, ..spec(1) };
    let day = JobSpec { execution_timeout_s: 86_400, deadline: 1_000_000 + 604_800, ..group };
    submit(&mut model, day);
    let cases = [
        (JobSpec { execution_timeout_s: 86_401, ..day }, "JobMgr: timeout too long"),
        (JobSpec { deadline: day.deadline + 1, ..day }, "JobMgr: deadline too far"),
    ];
    for (spec, words) in cases {
        assert_eq!(make(&mut model, Actor::Client1, Call::SubmitJob(Box::new(spec))).result, Err(words));
        submit(&mut model, JobSpec { replicas: 1, quorum: 1, ..spec });
    }
}

#[test]
fn a_late_commitment_has_its_whole_reveal_window() {
    let mut model = model();
    register(&mut model, Actor::Worker1);
    let job_id = submit(&mut model, spec(1));
    apply(&mut model, 1, &[(job_id, 1, 1)]);
    // The clock has gone far beyond the attempt's deadline, the blocks have not come to it.
    pass(&mut model, 90_000, 3);
    let commit = Call::CommitResult { job_id, attempt: Attempt(1), commitment: Felt::ONE };
    make(&mut model, Actor::Worker1, commit).result.unwrap();
    pass(&mut model, 21_600, 2_200);
    let refused = make(&mut model, Actor::Admin, Call::ExpireAttempt(job_id));
    assert_eq!(refused.result, Err("JobMgr: deadline not passed"));
    pass(&mut model, 1, 0);
    make(&mut model, Actor::Admin, Call::ExpireAttempt(job_id)).result.unwrap();
    assert_eq!(model.job(job_id).unwrap().reveal_due, None);
}

#[test]
fn a_keeper_returns_only_once_its_bond_is_out() {
    let mut model =
        Model::new(Terms { policy_delay_s: 100, ..TERMS }, Moment { timestamp: 1_000_000, block: 500 }, BALANCE);
    let (keeper, add) = (Actor::Keeper1, Call::AddKeeper(Actor::Keeper1.address()));
    make(&mut model, Actor::Admin, add.clone()).result.unwrap();
    make(&mut model, keeper, Call::PostBond(5)).result.unwrap();
    make(&mut model, keeper, Call::Leave).result.unwrap();
    assert_eq!(make(&mut model, Actor::Admin, add.clone()).result, Err("TaskAllocator: still bonded"));
    pass(&mut model, 101, 11);
    assert_eq!(make(&mut model, Actor::Admin, add.clone()).result, Err("TaskAllocator: still bonded"));
    make(&mut model, keeper, Call::WithdrawBond).result.unwrap();
    make(&mut model, Actor::Admin, add).result.unwrap();
}

#[test]
fn what_is_not_revealed_costs_the_stake_and_the_replica() {
    let mut model = model();
    register(&mut model, Actor::Worker1);
    let first = submit(&mut model, JobSpec { replicas: 3, quorum: 2, ..spec(1) });
    apply(&mut model, 1, &[(first, 1, 1)]);
    let commit = Call::CommitResult { job_id: first, attempt: Attempt(1), commitment: Felt::ONE };
    make(&mut model, Actor::Worker1, commit).result.unwrap();
    pass(&mut model, 700, 70);
    let refused = make(&mut model, Actor::Admin, Call::ExpireAttempt(first));
    assert_eq!(refused.result, Err("JobMgr: deadline not passed"));
    for other in [first.0 + 1, first.0 + 2] {
        make(&mut model, Actor::Admin, Call::ExpireJob(JobId(other))).result.unwrap();
    }
    pass(&mut model, 21_600, 2_161);
    let refused = make(&mut model, Actor::Admin, Call::ExpireAttempt(first));
    assert_eq!(refused.result, Err("JobMgr: deadline not passed"));
    pass(&mut model, 1, 0);
    let expired = make(&mut model, Actor::Client2, Call::ExpireAttempt(first));
    assert_eq!(names(&expired), ["ReputationChanged", "WorkerSlashed", "AttemptFailed", "JobFailed"]);
    let taken = 5 * 3_000_000_000 * 100;
    assert_eq!(model.token.balance(Actor::Client2.address()), BALANCE + taken / 4);
    assert_eq!(model.job(first).unwrap().state, JobState::Failed);
}

#[test]
fn the_referees_silence_finds_a_result_wrong() {
    let mut model = model();
    register(&mut model, Actor::Worker1);
    let job_id = submit(&mut model, JobSpec { verification: 2, ..spec(1) });
    apply(&mut model, 1, &[(job_id, 1, 1)]);
    let result = Call::SubmitResult { job_id, attempt: Attempt(1), result_hash: Felt::ONE };
    make(&mut model, Actor::Worker1, result).result.unwrap();
    make(&mut model, Actor::Client1, Call::DisputeResult(job_id)).result.unwrap();
    assert_eq!(make(&mut model, Actor::Admin, Call::SettleDispute(job_id)).result, Err("JobMgr: dispute open"));
    pass(&mut model, 901, 91);
    let ruled = names(&make(&mut model, Actor::Admin, Call::SettleDispute(job_id)));
    assert_eq!(ruled, ["DisputeRuled", "ReputationChanged", "WorkerSlashed", "ResultRejected", "JobFailed"]);
    let back = spec(1).max_price + 50_000_000_000_000_000_000;
    assert_eq!(model.credit_of(Actor::Client1.address()), back);
}

#[test]
fn a_token_that_calls_back_finds_nothing_to_take_twice() {
    let mut model = model();
    let job_id = submit(&mut model, spec(1));
    make(&mut model, Actor::Client1, Call::CancelJob(job_id)).result.unwrap();
    let client = Actor::Client1.address();
    let again = Trap::CallBack(Box::new(Call::Withdraw(client)));
    make(&mut model, Actor::Worker1, Call::ArmToken(again)).result.unwrap();
    assert_eq!(names(&make(&mut model, Actor::Admin, Call::Withdraw(client))), ["CreditWithdrawn"]);
    assert_eq!(model.token.balance(client), BALANCE);
    make(&mut model, Actor::Worker1, Call::ArmToken(Trap::Refuse)).result.unwrap();
    let refused = make(&mut model, Actor::Client1, Call::SubmitJob(Box::new(spec(1))));
    assert_eq!(refused.result, Err("JobMgr: token transfer failed"));
}

#[test]
fn a_refused_call_changes_nothing() {
    let mut model = model();
    register(&mut model, Actor::Worker1);
    let before = format!("{model:?}");
    let too_dear = JobSpec { max_price: BALANCE + 100_000_000_000, ..spec(1) };
    let refused = make(&mut model, Actor::Client1, Call::SubmitJob(Box::new(too_dear)));
    assert!(refused.result.is_err() && refused.events.is_empty());
    let unknown = make(&mut model, Actor::Admin, Call::RemoveKeeper(Actor::Client1.address()));
    assert_eq!(unknown.result, Err("TaskAllocator: unknown keeper"));
    assert_eq!(format!("{model:?}"), before);
}

#[test]
fn a_stake_comes_back_after_the_unbonding_time() {
    let mut model = model();
    register(&mut model, Actor::Worker1);
    make(&mut model, Actor::Worker1, Call::ExitWorker).result.unwrap();
    assert_eq!(make(&mut model, Actor::Worker1, Call::WithdrawStake).result, Err("CdcPool: still bonded"));
    pass(&mut model, 601, 61);
    make(&mut model, Actor::Worker1, Call::WithdrawStake).result.unwrap();
    assert_eq!(model.worker(1).unwrap().status, WorkerStatus::Exited);
    assert_eq!(model.token.balance(Actor::Worker1.address()), BALANCE);
}
