//! Calls that an account signs, a relayer hands in and a sponsor pays for: terms, budgets and the allow-list.

use keeper_chain::{NamedCall, SponsoredCalls};
use keeper_types::{Address, Felt};
use starknet::core::types::{ExecutionResult, TransactionReceipt};

use crate::{
    parties::{names, offer},
    paying::{RELAYER, SPONSOR, hand_in, relay_arguments},
    stage::{Sent, Stage, felts, refused, said},
    world::{ADMIN, CLIENT, OTHER, RATE, STRK, W1},
};

const DAY_S: u64 = 86_400;
/// What a relayer asks for once.
const FEE: u128 = STRK / 100;
const MAX_FEE: u128 = 6 * FEE;
const BUDGET: u128 = 10 * FEE;
const FUNDS: u128 = 100 * STRK;

/// A sponsor with funds, its relayer, and its terms for the client.
async fn sponsored() -> Stage {
    let stage = Stage::start_paying().await;
    stage.deposit(SPONSOR, SPONSOR, FUNDS).await.unwrap();
    stage.pay(SPONSOR, "authorise_relayer", &[stage.address(RELAYER)]).await.unwrap();
    sponsor(&stage, CLIENT, BUDGET, MAX_FEE).await;
    stage
}

async fn sponsor(stage: &Stage, account: usize, budget: u128, most: u128) {
    let terms = felts![stage.address(account), budget, most];
    stage.pay(SPONSOR, "sponsor_account", &terms).await.unwrap();
}

async fn relay(stage: &Stage, fee: u128, signed: &SponsoredCalls) -> Sent {
    relay_as(stage, RELAYER, fee, signed).await
}

async fn relay_as(stage: &Stage, account: usize, fee: u128, signed: &SponsoredCalls) -> Sent {
    stage.pay(account, "relay", &relay_arguments(stage.address(SPONSOR), fee, signed)).await
}

/// An approval, which changes nothing that a test looks at.
fn harmless(stage: &Stage) -> Vec<NamedCall> {
    vec![stage.named_approval("JobMgr", 77)]
}

async fn submission(stage: &Stage) -> Vec<NamedCall> {
    let submit = stage.named("JobMgr", "submit_job", &stage.spec().await.felts());
    vec![stage.named_approval("JobMgr", STRK), submit]
}

#[tokio::test]
async fn every_call_on_the_list_is_done_and_the_relayer_is_paid() {
    let stage = sponsored().await;
    let [sponsor, client, relayer] = [SPONSOR, CLIENT, RELAYER].map(|account| stage.address(account));
    let arguments = [offer().offer(), felts![2, RATE, 10 * STRK]].concat();
    let mut calls = submission(&stage).await;
    calls.push(stage.named_approval("CdcPool", 10 * STRK));
    calls.push(stage.named("CdcPool", "register_worker", &arguments));
    let before = [stage.balance(CLIENT).await, stage.balance(RELAYER).await];
    let done = relay(&stage, FEE, &stage.sign(CLIENT, 1, &calls)).await.unwrap();
    // The client is both a client and a worker's owner now, and its relayer has its fee.
    assert_eq!(names(&done.said), ["JobSubmitted", "WorkerRegistered", "Relayed"]);
    assert_eq!(done.said[0].keys, felts![1, client]);
    assert_eq!(done.said[1].keys, felts![1, client]);
    assert_eq!(done.said[2], said("Paymaster", "Relayed", &[sponsor, client, relayer], &felts![FEE]));
    assert_eq!(stage.balance(CLIENT).await, before[0] - STRK - 10 * STRK);
    assert_eq!(stage.balance(RELAYER).await, before[1] + FEE - done.fee);
    assert_eq!(stage.deposited(SPONSOR).await, FUNDS - FEE);
    let [budget, most, _, spent] = stage.sponsorship(SPONSOR, CLIENT).await;
    assert_eq!([budget, most, spent], [BUDGET, MAX_FEE, FEE]);
    stage.all_conserved().await;
}

