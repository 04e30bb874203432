//! What holds a stake, what takes some of it, and what puts it back.

use crate::{
    parties::{PRICE, Spec, names, offer, outcome, the},
    stage::{Moment, REFEREE, Said, Sent, Stage, felts, refused, said, told},
    world::{ADMIN, CHALLENGE_S, CLIENT, KEEPER, MIN_STAKE, NOT_ADMIN, OTHER, RATE, STRK, UNBONDING_S, W1, W2},
};

/// How long a commitment may stay unrevealed.
const REVEAL_S: u64 = 21_600;

async fn disputable(stage: &Stage) -> Spec {
    Spec { verification: 2, deadline: stage.now().await.at + 100_000, ..stage.spec().await }
}

async fn rule(stage: &Stage, job: u64, is_right: bool) -> Vec<Said> {
    told(stage.act(REFEREE, "JobMgr", "rule_dispute", &felts![job, is_right]).await)
}

/// A job of the first worker whose result is disputed.
async fn disputed(stage: &Stage, worker: u32, spec: &Spec) -> u64 {
    let job = stage.answered(spec, W1, worker, outcome("disputed")).await;
    stage.dispute(CLIENT, job, 100 * STRK).await.unwrap();
    job
}

async fn add_stake(stage: &Stage, account: usize, amount: u128) -> Sent {
    let calls = vec![stage.approve("CdcPool", amount), stage.call("CdcPool", "add_stake", &felts![amount])];
    stage.send(account, calls).await
}

fn slashed(worker: u32, fault: u8, amount: u128) -> Said {
    let quarter = amount / 4;
    said("CdcPool", "WorkerSlashed", &felts![worker], &felts![fault, amount, amount - 2 * quarter, quarter, quarter])
}

#[tokio::test]
async fn stake_is_added_while_the_worker_stays() {
    let stage = Stage::start().await;
    let worker = stage.register(W1).await;
    for stranger in [ADMIN, KEEPER, CLIENT, OTHER] {
        refused(add_stake(&stage, stranger, 0).await, "CdcPool: caller not a worker");
    }
    refused(add_stake(&stage, W1, 0).await, "CdcPool: zero amount");
    let unpaid = stage.act(W1, "CdcPool", "add_stake", &felts![STRK]).await;
    refused(unpaid, "ERC20: insufficient allowance");
    let before = stage.balance(W1).await;
    let done = add_stake(&stage, W1, 3).await.unwrap();
    assert_eq!(done.said, [said("CdcPool", "StakeAdded", &felts![worker], &felts![3, 10 * STRK + 3])]);
    assert_eq!(stage.balance(W1).await, before - 3 - done.fee);
    stage.act(W1, "CdcPool", "drain_worker", &[]).await.unwrap();
    add_stake(&stage, W1, 1).await.unwrap();
    assert_eq!(stage.stake(worker).await, 10 * STRK + 4);
    // More slots are covered now; and all of it comes back.
    let update = [offer().offer(), felts![10, RATE]].concat();
    stage.act(W1, "CdcPool", "update_worker", &update).await.unwrap();
    stage.act(W1, "CdcPool", "exit_worker", &[]).await.unwrap();
    refused(add_stake(&stage, W1, 0).await, "CdcPool: worker is leaving");
    let exit = stage.now().await.after(UNBONDING_S);
    stage.pass(exit).await;
    let events = told(stage.act(W1, "CdcPool", "withdraw_stake", &[]).await);
    let owner = stage.address(W1);
    assert_eq!(events, [said("CdcPool", "StakeWithdrawn", &felts![worker, owner], &felts![10 * STRK + 4])]);
    refused(add_stake(&stage, W1, 1).await, "CdcPool: worker is leaving");
    stage.conserved().await;
}

#[tokio::test]
async fn a_stake_smaller_than_the_penalty_goes_to_the_last_fri() {
    let stage = Stage::start().await;
    let stake = MIN_STAKE + 3;
    let worker = stage.register_with(W1, 1, stake).await;
    // Ten prices are five times that.
    let spec = Spec { timeout: 500, ..disputable(&stage).await };
    let (first, second) = (disputed(&stage, worker, &spec).await, disputed(&stage, worker, &spec).await);
    assert_eq!(stage.worker(worker).await["holds"].number(), 2);
    let before = stage.balance(CLIENT).await;
    let events = rule(&stage, first, false).await;
    let drained = said("CdcPool", "WorkerDrained", &felts![worker], &[]);
    assert_eq!(names(&events)[1..4], ["ReputationChanged", "WorkerSlashed", "WorkerDrained"]);
    assert_eq!(the(&events, "WorkerSlashed"), &slashed(worker, 2, stake));
    assert_eq!(the(&events, "WorkerDrained"), &drained);
    let quarter = stake / 4;
    assert_eq!(stage.balance(CLIENT).await, before + 2 * quarter);
    assert_eq!(stage.burned().await, stake - 2 * quarter);
    let shown = stage.worker(worker).await;
    assert_eq!((shown["status"].variant(), shown.numbers(["stake", "holds"])), ("Draining", [0, 1]));
    stage.conserved().await;

    // Nothing is left to take, and the worker is Draining already.
    let events = rule(&stage, second, false).await;
    assert_eq!(the(&events, "WorkerSlashed"), &slashed(worker, 2, 0));
    assert!(!names(&events).contains(&"WorkerDrained"), "{events:?}");
    // It comes back once its stake covers its slot again.
    refused(stage.act(W1, "CdcPool", "resume_worker", &[]).await, "CdcPool: stake too low");
    add_stake(&stage, W1, MIN_STAKE - 1).await.unwrap();
    refused(stage.act(W1, "CdcPool", "resume_worker", &[]).await, "CdcPool: stake too low");
    add_stake(&stage, W1, 1).await.unwrap();
    let events = told(stage.act(W1, "CdcPool", "resume_worker", &[]).await);
    assert_eq!(events, [said("CdcPool", "WorkerResumed", &felts![worker], &[])]);
    stage.running(&stage.spec().await, worker).await;
    stage.conserved().await;
}

