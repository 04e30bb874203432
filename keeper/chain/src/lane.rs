//! Sending from one account so that nothing is lost, doubled or stuck.
//!
//! ```text
//!  submit --> estimate --> sign under the next nonce and record --> send --> the nonce is used --> which one landed?
//!                                                            ^                    |
//!                                                            +-- same bytes, then a replacement, then a no-op
//! ```
//!
//! A [`Lane`] is the one owner of its account's nonces. It counts them itself, from the chain's at the start, reconciled
//! with the log. A nonce belongs to the intent that was recorded with it, whatever comes of sending: no answer is not a
//! failure. What landed is told by the account's nonce as of a block, then by the receipts of every hash that was ever
//! signed for the nonce. What is decided when is in [`LaneState::step`], which knows neither clock nor node.

mod chain;
mod driver;
mod fees;
mod log;
mod node;
mod signing;
mod slot;
mod state;
mod step;
mod sweep;

#[cfg(test)]
mod tests;

use std::{
    sync::{Arc, atomic::AtomicBool},
    time::Duration,
};

use keeper_store::{Fence, IntentAction, IntentId, IntentState, Landed, Store, StoreError};
use keeper_types::{Address, Fri, TxHash};
use tokio::sync::{Mutex, mpsc, oneshot, watch};

use self::chain::RecordedChain;
pub use self::{
    driver::{above, is_repeatable},
    fees::FeeCeiling,
    log::{Duties, LaneLease},
    slot::{Signed, Slot, Stage},
    state::{Action, Answer, LaneState, LaneTimes, Look, Observation},
    sweep::{Checked, Sweep},
};
use crate::{Calls, ChainSource, SendError, Sender, sender::Bounds};

/// Submissions that wait for a place in the window; whoever comes after waits to submit.
const QUEUE: usize = 64;

/// How a lane behaves.
#[derive(Clone, Copy, Debug)]
pub struct LaneSettings {
    /// The most transactions that are on their way at a time.
    pub window: usize,
    /// When what is missing is repaired.
    pub times: LaneTimes,
    /// How often the node is asked while something is on its way.
    pub poll: Duration,
    /// How long a node may take to answer to a transaction before it counts as maybe sent.
    pub send_timeout: Duration,
    /// The most that the account spends in an hour.
    pub max_fee_per_hour: Fri,
}

impl Default for LaneSettings {
    fn default() -> Self {
        Self {
            window: 8,
            times: LaneTimes::default(),
            poll: Duration::from_secs(1),
            send_timeout: Duration::from_secs(10),
            max_fee_per_hour: Fri(1_000_000_000_000_000_000_000),
        }
    }
}

/// One account's lane. Clones are of the same lane.
#[derive(Clone, Debug)]
pub struct Lane {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    sender: Arc<Sender>,
    store: Arc<dyn Store>,
    settings: LaneSettings,
    /// Set where nothing may be signed or sent, whatever waits.
    held: Arc<AtomicBool>,
    /// The account's lease, where several keepers share the log.
    lease: Option<LaneLease>,
    /// Where it is looked, before anything is sent, whether the node is on the recorded chain.
    recorded: Option<RecordedChain>,
    commands: mpsc::Sender<Command>,
    /// Held by whoever runs the lane.
    received: Mutex<mpsc::Receiver<Command>>,
    status: watch::Sender<LaneStatus>,
}

#[derive(Debug)]
enum Command {
    Submit(Box<Submission>),
    Abandon(IntentId),
}

/// What waits to be signed.
#[derive(Debug)]
struct Submission {
    /// What it was decided under; it is recorded only as long as all of that stands.
    duty: Vec<Fence>,
    action: IntentAction,
    calls: Calls,
    bounds: Bounds,
    reply: oneshot::Sender<Result<Submitted, LaneError>>,
}

/// Calls with what they may cost.
#[derive(Clone, Debug)]
pub struct Prepared {
    calls: Calls,
    bounds: Bounds,
}

