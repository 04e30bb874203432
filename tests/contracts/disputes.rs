//! Results that the client disputes before the Referee, which is an account here.

use keeper_types::Felt;

use crate::{
    parties::{PRICE, Spec, outcome},
    stage::{Moment, REFEREE, Said, Sent, Stage, Terms, felts, refused, said, told},
    world::{ADMIN, CHALLENGE_S, CLIENT, KEEPER, OTHER, STRK, W1, W2},
};

/// What a dispute costs at least.
const MIN_BOND: u128 = 50 * STRK;

async fn spec(stage: &Stage) -> Spec {
    Spec { verification: 2, deadline: stage.now().await.at + 100_000, ..stage.spec().await }
}

/// A worker and its job with a result that the client may dispute.
async fn answered(stage: &Stage) -> (u32, u64) {
    let worker = stage.register(W1).await;
    (worker, stage.answered(&spec(stage).await, W1, worker, outcome("disputed")).await)
}

async fn rule(stage: &Stage, account: usize, job: u64, is_right: bool) -> Sent {
    stage.act(account, "JobMgr", "rule_dispute", &felts![job, is_right]).await
}

fn rejected(stage: &Stage, job: u64, worker: u32, old: u16, new: u16, slashed: u128) -> Vec<Said> {
    let quarter = slashed / 4;
    vec![
        said("CdcPool", "ReputationChanged", &felts![worker], &felts![old, new]),
        said("CdcPool", "WorkerSlashed", &felts![worker], &felts![2, slashed, slashed - 2 * quarter, quarter, quarter]),
        said("JobMgr", "ResultRejected", &felts![job, worker], &felts![3]),
        said("JobMgr", "JobFailed", &felts![job, stage.address(CLIENT)], &felts![STRK]),
    ]
}

fn ruled(job: u64, worker: u32, is_right: bool, by_default: bool) -> Said {
    said("JobMgr", "DisputeRuled", &felts![job, worker], &felts![is_right, by_default])
}

#[tokio::test]
async fn only_the_client_disputes_and_only_what_can_be_disputed() {
    let stage = Stage::start().await;
    let worker = stage.register(W1).await;
    refused(stage.dispute(OTHER, 1, MIN_BOND).await, "JobMgr: no such job");
    let job = stage.submit(&spec(&stage).await).await;
    refused(stage.dispute(OTHER, job, MIN_BOND).await, "JobMgr: caller not client");
    refused(stage.dispute(CLIENT, job, MIN_BOND).await, "JobMgr: not revealed");
    stage.allocate(job, worker).await;
    refused(stage.dispute(CLIENT, job, MIN_BOND).await, "JobMgr: not revealed");
    let ends = stage.now().await.after(CHALLENGE_S);
    stage.submit_result(W1, job, 1, outcome("disputed")).await.unwrap();
    for stranger in [OTHER, KEEPER, W1, ADMIN, REFEREE] {
        refused(stage.dispute(stranger, job, MIN_BOND).await, "JobMgr: caller not client");
        refused(
            rule(&stage, stranger, job, true).await,
            if stranger == REFEREE { "JobMgr: not disputed" } else { "JobMgr: caller not referee" },
        );
        refused(stage.on_job(stranger, "settle_dispute", job).await, "JobMgr: not disputed");
    }
    refused(rule(&stage, REFEREE, 99, true).await, "JobMgr: no such job");
    refused(stage.on_job(OTHER, "settle_dispute", 99).await, "JobMgr: no such job");
    refused(stage.dispute(CLIENT, job, MIN_BOND - 1).await, "ERC20: insufficient allowance");

    // At the last moment of the window, and not after it.
    stage.reach_block(ends.block + 1).await;
    stage.set_time(ends.at + 1).await;
    refused(stage.dispute(CLIENT, job, MIN_BOND).await, "JobMgr: challenge window passed");
    stage.set_time(ends.at).await;
    stage.dispute(CLIENT, job, MIN_BOND).await.unwrap();
    refused(stage.dispute(CLIENT, job, MIN_BOND).await, "JobMgr: not revealed");
    for function in ["accept_result", "settle"] {
        refused(stage.on_job(CLIENT, function, job).await, "JobMgr: not revealed");
    }
    stage.conserved().await;

    // Nothing was promised of this one.
    let plain = stage.answered(&stage.spec().await, W1, worker, outcome("plain")).await;
    refused(stage.dispute(CLIENT, plain, MIN_BOND).await, "JobMgr: not disputable");
    stage.conserved().await;
}

