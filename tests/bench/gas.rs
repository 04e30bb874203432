//! What the contracts cost, measured as whole transactions on a local chain with every check on.
//!
//! Prints one JSON object: for each operation the L2 gas and the L1 data gas that the receipt names; allocations
//! per item, in batches over distinct workers as far as there are accounts for them. `full_life` is one job from
//! its submission to its payment, with its share of the batch of 100 (or of the largest batch, if that was not
//! measured), beside what a plain transfer of STRK costs. Sizes of batches can be named as arguments.

#![allow(clippy::expect_used, clippy::print_stdout, reason = "a measurement fails by panicking and prints its result")]

use std::{cell::Cell, collections::BTreeMap};

use e2e::{LocalnetOptions, Market, capabilities, job_spec};
use futures::stream::{self, StreamExt as _};
use keeper_chain::{DeploymentTerms, DueExit, Network, Receipt, Sender};
use keeper_types::{
    AllocationItem, Attempt, BlockNumber, ContentHash, Felt, Fri, JobId, JobSpec, Rate, Requirements, Strategy,
    WorkerId,
};
use serde::Serialize;

/// Sizes of the measured batches, the largest of them the largest that the contract takes.
const BATCHES: [u64; 6] = [1, 10, 50, 100, 200, 500];
/// Accounts of workers: as many as the local chain can be asked for, less those of the other parties.
const MOST_WORKERS: u64 = 240;
/// The first account that is a worker's.
const FIRST_WORKER: u8 = 4;
/// Workers that the lives of single jobs need.
const LIVES: u64 = 4;
const STRK: u128 = 1_000_000_000_000_000_000;
/// Jobs that are submitted in one transaction to fill the queue.
const SUBMITTED_AT_ONCE: usize = 50;
const CHALLENGE_S: u64 = 10;
const EXECUTION_S: u32 = 60;
/// How long a job that is to expire may be allocated.
const SHORT_DEADLINE_S: u64 = 120;

/// What a transaction, or a share of one, costs.
#[derive(Clone, Copy, Debug, Serialize)]
struct Cost {
    l2_gas: u64,
    l1_data_gas: u64,
}

impl Cost {
    fn of(receipt: &Receipt) -> Self {
        Self { l2_gas: receipt.l2_gas, l1_data_gas: receipt.l1_data_gas }
    }

    /// One item's share, rounded up.
    fn share(receipt: &Receipt, items: u64) -> Self {
        Self { l2_gas: receipt.l2_gas.div_ceil(items), l1_data_gas: receipt.l1_data_gas.div_ceil(items) }
    }

    fn plus(self, other: Self) -> Self {
        Self { l2_gas: self.l2_gas + other.l2_gas, l1_data_gas: self.l1_data_gas + other.l1_data_gas }
    }
}

#[derive(Debug, Serialize)]
struct Costs {
    /// Per item, by the size of the batch.
    allocate: BTreeMap<u64, Cost>,
    #[serde(flatten)]
    single: BTreeMap<&'static str, Cost>,
    full_life_in_transfers: f64,
}

/// The market that is measured.
struct Bench {
    market: Market,
    workers: Vec<(WorkerId, Sender)>,
    /// Items allocated so far: the next one is for the worker whose turn it is.
    allocated: Cell<usize>,
}

#[tokio::main]
async fn main() {
    let named: Vec<u64> = std::env::args().skip(1).map(|size| size.parse().expect("the size of a batch")).collect();
    let sizes = if named.is_empty() { BATCHES.to_vec() } else { named };
    let largest = sizes.iter().copied().max().unwrap_or(1);
    let bench = Bench::start(u8::try_from(largest.clamp(LIVES, MOST_WORKERS)).expect("at most 240")).await;
    let mut single = BTreeMap::new();
    bench.measure_lives(&mut single).await;
    let mut allocate = BTreeMap::new();
    for size in sizes {
        allocate.insert(size, bench.measure_batch(size).await);
    }
    let share = allocate.get(&100).or(allocate.get(&largest)).copied().expect("a batch was measured");
    let parts = ["submit", "result", "settle"];
    single.insert("full_life", parts.iter().fold(share, |sum, name| sum.plus(single[name])));
    let full_life_in_transfers = ratio(single["full_life"].l2_gas, single["strk_transfer"].l2_gas);
    let costs = Costs { allocate, single, full_life_in_transfers };
    println!("{}", serde_json::to_string_pretty(&costs).expect("plain numbers"));
}

impl Bench {
    async fn start(workers: u8) -> Self {
        let options = LocalnetOptions {
            accounts: Some(FIRST_WORKER + workers),
            balance: Some(1_000_000 * STRK),
            ..LocalnetOptions::default()
        };
        let terms = DeploymentTerms { challenge_window_s: CHALLENGE_S, ..DeploymentTerms::of(Network::Devnet) };
        let market = Market::start_on(options, terms).await;
        let accounts = FIRST_WORKER + 1..=FIRST_WORKER + workers;
        let offered = capabilities();
        let registering = accounts.map(|account| market.register(usize::from(account), &offered, 8));
        let workers = stream::iter(registering).buffered(4).collect().await;
        Self { market, workers, allocated: Cell::new(0) }
    }

