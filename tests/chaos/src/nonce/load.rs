//! What one account has to send, and what came of it.

use std::{
    collections::{BTreeSet, VecDeque},
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use anyhow::Result;
use keeper_chain::{
    Calls, Sender,
    lane::{Lane, LaneError, LaneSettings},
};
use keeper_store::{Intent, IntentAction, IntentState, MaintenanceCall, SqliteStore, Store, StoreError, conformance};
use keeper_types::{Address, Felt, Fri};
use rand::{Rng as _, SeedableRng as _, rngs::StdRng};
use tokio::task::JoinSet;

/// Payments that are asked for at a time: more than a lane takes.
const AT_A_TIME: usize = 12;
/// One payment in so many reverts on chain.
const REVERTS_EVERY: u64 = 50;
/// Somebody else uses the key once for so many payments.
const OUTSIDE_EVERY: u32 = 60;

/// One account's payments.
#[derive(Debug)]
pub(super) struct Load {
    pub(super) number: u64,
    pub(super) payments: u64,
    pub(super) seed: u64,
    pub(super) settings: LaneSettings,
    pub(super) restart_every: u64,
    /// How long nothing may move before it counts as stuck.
    pub(super) patience: Duration,
    pub(super) database: PathBuf,
    pub(super) sender: Arc<Sender>,
    /// Signs with the same key, and knows nothing of the lane.
    pub(super) outsider: Arc<Sender>,
}

/// What came of them.
#[derive(Debug, Default)]
pub(super) struct Outcome {
    pub(super) payments: u64,
    pub(super) lost: u64,
    pub(super) doubled: u64,
    pub(super) stuck: u64,
    pub(super) restarts: u64,
    pub(super) outside_uses: u64,
    pub(super) lost_nonces: u64,
    pub(super) reverted: u64,
    pub(super) replacements: u64,
    pub(super) no_ops: u64,
    pub(super) intents: u64,
}

/// What is still to be done, shared by those who do it.
#[derive(Debug, Default)]
struct Open {
    todo: VecDeque<u64>,
    /// Somebody sees to them.
    taken: BTreeSet<u64>,
    done: BTreeSet<u64>,
    moved: Option<Instant>,
}

impl Open {
    fn take(&mut self) -> Option<u64> {
        let payment = self.todo.pop_front()?;
        self.taken.insert(payment);
        Some(payment)
    }
}

type Shared = Arc<Mutex<Open>>;

impl Load {
    /// Sends until everything arrived, or nothing moves any more.
    pub(super) async fn run(self) -> Result<Outcome> {
        let mut restarts = 0;
        loop {
            let store: Arc<dyn Store> = Arc::new(SqliteStore::open(&self.database, conformance::identity()).await?);
            let log = store.intents_since(self.sender.address(), 0).await?;
            let open = self.read(&log);
            if open.todo.is_empty() && log.iter().all(|intent| !intent.state.is_open()) {
                return self.count(&log, restarts, open).await;
            }
            let before = open.done.len();
            let shared = Arc::new(Mutex::new(Open { moved: Some(Instant::now()), ..open }));
            let is_stuck = self.generation(&store, &shared, before).await;
            // As a killed process leaves it: nothing of the lane is left but its log.
            while Arc::strong_count(&store) > 1 {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            drop(store);
            if is_stuck {
                let store = SqliteStore::open(&self.database, conformance::identity()).await?;
                let log = store.intents_since(self.sender.address(), 0).await?;
                let open = self.read(&log);
                let stuck = self.payments - open.done.len() as u64;
                let counted = self.count(&log, restarts, open).await?;
                return Ok(Outcome { stuck, ..counted });
            }
            restarts += 1;
        }
    }

    /// Runs the lane from its log until so many payments more are done, then kills it; whether nothing moved.
    async fn generation(&self, store: &Arc<dyn Store>, shared: &Shared, before: usize) -> bool {
        let lane = Lane::new(self.sender.clone(), store.clone(), self.settings);
        let mut tasks = JoinSet::new();
        let running = lane.clone();
        tasks.spawn(async move {
            let ended = running.run(std::future::pending(), Duration::ZERO).await;
            eprintln!("a lane ended: {ended:?}");
        });
        for worker in 0..AT_A_TIME {
            let (lane, shared, outsider) = (lane.clone(), shared.clone(), self.outsider.clone());
            let rng = StdRng::seed_from_u64(self.seed ^ self.number << 32 ^ (before * AT_A_TIME + worker) as u64);
            let payer = Payer { load: self.number, lane, shared, outsider, rng };
            tasks.spawn(payer.run());
        }
        loop {
            tokio::time::sleep(Duration::from_millis(100)).await;
            let (done, is_over, is_stuck) = {
                let open = lock(shared);
                let is_stuck = open.moved.is_some_and(|moved| moved.elapsed() > self.patience);
                (open.done.len(), open.done.len() as u64 == self.payments, is_stuck)
            };
            let is_enough = (done - before) as u64 >= self.restart_every;
            if is_stuck || is_over || is_enough {
                tasks.shutdown().await;
                return is_stuck;
            }
            if lock(shared).todo.is_empty() {
                // What an earlier generation left open is settled by the lane alone.
                self.settle(store, shared).await;
            }
        }
    }

    async fn settle(&self, store: &Arc<dyn Store>, shared: &Shared) {
        let Ok(log) = store.intents_since(self.sender.address(), 0).await else { return };
        let read = self.read(&log);
        let mut open = lock(shared);
        if read.done.len() > open.done.len() {
            open.moved = Some(Instant::now());
            open.done.extend(read.done);
        }
        // What somebody else's transaction took the nonce of is to be asked for again, and nobody waits for its outcome.
        let is_left = |payment: &u64| !open.taken.contains(payment) && !open.done.contains(payment);
        let left: Vec<u64> = read.todo.into_iter().filter(is_left).collect();
        open.todo.extend(left);
    }

    /// What the log says is done, and what is to be asked for.
    fn read(&self, log: &[Intent]) -> Open {
        let mut open = Open::default();
        let (mut done, mut busy) = (BTreeSet::new(), BTreeSet::new());
        for intent in log {
            let Some(payment) = self.payment_of(intent) else { continue };
            match intent.state {
                IntentState::AcceptedL2 | IntentState::AcceptedL1 | IntentState::Reverted => done.insert(payment),
                state if state.is_open() => busy.insert(payment),
                _ => false,
            };
        }
        open.todo = (0..self.payments).filter(|payment| !done.contains(payment) && !busy.contains(payment)).collect();
        open.done = done;
        open
    }

    fn payment_of(&self, intent: &Intent) -> Option<u64> {
        let IntentAction::Maintenance { calls } = &intent.action else { return None };
        let MaintenanceCall::PayOut { account } = calls.first()? else { return None };
        (0..self.payments).find(|payment| payee(self.number, *payment) == *account)
    }

    /// Asks the chain what arrived.
    async fn count(&self, log: &[Intent], restarts: u64, open: Open) -> Result<Outcome> {
        let mut outcome = Outcome { payments: self.payments, restarts, ..Outcome::default() };
        for payment in 0..self.payments {
            let arrived = self.outsider.balance_of(payee(self.number, payment)).await?;
            let expected = u128::from(!reverts(payment));
            if arrived.0 > expected {
                outcome.doubled += 1;
            }
            if arrived.0 < expected && open.done.contains(&payment) {
                outcome.lost += 1;
            }
        }
        outcome.intents = log.len() as u64;
        outcome.stuck = log.iter().filter(|intent| intent.state.is_open()).count() as u64;
        let count = |state: IntentState| log.iter().filter(|intent| intent.state == state).count() as u64;
        (outcome.lost_nonces, outcome.reverted) = (count(IntentState::Lost), count(IntentState::Reverted));
        outcome.no_ops = count(IntentState::Replaced);
        outcome.replacements = log.iter().map(|intent| intent.transactions.len().saturating_sub(1) as u64).sum();
        outcome.outside_uses = self.outsider.balance_of(outside_payee(self.number)).await?.0.try_into()?;
        Ok(outcome)
    }
}

/// Takes payments and sees each through.
struct Payer {
    load: u64,
    lane: Lane,
    shared: Shared,
    outsider: Arc<Sender>,
    rng: StdRng,
}

impl Payer {
    async fn run(mut self) {
        loop {
            let next = lock(&self.shared).take();
            let Some(payment) = next else {
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            };
            if self.rng.random_ratio(1, OUTSIDE_EVERY) {
                // It may lose the race for the nonce; then nothing was used.
                self.outsider.transfer(outside_payee(self.load), Fri(1)).await.ok();
            }
            let is_done = self.pay(payment).await;
            let mut open = lock(&self.shared);
            if is_done {
                open.moved = Some(Instant::now());
                open.done.insert(payment);
            } else {
                open.taken.remove(&payment);
                open.todo.push_back(payment);
            }
        }
    }

    /// Whether the payment is done; if not, it is asked for again.
    async fn pay(&self, payment: u64) -> bool {
        let to = payee(self.load, payment);
        let action = IntentAction::Maintenance { calls: vec![MaintenanceCall::PayOut { account: to }] };
        let one = Calls::transfer(to, Fri(1));
        let submitted = if reverts(payment) {
            let all = Calls::transfer(to, Fri(u128::MAX));
            self.lane.submit_unchecked(action, all, &one).await
        } else {
            self.lane.submit(action, one).await
        };
        match submitted {
            Ok(submitted) => match submitted.outcome.await {
                Ok(outcome) => matches!(outcome.state, IntentState::AcceptedL2 | IntentState::Reverted),
                Err(_) => std::future::pending().await,
            },
            Err(LaneError::Store(StoreError::IntentExists { .. })) => {
                tokio::time::sleep(Duration::from_millis(200)).await;
                false
            }
            // The estimate met a nonce that was just used; nothing was signed.
            Err(_) => {
                tokio::time::sleep(Duration::from_millis(20)).await;
                false
            }
        }
    }
}

fn lock(shared: &Shared) -> std::sync::MutexGuard<'_, Open> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Whom a payment goes to: nobody else is paid there.
fn payee(load: u64, payment: u64) -> Address {
    Address(Felt::from(0x00c1_2000_0000_0000_u64 + load * 1_000_000_000 + payment))
}

fn outside_payee(load: u64) -> Address {
    payee(load, 999_999_999)
}

fn reverts(payment: u64) -> bool {
    payment % REVERTS_EVERY == 7
}