#[tokio::test]
async fn what_the_terms_do_not_allow_is_refused_in_order() {
    let stage = sponsored().await;
    let nothing = stage.sign(W1, 1, &[]);
    // Everything is wrong with this, and is said one thing after the other.
    refused(relay_as(&stage, OTHER, MAX_FEE + 1, &nothing).await, "Paymaster: caller not relayer");
    refused(relay(&stage, MAX_FEE + 1, &nothing).await, "Paymaster: not sponsored");
    sponsor(&stage, W1, 4 * FEE, 3 * FEE).await;
    refused(relay(&stage, 3 * FEE + 1, &nothing).await, "Paymaster: no calls");
    let forbidden = stage.sign(W1, 1, &[stage.named_approval("TaskAllocator", 1)]);
    refused(relay(&stage, 3 * FEE + 1, &forbidden).await, "Paymaster: call not allowed");
    let good = |nonce| stage.sign(W1, nonce, &harmless(&stage));
    refused(relay(&stage, 3 * FEE + 1, &good(1)).await, "Paymaster: fee too high");
    relay(&stage, 3 * FEE, &good(1)).await.unwrap();
    refused(relay(&stage, FEE + 1, &good(2)).await, "Paymaster: budget spent");
    stage.pay(SPONSOR, "withdraw", &felts![FUNDS - 3 * FEE - (FEE - 1)]).await.unwrap();
    refused(relay(&stage, FEE, &good(1)).await, "Paymaster: balance too low");
    refused(relay(&stage, FEE - 1, &good(1)).await, "SRC9: duplicated nonce");
    relay(&stage, FEE - 1, &good(2)).await.unwrap();
    assert_eq!(stage.deposited(SPONSOR).await, 0);

    // Somebody else's relayer, or one that is no longer: nobody's.
    stage.deposit(SPONSOR, OTHER, STRK).await.unwrap();
    let others = relay_arguments(stage.address(OTHER), 0, &good(3));
    refused(stage.pay(RELAYER, "relay", &others).await, "Paymaster: caller not relayer");
    stage.pay(SPONSOR, "stop_sponsoring", &[stage.address(W1)]).await.unwrap();
    refused(relay(&stage, 0, &good(3)).await, "Paymaster: not sponsored");
    stage.pay(SPONSOR, "revoke_relayer", &[stage.address(RELAYER)]).await.unwrap();
    refused(relay(&stage, 0, &good(3)).await, "Paymaster: caller not relayer");
    stage.all_conserved().await;
}

#[tokio::test]
async fn nothing_beside_the_list_is_paid_for() {
    let stage = sponsored().await;
    let spender = |contract: &str| stage.named_approval(contract, 1);
    let mut to_friend = spender("JobMgr");
    to_friend.calldata[0] = stage.address(RELAYER);
    let mut to_nobody = spender("JobMgr");
    to_nobody.calldata.clear();
    let transfer = NamedCall { function: "transfer".to_owned(), ..spender("JobMgr") };
    let more = NamedCall { function: "increase_allowance".to_owned(), ..spender("CdcPool") };
    let own =
        NamedCall { to: Address(stage.address(CLIENT)), function: "set_public_key".to_owned(), calldata: felts![1, 0] };
    let forbidden = [
        to_friend,
        to_nobody,
        transfer,
        more,
        own,
        spender("TaskAllocator"),
        spender("Paymaster"),
        spender("Referee"),
        stage.named("JobMgr", "approve", &felts![stage.at("JobMgr"), 1, 0]),
        stage.named("JobMgr", "cancel_job", &felts![1]),
        stage.named("JobMgr", "submit_job_for", &[]),
        stage.named("JobMgr", "withdraw", &[stage.address(CLIENT)]),
        stage.named("JobMgr", "register_worker", &[]),
        stage.named("CdcPool", "submit_job", &[]),
        stage.named("CdcPool", "add_stake", &felts![1]),
        stage.named("CdcPool", "exit_worker", &[]),
        stage.named("TaskAllocator", "submit_job", &[]),
        stage.named("Paymaster", "withdraw", &felts![1]),
        stage.named("Paymaster", "register_worker", &[]),
        stage.named("Referee", "submit_job", &[]),
    ];
    let good = spender("JobMgr");
    for (nonce, call) in (1..).zip(forbidden) {
        for calls in [vec![call.clone()], vec![call.clone(), good.clone()], vec![good.clone(), call.clone()]] {
            refused(relay(&stage, FEE, &stage.sign(CLIENT, nonce, &calls)).await, "Paymaster: call not allowed");
        }
    }
    for contract in ["JobMgr", "CdcPool"] {
        let nonce = if contract == "JobMgr" { 1 } else { 2 };
        relay(&stage, FEE, &stage.sign(CLIENT, nonce, &[spender(contract)])).await.unwrap();
    }
    stage.all_conserved().await;
}

