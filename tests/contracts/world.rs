//! The chain that the tests act on: known terms, named accounts, and what must hold after everything.

use std::fmt::Debug;

use cainome::cairo_serde::ContractAddress;
use e2e::{Caller, LocalnetOptions, Market, Wallet};
use keeper_bindings::{
    cdc_pool::CdcPool,
    job_mgr::JobMgr,
    task_allocator::{RoundHeader, TaskAllocator},
};
use keeper_chain::{
    ChainJob, Contracts, Deployment, DeploymentTerms, DueExit, Follower, Network, Receipt, SendError, Sender,
};
use keeper_types::{
    Address, AllocationItem, Attempt, BlockNumber, Capabilities, ContentHash, Felt, Fri, JobId, JobSpec, JobState,
    MarketEvent, PolicyId, Rate, Worker, WorkerId,
};
use serde_json::json;
use starknet::{core::types::Call, macros::felt};
use tokio::sync::Mutex;

use crate::accounting::Followed;

pub(crate) const ADMIN: usize = 1;
pub(crate) const KEEPER: usize = 2;
pub(crate) const CLIENT: usize = 3;
/// Has no part in anything: who calls deadlines' exits, and who must not get through.
pub(crate) const OTHER: usize = 4;
/// Owners of workers; a chain with more accounts has more of them after these.
pub(crate) const W1: usize = 5;
pub(crate) const W2: usize = 6;

pub(crate) const STRK: u128 = 1_000_000_000_000_000_000;
/// What each account begins with: more than the dearest job costs.
pub(crate) const BALANCE: u128 = 1_000_000 * STRK;
pub(crate) const MIN_STAKE: u128 = STRK;
pub(crate) const UNBONDING_S: u64 = 600;
pub(crate) const CHALLENGE_S: u64 = 300;
/// What a worker has for its transaction on top of the execution timeout.
pub(crate) const GRACE_S: u64 = 60;
/// The score that [`item`] carries.
pub(crate) const SCORE: u16 = 777;
/// What every contract says to who is not its admin.
pub(crate) const NOT_ADMIN: &str = "Access: caller not admin";
/// The rate of workers, gFri per GPU-second.
pub(crate) const RATE: u64 = 1_000_000;
/// What rounds here say they were decided on, and what was decided: nothing of note.
pub(crate) const SNAPSHOT_ROOT: Felt = felt!("0x5a");
pub(crate) const PLAN_ROOT: Felt = felt!("0x9a");

/// What a transaction came to.
pub(crate) type Sent = Result<Receipt, SendError>;

/// What a contract takes for now. The local chain executes a transaction at the newest block's time and at the
/// next block's number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Moment {
    pub(crate) timestamp: u64,
    pub(crate) block: BlockNumber,
}

impl Moment {
    /// The deadline so many seconds later: ten of them count as a block.
    pub(crate) fn after(self, seconds: u64) -> Self {
        Self { timestamp: self.timestamp + seconds, block: BlockNumber(self.block.0 + seconds.div_ceil(10)) }
    }
}

/// A chain with the contracts and everyone who acts on it.
pub(crate) struct World {
    pub(crate) market: Market,
    callers: Vec<Caller>,
    pub(crate) followed: Mutex<Followed>,
    /// What the keeper's rounds are decided by.
    pub(crate) policy: PolicyId,
}

impl World {
    /// With accounts for everyone named above.
    pub(crate) async fn start() -> Self {
        Self::start_with(W2).await
    }

    pub(crate) async fn start_with(accounts: usize) -> Self {
        let terms = DeploymentTerms {
            min_stake_per_slot: Fri(MIN_STAKE),
            unbonding_s: UNBONDING_S,
            challenge_window_s: CHALLENGE_S,
            ..DeploymentTerms::of(Network::Devnet)
        };
        let options = LocalnetOptions {
            accounts: u8::try_from(accounts).ok(),
            balance: Some(BALANCE),
            ..LocalnetOptions::default()
        };
        let market = Market::start_on(options, terms).await;
        let mut callers = Vec::new();
        for number in 1..=accounts {
            callers.push(Caller::new(&market.chain, market.chain.account(number)).await);
        }
        let mut world = Self { market, callers, followed: Mutex::default(), policy: PolicyId::default() };
        world.policy = *world.told().await.policies.keys().next().expect("a policy is announced");
        world
    }