#[tokio::test]
async fn a_right_result_is_paid_and_gets_the_bond() {
    let stage = Stage::start().await;
    let (worker, job) = answered(&stage).await;
    let client = stage.address(CLIENT);
    let ends = stage.now().await.after(window());
    let before = stage.balance(CLIENT).await;
    let done = stage.dispute(CLIENT, job, MIN_BOND).await.unwrap();
    let data = [felts![MIN_BOND], ends.felts().to_vec(), felts![0]].concat();
    assert_eq!(done.said, [said("JobMgr", "ResultDisputed", &felts![job, client], &data)]);
    assert_eq!(stage.balance(CLIENT).await, before - MIN_BOND - done.fee);
    assert_eq!((stage.state(job).await.as_str(), stage.worker(worker).await["holds"].number()), ("Disputed", 1));
    let shown = stage.ask("JobMgr", "get_dispute", &felts![job]).await;
    let expected = [job.into(), MIN_BOND, ends.at.into(), ends.block.into(), 0];
    assert_eq!(shown.numbers(["job_id", "bond", "ends_at", "ends_block", "committee"]), expected);
    stage.conserved().await;

    for stranger in [ADMIN, KEEPER, CLIENT, OTHER, W1] {
        refused(rule(&stage, stranger, job, true).await, "JobMgr: caller not referee");
    }
    refused(stage.on_job(OTHER, "settle_dispute", job).await, "JobMgr: dispute open");
    let events = told(rule(&stage, REFEREE, job, true).await);
    let expected = [
        ruled(job, worker, true, false),
        said("CdcPool", "ReputationChanged", &felts![worker], &felts![500, 510]),
        said("JobMgr", "JobSettled", &felts![job, worker, client], &felts![PRICE, STRK - PRICE]),
    ];
    assert_eq!(events, expected);
    assert_eq!(stage.credit(W1).await, PRICE + MIN_BOND);
    assert_eq!(stage.credit(CLIENT).await, STRK - PRICE);
    assert_eq!(stage.worker(worker).await.numbers(["holds", "stake"]), [0, 10 * STRK]);
    refused(rule(&stage, REFEREE, job, false).await, "JobMgr: not disputed");
    refused(stage.on_job(OTHER, "settle_dispute", job).await, "JobMgr: not disputed");
    stage.conserved().await;
}

/// How long the Referee has.
fn window() -> u64 {
    Terms::default().dispute_s
}

#[tokio::test]
async fn a_wrong_result_is_refunded_and_costs_the_worker_ten_prices() {
    let stage = Stage::start().await;
    let (worker, job) = answered(&stage).await;
    stage.dispute(CLIENT, job, MIN_BOND).await.unwrap();
    let before = stage.balance(CLIENT).await;
    let events = told(rule(&stage, REFEREE, job, false).await);
    assert_eq!(events[0], ruled(job, worker, false, false));
    assert_eq!(events[1..], rejected(&stage, job, worker, 500, 333, 10 * PRICE));
    assert_eq!(stage.state(job).await, "Failed");
    assert_eq!((stage.credit(W1).await, stage.credit(CLIENT).await), (0, STRK + MIN_BOND));
    // The client is who challenged, too.
    assert_eq!(stage.balance(CLIENT).await, before + 2 * (10 * PRICE / 4));
    assert_eq!(stage.stake(worker).await, 10 * STRK - 10 * PRICE);
    assert_eq!(stage.worker(worker).await["holds"].number(), 0);
    stage.conserved().await;
}

#[tokio::test]
async fn a_result_that_nobody_defends_is_wrong_by_default() {
    let stage = Stage::start().await;
    let (worker, job) = answered(&stage).await;
    let ends = stage.now().await.after(window());
    stage.dispute(CLIENT, job, MIN_BOND).await.unwrap();
    let settle = async || stage.on_job(OTHER, "settle_dispute", job).await;
    let done = stage.only_after(ends, "JobMgr: dispute open", settle).await;
    assert_eq!(done.said[0], ruled(job, worker, false, true));
    assert_eq!(done.said[1..], rejected(&stage, job, worker, 500, 333, 10 * PRICE));
    assert_eq!(stage.credit(CLIENT).await, STRK + MIN_BOND);
    refused(rule(&stage, REFEREE, job, true).await, "JobMgr: not disputed");
    stage.conserved().await;
}

