//! The lane as it runs, with a node that is a few lines over HTTP, and leases.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use keeper_store::{
    Fence, IntentAction, Leases as _, MaintenanceCall, SqliteStore, Store as _, Tenure, TenureHolder, lane_lease,
};
use keeper_types::{Address, BlockEvents, BlockHeader, BlockNumber, Felt};
use serde_json::{Value, json};
use starknet::signers::SigningKey;

use crate::{
    Calls, Credentials, Sender,
    lane::{
        Duties, Lane, LaneLease, LaneSettings,
        chain::tests::{OneBlock, store},
    },
    rpc::tests::answering,
};

const HOUR: Duration = Duration::from_hours(1);
const TICK: Duration = Duration::from_millis(10);
const ACCOUNT: Address = Address(Felt::TWO);

/// A block that is recorded and that the chain has.
const BLOCK: BlockHeader =
    BlockHeader { number: BlockNumber(7), hash: Felt::THREE, parent_hash: Felt::TWO, timestamp: 1_000 };

/// What is decided is decided under one grant.
#[derive(Debug)]
struct OneDuty(Tenure);

#[async_trait]
impl Duties for OneDuty {
    async fn over(&self, duty: &[Fence]) {
        let [fence] = duty else { return std::future::pending().await };
        self.0.clone().over(fence).await;
    }
}

/// A lane that runs, before a node that takes everything and puts it into a block at once.
struct Running {
    lane: Lane,
    /// What the account is led by, and what is decided.
    leads: Arc<TenureHolder>,
    node: Arc<OneBlock>,
    /// What was sent.
    sent: Arc<Mutex<Vec<Value>>>,
    /// Whether somebody has done what is to be sent, so that the contract refuses it.
    is_done: Arc<AtomicBool>,
    /// How many transactions more the node does not take, and says nothing of use about.
    failing: Arc<AtomicU64>,
    store: Arc<SqliteStore>,
    account: TenureHolder,
    _folder: tempfile::TempDir,
}

/// Whether a transaction does what was asked for.
fn is_action(transaction: &Value) -> bool {
    transaction["calldata"].to_string().contains("0xabc")
}

fn duty() -> Fence {
    Fence { name: "leader".to_owned(), term: 1 }
}

fn block() -> Value {
    let price = json!({ "price_in_fri": "0x10", "price_in_wei": "0x10" });
    json!({
        "status": "ACCEPTED_ON_L2", "block_hash": "0x3", "parent_hash": "0x2", "block_number": 7, "new_root": "0x0",
        "timestamp": 1_000, "sequencer_address": "0x1", "l1_gas_price": price, "l2_gas_price": price,
        "l1_data_gas_price": price, "l1_da_mode": "BLOB", "starknet_version": "0.14.0", "transactions": [],
        "event_commitment": "0x0", "transaction_commitment": "0x0", "receipt_commitment": "0x0",
        "state_diff_commitment": "0x0", "event_count": 0, "transaction_count": 0, "state_diff_length": 0,
    })
}

