//! Jobs that a gateway submits for a client, paid out of the client's balance with the Paymaster.

use keeper_types::Felt;

use crate::{
    parties::{PRICE, Spec, outcome, the},
    paying::GATEWAY,
    stage::{Sent, Stage, Terms, felts, refused, said, told},
    world::{ADMIN, CLIENT, OTHER, STRK, W1},
};

/// What the client lets the gateway spend.
const CAP: u128 = 5 * STRK;

async fn submit_for(stage: &Stage, account: usize, client: usize, spec: &Spec) -> Sent {
    let arguments = [felts![stage.address(client)], spec.felts()].concat();
    stage.act(account, "JobMgr", "submit_job_for", &arguments).await
}

/// A client with twenty STRK at the Paymaster, of which its gateway may spend [`CAP`].
async fn authorised() -> Stage {
    let stage = Stage::start_paying().await;
    stage.deposit(CLIENT, CLIENT, 20 * STRK).await.unwrap();
    stage.pay(CLIENT, "authorise_gateway", &felts![stage.address(GATEWAY), CAP]).await.unwrap();
    stage
}

#[tokio::test]
async fn a_gateway_submits_for_a_client_who_gets_the_refund() {
    let stage = authorised().await;
    let worker = stage.register(W1).await;
    let [client, gateway] = [CLIENT, GATEWAY].map(|account| stage.address(account));
    let spec = stage.spec().await;
    let now = stage.now().await;
    let before = [stage.balance(CLIENT).await, stage.balance(GATEWAY).await];
    let done = submit_for(&stage, GATEWAY, CLIENT, &spec).await.unwrap();
    let deadline_block = now.block + (spec.deadline - now.at).div_ceil(10);
    let data = [spec.felts(), felts![deadline_block, 0]].concat();
    let expected = [
        said("Paymaster", "EscrowDrawn", &[client, gateway], &felts![STRK]),
        said("JobMgr", "JobSubmitted", &felts![1, client], &data),
    ];
    assert_eq!(done.said, expected);
    assert_eq!((stage.cap(CLIENT, GATEWAY).await, stage.deposited(CLIENT).await), (CAP - STRK, 19 * STRK));
    // Neither of them paid anything but the gateway the fee.
    assert_eq!([stage.balance(CLIENT).await, stage.balance(GATEWAY).await], [before[0], before[1] - done.fee]);
    assert_eq!(stage.job(1).await["client"].felt(), client);
    stage.all_conserved().await;

    stage.allocate(1, worker).await;
    stage.submit_result(W1, 1, 1, outcome("right")).await.unwrap();
    // The job is the client's: its gateway has no say in it.
    refused(stage.on_job(GATEWAY, "accept_result", 1).await, "JobMgr: caller not client");
    let settled = stage.on_job(CLIENT, "accept_result", 1).await.unwrap();
    let keys = felts![1, worker, client];
    assert_eq!(the(&settled.said, "JobSettled"), &said("JobMgr", "JobSettled", &keys, &felts![PRICE, STRK - PRICE]));
    assert_eq!((stage.credit(CLIENT).await, stage.credit(GATEWAY).await), (STRK - PRICE, 0));
    assert_eq!((stage.credit(W1).await, stage.deposited(CLIENT).await), (PRICE, 19 * STRK));
    stage.all_conserved().await;

    // The refund is the client's to take, and not the gateway's to spend again.
    submit_for(&stage, GATEWAY, CLIENT, &spec).await.unwrap();
    assert_eq!(stage.deposited(CLIENT).await, 18 * STRK);
    let paid = told(stage.act(OTHER, "JobMgr", "withdraw", &[client]).await);
    assert_eq!(paid, [said("JobMgr", "CreditWithdrawn", &[client], &felts![STRK - PRICE])]);
    assert_eq!(stage.balance(CLIENT).await, before[0] + STRK - PRICE - settled.fee);
    stage.all_conserved().await;
}

#[tokio::test]
async fn a_job_that_ends_unpaid_goes_back_to_the_clients_credit() {
    let stage = authorised().await;
    let spec = stage.spec().await;
    let deadline = stage.now().await.after(spec.deadline - stage.now().await.at);
    for _ in 0..2 {
        submit_for(&stage, GATEWAY, CLIENT, &spec).await.unwrap();
    }
    refused(stage.on_job(GATEWAY, "cancel_job", 1).await, "JobMgr: caller not client");
    let cancelled = told(stage.on_job(CLIENT, "cancel_job", 1).await);
    let client = stage.address(CLIENT);
    assert_eq!(cancelled, [said("JobMgr", "JobCancelled", &felts![1, client], &felts![STRK])]);
    stage.pass(crate::stage::Moment { block: deadline.block + 2, ..deadline }).await;
    let expired = told(stage.on_job(OTHER, "expire_job", 2).await);
    assert_eq!(expired, [said("JobMgr", "JobExpired", &felts![2, client], &felts![STRK])]);
    assert_eq!((stage.credit(CLIENT).await, stage.credit(GATEWAY).await), (2 * STRK, 0));
    // What a gateway has spent it does not get back with the refund.
    assert_eq!((stage.cap(CLIENT, GATEWAY).await, stage.deposited(CLIENT).await), (CAP - 2 * STRK, 18 * STRK));
    stage.all_conserved().await;
}

