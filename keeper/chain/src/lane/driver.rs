//! The task that owns a lane: it observes, lets the state decide, writes down, and acts.

mod sending;
mod sight;
mod signing;

#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    sync::atomic::Ordering,
    time::{SystemTime, UNIX_EPOCH},
};

use keeper_store::{Fence, IntentId, IntentState, IntentUpdate, StoreError};
use keeper_types::{Fri, TxHash};
use tokio::{
    sync::{mpsc, oneshot},
    task::JoinSet,
    time::{Instant, MissedTickBehavior, interval},
};

use self::sight::{Questions, Seen, observe, restored_slot};
pub use self::sight::{above, is_repeatable};
use super::{
    Command, Lane, LaneError, LaneStatus, Outcome, Paused, Submission,
    fees::FeeCeiling,
    log::{LaneLease, Log},
    node::Head,
    signing::Draft,
    state::{Action, Answer, LaneState, Observation},
};
use crate::RpcError;

/// How often it is asked what was accepted on L1.
const FINALITY_EVERY_MS: u64 = 60_000;
/// The time over which spending is limited, in milliseconds.
const HOUR_MS: u64 = 3_600_000;

/// What became of something that was begun.
enum Done {
    Observed(Vec<Observation>),
    Chain(Result<Seen, RpcError>),
    Drafted {
        nonce: u64,
        draft: Result<Draft, LaneError>,
    },
    /// It was not sent, since the node may be on another chain.
    Withheld {
        nonce: u64,
        hash: TxHash,
    },
    /// Others decide what it was for, or have done it; known before it was sent, or while it was.
    Overtaken {
        nonce: u64,
        hash: TxHash,
        is_begun: bool,
    },
}

/// The lane's owner.
pub(super) struct Driver {
    lane: Lane,
    log: Log,
    state: LaneState,
    ceiling: FeeCeiling,
    waiting: VecDeque<Submission>,
    outcomes: HashMap<IntentId, oneshot::Sender<Outcome>>,
    /// What the open ones were decided under that others would decide otherwise.
    duties: HashMap<IntentId, Vec<Fence>>,
    /// What is to be sent, one after the other, so that nonces arrive in their order.
    outbox: VecDeque<(u64, TxHash)>,
    is_sending: bool,
    /// Whether nothing is sent before the next tick.
    is_withheld: bool,
    /// Whether the node was not known to be on the recorded chain when something was to be sent last.
    is_elsewhere: bool,
    is_observing: bool,
    work: JoinSet<Done>,
    head: Option<Head>,
    finality_asked_ms: u64,
    status: LaneStatus,
    /// Intents of earlier runs, of which it is told how they ended.
    restored: BTreeMap<IntentId, &'static str>,
}

impl Lane {
    /// Runs the lane until `stop`; what is on its way then is waited for, but for no longer than `drain` says. Begins with
    /// what the log says is open. Where the account has a lease, waits for it, and begins anew each time it is granted;
    /// once it is over, nothing is recorded or sent, and whoever waits for an outcome is told none.
    ///
    /// # Errors
    /// Fails where the log does. Started again it goes on where the log ends.
    pub async fn run(&self, stop: impl Future<Output = ()>, drain: std::time::Duration) -> Result<(), LaneError> {
        let mut commands = self.inner.received.lock().await;
        let mut stop = std::pin::pin!(stop);
        let Some(lease) = &self.inner.lease else {
            return self.run_with(None, &mut commands, stop, drain).await;
        };
        let mut tenure = lease.tenure.clone();
        loop {
            let fence = tokio::select! {
                () = &mut stop => return Ok(()),
                fence = tenure.begun() => fence,
                // Who submits to a lane that is not this keeper's now is told that it does not run.
                Some(_) = commands.recv() => continue,
            };
            tracing::debug!(account = %self.address(), term = fence.term, "the account is this keeper's to send from");
            let granted = Some((lease.clone(), fence.clone()));
            let ended = tokio::select! {
                ended = self.run_with(granted, &mut commands, stop.as_mut(), drain) => ended,
                () = tenure.over(&fence) => Err(StoreError::Fenced { name: fence.name.clone(), term: fence.term }.into()),
            };
            match ended {
                Err(LaneError::Store(StoreError::Fenced { .. })) => {
                    tracing::warn!(account = %self.address(), term = fence.term, "the account's lease is over; nothing is sent from it");
                    self.inner.status.send_replace(LaneStatus::default());
                    tokio::select! {
                        () = &mut stop => return Ok(()),
                        // The database may know before the holder does.
                        () = tenure.over(&fence) => {}
                    }
                }
                ended => return ended,
            }
        }
    }

