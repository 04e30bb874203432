use keeper_types::{AllocationItem, Attempt, Felt, JobId, JobState, SkipReason, Strategy, WorkerId, WorkerStatus};

use super::{Model, Outcome, Terms, cdc_pool, max_rate, price};
use crate::{
    actors::{Actor, Contract, felt_of},
    calls::{Call, Capabilities, JobSpec, Moment, Offer, Requirements, Step},
};

const TERMS: Terms = Terms { min_stake_per_slot: 10, unbonding_s: 600, challenge_window_s: 300 };
const BALANCE: u128 = 1_000_000_000_000_000_000;

fn model() -> Model {
    let mut model = Model::new(TERMS, Moment { timestamp: 1_000_000, block: 500 }, BALANCE);
    for call in [
        Call::SetJobMgr(Contract::JobMgr.address()),
        Call::SetTaskAllocator(Contract::TaskAllocator.address()),
        Call::AddKeeper(Actor::Keeper1.address()),
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
    make(model, owner, Call::RegisterWorker { offer, stake: 25 }).result.unwrap();
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
        ..JobSpec::default()
    }
}

fn submit(model: &mut Model, gpu_count: u8) -> JobId {
    let outcome = make(model, Actor::Client1, Call::SubmitJob(Box::new(spec(gpu_count))));
    JobId(u64::try_from(outcome.result.unwrap()[0]).unwrap())
}

/// Applies items as (job, worker, attempt), and returns each one's reason, 0 where it was allocated.
fn apply(model: &mut Model, round: u64, items: &[(JobId, u32, u8)]) -> Vec<u8> {
    let items = items.iter().map(|(job_id, worker, attempt)| {
        let (worker_id, attempt) = (WorkerId(*worker), Attempt(*attempt));
        AllocationItem { job_id: *job_id, worker_id, attempt, strategy: Strategy::Standard, score: 1 }.pack()
    });
    let items: Vec<Felt> = items.collect();
    let count = items.len();
    let outcome = make(model, Actor::Keeper1, Call::ApplyBatch { round, snapshot_block: 0, items });
    outcome.result.unwrap();
    let skipped = outcome.events.iter().filter(|event| event.name == "AllocationSkipped");
    let mut reasons: Vec<u8> = skipped
        .map(|event| event.fields.iter().find(|(name, _)| *name == "reason").unwrap().1)
        .map(|felt| u8::try_from(felt).unwrap())
        .collect();
    reasons.splice(0..0, vec![0; count - reasons.len()]);
    reasons
}

fn pass(model: &mut Model, seconds: u64, blocks: u64) {
    model.now.timestamp += seconds;
    model.now.block += blocks;
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
    use cdc_pool::{Outcome, reputation_after};
    let after = |reputation, outcome| reputation_after(reputation, outcome);
    assert_eq!([500, 1000, 0, 999].map(|r| after(r, Outcome::Settled)), [510, 1000, 20, 1000]);
    assert_eq!([500, 1000, 0, 1].map(|r| after(r, Outcome::Failed)), [475, 950, 0, 0]);
    assert_eq!([500, 1000, 0, 1].map(|r| after(r, Outcome::Expired)), [400, 800, 0, 0]);
}

#[test]
fn a_settled_job_pays_the_price_and_refunds_the_rest() {
    let mut model = model();
    register(&mut model, Actor::Worker1);
    let job_id = submit(&mut model, 1);
    assert_eq!(apply(&mut model, 1, &[(job_id, 1, 1)]), [0]);
    let result = Call::SubmitResult { job_id, attempt: Attempt(1), result_hash: Felt::ONE };
    make(&mut model, Actor::Worker1, result).result.unwrap();
    assert_eq!(make(&mut model, Actor::Client2, Call::Settle(job_id)).result, Err("JobMgr: challenge window open"));
    make(&mut model, Actor::Client1, Call::AcceptResult(job_id)).result.unwrap();
    let paid = 3_000_000_000 * 100;
    assert_eq!(model.token.balance(Actor::Worker1.address()), BALANCE - 25 + paid);
    assert_eq!(model.token.balance(Actor::Client1.address()), BALANCE - paid);
    assert_eq!(model.worker(1).unwrap().reputation, 510);
}

#[test]
fn later_items_see_what_earlier_ones_took() {
    let mut model = model();
    register(&mut model, Actor::Worker1);
    let (one, other, third) = (submit(&mut model, 1), submit(&mut model, 2), submit(&mut model, 1));
    let reasons = apply(&mut model, 1, &[(one, 1, 1), (one, 1, 1), (other, 1, 1)]);
    assert_eq!(reasons, [0, SkipReason::JobNotQueued as u8, SkipReason::NoFreeGpu as u8]);
    assert_eq!(apply(&mut model, 2, &[(third, 1, 1)]), [0]);
    assert_eq!(model.in_use(1), (2, 2));
    let fourth = submit(&mut model, 0);
    assert_eq!(apply(&mut model, 3, &[(fourth, 1, 1)]), [SkipReason::NoFreeSlot as u8]);
}

#[test]
fn an_expired_attempt_excludes_its_worker_and_the_last_one_refunds() {
    let mut model = model();
    register(&mut model, Actor::Worker1);
    register(&mut model, Actor::Worker2);
    let job_id = submit(&mut model, 1);
    apply(&mut model, 1, &[(job_id, 1, 1)]);
    pass(&mut model, 161, 16);
    let early = make(&mut model, Actor::Client2, Call::ExpireAttempt(job_id));
    assert_eq!(early.result, Err("JobMgr: deadline not passed"));
    pass(&mut model, 0, 1);
    make(&mut model, Actor::Client2, Call::ExpireAttempt(job_id)).result.unwrap();
    assert_eq!(apply(&mut model, 2, &[(job_id, 1, 2)]), [SkipReason::WorkerExcluded as u8]);
    assert_eq!(apply(&mut model, 3, &[(job_id, 2, 2)]), [0]);
    let reason = felt_of("no memory");
    let call = Call::FailAttempt { job_id, attempt: Attempt(2), reason };
    let names: Vec<&str> = make(&mut model, Actor::Worker2, call).events.iter().map(|event| event.name).collect();
    assert_eq!(names, ["ReputationChanged", "AttemptFailed", "JobFailed"]);
    assert_eq!(model.job(job_id).unwrap().state, JobState::Failed);
    assert_eq!(model.token.balance(Actor::Client1.address()), BALANCE);
}

#[test]
fn a_refused_call_changes_nothing() {
    let mut model = model();
    register(&mut model, Actor::Worker1);
    let before = format!("{model:?}");
    let too_dear = JobSpec { max_price: BALANCE + 100_000_000_000, ..spec(1) };
    let approve = Call::Approve { spender: Contract::JobMgr, amount: BALANCE };
    make(&mut model, Actor::Client1, approve).result.unwrap();
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
    register(&mut model, Actor::Worker1);
    assert_eq!(model.cdc_pool.worker_of[&Actor::Worker1.address()], 2);
}