    pub(crate) fn contracts(&self) -> &Contracts {
        &self.market.contracts
    }

    pub(crate) fn deployment(&self) -> &Deployment {
        self.market.deployment()
    }

    pub(crate) fn caller(&self, account: usize) -> &Caller {
        &self.callers[account - 1]
    }

    pub(crate) fn sender(&self, account: usize) -> &Sender {
        self.caller(account).sender()
    }

    pub(crate) fn address(&self, account: usize) -> Address {
        self.caller(account).address()
    }

    /// Functions of JobMgr: views, and calls for [`World::send`].
    pub(crate) fn job_mgr(&self) -> JobMgr<&Wallet> {
        self.caller(ADMIN).job_mgr(self.deployment())
    }

    /// Functions of CdcPool: views, and calls for [`World::send`].
    pub(crate) fn cdc_pool(&self) -> CdcPool<&Wallet> {
        self.caller(ADMIN).cdc_pool(self.deployment())
    }

    /// Functions of TaskAllocator: views, and calls for [`World::send`].
    pub(crate) fn task_allocator(&self) -> TaskAllocator<&Wallet> {
        self.caller(ADMIN).task_allocator(self.deployment())
    }

    pub(crate) async fn send(&self, account: usize, call: Call) -> Sent {
        self.caller(account).send(vec![call]).await
    }

    // What the parties do

    pub(crate) async fn spec(&self) -> JobSpec {
        spec(self.now().await.timestamp)
    }

    pub(crate) async fn submit(&self, spec: &JobSpec) -> JobId {
        self.market.submit(spec).await
    }

    pub(crate) async fn register(&self, account: usize) -> WorkerId {
        self.register_as(account, &cap(), 2, RATE, 10 * STRK).await.expect("registering a worker").0
    }

    pub(crate) async fn register_as(
        &self,
        account: usize,
        capabilities: &Capabilities,
        slots: u8,
        rate: u64,
        stake: u128,
    ) -> Result<(WorkerId, Receipt), SendError> {
        self.contracts().register_worker(self.sender(account), capabilities, slots, Rate(rate), Fri(stake)).await
    }

    /// Admits an account as a keeper and posts its bond.
    pub(crate) async fn hire_keeper(&self, account: usize) {
        let keeper = ContractAddress(self.address(account).0);
        self.send(ADMIN, self.task_allocator().add_keeper_getcall(&keeper)).await.unwrap();
        let bond = self.task_allocator().get_config().call().await.unwrap().min_keeper_bond;
        self.contracts().post_bond(self.sender(account), Fri(bond)).await.unwrap();
    }

    /// Applies a round of the keeper, whatever its items, and returns what the contracts said.
    pub(crate) async fn apply(&self, items: &[AllocationItem]) -> Vec<MarketEvent> {
        let packed: Vec<Felt> = items.iter().map(AllocationItem::pack).collect();
        self.apply_felts(&packed).await
    }

    pub(crate) async fn apply_felts(&self, items: &[Felt]) -> Vec<MarketEvent> {
        let round = self.contracts().last_round(self.address(KEEPER)).await.unwrap() + 1;
        self.events(self.apply_batch(KEEPER, round, 0, items).await)
    }

    pub(crate) async fn apply_batch(&self, account: usize, round: u64, snapshot_block: u64, items: &[Felt]) -> Sent {
        let policy_id = self.policy.0;
        let header =
            RoundHeader { round, snapshot_block, snapshot_root: SNAPSHOT_ROOT, policy_id, plan_root: PLAN_ROOT };
        let call = self.task_allocator().apply_batch_getcall(&header, &items.to_vec());
        self.send(account, call).await
    }