    async fn run_with(
        &self,
        granted: Option<(LaneLease, Fence)>,
        commands: &mut mpsc::Receiver<Command>,
        mut stop: std::pin::Pin<&mut impl Future<Output = ()>>,
        drain: std::time::Duration,
    ) -> Result<(), LaneError> {
        let log = Log { store: self.inner.store.clone(), granted };
        let mut driver = tokio::select! {
            () = &mut stop => return Ok(()),
            driver = Driver::restore(self, log) => driver?,
        };
        let mut ticks = interval(self.inner.settings.poll);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut give_up: Option<Instant> = None;
        loop {
            if give_up.is_some_and(|at| driver.outcomes.is_empty() || Instant::now() >= at) {
                return Ok(());
            }
            // Whatever else happens or does not, there is an end.
            let limit = async {
                match give_up {
                    Some(at) => tokio::time::sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = limit => {}
                () = &mut stop, if give_up.is_none() => {
                    give_up = Some(Instant::now() + drain);
                    driver.waiting.clear();
                }
                _ = ticks.tick() => driver.tick().await?,
                Some(done) = driver.work.join_next() => driver.finish(done).await?,
                command = commands.recv(), if give_up.is_none() => match command {
                    Some(command) => driver.take(command).await?,
                    None => return Ok(()),
                },
            }
        }
    }
}

impl Driver {
    /// The lane as the log and the chain have it.
    async fn restore(lane: &Lane, log: Log) -> Result<Self, LaneError> {
        let inner = &lane.inner;
        let (now_ms, account) = (now_ms(), inner.sender.address());
        let mut slots = BTreeMap::new();
        let mut restored = BTreeMap::new();
        for intent in inner.store.live_intents(account).await? {
            let Some(nonce) = intent.nonce else {
                // Never signed, so never sent. Whoever planned it decides anew.
                let update = IntentUpdate::to(IntentState::Lost, now_ms);
                log.update(intent.intent_id, &update).await?;
                continue;
            };
            if intent.state.is_open() {
                restored.insert(intent.intent_id, intent.action.kind());
            }
            let mut slot = restored_slot(&intent, now_ms);
            if log.granted.is_some() && !is_repeatable(&intent.action) {
                // Others may have decided anew, while this account was nobody's or its keeper stood by.
                slot.is_wanted = false;
            }
            slots.insert(nonce, slot);
        }
        let mut ceiling = FeeCeiling::new(inner.settings.max_fee_per_hour);
        // A node that lags, or is on another chain, may not know of nonces that were used lately.
        let mut logged = 0;
        for intent in inner.store.intents_since(account, now_ms.saturating_sub(HOUR_MS)).await? {
            logged = logged.max(above(&intent));
            ceiling.note(intent.intent_id, intent.fee(), intent.created_ms);
            if !intent.state.is_open() {
                ceiling.settle(intent.intent_id, intent.fee());
            }
        }
        let chain_nonce = loop {
            match inner.sender.nonce().await {
                Ok(nonce) => break nonce,
                Err(error) => {
                    tracing::warn!(%account, %error, "the account's nonce cannot be read; nothing is sent until then");
                }
            }
            tokio::time::sleep(inner.settings.poll).await;
        };
        let state = LaneState::restore(inner.settings.times, slots, chain_nonce.max(logged));
        Ok(Self {
            lane: lane.clone(),
            log,
            state,
            ceiling,
            waiting: VecDeque::new(),
            outcomes: HashMap::new(),
            duties: HashMap::new(),
            outbox: VecDeque::new(),
            is_sending: false,
            is_withheld: false,
            is_elsewhere: false,
            is_observing: false,
            work: JoinSet::new(),
            head: None,
            finality_asked_ms: 0,
            status: LaneStatus::default(),
            restored,
        })
    }

    async fn take(&mut self, command: Command) -> Result<(), LaneError> {
        match command {
            Command::Submit(submission) => {
                self.waiting.push_back(*submission);
                self.sign_waiting().await
            }
            Command::Abandon(intent) => self.step(&Observation::Abandoned { intent }).await,
        }
    }

    async fn tick(&mut self) -> Result<(), LaneError> {
        self.is_withheld = false;
        if !self.is_observing {
            self.is_observing = true;
            let lane = self.lane.clone();
            let asks_finality = now_ms().saturating_sub(self.finality_asked_ms) >= FINALITY_EVERY_MS;
            if asks_finality {
                self.finality_asked_ms = now_ms();
            }
            let (sweep, maybe_final) = (self.state.sweep(), self.state.maybe_final());
            let questions = Questions { sweep, maybe_final, asks_finality };
            self.work.spawn(async move { Done::Chain(observe(&lane, questions).await) });
        }
        self.step(&Observation::Tick).await?;
        self.sign_waiting().await
    }

