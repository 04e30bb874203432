//! The contracts on terms of a test's own, spoken to through their ABIs alone.
//!
//! Where `world.rs` acts through the keeper's own client, this sends any call and compares what the contracts
//! say felt by felt. A referee is an account here, so that a test can rule.

use std::{collections::BTreeMap, fmt::Debug, sync::Arc};

use e2e::{Localnet, LocalnetOptions, Wallet, contracts_words, deployment_of};
use keeper_types::Felt;
use serde_json::{Value, json};
use starknet::{
    accounts::{Account as _, ConnectedAccount as _, ExecutionEncoding, SingleOwnerAccount},
    core::{
        types::{
            BlockId, BlockTag, Call, ExecutionResult, FunctionCall, MaybePreConfirmedBlockWithTxHashes,
            TransactionReceipt, contract::SierraClass,
        },
        utils::get_selector_from_name,
    },
    macros::felt,
    providers::{JsonRpcClient, Provider as _, jsonrpc::HttpTransport},
    signers::{LocalWallet, SigningKey},
};

use crate::{
    abi::{Abi, Shown, artifact},
    world::{ADMIN, BALANCE, CHALLENGE_S, KEEPER, MIN_STAKE, STRK, UNBONDING_S, W1},
};

pub(crate) const W3: usize = W1 + 2;
pub(crate) const W4: usize = W1 + 3;
/// The account that is the Referee's here.
pub(crate) const REFEREE: usize = W1 + 4;
pub(crate) const TOKEN: Felt = felt!("0x04718f5a0fc34cc1af16a1cdee98ffb20c31f5cd61d6ab07201858f4287c938d");
/// Where burned stake goes.
pub(crate) const BURN: Felt = felt!("0xdead");
pub(crate) const DISPUTE_S: u64 = 900;
pub(crate) const BOND: u128 = 5 * STRK;
pub(crate) const POLICY: Felt = felt!("0x706f6c696379");
const PRE_CONFIRMED: BlockId = BlockId::Tag(BlockTag::PreConfirmed);

/// What a transaction came to: what the contracts said, or why they refuse.
pub(crate) type Sent = Result<Done, String>;

#[derive(Debug)]
pub(crate) struct Done {
    pub(crate) said: Vec<Said>,
    pub(crate) fee: u128,
}

/// An event of one of our contracts: its keys after the first, which is its name, and its data.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Said {
    pub(crate) by: String,
    pub(crate) name: String,
    pub(crate) keys: Vec<Felt>,
    pub(crate) data: Vec<Felt>,
}

pub(crate) fn said(by: &str, name: &str, keys: &[Felt], data: &[Felt]) -> Said {
    Said { by: by.to_owned(), name: name.to_owned(), keys: keys.to_vec(), data: data.to_vec() }
}

/// Anything as the felts of a call or an event.
macro_rules! felts {
    ($($value:expr),* $(,)?) => { Vec::from([$(keeper_types::Felt::from($value)),*]) };
}
pub(crate) use felts;

/// On what terms the contracts are deployed, and how far they are set up.
#[derive(Clone, Copy)]
pub(crate) struct Terms {
    pub(crate) challenge_s: u64,
    pub(crate) dispute_s: u64,
    pub(crate) unbonding_s: u64,
    pub(crate) keeper_bond: u128,
    pub(crate) policy_delay_s: u64,
    pub(crate) upgrade_delay_s: u64,
    /// Whether the contracts know each other, the keeper works and its policy is announced.
    pub(crate) is_wired: bool,
    /// Whether there is a referee then.
    pub(crate) has_referee: bool,
}

impl Default for Terms {
    fn default() -> Self {
        Self {
            challenge_s: CHALLENGE_S,
            dispute_s: DISPUTE_S,
            unbonding_s: UNBONDING_S,
            keeper_bond: BOND,
            policy_delay_s: 0,
            upgrade_delay_s: 600,
            is_wired: true,
            has_referee: true,
        }
    }
}

/// What a contract takes for now, as in `world.rs`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Moment {
    pub(crate) at: u64,
    pub(crate) block: u64,
}

impl Moment {
    /// The deadline so many seconds later.
    pub(crate) fn after(self, seconds: u64) -> Self {
        Self { at: self.at + seconds, block: self.block + seconds.div_ceil(10) }
    }