#[tokio::test]
async fn a_budget_is_spent_once_a_day() {
    let stage = sponsored().await;
    let good = |account, nonce| stage.sign(account, nonce, &harmless(&stage));
    // Not at the end of a day, where the test itself could take it to the next.
    let day = stage.now().await.at / DAY_S + 1;
    stage.set_time(day * DAY_S + 100).await;
    relay(&stage, MAX_FEE, &good(CLIENT, 1)).await.unwrap();
    refused(relay(&stage, BUDGET - MAX_FEE + 1, &good(CLIENT, 2)).await, "Paymaster: budget spent");
    // New terms and an interruption leave what was spent today; a fee of nothing is none.
    sponsor(&stage, CLIENT, BUDGET + 1, MAX_FEE).await;
    stage.pay(SPONSOR, "stop_sponsoring", &[stage.address(CLIENT)]).await.unwrap();
    sponsor(&stage, CLIENT, BUDGET, MAX_FEE).await;
    refused(relay(&stage, BUDGET - MAX_FEE + 1, &good(CLIENT, 2)).await, "Paymaster: budget spent");
    relay(&stage, BUDGET - MAX_FEE, &good(CLIENT, 2)).await.unwrap();
    refused(relay(&stage, 1, &good(CLIENT, 3)).await, "Paymaster: budget spent");
    relay(&stage, 0, &good(CLIENT, 3)).await.unwrap();
    // Terms below what is spent, and another account's budget.
    sponsor(&stage, CLIENT, FEE, FEE).await;
    refused(relay(&stage, 0, &good(CLIENT, 4)).await, "Paymaster: budget spent");
    sponsor(&stage, CLIENT, BUDGET, MAX_FEE).await;
    sponsor(&stage, W1, FEE, FEE).await;
    relay(&stage, FEE, &good(W1, 1)).await.unwrap();
    refused(relay(&stage, 1, &good(W1, 2)).await, "Paymaster: budget spent");
    assert_eq!(stage.sponsorship(SPONSOR, CLIENT).await, [BUDGET, MAX_FEE, day.into(), BUDGET]);

    stage.set_time((day + 1) * DAY_S - 1).await;
    refused(relay(&stage, 1, &good(CLIENT, 4)).await, "Paymaster: budget spent");
    stage.set_time((day + 1) * DAY_S).await;
    relay(&stage, MAX_FEE, &good(CLIENT, 4)).await.unwrap();
    relay(&stage, BUDGET - MAX_FEE, &good(CLIENT, 5)).await.unwrap();
    refused(relay(&stage, 1, &good(CLIENT, 6)).await, "Paymaster: budget spent");
    // What is not spent in a day is lost with it.
    stage.set_time((day + 5) * DAY_S + 7).await;
    stage.chain.make_blocks(1).await;
    assert_eq!(stage.sponsorship(SPONSOR, CLIENT).await, [BUDGET, MAX_FEE, (day + 5).into(), 0]);
    relay(&stage, BUDGET - MAX_FEE, &good(CLIENT, 6)).await.unwrap();
    relay(&stage, MAX_FEE, &good(CLIENT, 7)).await.unwrap();
    refused(relay(&stage, 1, &good(CLIENT, 8)).await, "Paymaster: budget spent");
    assert_eq!(stage.deposited(SPONSOR).await, FUNDS - 3 * BUDGET - FEE);
    stage.all_conserved().await;
}

