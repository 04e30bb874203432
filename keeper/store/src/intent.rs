//! Intents: what the keeper set out to send to the chain.
//!
//! ```text
//!  planned --> signed --> maybe sent --> nonce consumed --+--> accepted on L2 --> accepted on L1
//!                              ^                          +--> reverted
//!                              |                          +--> replaced (its own no-op took the nonce)
//!                           reorged <--(the block is gone)-+--> lost (another transaction took the nonce)
//! ```
//!
//! An intent is recorded before anything is sent: with its nonce, and with every transaction that was ever signed for
//! that nonce, as the bytes that are sent. A send that gets no answer leaves it at "maybe sent". Whoever starts again
//! finds here what is open, resends the same bytes, and looks up which of the transactions landed.

use std::{fmt, str::FromStr};

use keeper_types::{Address, AllocationItem, Attempt, BlockNumber, BlockRef, Fri, JobId, TxHash};
use serde::{Deserialize, Serialize};

/// An intent's number in its database.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct IntentId(pub u64);

impl fmt::Display for IntentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// What is to be sent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum IntentAction {
    /// A batch of allocations.
    ApplyBatch {
        /// The account's round, higher than every one before.
        round: u64,
        /// The block that the plan's snapshot was taken at.
        snapshot_block: BlockNumber,
        /// The allocations.
        items: Vec<AllocationItem>,
    },
    /// Calls that anybody may make once a deadline has passed.
    Maintenance {
        /// The calls, in the order in which they are made.
        calls: Vec<MaintenanceCall>,
    },
    /// Nothing but the use of a nonce that no other intent has, so that those above it are not stuck.
    FillNonce,
}

impl IntentAction {
    /// `apply_batch`, `maintenance` or `fill_nonce`.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::ApplyBatch { .. } => "apply_batch",
            Self::Maintenance { .. } => "maintenance",
            Self::FillNonce => "fill_nonce",
        }
    }

    /// The round of a batch.
    pub fn round(&self) -> Option<u64> {
        match self {
            Self::ApplyBatch { round, .. } => Some(*round),
            Self::Maintenance { .. } | Self::FillNonce => None,
        }
    }

    /// What no other open intent may do at the same time: a batch its account's round, maintenance each of its calls.
    pub fn keys(&self, account: Address) -> Vec<String> {
        match self {
            Self::ApplyBatch { round, .. } => vec![format!("round:{account}:{round}")],
            Self::Maintenance { calls } => calls.iter().map(MaintenanceCall::key).collect(),
            Self::FillNonce => Vec::new(),
        }
    }

    /// Whether its keys are used up for good: a round has its number once.
    pub(crate) fn keeps_its_keys(&self) -> bool {
        matches!(self, Self::ApplyBatch { .. })
    }
}

/// A call that anybody may make once its time has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(tag = "call", rename_all = "snake_case", deny_unknown_fields)]
pub enum MaintenanceCall {
    /// Refund a job that was not allocated in time.
    ExpireJob(JobAttempt),
    /// Take a job from a worker that did not finish in time.
    ExpireAttempt(JobAttempt),
    /// Pay for a result that was not disputed in time.
    Settle(JobAttempt),
    /// Rule a dispute that nobody ruled in time, or as its committee found.
    SettleDispute(JobAttempt),
    /// Pay an account what it is owed.
    PayOut {
        /// The account.
        account: Address,
    },
}

/// A job, and how often it has been given to a worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct JobAttempt {
    /// The job.
    pub job_id: JobId,
    /// The attempt; 0 where the first layout did not keep it.
    #[serde(default)]
    pub attempt: Attempt,
}

impl MaintenanceCall {
    fn key(&self) -> String {
        let exit = |name: &str, of: &JobAttempt| format!("{name}:{}:{}", of.job_id, of.attempt);
        match self {
            Self::ExpireJob(of) => exit("expire_job", of),
            Self::ExpireAttempt(of) => exit("expire_attempt", of),
            Self::Settle(of) => exit("settle", of),
            Self::SettleDispute(of) => exit("settle_dispute", of),
            Self::PayOut { account } => format!("pay_out:{account}"),
        }
    }
}

