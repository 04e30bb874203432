//! The market that is measured: contracts, a keeper, a client, and workers with accounts of their own.

use std::cell::Cell;

use e2e::{Caller, DevnetAccount, LocalnetOptions, Market, capabilities, deployment_of, job_spec};
use futures::stream::{self, StreamExt as _};
use keeper_chain::{DeploymentTerms, Network, Sender};
use keeper_types::{Address, Felt, Fri, JobId, JobSpec, Rate, Requirements, WorkerId};
use starknet::{core::types::Call, macros::selector};

use super::Cost;

/// A batch of 500 shares workers: each has slots for more than one item.
const MOST_WORKERS: u64 = 240;
/// Workers that the lives of single jobs need.
const LEAST_WORKERS: u64 = 12;
/// Slots of a worker. Jobs of measured batches keep theirs.
const SLOTS: u8 = 8;
/// What a worker can spend on fees.
const FEES: u128 = 20;
const STRK: u128 = 1_000_000_000_000_000_000;
const MIN_STAKE: Fri = Fri(STRK);
pub(crate) const RATE: Rate = Rate(1_000);
/// Accounts that are made in one transaction.
const MADE_AT_ONCE: usize = 40;
/// Jobs that are submitted in one transaction to fill the queue.
const SUBMITTED_AT_ONCE: usize = 50;
const CHALLENGE_S: u64 = 10;
const DISPUTE_S: u64 = 600;
const UNBONDING_S: u64 = 30;
const EXECUTION_S: u32 = 60;
/// Makes the addresses of the workers' accounts.
const FIRST_SALT: u64 = 1_000;

/// Who takes part.
pub(crate) struct Crew {
    pub(crate) market: Market,
    /// Makes calls that no program of ours makes.
    pub(crate) deployer: Caller,
    /// In the order of their numbers, from 1.
    pub(crate) workers: Vec<(WorkerId, Sender)>,
    /// Items allocated in batches so far: the next is for the worker whose turn it is.
    pub(crate) turn: Cell<usize>,
}

impl Crew {
    /// A chain with contracts on it and as many workers as the largest batch asks for.
    pub(crate) async fn hire(largest: u64) -> Self {
        let options = LocalnetOptions { balance: Some(1_000_000 * STRK), ..LocalnetOptions::default() };
        let terms = DeploymentTerms {
            challenge_window_s: CHALLENGE_S,
            dispute_window_s: DISPUTE_S,
            unbonding_s: UNBONDING_S,
            min_stake_per_slot: MIN_STAKE,
            ..DeploymentTerms::of(Network::Devnet)
        };
        let market = Market::start_on(options, terms).await;
        let deployer = Caller::new(&market.chain, market.chain.account(1)).await;
        let count = usize::try_from(largest.clamp(LEAST_WORKERS, MOST_WORKERS)).expect("a small number");
        println!("registering {count} workers");
        let accounts = Self::make_accounts(&market, &deployer, count).await;
        let mut workers: Vec<_> =
            stream::iter(accounts).map(|account| Self::register(&market, account)).buffer_unordered(4).collect().await;
        workers.sort_by_key(|(worker_id, _)| *worker_id);
        Self { market, deployer, workers, turn: Cell::new(0) }
    }

    /// Accounts of the predeployed ones' class and key. The chain could predeploy them, but takes gigabytes of memory
    /// for so many.
    async fn make_accounts(market: &Market, deployer: &Caller, count: usize) -> Vec<DevnetAccount> {
        let model = market.chain.account(1).clone();
        let [class, key] = [&model.class_hash, &model.public_key].map(|text| Felt::from_hex(text).expect("a felt"));
        let salts = (0..count).map(|index| FIRST_SALT + index as u64);
        let deployments: Vec<_> = salts.map(|salt| deployment_of(class, salt, &[key])).collect();
        let token = market.deployment().token.0;
        let funds = MIN_STAKE.0 * u128::from(SLOTS) + FEES * STRK;
        let pay = |address: &Address| Call {
            to: token,
            selector: selector!("transfer"),
            calldata: vec![address.0, Felt::from(funds), Felt::ZERO],
        };
        for some in deployments.chunks(MADE_AT_ONCE) {
            let calls = some.iter().flat_map(|(deploy, address)| [deploy.clone(), pay(address)]);
            deployer.send(calls.collect()).await.expect("making accounts");
        }
        deployments.into_iter().map(|(_, address)| DevnetAccount { address, ..model.clone() }).collect()
    }

    async fn register(market: &Market, account: DevnetAccount) -> (WorkerId, Sender) {
        let sender = market.chain.sender_of(&account).await;
        let stake = Fri(MIN_STAKE.0 * u128::from(SLOTS));
        let registered = market.contracts.register_worker(&sender, &capabilities(), SLOTS, RATE, stake).await;
        (registered.expect("registering a worker").0, sender)
    }

    /// Submits jobs, and says what the last transaction of that cost.
    pub(crate) async fn submit(&self, count: usize) -> (Vec<JobId>, Cost) {
        let specs = vec![self.spec().await; count];
        let mut submitted = Vec::new();
        let mut cost = Cost { l2_gas: 0, l1_data_gas: 0 };
        for chunk in specs.chunks(SUBMITTED_AT_ONCE) {
            let (job_ids, receipt) = self.submit_specs(chunk).await;
            submitted.extend(job_ids);
            cost = receipt;
        }
        (submitted, cost)
    }

    /// Submits these jobs in one transaction.
    pub(crate) async fn submit_specs(&self, specs: &[JobSpec]) -> (Vec<JobId>, Cost) {
        let submitted = self.market.contracts.submit_jobs(&self.market.client, specs).await;
        let (job_ids, receipt) = submitted.expect("submitting");
        (job_ids, Cost::of(&receipt))
    }

    /// A job that asks for something of everything. It reserves no GPU, of which workers have fewer than slots.
    pub(crate) async fn spec(&self) -> JobSpec {
        let offered = capabilities();
        let requirements = Requirements {
            gpu_count: 0,
            vram_gib: 24,
            compute_capability: 80,
            cuda_version: 120,
            driver_version: 525,
            cpu_cores: 8,
            memory_gib: 32,
            min_reputation: 100,
            features: keeper_types::Features(3),
            region: offered.region,
        };
        JobSpec { requirements, execution_timeout_s: EXECUTION_S, ..job_spec(self.market.now().await) }
    }
}
