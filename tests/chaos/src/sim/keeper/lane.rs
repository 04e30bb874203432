//! As the lane's driver: observes, lets [`LaneState`] decide, writes down, and acts.

mod signing;

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
};

use futures::{
    StreamExt as _,
    channel::{mpsc, oneshot},
    lock::Mutex,
};
use keeper_chain::{
    RpcError,
    lane::{Action, Answer, LaneState, LaneTimes, Observation, Outcome, Slot, Sweep, above, is_repeatable},
};
use keeper_store::{IntentAction, IntentId, IntentState, IntentUpdate, Store as _, StoreError};
use keeper_types::{BlockRef, TxHash};

use self::signing::{Draft, signed};
use super::Process;
use crate::sim::{
    history::Violation,
    node::{Head, Node},
    setting::Sabotage,
};

const WINDOW: usize = 8;
const TICK_MS: u64 = 1_000;
const HOUR_MS: u64 = 3_600_000;
const FINALITY_EVERY_MS: u64 = 60_000;
/// The pause before a lane that failed is started again.
const RESTART_MS: u64 = 500;

/// Why nothing was recorded.
#[derive(Debug)]
pub(super) enum NotSent {
    /// The contracts would refuse it.
    WouldRevert,
    /// No node says whether they would.
    Unknown,
    /// An open intent does the same.
    Exists,
    /// The lane failed: it may be recorded.
    Failed,
}

/// An intent that is recorded.
#[derive(Debug)]
pub(super) struct Submitted {
    pub(super) intent_id: IntentId,
    pub(super) outcome: oneshot::Receiver<Outcome>,
}

#[derive(Debug)]
struct Submission {
    action: IntentAction,
    reply: oneshot::Sender<Result<Submitted, NotSent>>,
}

enum Message {
    Tick,
    Submit(Submission),
    Abandon(IntentId),
    Observed(Observation),
    Chain(Result<(Head, Vec<Observation>), RpcError>),
    Drafted { nonce: u64, draft: Result<Draft, RpcError> },
}

/// The lane of a process's account. Clones are of the same.
#[derive(Clone)]
pub(super) struct Lane {
    process: Process,
    messages: mpsc::UnboundedSender<Message>,
}

impl Lane {
    pub(super) fn start(process: &Process) -> Self {
        let (messages, received) = mpsc::unbounded();
        let lane = Self { process: process.clone(), messages };
        let (sim, owner) = (process.sim.clone(), process.owner);
        let received = Arc::new(Mutex::new(received));
        let (running, ticking) = (lane.clone(), lane.clone());
        sim.spawn(owner, async move {
            loop {
                let error = running.run(&mut *received.lock().await).await;
                running.process.sim.note("lane", [owner as u64, 0, 0], || format!("keeper {owner}: {error}"));
                if let StoreError::NonceHeld { nonce, intent_id } = error {
                    let tell =
                        || format!("keeper {owner} signs nonce {nonce} a second time: it is intent {intent_id}'s");
                    running.process.sim.violate(Violation::Doubled, tell);
                }
                running.process.sim.sleep(RESTART_MS).await;
            }
        });
        sim.clone().spawn(owner, async move {
            while ticking.messages.unbounded_send(Message::Tick).is_ok() {
                sim.sleep(TICK_MS).await;
            }
        });
        lane
    }

    /// Has an action recorded and sent; returns as soon as it is recorded.
    pub(super) async fn submit(&self, action: IntentAction) -> Result<Submitted, NotSent> {
        let Process { node, account, .. } = &self.process;
        match node.estimate(*account, &action).await {
            Ok(true) => return Err(NotSent::WouldRevert),
            Ok(false) => {}
            Err(_) => return Err(NotSent::Unknown),
        }
        let (reply, answer) = oneshot::channel();
        self.tell(Message::Submit(Submission { action, reply }));
        answer.await.unwrap_or(Err(NotSent::Failed))
    }

    pub(super) fn abandon(&self, intent_id: IntentId) {
        self.tell(Message::Abandon(intent_id));
    }

    fn tell(&self, message: Message) {
        // The process is gone otherwise.
        self.messages.unbounded_send(message).ok();
    }

    async fn run(&self, received: &mut mpsc::UnboundedReceiver<Message>) -> StoreError {
        let mut driver = match Driver::restore(self.clone()).await {
            Ok(driver) => driver,
            Err(error) => return error,
        };
        while let Some(message) = received.next().await {
            if let Err(error) = driver.take(message).await {
                return error;
            }
        }
        StoreError::ReadOnly
    }
}

struct Driver {
    lane: Lane,
    state: LaneState,
    waiting: VecDeque<Submission>,
    outcomes: BTreeMap<IntentId, oneshot::Sender<Outcome>>,
    outbox: VecDeque<(u64, TxHash)>,
    is_sending: bool,
    is_observing: bool,
    head: Option<Head>,
    finality_asked_ms: Option<u64>,
}