/// Where an intent stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum IntentState {
    /// Recorded; it has no nonce and was not signed.
    Planned,
    /// Signed under a nonce; about to be sent.
    Signed,
    /// Sent, whatever the answer was; not known to be in a block.
    MaybeSent,
    /// Its nonce is used; by which transaction is not known yet.
    NonceConsumed,
    /// In a block, and it succeeded.
    AcceptedL2,
    /// In a block that was accepted on L1.
    AcceptedL1,
    /// In a block, and it reverted.
    Reverted,
    /// It will not happen: a transaction that is not its own took the nonce, or it was never signed.
    Lost,
    /// It will not happen: its own no-op took the nonce.
    Replaced,
    /// The block that it was in is gone; it is looked up again.
    Reorged,
}

impl IntentState {
    /// Every state.
    pub const ALL: [Self; 10] = [
        Self::Planned,
        Self::Signed,
        Self::MaybeSent,
        Self::NonceConsumed,
        Self::AcceptedL2,
        Self::AcceptedL1,
        Self::Reverted,
        Self::Lost,
        Self::Replaced,
        Self::Reorged,
    ];

    /// The state's name in the database and in the API.
    pub fn name(self) -> &'static str {
        match self {
            Self::Planned => "planned",
            Self::Signed => "signed",
            Self::MaybeSent => "maybe_sent",
            Self::NonceConsumed => "nonce_consumed",
            Self::AcceptedL2 => "accepted_l2",
            Self::AcceptedL1 => "accepted_l1",
            Self::Reverted => "reverted",
            Self::Lost => "lost",
            Self::Replaced => "replaced",
            Self::Reorged => "reorged",
        }
    }

    /// Whether it is still to be found out how it ends.
    pub fn is_open(self) -> bool {
        matches!(self, Self::Planned | Self::Signed | Self::MaybeSent | Self::NonceConsumed | Self::Reorged)
    }

    /// Whether one of its transactions is in a block.
    pub fn is_landed(self) -> bool {
        matches!(self, Self::AcceptedL2 | Self::AcceptedL1 | Self::Reverted | Self::Replaced)
    }

    /// Whether the nonce is this intent's and no other's.
    pub fn holds_nonce(self) -> bool {
        !matches!(self, Self::Planned | Self::Lost)
    }
}

impl fmt::Display for IntentState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for IntentState {
    type Err = UnknownName;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL.into_iter().find(|state| state.name() == text).ok_or_else(|| UnknownName { text: text.to_owned() })
    }
}

/// A text names nothing of its kind.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not a known name")]
pub struct UnknownName {
    pub(crate) text: String,
}

/// What a transaction is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Purpose {
    /// It does what the intent is for.
    Action,
    /// It does nothing but use the nonce up.
    NoOp,
}

impl Purpose {
    /// The name in the database.
    pub fn name(self) -> &'static str {
        match self {
            Self::Action => "action",
            Self::NoOp => "no_op",
        }
    }
}

impl FromStr for Purpose {
    type Err = UnknownName;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let known = [Self::Action, Self::NoOp].into_iter().find(|purpose| purpose.name() == text);
        known.ok_or_else(|| UnknownName { text: text.to_owned() })
    }
}

/// A signed transaction.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct IntentTransaction {
    /// Its hash.
    pub tx_hash: TxHash,
    /// What it is for.
    pub purpose: Purpose,
    /// The transaction as it is sent, in JSON, so that the same bytes can be sent again; `None` where the first layout
    /// of the database did not keep them.
    pub request: Option<String>,
    /// The tip, in fri for a unit of L2 gas.
    pub tip: u64,
    /// The most that it pays for a unit of L2 gas, in fri.
    pub l2_gas_price: u128,
    /// The most that it costs.
    pub max_fee: Fri,
    /// When it was signed, in milliseconds since the epoch.
    pub signed_ms: u64,
    /// When it was last sent, whatever came of it, in milliseconds since the epoch.
    pub sent_ms: Option<u64>,
}