    /// As events and views tell it.
    pub(crate) fn felts(self) -> [Felt; 2] {
        [self.at.into(), self.block.into()]
    }
}

/// A chain with the contracts, and accounts for everyone that `world.rs` names.
pub(crate) struct Stage {
    pub(crate) chain: Localnet,
    wallets: Vec<Wallet>,
    addresses: BTreeMap<&'static str, Felt>,
    abis: BTreeMap<&'static str, Abi>,
    events: BTreeMap<Felt, String>,
}

impl Stage {
    pub(crate) async fn start() -> Self {
        Self::start_on(Terms::default()).await
    }

    pub(crate) async fn start_on(terms: Terms) -> Self {
        let mut stage = Self::bare(REFEREE);
        stage.deploy(terms).await;
        if terms.is_wired {
            stage.wire(terms).await;
        }
        stage
    }

    /// A chain without our contracts.
    pub(crate) fn bare(accounts: usize) -> Self {
        let options = LocalnetOptions {
            accounts: u8::try_from(accounts).ok(),
            balance: Some(BALANCE),
            ..LocalnetOptions::default()
        };
        let chain = Localnet::start(options);
        let http = reqwest::Client::new();
        let wallet = |number| {
            let account = chain.account(number);
            let url: url::Url = chain.rpc_url().parse().unwrap();
            let key = SigningKey::from_secret_scalar(Felt::from_hex(&account.private_key).unwrap());
            let mut wallet = SingleOwnerAccount::new(
                JsonRpcClient::new(HttpTransport::new_with_client(url, http.clone())),
                LocalWallet::from_signing_key(key),
                account.address.0,
                keeper_chain::Network::Devnet.chain_id().0,
                ExecutionEncoding::New,
            );
            wallet.set_block_id(PRE_CONFIRMED);
            wallet
        };
        let wallets = (1..=accounts).map(wallet).collect();
        let (addresses, abis, events) = Default::default();
        Self { chain, wallets, addresses, abis, events }
    }

    // Setting up

    /// Declares a class of `contracts/artifacts` and returns its hash.
    pub(crate) async fn declare(&mut self, name: &'static str) -> Felt {
        let sierra: SierraClass = serde_json::from_str(&artifact(&format!("{name}.contract_class.json"))).unwrap();
        let manifest: Value = serde_json::from_str(&artifact("manifest.json")).unwrap();
        let compiled = manifest["contracts"][name]["compiled_class_hash"].as_str().expect("the manifest lists it");
        let class = Arc::new(sierra.flatten().unwrap());
        let class_hash = class.class_hash();
        let declaration = self.wallet(ADMIN).declare_v3(class, Felt::from_hex(compiled).unwrap()).tip(0);
        declaration.send().await.unwrap_or_else(|error| panic!("declaring {name}: {error:?}"));
        let abi = Abi::of(name);
        for event in &abi.events {
            self.events.insert(get_selector_from_name(event).unwrap(), event.clone());
        }
        self.abis.insert(name, abi);
        class_hash
    }

    /// Deploys a contract and gives it the name of its class.
    pub(crate) async fn place(&mut self, name: &'static str, class_hash: Felt, arguments: &[Felt]) -> Sent {
        let (call, address) = deployment_of(class_hash, 1, arguments);
        let sent = self.send(ADMIN, vec![call]).await;
        self.addresses.insert(name, address.0);
        sent
    }

    async fn deploy(&mut self, terms: Terms) {
        let admin = self.address(ADMIN);
        let delay = Felt::from(terms.upgrade_delay_s);
        let class = self.declare("CdcPool").await;
        let arguments = [felts![admin, TOKEN, MIN_STAKE, terms.unbonding_s], vec![delay]].concat();
        self.place("CdcPool", class, &arguments).await.unwrap();
        let pool = self.at("CdcPool");
        let class = self.declare("JobMgr").await;
        let arguments = felts![admin, TOKEN, pool, terms.challenge_s, terms.dispute_s, delay];
        self.place("JobMgr", class, &arguments).await.unwrap();
        let class = self.declare("TaskAllocator").await;
        let jobs = self.at("JobMgr");
        let arguments = felts![admin, jobs, pool, TOKEN, terms.keeper_bond, terms.policy_delay_s, delay];
        self.place("TaskAllocator", class, &arguments).await.unwrap();
    }