impl Driver {
    async fn restore(lane: Lane) -> Result<Self, StoreError> {
        let process = &lane.process;
        let slots = slots(process).await?;
        let since_ms = process.sim.now_ms().saturating_sub(HOUR_MS);
        let lately = process.store.intents_since(process.account, since_ms).await?;
        let forgets = process.sabotage == Some(Sabotage::ForgetIntents);
        let logged = lately.iter().filter(|_| !forgets).map(above).max().unwrap_or_default();
        let chain_nonce = loop {
            match process.node.pending_nonce(process.account).await {
                Ok(nonce) => break nonce,
                Err(_) => process.sim.sleep(TICK_MS).await,
            }
        };
        Ok(Self {
            state: LaneState::restore(LaneTimes::default(), slots, chain_nonce.max(logged)),
            lane,
            waiting: VecDeque::new(),
            outcomes: BTreeMap::new(),
            outbox: VecDeque::new(),
            is_sending: false,
            is_observing: false,
            head: None,
            finality_asked_ms: None,
        })
    }

    async fn take(&mut self, message: Message) -> Result<(), StoreError> {
        match message {
            Message::Tick => {
                self.look_at_chain();
                self.step(&Observation::Tick).await?;
            }
            Message::Submit(submission) => self.waiting.push_back(submission),
            Message::Abandon(intent) => self.step(&Observation::Abandoned { intent }).await?,
            Message::Observed(observation) => self.observed(&observation).await?,
            Message::Chain(seen) => {
                self.is_observing = false;
                if let Ok((head, observations)) = seen {
                    self.head = Some(head);
                    for observation in observations {
                        self.step(&observation).await?;
                    }
                }
            }
            Message::Drafted { nonce, draft } => self.drafted(nonce, draft).await?,
        }
        self.sign_waiting().await?;
        self.pump().await
    }

    async fn observed(&mut self, observation: &Observation) -> Result<(), StoreError> {
        if let Observation::Answered { nonce, answer, .. } = observation {
            self.is_sending = false;
            if *answer == Answer::Unknown && self.lane.process.sabotage == Some(Sabotage::TimeoutIsFailure) {
                return self.give_up(*nonce).await;
            }
        }
        self.step(observation).await
    }

    /// What a keeper does that takes no answer for not sent: the intent is over, and its nonce the next one's.
    async fn give_up(&mut self, nonce: u64) -> Result<(), StoreError> {
        let Some(intent) = self.state.slot(nonce).map(|slot| slot.intent) else { return Ok(()) };
        let process = &self.lane.process;
        let update = IntentUpdate::to(IntentState::Lost, process.sim.now_ms());
        process.store.update_intent(intent, &update).await?;
        if let Some(tell) = self.outcomes.remove(&intent) {
            tell.send(Outcome { state: IntentState::Lost, landed: None }).ok();
        }
        self.state = LaneState::restore(LaneTimes::default(), slots(process).await?, nonce);
        Ok(())
    }