    /// Gives the job's next attempt to a worker, which must go through; returns when that was.
    pub(crate) async fn allocate(&self, job_id: JobId, worker_id: WorkerId) -> Moment {
        let attempt = self.job(job_id).await.attempt;
        let now = self.now().await;
        let rate = self.worker(worker_id).await.rate;
        let events = self.apply(&[AllocationItem { attempt, rate, ..item(job_id, worker_id) }]).await;
        assert!(matches!(events[0], MarketEvent::JobsAllocated { .. }), "not allocated: {events:?}");
        now
    }

    /// A job that a worker runs.
    pub(crate) async fn running(&self, spec: &JobSpec, worker_id: WorkerId) -> (JobId, Moment) {
        let job_id = self.submit(spec).await;
        (job_id, self.allocate(job_id, worker_id).await)
    }

    pub(crate) async fn submit_result(&self, account: usize, job_id: JobId, attempt: u8) -> Sent {
        self.contracts().submit_result(self.sender(account), job_id, Attempt(attempt), result_of(job_id)).await
    }

    pub(crate) async fn fail_attempt(&self, account: usize, job_id: JobId, attempt: u8) -> Sent {
        self.contracts().fail_attempt(self.sender(account), job_id, Attempt(attempt), out_of_memory()).await
    }

    pub(crate) async fn cancel_job(&self, account: usize, job_id: JobId) -> Sent {
        self.contracts().cancel_job(self.sender(account), job_id).await
    }

    pub(crate) async fn accept_result(&self, account: usize, job_id: JobId) -> Sent {
        self.contracts().accept_result(self.sender(account), job_id).await
    }

    pub(crate) async fn expire_job(&self, account: usize, job_id: JobId) -> Sent {
        self.contracts().exit_due(self.sender(account), &[DueExit::ExpireJob(job_id)]).await
    }

    pub(crate) async fn expire_attempt(&self, account: usize, job_id: JobId) -> Sent {
        self.contracts().exit_due(self.sender(account), &[DueExit::ExpireAttempt(job_id)]).await
    }

    pub(crate) async fn settle(&self, account: usize, job_id: JobId) -> Sent {
        self.contracts().exit_due(self.sender(account), &[DueExit::Settle(job_id)]).await
    }

    // What there is to see

    pub(crate) async fn job(&self, job_id: JobId) -> ChainJob {
        self.contracts().job(job_id).await.unwrap().expect("the job exists")
    }

    pub(crate) async fn state(&self, job_id: JobId) -> JobState {
        self.job(job_id).await.state
    }

    pub(crate) async fn worker(&self, worker_id: WorkerId) -> Worker {
        self.contracts().worker(worker_id).await.unwrap().expect("the worker exists")
    }

    pub(crate) async fn reputation(&self, worker_id: WorkerId) -> u16 {
        self.worker(worker_id).await.reputation
    }

    pub(crate) async fn balance(&self, account: usize) -> u128 {
        self.sender(account).balance().await.unwrap().0
    }

    /// What JobMgr owes an account.
    pub(crate) async fn credit(&self, account: usize) -> u128 {
        self.contracts().credit_of(self.address(account)).await.unwrap().0
    }

    pub(crate) async fn pool_balance(&self) -> Fri {
        let Deployment { token, cdc_pool, .. } = self.deployment();
        Contracts::balance(self.contracts().rpc(), *token, cdc_pool.address).await.unwrap()
    }

    /// What a transaction that went through made our contracts say.
    #[track_caller]
    pub(crate) fn events(&self, sent: Sent) -> Vec<MarketEvent> {
        self.contracts().events(&sent.unwrap()).unwrap()
    }

    // Time

    /// What the next transaction takes for now.
    pub(crate) async fn now(&self) -> Moment {
        let head = Follower::new(self.contracts().rpc(), self.deployment()).head().await.unwrap();
        Moment { timestamp: head.timestamp, block: BlockNumber(head.number.0 + 1) }
    }

