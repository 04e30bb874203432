//! What a pause stops, with everything in place for it, and what it never stops: a paused market can be emptied.

use keeper_types::Felt;
use starknet::core::types::Call;

use crate::{
    parties::{Needs, Spec, item, names, offer, outcome},
    paying::{ADMINISTERED, GATEWAY, RELAYER, SPONSOR, relay_arguments},
    referee::Evidence,
    stage::{POLICY, Stage, W3, felts, refused, told},
    world::{ADMIN, CLIENT, KEEPER, OTHER, RATE, STRK, W1, W2},
};

const PAUSED: &str = "Pausable: paused";
/// Who pauses here.
const GUARDIAN: usize = OTHER;
const FEE: u128 = STRK / 100;

async fn set_paused(stage: &Stage, contracts: &[&str], is_paused: bool) {
    for contract in contracts {
        let (account, function) = if is_paused { (GUARDIAN, "pause") } else { (ADMIN, "unpause") };
        stage.act(account, contract, function, &[]).await.unwrap();
    }
}

/// With a guardian, deposits, a gateway, a sponsor and its relayer.
async fn paying() -> Stage {
    let stage = Stage::start_paying().await;
    for contract in ADMINISTERED {
        stage.act(ADMIN, contract, "set_guardian", &[stage.address(GUARDIAN)]).await.unwrap();
    }
    stage.deposit(CLIENT, CLIENT, 20 * STRK).await.unwrap();
    stage.deposit(SPONSOR, SPONSOR, 20 * STRK).await.unwrap();
    let terms = felts![stage.address(CLIENT), 10 * FEE, FEE];
    stage.pay(CLIENT, "authorise_gateway", &felts![stage.address(GATEWAY), 10 * STRK]).await.unwrap();
    stage.pay(SPONSOR, "sponsor_account", &terms).await.unwrap();
    stage.pay(SPONSOR, "authorise_relayer", &[stage.address(RELAYER)]).await.unwrap();
    stage
}

/// A way in: who goes it, which contracts' pauses stop it, and the calls.
struct Way(usize, &'static [&'static str], Vec<Call>);

/// Every way in, in an order in which all can be gone. Two jobs are queued, the first account's worker is idle and
/// the third's is draining.
fn ways(stage: &Stage, spec: &Spec) -> Vec<Way> {
    let one = |contract, function, arguments: &[Felt]| vec![stage.call(contract, function, arguments)];
    let paid = |contract, amount, function, arguments: &[Felt]| {
        vec![stage.approve(contract, amount), stage.call(contract, function, arguments)]
    };
    let submit_for = [felts![stage.address(CLIENT)], spec.felts()].concat();
    let update = [offer().offer(), felts![2, RATE]].concat();
    let register = [offer().offer(), felts![2, RATE, 10 * STRK]].concat();
    let other = stage.address(OTHER);
    let calls = [stage.named_approval("JobMgr", STRK), stage.named("JobMgr", "submit_job", &spec.felts())];
    let relay = relay_arguments(stage.address(SPONSOR), FEE, &stage.sign(CLIENT, 1, &calls));
    vec![
        Way(CLIENT, &["JobMgr"], paid("JobMgr", STRK, "submit_job", &spec.felts())),
        Way(GATEWAY, &["JobMgr", "Paymaster"], one("JobMgr", "submit_job_for", &submit_for)),
        Way(W1, &["CdcPool"], one("CdcPool", "update_worker", &update)),
        Way(W1, &["CdcPool"], paid("CdcPool", STRK, "add_stake", &felts![STRK])),
        Way(W2, &["CdcPool"], paid("CdcPool", 10 * STRK, "register_worker", &register)),
        Way(W3, &["CdcPool"], one("CdcPool", "resume_worker", &[])),
        Way(KEEPER, &["TaskAllocator"], paid("TaskAllocator", STRK, "post_bond", &felts![STRK])),
        Way(OTHER, &["Paymaster"], paid("Paymaster", STRK, "deposit", &felts![other, STRK])),
        Way(CLIENT, &["Paymaster"], one("Paymaster", "authorise_gateway", &felts![other, 1])),
        Way(SPONSOR, &["Paymaster"], one("Paymaster", "sponsor_account", &felts![other, 2, 1])),
        Way(SPONSOR, &["Paymaster"], one("Paymaster", "authorise_relayer", &[other])),
        Way(RELAYER, &["JobMgr", "Paymaster"], one("Paymaster", "relay", &relay)),
        Way(W1, &["JobMgr"], one("JobMgr", "claim_job", &felts![1])),
        Way(
            KEEPER,
            &["JobMgr", "TaskAllocator"],
            one("TaskAllocator", "apply_batch", &Stage::batch(1, 0, POLICY, &[item(2, 1).pack()])),
        ),
    ]
}