    /// Sees the newest block and the account's nonce after it, and which of the blocks of the sweep were replaced.
    fn look_at_chain(&mut self) {
        if std::mem::replace(&mut self.is_observing, true) {
            return;
        }
        let (lane, now_ms) = (self.lane.clone(), self.lane.process.sim.now_ms());
        let (sweep, maybe_final) = (self.state.sweep(), self.state.maybe_final());
        let asks_finality = self.finality_asked_ms.is_none_or(|asked| now_ms - asked >= FINALITY_EVERY_MS);
        if asks_finality {
            self.finality_asked_ms = Some(now_ms);
        }
        self.spawn(async move {
            let seen = observe(&lane.process, sweep, maybe_final, asks_finality).await;
            lane.tell(Message::Chain(seen));
        });
    }

    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.lane.process.sim.spawn(self.lane.process.owner, task);
    }

    fn is_held(&self) -> bool {
        !self.lane.process.latch.is_open()
    }

    async fn step(&mut self, observation: &Observation) -> Result<(), StoreError> {
        let now_ms = self.lane.process.sim.now_ms();
        for action in self.state.step(observation, now_ms) {
            self.act(action, now_ms).await?;
        }
        Ok(())
    }

    async fn act(&mut self, action: Action, now_ms: u64) -> Result<(), StoreError> {
        match action {
            Action::Send { nonce, hash } => self.outbox.push_back((nonce, hash)),
            Action::Look { nonce, opening } => self.look(nonce, opening),
            Action::Replace { nonce, purpose, least_tip, least_l2_gas_price } => {
                self.replace(nonce, purpose, (least_tip, least_l2_gas_price)).await?;
            }
            Action::Fill { nonce } => self.draft_no_op(nonce, (0, 0)),
            Action::Record { intent, state, sent, landed } => {
                let update = IntentUpdate { state, sent, landed, updated_ms: now_ms };
                let owner = self.lane.process.owner as u64;
                self.lane.process.sim.note("intent", [owner, intent.0, state as u64], || {
                    format!("keeper {owner} intent {intent} {state}")
                });
                self.lane.process.store.update_intent(intent, &update).await?;
                if (state.is_landed() || state == IntentState::Lost)
                    && let Some(tell) = self.outcomes.remove(&intent)
                {
                    tell.send(Outcome { state, landed }).ok();
                }
            }
            Action::Finalise { blocks } => {
                self.lane.process.store.finalise_intents(self.lane.process.account, &blocks).await?;
            }
            Action::OutsideUse { nonce, .. } => {
                let owner = self.lane.process.owner;
                self.lane.process.sim.note("outside use", [nonce, 0, 0], || format!("keeper {owner} nonce {nonce}"));
            }
        }
        Ok(())
    }

    /// Sends what is next in the outbox, as the log has it.
    async fn pump(&mut self) -> Result<(), StoreError> {
        while !self.is_sending && !self.is_held() {
            let Some((nonce, hash)) = self.outbox.pop_front() else { return Ok(()) };
            if !self.state.can_land(nonce) {
                continue;
            }
            let intent = self.lane.process.store.intent_by_tx(hash).await?;
            let transactions = intent.map(|intent| intent.transactions).unwrap_or_default();
            let recorded = transactions.into_iter().find(|transaction| transaction.tx_hash == hash);
            let Some(text) = recorded.and_then(|transaction| transaction.request) else { continue };
            self.is_sending = true;
            let lane = self.lane.clone();
            self.spawn(async move {
                let answer = lane.process.node.send(&text).await;
                lane.tell(Message::Observed(Observation::Answered { nonce, hash, answer }));
            });
        }
        Ok(())
    }

    fn look(&self, nonce: u64, opening: u32) {
        let hashes = self.state.slot(nonce).map(|slot| slot.signed.iter().map(|signed| signed.hash).collect());
        let hashes: Vec<TxHash> = hashes.unwrap_or_default();
        let lane = self.lane.clone();
        self.spawn(async move {
            let looked = lane.process.node.look(lane.process.account, nonce, &hashes).await;
            let observation = match looked {
                Ok(look) => Observation::Looked { nonce, opening, look },
                // That no answer came says nothing.
                Err(_) => Observation::NotSigned { nonce },
            };
            lane.tell(Message::Observed(observation));
        });
    }
}

/// The lane as the log has it.
async fn slots(process: &Process) -> Result<BTreeMap<u64, Slot>, StoreError> {
    let mut slots = BTreeMap::new();
    if process.sabotage == Some(Sabotage::ForgetIntents) {
        return Ok(slots);
    }
    let now_ms = process.sim.now_ms();
    for intent in process.store.live_intents(process.account).await? {
        let Some(nonce) = intent.nonce else {
            process.store.update_intent(intent.intent_id, &IntentUpdate::to(IntentState::Lost, now_ms)).await?;
            continue;
        };
        let transactions = intent.transactions.iter().map(signed).collect();
        let stands = (intent.state, intent.landed);
        let slot = Slot::restored(intent.intent_id, transactions, is_repeatable(&intent.action), stands, now_ms);
        slots.insert(nonce, slot);
    }
    Ok(slots)
}

async fn observe(
    process: &Process,
    mut sweep: Sweep,
    maybe_final: Vec<BlockRef>,
    asks_finality: bool,
) -> Result<(Head, Vec<Observation>), RpcError> {
    let node = &process.node;
    let head = node.newest().await?;
    let mut observations = Vec::new();
    if !sweep.is_idle(head.block) {
        while let Some(next) = sweep.next() {
            sweep.found(node.block_at(next.number).await?.map(|(block, _)| block));
        }
        observations.push(Observation::Checked(sweep.into_checked()));
    }
    if let Some(nonce) = node.nonce_at(process.account, head.block).await? {
        let (block, l2_gas_price) = (head.block, u128::from(head.price));
        observations.push(Observation::Pinned { block, nonce, l2_gas_price });
    }
    if asks_finality && let Ok(Some(up_to)) = node.newest_on_l1().await {
        observations.push(Observation::AcceptedOnL1 { up_to });
    }
    if !maybe_final.is_empty() {
        observations.push(finality(node, maybe_final).await);
    }
    Ok((head, observations))
}

async fn finality(node: &Node, blocks: Vec<BlockRef>) -> Observation {
    let (mut accepted, mut replaced) = (Vec::new(), Vec::new());
    for block in blocks {
        match node.block_at(block.number).await {
            Ok(Some((found, _))) if found != block => replaced.push(block),
            Ok(Some((_, true))) => accepted.push(block),
            Ok(Some(_)) => {}
            Ok(None) | Err(_) => break,
        }
    }
    Observation::Finality { accepted, replaced }
}