    async fn wire(&self, terms: Terms) {
        let [jobs, allocator] = ["JobMgr", "TaskAllocator"].map(|name| self.at(name));
        let mut calls = vec![
            self.call("CdcPool", "set_job_mgr", &[jobs]),
            self.call("CdcPool", "set_task_allocator", &[allocator]),
            self.call("JobMgr", "set_task_allocator", &[allocator]),
            self.call("TaskAllocator", "add_keeper", &[self.address(KEEPER)]),
            self.call("TaskAllocator", "announce_policy", &[POLICY]),
        ];
        if terms.has_referee {
            calls.push(self.call("JobMgr", "set_referee", &[self.address(REFEREE)]));
        }
        self.send(ADMIN, calls).await.unwrap();
        if terms.keeper_bond > 0 {
            self.post_bond(KEEPER, terms.keeper_bond).await.unwrap();
        }
    }

    // Who and where

    pub(crate) fn wallet(&self, account: usize) -> &Wallet {
        &self.wallets[account - 1]
    }

    pub(crate) fn accounts(&self) -> usize {
        self.wallets.len()
    }

    pub(crate) fn address(&self, account: usize) -> Felt {
        self.wallet(account).address()
    }

    pub(crate) fn at(&self, contract: &str) -> Felt {
        self.addresses[contract]
    }

    pub(crate) fn abi(&self, contract: &str) -> &Abi {
        &self.abis[contract]
    }

    // Sending and asking

    pub(crate) fn call(&self, contract: &str, function: &str, arguments: &[Felt]) -> Call {
        let selector = get_selector_from_name(function).unwrap();
        Call { to: self.at(contract), selector, calldata: arguments.to_vec() }
    }

    /// What lets a contract take so many tokens of the caller.
    pub(crate) fn approve(&self, contract: &str, amount: u128) -> Call {
        let selector = get_selector_from_name("approve").unwrap();
        Call { to: TOKEN, selector, calldata: felts![self.at(contract), amount, 0] }
    }

    /// Sends the calls as one transaction. Where they would fail nothing is sent, and no block is made.
    pub(crate) async fn send(&self, account: usize, calls: Vec<Call>) -> Sent {
        let wallet = self.wallet(account);
        let sent = wallet.execute_v3(calls).tip(0).send().await;
        let hash = sent.map_err(|error| contracts_words(&format!("{error:?}")).to_owned())?.transaction_hash;
        let receipt = wallet.provider().get_transaction_receipt(hash).await.unwrap().receipt;
        let TransactionReceipt::Invoke(receipt) = receipt else { panic!("an invocation has another receipt") };
        if let ExecutionResult::Reverted { reason } = receipt.execution_result {
            panic!("what was estimated to go through reverted: {reason}");
        }
        let ours = |from: Felt| self.addresses.iter().find(|(_, address)| **address == from).map(|(name, _)| *name);
        let tell = |event: starknet::core::types::Event| {
            let by = ours(event.from_address)?;
            let name = self.events.get(&event.keys[0]).cloned().unwrap_or_else(|| format!("{:#x}", event.keys[0]));
            Some(said(by, &name, &event.keys[1..], &event.data))
        };
        let said = receipt.events.into_iter().filter_map(tell).collect();
        Ok(Done { said, fee: u128::try_from(receipt.actual_fee.amount).unwrap() })
    }

    /// Calls one function.
    pub(crate) async fn act(&self, account: usize, contract: &str, function: &str, arguments: &[Felt]) -> Sent {
        self.send(account, vec![self.call(contract, function, arguments)]).await
    }

    async fn raw_ask(&self, to: Felt, function: &str, arguments: &[Felt]) -> Result<Vec<Felt>, String> {
        let request = FunctionCall {
            contract_address: to,
            entry_point_selector: get_selector_from_name(function).unwrap(),
            calldata: arguments.to_vec(),
        };
        let provider = self.wallet(ADMIN).provider();
        provider.call(request, BlockId::Tag(BlockTag::Latest)).await.map_err(|error| format!("{error:?}"))
    }