impl Running {
    /// With a node of which it is not known that it is on the recorded chain.
    async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = Arc::new(store(folder.path()).await);
        store.append_blocks(&[BlockEvents { header: BLOCK, events: Vec::new() }]).await.unwrap();
        let (node, sent) = (OneBlock::new(Err(())), Arc::new(Mutex::new(Vec::new())));
        let (taken, nonce) = (sent.clone(), AtomicU64::new(0));
        let is_done = Arc::new(AtomicBool::new(false));
        let failing = Arc::new(AtomicU64::new(0));
        let (refuses, fails) = (is_done.clone(), failing.clone());
        let rpc = answering(Arc::new(move |method, params| match method {
            "starknet_getNonce" => Ok(json!(format!("{:#x}", nonce.load(Ordering::SeqCst)))),
            "starknet_getBlockWithTxHashes" => Ok(block()),
            "starknet_estimateFee" if refuses.load(Ordering::SeqCst) && is_action(&params["request"][0]) => {
                Err(json!({ "code": 41, "message": "Transaction execution error", "data": {
                    "transaction_index": 0, "execution_error": "JobMgr: already settled",
                } }))
            }
            "starknet_estimateFee" => Ok(json!([{
                "l1_gas_consumed": "0x1", "l1_gas_price": "0x10", "l2_gas_consumed": "0x1", "l2_gas_price": "0x10",
                "l1_data_gas_consumed": "0x1", "l1_data_gas_price": "0x10", "overall_fee": "0x30", "unit": "FRI",
            }])),
            "starknet_addInvokeTransaction" if fails.load(Ordering::SeqCst) > 0 => {
                fails.fetch_sub(1, Ordering::SeqCst);
                Err(json!({ "code": -32603, "message": "Internal error" }))
            }
            "starknet_addInvokeTransaction" => {
                taken.lock().unwrap().push(params["invoke_transaction"].clone());
                nonce.fetch_add(1, Ordering::SeqCst);
                Ok(json!({ "transaction_hash": "0x9" }))
            }
            _ => Err(json!({ "code": 29, "message": "Transaction hash not found" })),
        }))
        .await;
        let key = SigningKey::from_secret_scalar(Felt::from(77));
        let sender = Arc::new(Sender::new(&rpc, &Credentials { address: ACCOUNT, key }, TICK));
        let (account, leads) = (TenureHolder::default(), Arc::new(TenureHolder::default()));
        let until = tokio::time::Instant::now() + HOUR;
        store.acquire(&duty().name, "this keeper", HOUR).await.unwrap().unwrap();
        leads.hold(duty(), until);
        let duties = Arc::new(OneDuty(leads.tenure()));
        let lease = LaneLease { leases: store.clone(), tenure: account.tenure(), duties };
        let settings = LaneSettings { poll: TICK, ..LaneSettings::default() };
        let lane = Lane::under(Some(lease), Arc::default(), sender, store.clone(), settings);
        let lane = lane.only_on_recorded(node.clone());
        tokio::spawn({
            let lane = lane.clone();
            async move { lane.run(std::future::pending(), Duration::ZERO).await }
        });
        let running = Self { lane, leads, node, sent, is_done, failing, store, account, _folder: folder };
        running.grant().await;
        running
    }

    /// Takes the account, anew where this keeper has it.
    async fn grant(&self) {
        self.account.end();
        let lease = self.store.acquire(&lane_lease(ACCOUNT), "this keeper", HOUR).await.unwrap().unwrap();
        self.account.hold(lease.fence(), tokio::time::Instant::now() + HOUR);
    }

    async fn submit(&self, action: IntentAction) -> crate::lane::Submitted {
        let calls = Calls::transfer(Address(Felt::from(0xabc)), keeper_types::Fri(5));
        self.lane.submit_for(&[duty()], action, calls).await.unwrap()
    }

    /// Waits for the first transaction; says whether it is the one that was asked for.
    async fn is_first_the_action(&self) -> bool {
        loop {
            let first = self.sent.lock().unwrap().first().cloned();
            if let Some(transaction) = first {
                return is_action(&transaction);
            }
            tokio::time::sleep(TICK).await;
        }
    }

    /// Waits until it was looked whether the node is on the recorded chain, and looked again.
    async fn is_withheld(&self) {
        while self.node.asked() < 2 {
            tokio::time::sleep(TICK).await;
        }
        assert!(self.sent.lock().unwrap().is_empty(), "the node is not known to be on the chain");
    }

    fn node_is_back(&self) {
        self.node.has(Ok(Some(BLOCK)));
    }
}

fn round() -> IntentAction {
    IntentAction::ApplyBatch { round: 1, snapshot_block: BLOCK.number, items: Vec::new() }
}

#[tokio::test]
async fn a_round_that_was_held_up_is_not_sent_once_others_lead() {
    let running = Running::start().await;
    let submitted = running.submit(round()).await;
    running.is_withheld().await;
    running.leads.end();
    running.node_is_back();
    assert!(!running.is_first_the_action().await, "a no-op takes its nonce");
    assert_eq!(submitted.nonce, 0);
}

#[tokio::test]
async fn a_round_that_was_held_up_is_sent_while_its_keeper_leads() {
    let running = Running::start().await;
    running.submit(round()).await;
    running.is_withheld().await;
    running.node_is_back();
    assert!(running.is_first_the_action().await);
}

#[tokio::test]
async fn an_exit_that_was_held_up_is_sent_whoever_leads() {
    let running = Running::start().await;
    running.submit(IntentAction::Maintenance { calls: Vec::new() }).await;
    running.is_withheld().await;
    running.leads.end();
    running.node_is_back();
    assert!(running.is_first_the_action().await);
}

/// An exit that is recorded and could not be sent before the account was another's for a while.
async fn left_behind() -> Running {
    let running = Running::start().await;
    running.submit(IntentAction::Maintenance { calls: Vec::new() }).await;
    running.is_withheld().await;
    running.grant().await;
    running
}

#[tokio::test]
async fn an_exit_that_was_left_behind_is_sent() {
    let running = left_behind().await;
    running.node_is_back();
    assert!(running.is_first_the_action().await);
}

#[tokio::test]
async fn an_exit_that_was_left_behind_and_that_others_have_done_gives_way() {
    let running = left_behind().await;
    running.is_done.store(true, Ordering::SeqCst);
    running.node_is_back();
    assert!(!running.is_first_the_action().await, "it would revert");
}

#[tokio::test]
async fn nothing_goes_out_before_what_comes_below_it_was_answered() {
    let running = Running::start().await;
    running.failing.store(1, Ordering::SeqCst);
    for account in [5, 6] {
        let account = Address(Felt::from(account));
        running.submit(IntentAction::Maintenance { calls: vec![MaintenanceCall::PayOut { account }] }).await;
    }
    running.node_is_back();
    assert!(running.is_first_the_action().await);
    let first = running.sent.lock().unwrap()[0].clone();
    assert_eq!(first["nonce"], "0x0", "the one that came to nothing is sent again before the next");
}