#[tokio::test]
async fn a_cheap_job_costs_the_least_stake_of_a_slot() {
    let stage = Stage::start().await;
    let worker = stage.register(W1).await;
    // A hundredth of the usual price, at one second.
    let spec = Spec { timeout: 1, ..disputable(&stage).await };
    let job = disputed(&stage, worker, &spec).await;
    let events = rule(&stage, job, false).await;
    assert_eq!(the(&events, "WorkerSlashed"), &slashed(worker, 2, MIN_STAKE));
    // Not revealed: half of the same.
    let job = stage.running(&spec, worker).await;
    let due = stage.now().await.after(1 + 60 + REVEAL_S);
    stage.commit(W1, job, 1, outcome("kept")).await.unwrap();
    stage.pass(due).await;
    let events = told(stage.on_job(OTHER, "expire_attempt", job).await);
    assert_eq!(the(&events, "WorkerSlashed"), &slashed(worker, 1, MIN_STAKE / 2));
    assert_eq!(stage.stake(worker).await, 10 * STRK - MIN_STAKE - MIN_STAKE / 2);
    stage.conserved().await;
}

#[tokio::test]
async fn an_odd_half_is_rounded_down_and_an_odd_quarter_burned() {
    let stage = Stage::start().await;
    // A stake of one slot and one fri, of which an unrevealed dear job takes all.
    let stake = MIN_STAKE + 1;
    let worker = stage.register_with(W1, 1, stake).await;
    let spec = Spec { timeout: 500, ..disputable(&stage).await };
    let job = stage.running(&spec, worker).await;
    let due = stage.now().await.after(500 + 60 + REVEAL_S);
    stage.commit(W1, job, 1, outcome("kept")).await.unwrap();
    stage.pass(due).await;
    let events = told(stage.on_job(OTHER, "expire_attempt", job).await);
    assert_eq!(the(&events, "WorkerSlashed"), &slashed(worker, 1, stake));
    assert_eq!(stage.burned().await, stake - 2 * (stake / 4));
    stage.conserved().await;
}

#[tokio::test]
async fn a_slash_that_leaves_enough_leaves_the_worker_active() {
    let stage = Stage::start().await;
    let worker = stage.register_with(W1, 2, 3 * STRK).await;
    let first = disputed(&stage, worker, &disputable(&stage).await).await;
    let second = disputed(&stage, worker, &disputable(&stage).await).await;
    // Three STRK less one is what two slots need; less two is not.
    let events = rule(&stage, first, false).await;
    assert!(!names(&events).contains(&"WorkerDrained"), "{events:?}");
    assert_eq!(stage.worker(worker).await["status"].variant(), "Active");
    let events = rule(&stage, second, false).await;
    assert!(names(&events).contains(&"WorkerDrained"), "{events:?}");
    // Fewer slots are covered.
    let update = [offer().offer(), felts![1, RATE]].concat();
    stage.act(W1, "CdcPool", "update_worker", &update).await.unwrap();
    stage.act(W1, "CdcPool", "resume_worker", &[]).await.unwrap();
    stage.conserved().await;
}

#[tokio::test]
async fn a_dispute_holds_the_stake_of_a_worker_that_left() {
    let stage = Stage::start().await;
    let worker = stage.register(W1).await;
    let job = disputed(&stage, worker, &disputable(&stage).await).await;
    stage.act(W1, "CdcPool", "exit_worker", &[]).await.unwrap();
    let exit = stage.now().await.after(UNBONDING_S);
    stage.pass(exit).await;
    refused(stage.act(W1, "CdcPool", "withdraw_stake", &[]).await, "CdcPool: dispute pending");
    let events = rule(&stage, job, false).await;
    // It is leaving: there is nothing to drain.
    assert_eq!(the(&events, "WorkerSlashed"), &slashed(worker, 2, 10 * PRICE));
    assert!(!names(&events).contains(&"WorkerDrained"), "{events:?}");
    let before = stage.balance(W1).await;
    let done = stage.act(W1, "CdcPool", "withdraw_stake", &[]).await.unwrap();
    assert_eq!(stage.balance(W1).await, before + 10 * STRK - 10 * PRICE - done.fee);
    stage.conserved().await;
}