#[tokio::test]
async fn a_pause_stops_every_way_in_and_no_other() {
    let stage = paying().await;
    stage.register(W1).await;
    stage.register(W3).await;
    stage.act(W3, "CdcPool", "drain_worker", &[]).await.unwrap();
    let spec = Spec { deadline: stage.now().await.at + 100_000, ..stage.spec().await };
    for _ in 0..2 {
        stage.submit(&spec).await;
    }
    // So long without a round that workers may claim.
    stage.chain.make_blocks(102).await;
    let ways = ways(&stage, &spec);
    set_paused(&stage, &ADMINISTERED, true).await;
    for Way(account, _, calls) in &ways {
        refused(stage.send(*account, calls.clone()).await, PAUSED);
    }
    // Each pause alone stops exactly its own.
    set_paused(&stage, &ADMINISTERED, false).await;
    for contract in ADMINISTERED {
        set_paused(&stage, &[contract], true).await;
        for Way(account, _, calls) in ways.iter().filter(|way| way.1.contains(&contract)) {
            refused(stage.send(*account, calls.clone()).await, PAUSED);
        }
        set_paused(&stage, &[contract], false).await;
    }
    for (number, Way(account, _, calls)) in ways.iter().enumerate() {
        let sent = stage.send(*account, calls.clone()).await;
        assert!(sent.is_ok(), "way {number}: {sent:?}");
    }
    assert_eq!(stage.worker(1).await["free_slots"].number(), 0);
    stage.all_conserved().await;
}

#[tokio::test]
async fn with_one_contract_paused_the_others_go_on() {
    let stage = paying().await;
    stage.register(W1).await;
    stage.register(W3).await;
    stage.act(W3, "CdcPool", "drain_worker", &[]).await.unwrap();
    let spec = Spec { deadline: stage.now().await.at + 100_000, ..stage.spec().await };
    for _ in 0..2 {
        stage.submit(&spec).await;
    }
    stage.chain.make_blocks(102).await;
    set_paused(&stage, &["CdcPool"], true).await;
    for (number, Way(account, stops, calls)) in ways(&stage, &spec).into_iter().enumerate() {
        let sent = stage.send(account, calls).await;
        if stops.contains(&"CdcPool") {
            refused(sent, PAUSED);
        } else {
            assert!(sent.is_ok(), "way {number}: {sent:?}");
        }
    }
    stage.all_conserved().await;
}

/// Jobs of which each waits for something else.
struct Market {
    stage: Stage,
    evidence: Evidence,
}

const CANCELLED: u64 = 1;
const EXPIRED: u64 = 2;
const FAILED: u64 = 3;
const ANSWERED: u64 = 4;
const COMMITTED: u64 = 5;
const SILENT: u64 = 6;
const UNREVEALED: u64 = 7;
const TO_DISPUTE: u64 = 8;
const DISPUTED: u64 = 9;
/// The first of three that three workers run.
const GROUP: u64 = 10;
/// The first of three that nobody runs.
const IDLE_GROUP: u64 = 13;
/// What a gateway submitted.
const FOR_CLIENT: u64 = 16;

async fn busy() -> Market {
    let stage = paying().await;
    let workers = [stage.register_with(W1, 12, 30 * STRK).await, stage.register(W2).await, stage.register(W3).await];
    let far = stage.now().await.at + 100_000;
    let plain = stage.spec().await;
    let plain = Spec { needs: Needs { gpus: 0, ..plain.needs }, deadline: far, ..plain };
    let group = Spec { replicas: 3, quorum: 2, ..plain.clone() };
    let evidence = Evidence::right(3, 33);
    let product = Spec { verification: 2, manifest_hash: evidence.manifest_hash(), ..plain.clone() };
    for job in CANCELLED..=DISPUTED {
        let spec = match job {
            EXPIRED => Spec { deadline: stage.now().await.at + 600, ..plain.clone() },
            TO_DISPUTE | DISPUTED => product.clone(),
            _ => plain.clone(),
        };
        assert_eq!(stage.submit(&spec).await, job);
    }
    assert_eq!(stage.submit(&group).await, GROUP);
    assert_eq!(stage.submit(&group).await, IDLE_GROUP);
    let arguments = [felts![stage.address(CLIENT)], plain.felts()].concat();
    stage.act(GATEWAY, "JobMgr", "submit_job_for", &arguments).await.unwrap();

    for job in FAILED..=DISPUTED {
        stage.allocate(job, workers[0]).await;
    }
    for (job, worker) in (GROUP..).zip(workers) {
        stage.allocate(job, worker).await;
    }
    stage.commit(W1, UNREVEALED, 1, outcome("never shown")).await.unwrap();
    for job in [TO_DISPUTE, DISPUTED] {
        stage.submit_result(W1, job, 1, evidence.hash().to_felt()).await.unwrap();
    }
    stage.dispute(CLIENT, DISPUTED, 50 * STRK).await.unwrap();
    Market { stage, evidence }
}