/// An intent that is recorded, and will be sent until it landed or cannot.
#[derive(Debug)]
pub struct Submitted {
    /// The intent.
    pub intent_id: IntentId,
    /// Its nonce.
    pub nonce: u64,
    /// The hash of its first transaction.
    pub tx_hash: TxHash,
    /// Told once it is known how it ends; closed without a word where the lane stops before.
    pub outcome: oneshot::Receiver<Outcome>,
}

/// How an intent ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// [`IntentState::AcceptedL2`], [`IntentState::Reverted`], [`IntentState::Replaced`] or [`IntentState::Lost`].
    pub state: IntentState,
    /// Where it landed, if it did.
    pub landed: Option<Landed>,
}

/// How a lane is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LaneStatus {
    /// Transactions on their way.
    pub in_flight: usize,
    /// The next nonce.
    pub next_nonce: u64,
    /// How long the lowest unused nonce has been missing, in milliseconds.
    pub gap_age_ms: Option<u64>,
    /// Why nothing is signed, if nothing is.
    pub paused: Option<Paused>,
    /// How often somebody else used the account's key, since the start.
    pub outside_uses: u64,
}

/// Why a lane signs nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Paused {
    /// The account has spent what it may in an hour.
    FeeCeiling {
        /// What it has, or may yet have, spent.
        spent: Fri,
        /// What it may.
        most: Fri,
    },
    /// The account cannot pay for what is signed.
    Unfunded,
}

impl std::fmt::Display for Paused {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::FeeCeiling { spent, most } => {
                write!(f, "{spent} of {most} an hour are spent or may yet be: raise max_fee_per_hour, or wait")
            }
            Self::Unfunded => f.write_str("the account cannot pay for what is signed: fund it with STRK"),
        }
    }
}