#[tokio::test]
async fn the_widest_terms_do_not_wrap() {
    let stage = sponsored().await;
    sponsor(&stage, CLIENT, u128::MAX, u128::MAX).await;
    let good = |nonce| stage.sign(CLIENT, nonce, &harmless(&stage));
    refused(relay(&stage, u128::MAX, &good(1)).await, "Paymaster: balance too low");
    relay(&stage, FEE, &good(1)).await.unwrap();
    refused(relay(&stage, u128::MAX, &good(2)).await, "Paymaster: budget spent");
    refused(relay(&stage, u128::MAX - FEE, &good(2)).await, "Paymaster: balance too low");
    relay(&stage, FUNDS - FEE, &good(2)).await.unwrap();
    assert_eq!(stage.deposited(SPONSOR).await, 0);
    stage.all_conserved().await;
}

#[tokio::test]
async fn the_account_takes_only_what_it_signed_once_and_in_time() {
    let stage = sponsored().await;
    let (calls, now) = (harmless(&stage), stage.now().await.at);
    let paymaster = stage.at("Paymaster");
    let signed = stage.sign(CLIENT, 1, &calls);
    // What was signed is not what is handed in.
    let changed = [
        SponsoredCalls { nonce: Felt::TWO, ..signed.clone() },
        SponsoredCalls { execute_before: now + 1_000, ..signed.clone() },
        SponsoredCalls { calls: vec![stage.named_approval("JobMgr", 78)], ..signed.clone() },
        SponsoredCalls { calls: [calls.clone(), calls.clone()].concat(), ..signed.clone() },
        SponsoredCalls { signature: stage.sign(OTHER, 1, &calls).signature, ..signed.clone() },
        SponsoredCalls { signature: vec![signed.signature[0], Felt::ONE], ..signed.clone() },
        SponsoredCalls { signature: Vec::new(), ..signed.clone() },
    ];
    for wrong in changed {
        refused(relay(&stage, FEE, &wrong).await, "SRC9: invalid signature");
    }
    // What one account signed is no other's.
    sponsor(&stage, OTHER, BUDGET, MAX_FEE).await;
    let others = SponsoredCalls { account: Address(stage.address(OTHER)), ..signed.clone() };
    refused(relay(&stage, FEE, &others).await, "SRC9: invalid signature");

    // Both times are exclusive.
    let early = stage.sign_for(paymaster, CLIENT, 2, (now + 500, now + 600), &calls);
    stage.set_time(now + 500).await;
    refused(relay(&stage, FEE, &early).await, "SRC9: now <= execute_after");
    stage.set_time(now + 600).await;
    refused(relay(&stage, FEE, &early).await, "SRC9: now >= execute_before");
    stage.set_time(now + 599).await;
    relay(&stage, FEE, &early).await.unwrap();
    stage.set_time(now + 501).await;
    refused(relay(&stage, FEE, &early).await, "SRC9: duplicated nonce");

    relay(&stage, FEE, &signed).await.unwrap();
    refused(relay(&stage, FEE, &signed).await, "SRC9: duplicated nonce");
    stage.all_conserved().await;
}

#[tokio::test]
async fn only_the_contract_that_was_signed_for_may_hand_it_in() {
    let stage = sponsored().await;
    let calls = harmless(&stage);
    let for_us = stage.sign(CLIENT, 1, &calls);
    for stranger in [OTHER, RELAYER, CLIENT, ADMIN] {
        refused(stage.send(stranger, vec![hand_in(&for_us)]).await, "SRC9: invalid caller");
    }
    let for_other = stage.sign_for(stage.address(OTHER), CLIENT, 2, crate::paying::ANY_TIME, &calls);
    refused(relay(&stage, FEE, &for_other).await, "SRC9: invalid caller");
    stage.send(OTHER, vec![hand_in(&for_other)]).await.unwrap();

    // For any caller: the Paymaster, too; but who else was first has had it.
    let any = Felt::from_bytes_be_slice(b"ANY_CALLER");
    let for_any = |nonce| stage.sign_for(any, CLIENT, nonce, crate::paying::ANY_TIME, &calls);
    relay(&stage, FEE, &for_any(3)).await.unwrap();
    refused(stage.send(OTHER, vec![hand_in(&for_any(3))]).await, "SRC9: duplicated nonce");
    stage.send(OTHER, vec![hand_in(&for_any(4))]).await.unwrap();
    refused(relay(&stage, FEE, &for_any(4)).await, "SRC9: duplicated nonce");
    relay(&stage, FEE, &for_us).await.unwrap();
    assert_eq!(stage.deposited(SPONSOR).await, FUNDS - 2 * FEE);
    stage.all_conserved().await;
}