/// What can be done at once.
async fn leave_at_once(Market { stage, evidence }: &Market) {
    let right = outcome("right");
    for job in [CANCELLED, IDLE_GROUP, FOR_CLIENT] {
        stage.on_job(CLIENT, "cancel_job", job).await.unwrap();
    }
    stage.fail_attempt(W1, FAILED, 1).await.unwrap();
    stage.submit_result(W1, ANSWERED, 1, right).await.unwrap();
    stage.commit(W1, COMMITTED, 1, right).await.unwrap();
    stage.reveal(W1, COMMITTED, 1, right).await.unwrap();
    stage.on_job(CLIENT, "accept_result", COMMITTED).await.unwrap();
    stage.dispute(CLIENT, TO_DISPUTE, 50 * STRK).await.unwrap();
    evidence.judge(stage, OTHER, TO_DISPUTE).await.unwrap();
    let members = (GROUP..).zip([W1, W2, W3]);
    for (job, account) in members.clone() {
        stage.commit(account, job, 1, right).await.unwrap();
    }
    for (job, account) in members {
        stage.reveal(account, job, 1, right).await.unwrap();
        stage.act(account, "CdcPool", "heartbeat", &[]).await.unwrap();
    }
    for function in ["drain_worker", "heartbeat"] {
        stage.act(W2, "CdcPool", function, &[]).await.unwrap();
    }
}

/// What takes its time: the longest is that to reveal, six hours after an attempt's deadline.
async fn leave_later(stage: &Stage) {
    stage.pass(stage.now().await.after(23_000)).await;
    stage.on_job(OTHER, "expire_job", EXPIRED).await.unwrap();
    let lost = told(stage.on_job(OTHER, "settle_dispute", DISPUTED).await);
    assert_eq!(names(&lost)[0], "DisputeRuled");
    for job in [SILENT, UNREVEALED] {
        stage.on_job(OTHER, "expire_attempt", job).await.unwrap();
    }
    for job in [FAILED, SILENT, UNREVEALED] {
        assert_eq!(stage.state(job).await, "Queued");
        stage.on_job(CLIENT, "cancel_job", job).await.unwrap();
    }
    for job in [ANSWERED, GROUP, GROUP + 1, GROUP + 2] {
        stage.on_job(OTHER, "settle", job).await.unwrap();
    }
}

/// Everyone takes out what is theirs.
async fn take_out(stage: &Stage) {
    for account in [CLIENT, W1, W2, W3] {
        assert!(stage.credit(account).await > 0, "account {account}");
        stage.act(OTHER, "JobMgr", "withdraw", &[stage.address(account)]).await.unwrap();
    }
    for account in [W1, W2, W3] {
        stage.act(account, "CdcPool", "exit_worker", &[]).await.unwrap();
    }
    stage.act(KEEPER, "TaskAllocator", "leave", &[]).await.unwrap();
    stage.pass(stage.now().await.after(1_000)).await;
    for account in [W1, W2, W3] {
        stage.act(account, "CdcPool", "withdraw_stake", &[]).await.unwrap();
    }
    stage.act(KEEPER, "TaskAllocator", "withdraw_bond", &[]).await.unwrap();
    for account in [CLIENT, SPONSOR] {
        let deposited = stage.deposited(account).await;
        stage.pay(account, "withdraw", &felts![deposited]).await.unwrap();
    }
    stage.pay(CLIENT, "revoke_gateway", &[stage.address(GATEWAY)]).await.unwrap();
    stage.pay(SPONSOR, "stop_sponsoring", &[stage.address(CLIENT)]).await.unwrap();
    stage.pay(SPONSOR, "revoke_relayer", &[stage.address(RELAYER)]).await.unwrap();
}

#[tokio::test]
async fn a_paused_market_can_be_emptied_to_the_last_fri() {
    let market = busy().await;
    let stage = &market.stage;
    stage.all_conserved().await;
    set_paused(stage, &ADMINISTERED, true).await;
    leave_at_once(&market).await;
    stage.all_conserved().await;
    leave_later(stage).await;
    stage.all_conserved().await;
    for job in 1..=FOR_CLIENT {
        let state = stage.state(job).await;
        assert!(["Settled", "Cancelled", "Expired", "Failed"].contains(&state.as_str()), "job {job}: {state}");
    }
    take_out(stage).await;
    for contract in ADMINISTERED {
        assert_eq!(stage.balance_at(stage.at(contract)).await, 0, "{contract}");
        assert!(stage.ask(contract, "is_paused", &[]).await.is_true());
    }
    stage.all_conserved().await;
}