/// Why a lane does not take an intent, or fails.
#[derive(Debug, thiserror::Error)]
pub enum LaneError {
    /// It was not signed, so nothing was sent.
    #[error(transparent)]
    Send(#[from] SendError),
    /// The log failed.
    #[error("the intent log")]
    Store(#[from] StoreError),
    /// The lane is not running any more; what is recorded goes on at the next start.
    #[error("the lane has stopped")]
    Stopped,
    /// A recorded transaction cannot be read, or one cannot be recorded.
    #[error("a signed transaction cannot be used: {0}")]
    Bytes(String),
}

impl Lane {
    /// A lane for the sender's account. Nothing happens until it is [run](Lane::run).
    pub fn new(sender: Arc<Sender>, store: Arc<dyn Store>, settings: LaneSettings) -> Self {
        Self::held_by(Arc::default(), sender, store, settings)
    }

    /// As [`Lane::new`], but as long as the flag is set nothing is signed or sent, not even again; what waits is kept.
    pub fn held_by(held: Arc<AtomicBool>, sender: Arc<Sender>, store: Arc<dyn Store>, settings: LaneSettings) -> Self {
        Self::under(None, held, sender, store, settings)
    }

    /// As [`Lane::held_by`], but where there is a lease the lane runs only as long as that lasts, and everything is
    /// recorded under it. Then several keepers may be given the account.
    pub fn under(
        lease: Option<LaneLease>,
        held: Arc<AtomicBool>,
        sender: Arc<Sender>,
        store: Arc<dyn Store>,
        settings: LaneSettings,
    ) -> Self {
        let (commands, received) = mpsc::channel(QUEUE);
        let (received, status) = (Mutex::new(received), watch::Sender::default());
        let recorded = None;
        Self { inner: Arc::new(Inner { sender, store, settings, held, lease, recorded, commands, received, status }) }
    }

    /// The same lane, which nobody has yet, but it sends only to a node that has the newest recorded block. For local
    /// chains: another may have taken the place of the one that its transactions are for, with the same chain id.
    #[must_use]
    pub fn only_on_recorded(self, node: Arc<dyn ChainSource>) -> Self {
        let store = self.inner.store.clone();
        let with = |inner: Inner| Inner { recorded: Some(RecordedChain { node, store }), ..inner };
        Arc::into_inner(self.inner).map(|inner| Self { inner: Arc::new(with(inner)) }).expect("nobody has it yet")
    }

    /// The account.
    pub fn address(&self) -> Address {
        self.inner.sender.address()
    }

    /// The account as one that signs. Whatever it sends by itself is outside use to the lane.
    pub fn sender(&self) -> &Sender {
        &self.inner.sender
    }

    /// How the lane is.
    pub fn status(&self) -> watch::Receiver<LaneStatus> {
        self.inner.status.subscribe()
    }

    /// Signs and records the calls, and returns as soon as they are recorded; from then on the lane sees to them. Waits
    /// for a place in the window.
    ///
    /// # Errors
    /// [`LaneError::Send`] where the contracts refuse the calls or the fee cannot be estimated,
    /// [`StoreError::IntentExists`] where an open intent does the same. Nothing is sent then.
    pub async fn submit(&self, action: IntentAction, calls: Calls) -> Result<Submitted, LaneError> {
        self.submit_for(&[], action, calls).await
    }

    /// Asks the node what calls may cost; nothing is signed yet.
    ///
    /// # Errors
    /// [`LaneError::Send`] where the contracts refuse the calls or the fee cannot be estimated.
    pub async fn prepare(&self, calls: Calls) -> Result<Prepared, LaneError> {
        let sender = &self.inner.sender;
        // The node counts what it knows of. What it does not know yet changes no estimate.
        let nonce = sender.nonce().await?;
        let bounds = sender.estimate(calls.0.clone(), nonce).await?;
        Ok(Prepared { calls, bounds })
    }

    /// As [`Lane::submit`], for what was decided under leases of other names: it is recorded only if all of them stand.
    ///
    /// # Errors
    /// As [`Lane::submit`], and [`StoreError::Fenced`] where a grant does not stand.
    pub async fn submit_for(&self, duty: &[Fence], action: IntentAction, calls: Calls) -> Result<Submitted, LaneError> {
        self.submit_prepared(duty, action, self.prepare(calls).await?).await
    }

    /// As [`Lane::submit_for`], for calls that are prepared.
    ///
    /// # Errors
    /// As [`Lane::submit_for`], but nothing is asked of the node any more.
    pub async fn submit_prepared(
        &self,
        duty: &[Fence],
        action: IntentAction,
        prepared: Prepared,
    ) -> Result<Submitted, LaneError> {
        self.submit_with(duty, action, prepared.calls, prepared.bounds).await
    }

    /// As [`Lane::submit`], but with the bounds of other calls, so that these may revert: for the test that they do.
    ///
    /// # Errors
    /// As [`Lane::submit`].
    #[cfg(feature = "chaos")]
    pub async fn submit_unchecked(
        &self,
        action: IntentAction,
        calls: Calls,
        checked: &Calls,
    ) -> Result<Submitted, LaneError> {
        let sender = &self.inner.sender;
        let bounds = sender.estimate(checked.0.clone(), sender.nonce().await?).await?;
        self.submit_with(&[], action, calls, bounds).await
    }

    async fn submit_with(
        &self,
        duty: &[Fence],
        action: IntentAction,
        calls: Calls,
        bounds: Bounds,
    ) -> Result<Submitted, LaneError> {
        let (reply, answer) = oneshot::channel();
        let duty = duty.to_vec();
        let submission = Command::Submit(Box::new(Submission { duty, action, calls, bounds, reply }));
        self.inner.commands.send(submission).await.map_err(|_| LaneError::Stopped)?;
        answer.await.map_err(|_| LaneError::Stopped)?
    }

    /// Says that an intent's action is wanted no more: where it is missing, a no-op takes its nonce.
    pub async fn abandon(&self, intent_id: IntentId) {
        // A lane that has stopped looks at the log anew.
        self.inner.commands.send(Command::Abandon(intent_id)).await.ok();
    }
}