#[tokio::test]
async fn a_call_that_reverts_pays_nobody_and_can_be_handed_in_again() {
    let stage = sponsored().await;
    let mut spec = stage.spec().await;
    // Two jobs of which only the first is paid for.
    spec.max_price = STRK;
    let submit = stage.named("JobMgr", "submit_job", &spec.felts());
    let calls = [stage.named_approval("JobMgr", STRK), submit.clone(), submit];
    let signed = stage.sign(CLIENT, 1, &calls);
    refused(relay(&stage, FEE, &signed).await, "ERC20: insufficient allowance");

    // A relayer that does not simulate pays for it itself.
    let before = [stage.balance(CLIENT).await, stage.balance(RELAYER).await, stage.deposited(SPONSOR).await];
    let arguments = relay_arguments(stage.address(SPONSOR), FEE, &signed);
    let (reason, fee) = blind(&stage, stage.call("Paymaster", "relay", &arguments)).await;
    assert!(reason.contains("ERC20: insufficient allowance"), "{reason}");
    let after = [stage.balance(CLIENT).await, stage.balance(RELAYER).await, stage.deposited(SPONSOR).await];
    assert_eq!(after, [before[0], before[1] - fee, before[2]]);
    assert_eq!(stage.sponsorship(SPONSOR, CLIENT).await[3], 0);
    assert_eq!(stage.ask("JobMgr", "job_count", &[]).await.number(), 0);

    // With credit for the second job, the very same goes through.
    let job = stage.submit(&spec).await;
    stage.on_job(CLIENT, "cancel_job", job).await.unwrap();
    let done = relay(&stage, FEE, &signed).await.unwrap();
    assert_eq!(names(&done.said), ["CreditSpent", "JobSubmitted", "JobSubmitted", "Relayed"]);
    stage.all_conserved().await;
}

/// Sends a call as the relayer without asking first; returns why it reverted and what that cost.
async fn blind(stage: &Stage, call: starknet::core::types::Call) -> (String, u128) {
    use starknet::{accounts::Account as _, accounts::ConnectedAccount as _, providers::Provider as _};
    let wallet = stage.wallet(RELAYER);
    let block = starknet::core::types::BlockId::Tag(starknet::core::types::BlockTag::Latest);
    let prices = match wallet.provider().get_block_with_tx_hashes(block).await.unwrap() {
        starknet::core::types::MaybePreConfirmedBlockWithTxHashes::Block(block) => block,
        other => panic!("the newest block is none: {other:?}"),
    };
    let price = |felt: Felt| u128::try_from(felt).unwrap() * 2;
    let sent = wallet
        .execute_v3(vec![call])
        .l1_gas(10_000)
        .l1_gas_price(price(prices.l1_gas_price.price_in_fri))
        .l2_gas(100_000_000)
        .l2_gas_price(price(prices.l2_gas_price.price_in_fri))
        .l1_data_gas(10_000)
        .l1_data_gas_price(price(prices.l1_data_gas_price.price_in_fri))
        .tip(0)
        .send()
        .await
        .unwrap();
    let receipt = wallet.provider().get_transaction_receipt(sent.transaction_hash).await.unwrap().receipt;
    let TransactionReceipt::Invoke(receipt) = receipt else { panic!("an invocation has another receipt") };
    match receipt.execution_result {
        ExecutionResult::Reverted { reason } => (reason, u128::try_from(receipt.actual_fee.amount).unwrap()),
        ExecutionResult::Succeeded => panic!("it went through"),
    }
}