#[tokio::test]
async fn the_referee_may_rule_late_as_long_as_nobody_settled() {
    let stage = Stage::start().await;
    let (worker, job) = answered(&stage).await;
    let ends = stage.now().await.after(window());
    stage.dispute(CLIENT, job, MIN_BOND).await.unwrap();
    stage.pass(Moment { at: ends.at + 1_000, ..ends }).await;
    assert_eq!(told(rule(&stage, REFEREE, job, true).await)[0], ruled(job, worker, true, false));
    stage.conserved().await;
}

#[tokio::test]
async fn a_dear_job_has_a_dear_bond_which_credit_pays_first() {
    let stage = Stage::start().await;
    let worker = stage.register(W1).await;
    // A price of 80 STRK, more than the least bond; and what is left comes back as credit.
    let escrow = 100 * STRK;
    let dear = Spec { max_price: escrow, timeout: 80_000, ..spec(&stage).await };
    let bond = 800 * PRICE;
    let first = stage.answered(&dear, W1, worker, outcome("first")).await;
    stage.on_job(CLIENT, "accept_result", first).await.unwrap();
    let credit = escrow - bond;
    assert_eq!(stage.credit(CLIENT).await, credit);
    let held = stage.balance_at(stage.at("JobMgr")).await;
    let job = stage.answered(&dear, W1, worker, outcome("second")).await;
    assert_eq!(stage.balance_at(stage.at("JobMgr")).await, held + escrow - credit);
    assert_eq!(stage.credit(CLIENT).await, 0);

    // Cancelling something brings credit for half of the bond.
    let other = stage.submit(&Spec { max_price: bond / 2, ..dear.clone() }).await;
    stage.on_job(CLIENT, "cancel_job", other).await.unwrap();
    let before = stage.balance(CLIENT).await;
    refused(stage.dispute(CLIENT, job, bond / 2 - 1).await, "ERC20: insufficient allowance");
    let done = stage.dispute(CLIENT, job, bond / 2).await.unwrap();
    let client = stage.address(CLIENT);
    assert_eq!(done.said[0], said("JobMgr", "CreditSpent", &felts![client], &felts![bond / 2]));
    assert_eq!((done.said[1].name.as_str(), done.said[1].data[0]), ("ResultDisputed", Felt::from(bond)));
    assert_eq!(stage.balance(CLIENT).await, before - bond / 2 - done.fee);
    assert_eq!(stage.credit(CLIENT).await, 0);
    stage.conserved().await;
    // The slash is ten times the price, where the stake allows it: not here.
    let events = told(rule(&stage, REFEREE, job, false).await);
    let slashed =
        said("CdcPool", "WorkerSlashed", &felts![worker], &felts![2, 10 * STRK, 5 * STRK, 5 * STRK / 2, 5 * STRK / 2]);
    assert!(events.contains(&slashed), "{events:?}");
    assert_eq!(stage.stake(worker).await, 0);
    stage.conserved().await;
}

#[tokio::test]
async fn without_a_referee_there_are_no_such_disputes() {
    let stage = Stage::start_on(Terms { has_referee: false, ..Terms::default() }).await;
    let (_, job) = answered(&stage).await;
    refused(stage.dispute(CLIENT, job, MIN_BOND).await, "JobMgr: no referee");
    refused(rule(&stage, REFEREE, job, true).await, "JobMgr: caller not referee");
    stage.conserved().await;
}

#[tokio::test]
async fn a_committed_result_can_be_disputed_and_is_held_once() {
    let stage = Stage::start().await;
    let worker = stage.register(W1).await;
    let other = stage.register(W2).await;
    let job = stage.running(&spec(&stage).await, worker).await;
    stage.commit(W1, job, 1, outcome("committed")).await.unwrap();
    stage.reveal(W1, job, 1, outcome("committed")).await.unwrap();
    assert_eq!(stage.worker(worker).await["holds"].number(), 1);
    stage.dispute(CLIENT, job, MIN_BOND).await.unwrap();
    assert_eq!(stage.worker(worker).await["holds"].number(), 1);
    rule(&stage, REFEREE, job, true).await.unwrap();
    assert_eq!(stage.worker(worker).await["holds"].number(), 0);
    assert_eq!(stage.worker(other).await["holds"].number(), 0);
    stage.conserved().await;
}