#[tokio::test]
async fn replicas_are_drawn_at_once_and_up_to_the_cap() {
    let stage = authorised().await;
    let [client, gateway] = [CLIENT, GATEWAY].map(|account| stage.address(account));
    let spec = Spec { replicas: 3, quorum: 2, ..stage.spec().await };
    let done = submit_for(&stage, GATEWAY, CLIENT, &spec).await.unwrap();
    assert_eq!(done.said[0], said("Paymaster", "EscrowDrawn", &[client, gateway], &felts![3 * STRK]));
    let submitted: Vec<_> = done.said[1..].iter().map(|said| (said.name.as_str(), said.keys.clone())).collect();
    assert_eq!(submitted, [1, 2, 3].map(|job| ("JobSubmitted", felts![job, client])));
    assert_eq!(stage.cap(CLIENT, GATEWAY).await, 2 * STRK);
    refused(submit_for(&stage, GATEWAY, CLIENT, &spec).await, "Paymaster: cap too low");
    // To the fri.
    let rest = Spec { replicas: 1, quorum: 1, max_price: 2 * STRK, ..spec.clone() };
    let more = Spec { max_price: 2 * STRK + 1, ..rest.clone() };
    refused(submit_for(&stage, GATEWAY, CLIENT, &more).await, "Paymaster: cap too low");
    submit_for(&stage, GATEWAY, CLIENT, &rest).await.unwrap();
    assert_eq!((stage.cap(CLIENT, GATEWAY).await, stage.deposited(CLIENT).await), (0, 15 * STRK));
    let cancelled = told(stage.on_job(CLIENT, "cancel_job", 2).await);
    assert_eq!(cancelled.len(), 3);
    assert_eq!(stage.credit(CLIENT).await, 3 * STRK);
    stage.all_conserved().await;
}

#[tokio::test]
async fn nobody_submits_without_the_clients_leave_or_money() {
    let stage = authorised().await;
    let spec = stage.spec().await;
    let nothing = Spec { manifest_hash: Felt::ZERO, ..spec.clone() };
    let zero = [felts![0], nothing.felts()].concat();
    refused(stage.act(GATEWAY, "JobMgr", "submit_job_for", &zero).await, "JobMgr: zero address");
    refused(submit_for(&stage, GATEWAY, CLIENT, &nothing).await, "JobMgr: zero manifest hash");
    for stranger in [OTHER, ADMIN, CLIENT] {
        refused(submit_for(&stage, stranger, CLIENT, &spec).await, "Paymaster: cap too low");
    }
    refused(submit_for(&stage, GATEWAY, OTHER, &spec).await, "Paymaster: cap too low");
    stage.pay(CLIENT, "withdraw", &felts![19 * STRK + 1]).await.unwrap();
    refused(submit_for(&stage, GATEWAY, CLIENT, &spec).await, "Paymaster: balance too low");
    // Credit with the job manager is no balance here: it can pay for the client's own jobs only.
    let own = stage.submit(&spec).await;
    stage.on_job(CLIENT, "cancel_job", own).await.unwrap();
    assert_eq!(stage.credit(CLIENT).await, STRK);
    refused(submit_for(&stage, GATEWAY, CLIENT, &spec).await, "Paymaster: balance too low");
    stage.deposit(OTHER, CLIENT, 1).await.unwrap();
    submit_for(&stage, GATEWAY, CLIENT, &spec).await.unwrap();
    assert_eq!((stage.credit(CLIENT).await, stage.deposited(CLIENT).await), (STRK, 0));
    stage.pay(CLIENT, "revoke_gateway", &[stage.address(GATEWAY)]).await.unwrap();
    stage.deposit(OTHER, CLIENT, 2 * STRK).await.unwrap();
    refused(submit_for(&stage, GATEWAY, CLIENT, &spec).await, "Paymaster: cap too low");
    // While the Paymaster is paused nothing is drawn, and the client goes on without it.
    stage.pay(CLIENT, "authorise_gateway", &felts![stage.address(GATEWAY), CAP]).await.unwrap();
    stage.pay(ADMIN, "pause", &[]).await.unwrap();
    refused(submit_for(&stage, GATEWAY, CLIENT, &spec).await, "Pausable: paused");
    stage.submit(&spec).await;
    stage.all_conserved().await;
}

#[tokio::test]
async fn without_a_paymaster_nobody_submits_for_another() {
    let stage = Stage::start_on(Terms::default()).await;
    let spec = Spec { manifest_hash: Felt::ZERO, ..stage.spec().await };
    refused(submit_for(&stage, GATEWAY, CLIENT, &spec).await, "JobMgr: no paymaster");
    stage.conserved().await;
}
