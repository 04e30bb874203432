//! What JobMgr owes, and how it is spent and paid out.

use keeper_types::Felt;

use crate::{
    parties::{PRICE, Spec, outcome, the},
    stage::{Sent, Stage, felts, refused, said, told},
    world::{ADMIN, CLIENT, KEEPER, OTHER, STRK, W1},
};

async fn withdraw(stage: &Stage, account: usize, of: usize) -> Sent {
    stage.act(account, "JobMgr", "withdraw", &[stage.address(of)]).await
}

#[tokio::test]
async fn anyone_pays_an_account_what_it_is_owed() {
    let stage = Stage::start().await;
    let worker = stage.register(W1).await;
    for account in [ADMIN, CLIENT, W1, OTHER] {
        refused(withdraw(&stage, OTHER, account).await, "JobMgr: no credit");
    }
    let job = stage.answered(&stage.spec().await, W1, worker, outcome("right")).await;
    let before = [stage.balance(W1).await, stage.balance(CLIENT).await];
    let accepted = stage.on_job(CLIENT, "accept_result", job).await.unwrap();
    // Nothing moves but by a withdrawal.
    assert_eq!([stage.balance(W1).await, stage.balance(CLIENT).await], [before[0], before[1] - accepted.fee]);
    assert_eq!([stage.credit(W1).await, stage.credit(CLIENT).await], [PRICE, STRK - PRICE]);
    stage.conserved().await;

    let paid = |account, amount: u128| said("JobMgr", "CreditWithdrawn", &[stage.address(account)], &felts![amount]);
    let other = stage.balance(OTHER).await;
    let done = withdraw(&stage, OTHER, W1).await.unwrap();
    assert_eq!(done.said, [paid(W1, PRICE)]);
    assert_eq!(stage.balance(W1).await, before[0] + PRICE);
    assert_eq!(stage.balance(OTHER).await, other - done.fee);
    let own = withdraw(&stage, CLIENT, CLIENT).await.unwrap();
    assert_eq!(own.said, [paid(CLIENT, STRK - PRICE)]);
    assert_eq!(stage.balance(CLIENT).await, before[1] - accepted.fee + STRK - PRICE - own.fee);
    for account in [W1, CLIENT] {
        assert_eq!(stage.credit(account).await, 0);
        refused(withdraw(&stage, KEEPER, account).await, "JobMgr: no credit");
    }
    stage.conserved().await;
}

#[tokio::test]
async fn credit_pays_for_the_next_job_first() {
    let stage = Stage::start().await;
    let client = stage.address(CLIENT);
    let cancelled = async |spec: &Spec| {
        let job = stage.submit(spec).await;
        stage.on_job(CLIENT, "cancel_job", job).await.unwrap();
    };
    let spec = stage.spec().await;
    cancelled(&spec).await;
    assert_eq!(stage.credit(CLIENT).await, STRK);
    // All of it, with nothing approved.
    let submit = |spec: &Spec| stage.call("JobMgr", "submit_job", &spec.felts());
    let half = Spec { max_price: STRK / 2, ..spec.clone() };
    let before = stage.balance(CLIENT).await;
    let done = stage.send(CLIENT, vec![submit(&half)]).await.unwrap();
    let spent = |amount: u128| said("JobMgr", "CreditSpent", &[client], &felts![amount]);
    assert_eq!(done.said[0], spent(STRK / 2));
    assert_eq!(done.said[1].name, "JobSubmitted");
    assert_eq!(stage.balance(CLIENT).await, before - done.fee);
    assert_eq!(stage.credit(CLIENT).await, STRK / 2);
    // What is there and the shortfall, to the fri.
    let dear = Spec { max_price: STRK + 1, ..spec.clone() };
    let short = vec![stage.approve("JobMgr", STRK / 2), submit(&dear)];
    refused(stage.send(CLIENT, short).await, "ERC20: insufficient allowance");
    let calls = vec![stage.approve("JobMgr", STRK / 2 + 1), submit(&dear)];
    let before = stage.balance(CLIENT).await;
    let done = stage.send(CLIENT, calls).await.unwrap();
    assert_eq!(the(&done.said, "CreditSpent"), &spent(STRK / 2));
    assert_eq!(stage.balance(CLIENT).await, before - STRK / 2 - 1 - done.fee);
    // Without any, nothing is said of it.
    let done = stage.try_submit(CLIENT, &spec).await.unwrap();
    assert!(done.said.iter().all(|said| said.name != "CreditSpent"));
    stage.conserved().await;
}

#[tokio::test]
async fn a_group_is_paid_from_credit_at_once() {
    let stage = Stage::start().await;
    let spec = Spec { replicas: 3, quorum: 2, max_price: STRK, ..stage.spec().await };
    let group = stage.submit(&spec).await;
    stage.on_job(CLIENT, "cancel_job", group).await.unwrap();
    assert_eq!(stage.credit(CLIENT).await, 3 * STRK);
    let dearer = Spec { max_price: STRK + 1, ..spec };
    let done = stage.try_submit(CLIENT, &dearer).await.unwrap();
    let client: Felt = stage.address(CLIENT);
    assert_eq!(the(&done.said, "CreditSpent"), &said("JobMgr", "CreditSpent", &[client], &felts![3 * STRK]));
    assert_eq!(stage.credit(CLIENT).await, 0);
    stage.conserved().await;
}

#[tokio::test]
async fn credits_of_many_jobs_add_up() {
    let stage = Stage::start().await;
    let worker = stage.register(W1).await;
    let mut prices = 0;
    for timeout in [1, 7, 100] {
        let spec = Spec { timeout, max_price: STRK + u128::from(timeout), ..stage.spec().await };
        let job = stage.answered(&spec, W1, worker, outcome("right")).await;
        told(stage.on_job(CLIENT, "accept_result", job).await);
        prices += PRICE / 100 * u128::from(timeout);
        assert_eq!(stage.credit(W1).await, prices);
    }
    // The client's credit went into its later jobs, but for the last one's rest.
    let last = STRK + 100 - PRICE;
    assert_eq!(stage.credit(CLIENT).await, last);
    assert_eq!(stage.balance_at(stage.at("JobMgr")).await, prices + last);
    stage.conserved().await;
}