#[tokio::test]
async fn each_result_of_a_leaving_worker_puts_its_exit_off() {
    let stage = Stage::start().await;
    let worker = stage.register_with(W1, 3, 10 * STRK).await;
    let spec = disputable(&stage).await;
    let jobs =
        [stage.running(&spec, worker).await, stage.running(&spec, worker).await, stage.running(&spec, worker).await];
    stage.act(W1, "CdcPool", "exit_worker", &[]).await.unwrap();
    let withdraw = async || stage.act(W1, "CdcPool", "withdraw_stake", &[]).await;
    refused(withdraw().await, "CdcPool: jobs running");
    let exiting =
        |moment: Moment| said("CdcPool", "WorkerExiting", &felts![worker], &moment.after(UNBONDING_S).felts());
    // A result and a commitment do; an attempt that is given up leaves nothing to challenge.
    let later = stage.now().await.after(UNBONDING_S);
    stage.pass(later).await;
    let now = stage.now().await;
    let events = told(stage.submit_result(W1, jobs[0], 1, outcome("late")).await);
    assert_eq!(the(&events, "WorkerExiting"), &exiting(now));
    let events = told(stage.fail_attempt(W1, jobs[1], 1).await);
    assert!(!names(&events).contains(&"WorkerExiting"), "{events:?}");
    let now = stage.now().await;
    let events = told(stage.commit(W1, jobs[2], 1, outcome("later")).await);
    assert_eq!(the(&events, "WorkerExiting"), &exiting(now));
    let exit = now.after(UNBONDING_S);
    assert_eq!(stage.worker(worker).await.numbers(["exit_at", "exit_block"]), [exit.at.into(), exit.block.into()]);
    refused(withdraw().await, "CdcPool: dispute pending");
    stage.reveal(W1, jobs[2], 1, outcome("later")).await.unwrap();
    // The first result can still be disputed, and while it is, nothing is paid out.
    stage.dispute(CLIENT, jobs[0], 50 * STRK).await.unwrap();
    stage.pass(exit).await;
    stage.on_job(OTHER, "settle", jobs[2]).await.unwrap();
    refused(withdraw().await, "CdcPool: dispute pending");
    rule(&stage, jobs[0], true).await;
    withdraw().await.unwrap();
    stage.conserved().await;
}

#[tokio::test]
async fn a_stake_outlasts_every_challenge_window() {
    let stage = Stage::start().await;
    let worker = stage.register(W1).await;
    let job = stage.running(&disputable(&stage).await, worker).await;
    stage.act(W1, "CdcPool", "exit_worker", &[]).await.unwrap();
    let ends = stage.now().await.after(CHALLENGE_S);
    stage.submit_result(W1, job, 1, outcome("late")).await.unwrap();
    stage.reach_block(ends.block + 1).await;
    stage.set_time(ends.at).await;
    refused(stage.act(W1, "CdcPool", "withdraw_stake", &[]).await, "CdcPool: still bonded");
    stage.dispute(CLIENT, job, 50 * STRK).await.unwrap();
    stage.conserved().await;
}

#[tokio::test]
async fn the_admin_vouches_for_workers() {
    let stage = Stage::start().await;
    let (worker, other) = (stage.register(W1).await, stage.register(W2).await);
    let tell = async |account, function, worker: u32| stage.act(account, "CdcPool", function, &felts![worker]).await;
    for function in ["admit_worker", "dismiss_worker"] {
        for stranger in [KEEPER, CLIENT, W1, OTHER] {
            refused(tell(stranger, function, 99).await, NOT_ADMIN);
        }
        refused(tell(ADMIN, function, 0).await, "CdcPool: unknown worker");
        refused(tell(ADMIN, function, 99).await, "CdcPool: unknown worker");
    }
    refused(tell(ADMIN, "dismiss_worker", worker).await, "CdcPool: not admitted");
    let admitted = told(tell(ADMIN, "admit_worker", worker).await);
    assert_eq!(admitted, [said("CdcPool", "WorkerAdmitted", &felts![worker], &[])]);
    refused(tell(ADMIN, "admit_worker", worker).await, "CdcPool: already admitted");
    let is_static = async |worker| stage.worker(worker).await["is_static"].is_true();
    assert!(is_static(worker).await && !is_static(other).await);
    // It stays so through jobs, updates and outcomes.
    let job = stage.answered(&stage.spec().await, W1, worker, outcome("right")).await;
    stage.on_job(CLIENT, "accept_result", job).await.unwrap();
    let update = [offer().offer(), felts![3, RATE]].concat();
    stage.act(W1, "CdcPool", "update_worker", &update).await.unwrap();
    assert!(is_static(worker).await);
    let dismissed = told(tell(ADMIN, "dismiss_worker", worker).await);
    assert_eq!(dismissed, [said("CdcPool", "WorkerDismissed", &felts![worker], &[])]);
    refused(tell(ADMIN, "dismiss_worker", worker).await, "CdcPool: not admitted");
    assert!(!is_static(worker).await);
    stage.conserved().await;
}