    async fn finish(&mut self, done: Result<Done, tokio::task::JoinError>) -> Result<(), LaneError> {
        let done = match done {
            Ok(done) => done,
            // A panic in one of its tasks: the service is started again, from the log.
            Err(error) => return Err(LaneError::Bytes(error.to_string())),
        };
        match done {
            Done::Observed(observations) => {
                for observation in observations {
                    if let Observation::Answered { answer, .. } = &observation {
                        (self.is_sending, self.is_elsewhere) = (false, false);
                        self.note_funds(*answer);
                    }
                    self.step(&observation).await?;
                }
            }
            Done::Chain(seen) => {
                self.is_observing = false;
                match seen {
                    Ok(seen) => {
                        self.head = Some(seen.head);
                        for observation in seen.observations {
                            self.step(&observation).await?;
                        }
                    }
                    Err(error) => tracing::debug!(%error, "the lane cannot see the chain"),
                }
            }
            Done::Drafted { nonce, draft } => self.drafted(nonce, draft).await?,
            Done::Withheld { nonce, hash } => self.withhold(nonce, hash),
            Done::Overtaken { nonce, hash, is_begun } => {
                self.overtaken(nonce, is_begun.then_some(hash)).await?;
            }
        }
        self.sign_waiting().await
    }

    async fn step(&mut self, observation: &Observation) -> Result<(), LaneError> {
        let now_ms = now_ms();
        for action in self.state.step(observation, now_ms) {
            self.act(action, now_ms).await?;
        }
        self.pump().await
    }

    async fn act(&mut self, action: Action, now_ms: u64) -> Result<(), LaneError> {
        match action {
            Action::Send { nonce, hash } => self.outbox.push_back((nonce, hash)),
            Action::Look { nonce, opening } => self.look(nonce, opening),
            Action::Replace { nonce, purpose, least_tip, least_l2_gas_price } => {
                self.replace(nonce, purpose, (least_tip, least_l2_gas_price)).await?;
            }
            Action::Fill { nonce } => self.draft_no_op(nonce, (0, 0)),
            Action::Record { intent, state, sent, landed } => {
                let update = IntentUpdate { state, sent, landed, updated_ms: now_ms };
                self.log.update(intent, &update).await?;
                if state.is_landed() || state == IntentState::Lost {
                    let fee = landed.and_then(|landed| landed.fee).unwrap_or(Fri::ZERO);
                    self.ceiling.settle(intent, fee);
                    if let Some(kind) = self.restored.remove(&intent) {
                        tracing::info!(%intent, kind, %state, "settled an intent of an earlier run");
                    }
                    self.duties.remove(&intent);
                    if let Some(tell) = self.outcomes.remove(&intent) {
                        tell.send(Outcome { state, landed }).ok();
                    }
                }
                if state == IntentState::Reorged {
                    tracing::warn!(%intent, "the block of a transaction is gone; it is looked up again");
                }
            }
            Action::Finalise { blocks } => {
                self.lane.inner.store.finalise_intents(self.lane.address(), &blocks).await?;
            }
            Action::OutsideUse { nonce, hash } => {
                self.status.outside_uses += 1;
                let tx = hash.map(tracing::field::display);
                tracing::error!(account = %self.lane.address(), nonce, tx, "somebody else sends from the keeper's account: its key is used elsewhere");
            }
        }
        Ok(())
    }

    /// Whether nothing may be sent; asked again with every tick.
    fn is_held(&self) -> bool {
        self.lane.inner.held.load(Ordering::Relaxed) || !self.log.is_open()
    }

    fn pause_at_ceiling(&mut self, now_ms: u64) {
        let (spent, most) = (self.ceiling.spent(now_ms), self.ceiling.most());
        self.pause(Paused::FeeCeiling { spent, most });
    }

    fn pause(&mut self, paused: Paused) {
        if self.status.paused.is_none() {
            tracing::warn!(account = %self.lane.address(), reason = %paused, "sending is paused; what waits is kept");
        }
        self.status.paused = Some(paused);
    }

    fn resume_from_ceiling(&mut self) {
        if matches!(self.status.paused, Some(Paused::FeeCeiling { .. })) {
            tracing::info!(account = %self.lane.address(), "sending goes on");
            self.status.paused = None;
        }
    }

    fn note_funds(&mut self, answer: Answer) {
        match answer {
            Answer::Unfunded => self.pause(Paused::Unfunded),
            Answer::Accepted if self.status.paused == Some(Paused::Unfunded) => self.status.paused = None,
            _ => {}
        }
    }

    fn tell(&mut self) {
        self.status.in_flight = self.state.in_flight();
        self.status.next_nonce = self.state.next_nonce();
        self.status.gap_age_ms = self.state.gap_age_ms(now_ms());
        let status = &self.status;
        self.lane.inner.status.send_if_modified(|told| {
            let is_news = told != status;
            if is_news {
                told.clone_from(status);
            }
            is_news
        });
    }
}

fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