    /// Makes a block at that time, forwards or backwards.
    pub(crate) async fn set_time(&self, timestamp: u64) {
        self.market.chain.ask("devnet_setTime", json!({ "time": timestamp, "generate_block": true })).await;
    }

    /// Makes blocks until the next transaction is in `block`.
    pub(crate) async fn reach_block(&self, block: BlockNumber) {
        let missing = block.0.saturating_sub(self.now().await.block.0);
        self.market.chain.make_blocks(missing).await;
    }

    /// Moves time and blocks beyond a deadline.
    pub(crate) async fn pass(&self, deadline: Moment) {
        self.reach_block(deadline.block).await;
        self.set_time(deadline.timestamp + 1).await;
    }

    /// Does what is only possible once both the time and the block of `deadline` have passed, and shows that it
    /// is refused with `words` before, by the clock alone, at the deadline's very block and very second, and by
    /// the blocks alone.
    pub(crate) async fn only_after(&self, deadline: Moment, words: &str, action: impl AsyncFn() -> Sent) -> Receipt {
        refused(action().await, words);
        self.set_time(deadline.timestamp + 1_000).await;
        assert!(self.now().await.block < deadline.block, "the deadline is too near for this test");
        refused(action().await, words);
        self.reach_block(deadline.block).await;
        refused(action().await, words);
        self.set_time(deadline.timestamp).await;
        assert!(self.now().await.block > deadline.block);
        refused(action().await, words);
        self.set_time(deadline.timestamp + 1).await;
        action().await.expect("time and block have passed")
    }
}

/// The contracts refuse this, with exactly these words.
#[track_caller]
pub(crate) fn refused<T: Debug>(sent: Result<T, SendError>, words: &str) {
    match sent {
        Err(SendError::WouldRevert { reason }) => assert_eq!(reason, words),
        other => panic!("expected `{words}`, got {other:?}"),
    }
}

/// A view refuses this, with exactly these words.
#[track_caller]
pub(crate) fn view_refused<T: Debug>(answer: Result<T, cainome::cairo_serde::Error>, words: &str) {
    let error = format!("{:?}", answer.unwrap_err());
    // The local chain spells what a view panics with as a number only.
    let felt = format!("{:#x}", Felt::from_bytes_be_slice(words.as_bytes()));
    assert!(error.contains(&format!("\"{felt}\\")), "expected `{words}`, {felt}, got {error}");
}

/// A job for one GPU in the region of [`cap`], at ten times what the worker asks.
pub(crate) fn spec(now: u64) -> JobSpec {
    let mut spec = JobSpec { deadline: now + 600, execution_timeout_s: 100, ..e2e::job_spec(now) };
    let needs = &mut spec.requirements;
    (needs.gpu_count, needs.vram_gib, needs.compute_capability, needs.cuda_version) = (1, 24, 89, 124);
    (needs.driver_version, needs.cpu_cores, needs.memory_gib) = (550, 8, 32);
    needs.features = keeper_types::Features(3);
    needs.region = Some("eu".parse().unwrap());
    spec
}

/// What a worker offers.
pub(crate) fn cap() -> Capabilities {
    Capabilities { region: Some("eu".parse().unwrap()), ..e2e::capabilities() }
}

/// The first attempt of a job for a worker.
pub(crate) fn item(job_id: JobId, worker_id: WorkerId) -> AllocationItem {
    let strategy = keeper_types::Strategy::Standard;
    AllocationItem { job_id, worker_id, attempt: Attempt(1), strategy, score: SCORE, rate: Rate(RATE) }
}

pub(crate) fn result_of(job_id: JobId) -> ContentHash {
    ContentHash::of(format!("the result of job {job_id}").as_bytes())
}

/// Why workers fail attempts here.
pub(crate) fn out_of_memory() -> Felt {
    Felt::from_bytes_be_slice(b"oom")
}
