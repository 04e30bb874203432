//! Intents: what the keeper set out to send to the chain.
//!
//! ```text
//!  planned -----> sent -----> accepted
//!     |            |  \-----> reverted
//!     +------------+--------> lost
//! ```
//!
//! An intent is recorded before its transaction is sent. After a crash, each intent that is still open is
//! looked up on chain by its transaction hash or nonce, and closed or sent again. A reorganisation may open an
//! accepted one again.

use std::{fmt, str::FromStr};

use keeper_types::{Address, AllocationItem, BlockNumber, JobId, TxHash};
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
}

impl IntentAction {
    /// `apply_batch` or `maintenance`.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::ApplyBatch { .. } => "apply_batch",
            Self::Maintenance { .. } => "maintenance",
        }
    }

    /// The round of a batch.
    pub fn round(&self) -> Option<u64> {
        match self {
            Self::ApplyBatch { round, .. } => Some(*round),
            Self::Maintenance { .. } => None,
        }
    }
}

/// A call that moves a job on after its deadline.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(tag = "call", content = "job_id", rename_all = "snake_case")]
pub enum MaintenanceCall {
    /// Refund a job that was not allocated in time.
    ExpireJob(JobId),
    /// Take a job from a worker that did not finish in time.
    ExpireAttempt(JobId),
    /// Pay for a result that was not disputed in time.
    Settle(JobId),
    /// Rule a dispute that nobody ruled in time, or as its committee found.
    SettleDispute(JobId),
}

/// Where an intent stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum IntentState {
    /// Recorded; not known to be sent.
    Planned,
    /// Sent; not known to be in a block.
    Sent,
    /// In a block, and it succeeded.
    Accepted,
    /// In a block, and it reverted.
    Reverted,
    /// It will not happen: refused, or its nonce was used by another transaction.
    Lost,
}

impl IntentState {
    /// Every state.
    pub const ALL: [Self; 5] = [Self::Planned, Self::Sent, Self::Accepted, Self::Reverted, Self::Lost];

    /// The state's name in the database and in the API.
    pub fn name(self) -> &'static str {
        match self {
            Self::Planned => "planned",
            Self::Sent => "sent",
            Self::Accepted => "accepted",
            Self::Reverted => "reverted",
            Self::Lost => "lost",
        }
    }

    /// Whether it is still to be found out how it ends.
    pub fn is_open(self) -> bool {
        matches!(self, Self::Planned | Self::Sent)
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

/// An intent to be recorded; it begins as planned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewIntent {
    /// What is to be sent.
    pub action: IntentAction,
    /// The account that sends it.
    pub account: Address,
    /// The transaction's nonce.
    pub nonce: u64,
    /// The transaction's hash, where it is signed already.
    pub tx_hash: Option<TxHash>,
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
    /// The transaction's nonce.
    pub nonce: u64,
    /// The transaction's hash, once it is signed.
    pub tx_hash: Option<TxHash>,
    /// Where it stands.
    pub state: IntentState,
    /// When it was planned, in milliseconds since the epoch.
    pub created_ms: u64,
    /// When it last changed, in milliseconds since the epoch.
    pub updated_ms: u64,
}

/// What became of an intent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IntentUpdate {
    /// Where it stands now.
    pub state: IntentState,
    /// The transaction's hash; `None` leaves it as it was.
    pub tx_hash: Option<TxHash>,
    /// When this was found out, in milliseconds since the epoch.
    pub updated_ms: u64,
}