    /// Asks a view.
    pub(crate) async fn ask(&self, contract: &str, function: &str, arguments: &[Felt]) -> Shown {
        let answer = self.raw_ask(self.at(contract), function, arguments).await;
        self.abi(contract).read(function, &answer.unwrap_or_else(|error| panic!("{function}: {error}")))
    }

    /// Asks a view, whose answer is left as it came.
    pub(crate) async fn ask_felts(&self, contract: &str, function: &str, arguments: &[Felt]) -> Vec<Felt> {
        self.raw_ask(self.at(contract), function, arguments).await.unwrap()
    }

    /// A view refuses this, with exactly these words.
    pub(crate) async fn ask_refused(&self, contract: &str, function: &str, arguments: &[Felt], words: &str) {
        let error = self.raw_ask(self.at(contract), function, arguments).await.unwrap_err();
        // The local chain spells what a view panics with as a number only.
        let felt = format!("{:#x}", Felt::from_bytes_be_slice(words.as_bytes()));
        assert!(error.contains(&felt), "expected `{words}`, {felt}, got {error}");
    }

    /// The class that a contract has now.
    pub(crate) async fn class_of(&self, contract: &str) -> Felt {
        let latest = BlockId::Tag(BlockTag::Latest);
        self.wallet(ADMIN).provider().get_class_hash_at(latest, self.at(contract)).await.unwrap()
    }

    pub(crate) async fn balance_at(&self, address: Felt) -> u128 {
        let answer = self.raw_ask(TOKEN, "balance_of", &[address]).await.unwrap();
        u128::try_from(answer[0]).unwrap()
    }

    pub(crate) async fn balance(&self, account: usize) -> u128 {
        self.balance_at(self.address(account)).await
    }

    // Time

    /// What the next transaction takes for now.
    pub(crate) async fn now(&self) -> Moment {
        let provider = self.wallet(ADMIN).provider();
        match provider.get_block_with_tx_hashes(BlockId::Tag(BlockTag::Latest)).await.unwrap() {
            MaybePreConfirmedBlockWithTxHashes::Block(block) => {
                Moment { at: block.timestamp, block: block.block_number + 1 }
            }
            other => panic!("the newest block is none: {other:?}"),
        }
    }

    /// Makes a block at that time, forwards or backwards.
    pub(crate) async fn set_time(&self, timestamp: u64) {
        self.chain.ask("devnet_setTime", json!({ "time": timestamp, "generate_block": true })).await;
    }

    /// Makes blocks until the next transaction is in `block`.
    pub(crate) async fn reach_block(&self, block: u64) {
        let missing = block.saturating_sub(self.now().await.block);
        self.chain.make_blocks(missing).await;
    }

    /// Moves time and blocks beyond a deadline.
    pub(crate) async fn pass(&self, deadline: Moment) {
        self.reach_block(deadline.block).await;
        self.set_time(deadline.at + 1).await;
    }

    /// Does what is only possible once both the time and the block of `deadline` have passed, and shows that it
    /// is refused with `words` before: by the clock alone, by the blocks alone, and at the very second.
    pub(crate) async fn only_after(&self, deadline: Moment, words: &str, action: impl AsyncFn() -> Sent) -> Done {
        refused(action().await, words);
        self.set_time(deadline.at + 1_000).await;
        assert!(self.now().await.block < deadline.block, "the deadline is too near for this test");
        refused(action().await, words);
        self.reach_block(deadline.block).await;
        refused(action().await, words);
        self.set_time(deadline.at).await;
        assert!(self.now().await.block > deadline.block);
        refused(action().await, words);
        self.set_time(deadline.at + 1).await;
        action().await.expect("time and block have passed")
    }
}

/// The contracts refuse this, with exactly these words.
#[track_caller]
pub(crate) fn refused(sent: Sent, words: &str) {
    match sent {
        Err(reason) => assert_eq!(reason, words),
        Ok(done) => panic!("expected `{words}`, but it went through: {:?}", done.said),
    }
}

/// What a transaction that went through made our contracts say.
#[track_caller]
pub(crate) fn told(sent: Sent) -> Vec<Said> {
    sent.expect("it goes through").said
}