/// An intent to be recorded. With a transaction it begins as signed, without as planned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewIntent {
    /// What is to be sent.
    pub action: IntentAction,
    /// The account that sends it.
    pub account: Address,
    /// The nonce, and the transaction that is signed with it.
    pub signed: Option<(u64, IntentTransaction)>,
    /// When it was planned, in milliseconds since the epoch.
    pub created_ms: u64,
}

/// A recorded intent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Intent {
    /// Its number; later intents have higher ones.
    pub intent_id: IntentId,
    /// What is to be sent.
    pub action: IntentAction,
    /// The account that sends it.
    pub account: Address,
    /// Its transactions' nonce, once one is signed.
    pub nonce: Option<u64>,
    /// Where it stands.
    pub state: IntentState,
    /// Whether nothing changes it any more: it is lost, or its block was accepted on L1.
    pub is_final: bool,
    /// Every transaction that was signed for the nonce, in the order of signing.
    pub transactions: Vec<IntentTransaction>,
    /// Which of them is in a block.
    pub landed: Option<Landed>,
    /// When it was planned, in milliseconds since the epoch.
    pub created_ms: u64,
    /// When it last changed, in milliseconds since the epoch.
    pub updated_ms: u64,
}

impl Intent {
    /// The transaction that is in a block, or else the one that was signed last.
    pub fn tx_hash(&self) -> Option<TxHash> {
        let landed = self.landed.map(|landed| landed.tx_hash);
        landed.or_else(|| self.transactions.last().map(|transaction| transaction.tx_hash))
    }

    /// Whether this is one of its transactions.
    pub fn has_transaction(&self, tx_hash: TxHash) -> bool {
        self.transactions.iter().any(|transaction| transaction.tx_hash == tx_hash)
    }

    /// The most that it can cost or, once it landed, what it did cost.
    pub fn fee(&self) -> Fri {
        let most = || self.transactions.iter().map(|transaction| transaction.max_fee).max().unwrap_or(Fri::ZERO);
        match (self.state, self.landed.and_then(|landed| landed.fee)) {
            (IntentState::Planned | IntentState::Lost, _) => Fri::ZERO,
            (_, Some(fee)) => fee,
            (_, None) => most(),
        }
    }
}

/// Where a transaction landed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Landed {
    /// Which.
    pub tx_hash: TxHash,
    /// The block; `None` where the first layout of the database did not keep it.
    pub block: Option<BlockRef>,
    /// What it cost; `None` where the first layout of the database did not keep it.
    pub fee: Option<Fri>,
}

/// What became of an intent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IntentUpdate {
    /// Where it stands now.
    pub state: IntentState,
    /// The transaction that was just sent, whatever came of it.
    pub sent: Option<TxHash>,
    /// The transaction that is in a block. A state without one forgets where it had landed.
    pub landed: Option<Landed>,
    /// When this was found out, in milliseconds since the epoch.
    pub updated_ms: u64,
}

impl IntentUpdate {
    /// The intent stands there now.
    pub fn to(state: IntentState, updated_ms: u64) -> Self {
        Self { state, sent: None, landed: None, updated_ms }
    }

    /// A transaction of it was sent, whatever came of it.
    pub fn maybe_sent(tx_hash: TxHash, updated_ms: u64) -> Self {
        Self { sent: Some(tx_hash), ..Self::to(IntentState::MaybeSent, updated_ms) }
    }

    /// A transaction of it is in a block.
    pub fn landed(state: IntentState, landed: Landed, updated_ms: u64) -> Self {
        Self { landed: Some(landed), ..Self::to(state, updated_ms) }
    }
}