    /// One transaction of each kind.
    async fn measure_lives(&self, single: &mut BTreeMap<&'static str, Cost>) {
        let Market { contracts, client, admin, .. } = &self.market;
        let late = self.market.chain.sender(usize::from(FIRST_WORKER)).await;
        let stake = Fri(10 * STRK);
        let registered = contracts.register_worker(&late, &capabilities(), 1, Rate(1_000), stake).await;
        single.insert("register", Cost::of(&registered.expect("registering").1));
        let transfer = admin.transfer(client.address(), Fri(STRK)).await.expect("a transfer");
        single.insert("strk_transfer", Cost::of(&transfer));

        // The escrow's first job makes its balance, which no later one does.
        self.submit(1).await;
        single.insert("submit", self.submit(1).await.1);
        let spec = JobSpec { model_id: Felt::ONE, ..self.spec().await };
        let with_model = contracts.submit_jobs(client, &[spec]).await.expect("submitting");
        single.insert("submit_with_model", Cost::of(&with_model.1));
        let cancelled = contracts.cancel_job(client, with_model.0[0]).await.expect("cancelling");
        single.insert("cancel", Cost::of(&cancelled));

        let jobs = self.submit(4).await.0;
        self.allocate(&jobs).await;
        let worker = |index: usize| &self.workers[index].1;
        let result = ContentHash::of(b"a result");
        let revealed = contracts.submit_result(worker(0), jobs[0], Attempt(1), result).await.expect("a result");
        single.insert("result", Cost::of(&revealed));
        contracts.submit_result(worker(1), jobs[1], Attempt(1), result).await.expect("a result");
        let accepted = contracts.accept_result(client, jobs[1]).await.expect("accepting");
        single.insert("accept", Cost::of(&accepted));
        let failed = contracts.fail_attempt(worker(2), jobs[2], Attempt(1), Felt::ONE).await.expect("failing");
        single.insert("fail_attempt", Cost::of(&failed));

        let soon = JobSpec { deadline: self.market.now().await + SHORT_DEADLINE_S, ..self.spec().await };
        let unplaced = self.market.submit(&soon).await;
        self.market.chain.pass_time(SHORT_DEADLINE_S + 60).await;
        for (name, due) in [
            ("settle", DueExit::Settle(jobs[0])),
            ("expire_attempt", DueExit::ExpireAttempt(jobs[3])),
            ("expire_job", DueExit::ExpireJob(unplaced)),
        ] {
            single.insert(name, Cost::of(&contracts.exit_due(admin, &[due]).await.expect("it is due")));
        }
    }

    /// Allocates `size` new jobs in one transaction.
    async fn measure_batch(&self, size: u64) -> Cost {
        let jobs = self.submit(usize::try_from(size).expect("a small number")).await.0;
        Cost::share(&self.allocate(&jobs).await, size)
    }

    /// Applies a round that gives each job to another worker, as far as there are that many.
    async fn allocate(&self, jobs: &[JobId]) -> Receipt {
        let Market { contracts, keeper, .. } = &self.market;
        let first = self.allocated.replace(self.allocated.get() + jobs.len()) % self.workers.len();
        let items =
            jobs.iter().zip(self.workers.iter().cycle().skip(first)).map(|(job_id, (worker_id, _))| AllocationItem {
                job_id: *job_id,
                worker_id: *worker_id,
                attempt: Attempt(1),
                strategy: Strategy::Batch,
                score: 5_000,
            });
        let items: Vec<_> = items.collect();
        let round = contracts.last_round(keeper.address()).await.expect("the last round") + 1;
        let sent = contracts.send_round(keeper, round, BlockNumber(0), &items, async |_| true).await;
        let receipt = keeper.receipt(sent.expect("sending a round")).await.expect("the round's receipt");
        let done = contracts.round_receipt(receipt);
        assert_eq!((done.allocated as usize, done.skipped), (items.len(), 0), "every item holds");
        done.receipt
    }

    /// Submits jobs, and says what the last transaction of that cost.
    async fn submit(&self, count: usize) -> (Vec<JobId>, Cost) {
        let specs = vec![self.spec().await; count];
        let mut submitted = Vec::new();
        let mut cost = Cost { l2_gas: 0, l1_data_gas: 0 };
        for chunk in specs.chunks(SUBMITTED_AT_ONCE) {
            let (job_ids, receipt) =
                self.market.contracts.submit_jobs(&self.market.client, chunk).await.expect("submitting");
            submitted.extend(job_ids);
            cost = Cost::of(&receipt);
        }
        (submitted, cost)
    }

    /// A job that asks for something of everything.
    async fn spec(&self) -> JobSpec {
        let offered = capabilities();
        let requirements = Requirements {
            gpu_count: 1,
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

#[allow(clippy::cast_precision_loss, reason = "gas stays far below 2^52")]
fn ratio(amount: u64, unit: u64) -> f64 {
    (amount as f64 / unit as f64 * 100.0).round() / 100.0
}
