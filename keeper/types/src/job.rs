//! Jobs: what a client asked for, and where the job stands.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};
use starknet_types_core::felt::Felt;

use crate::{
    Address, Attempt, BlockNumber, ContentHash, Fri, JobId, Rate, RejectionCause, Replication, Requirements, Strategy,
    Verification, VerificationError, WorkerId, verification::check_verification,
};

/// The contract's states, in its order; `docs/job-lifecycle.md` says who moves a job where.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[repr(u8)]
pub enum JobState {
    /// Waiting for a worker.
    Queued = 1,
    /// Given to a worker, which runs it.
    Allocated = 2,
    /// The worker is committed to a result that it has not shown.
    Committed = 3,
    /// The worker has published its result; the challenge window runs.
    Revealed = 4,
    /// The client disputes the result.
    Disputed = 5,
    /// Paid. Final.
    Settled = 6,
    /// Withdrawn by its client. Final.
    Cancelled = 7,
    /// Not allocated before its deadline. Final.
    Expired = 8,
    /// Every attempt failed. Final.
    Failed = 9,
}

impl JobState {
    /// Every state, in the contract's order.
    pub const ALL: [Self; 9] = [
        Self::Queued,
        Self::Allocated,
        Self::Committed,
        Self::Revealed,
        Self::Disputed,
        Self::Settled,
        Self::Cancelled,
        Self::Expired,
        Self::Failed,
    ];

    /// Whether nothing can follow.
    pub fn is_final(self) -> bool {
        matches!(self, Self::Settled | Self::Cancelled | Self::Expired | Self::Failed)
    }

    /// The state's name, as the command line and the API write it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Allocated => "allocated",
            Self::Committed => "committed",
            Self::Revealed => "revealed",
            Self::Disputed => "disputed",
            Self::Settled => "settled",
            Self::Cancelled => "cancelled",
            Self::Expired => "expired",
            Self::Failed => "failed",
        }
    }
}

impl fmt::Display for JobState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for JobState {
    type Err = UnknownState;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL.into_iter().find(|state| state.name() == text).ok_or_else(|| UnknownState { text: text.to_owned() })
    }
}

/// A text names no job state.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{text}` is not a job state: they are queued, allocated, committed, revealed, disputed, settled, cancelled, expired, failed"
)]
pub struct UnknownState {
    text: String,
}

/// Which of the market's queues a job waits in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[repr(u8)]
pub enum Queue {
    /// The ordinary queue.
    #[default]
    Default = 0,
    /// Served first.
    High = 1,
    /// Served last.
    Low = 2,
}

impl Queue {
    /// The queue with this number on chain.
    pub fn from_number(number: u8) -> Option<Self> {
        match number {
            0 => Some(Self::Default),
            1 => Some(Self::High),
            2 => Some(Self::Low),
            _ => None,
        }
    }
}

impl fmt::Display for Queue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Default => "default",
            Self::High => "high",
            Self::Low => "low",
        })
    }
}

/// What a client asked for; fixed at submission.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobSpec {
    /// Content hash of the manifest that the worker runs. A client may have put any felt on chain, so this is
    /// not a [`ContentHash`] until it is read as one.
    pub manifest_hash: Felt,
    /// The model that the job uses, a short string; zero where it uses none.
    pub model_id: Felt,
    /// What the worker must have.
    pub requirements: Requirements,
    /// 1 to 10, higher first.
    pub priority: u8,
    /// The queue.
    pub queue: Queue,
    /// What the client put into escrow, and pays at most.
    pub max_price: Fri,
    /// When the job expires unless it was allocated, in seconds since the epoch.
    pub deadline: u64,
    /// How long the worker is reserved, in seconds.
    pub execution_timeout_s: u32,
    /// How often the job may be tried, 1 to 15.
    pub max_attempts: u8,
    /// The longest round trip to the worker's agent, in milliseconds; 0 for any. The contracts keep it for the
    /// keeper and do not check it.
    pub max_latency_ms: u16,
    /// Who decides a dispute.
    pub verification: Verification,
    /// Workers that run the job, each for `max_price`.
    pub replicas: u8,
    /// Replicas that must agree.
    pub quorum: u8,
}

impl JobSpec {
    /// The highest rate that the escrow covers.
    pub fn max_rate(&self) -> Rate {
        Rate::highest_within(self.max_price, self.requirements.billed_units(), self.execution_timeout_s)
    }

    /// What all replicas together may cost.
    pub fn escrow(&self) -> Fri {
        Fri(self.max_price.0.saturating_mul(u128::from(self.replicas)))
    }

    /// Replicas and quorum, checked.
    ///
    /// # Errors
    /// Names the number that is out of bounds.
    pub fn replication(&self) -> Result<Replication, VerificationError> {
        Replication::new(self.replicas, self.quorum)
    }

    /// Checks latency, verification, replicas and quorum as the contract does.
    ///
    /// # Errors
    /// Names the first field that the contract would refuse, and what to use instead.
    pub fn check_verification(&self) -> Result<(), VerificationError> {
        check_verification(self.max_latency_ms, self.verification, self.replicas, self.quorum)
    }

    /// The manifest's content hash, or `None` where the client put something else on chain.
    pub fn manifest(&self) -> Option<ContentHash> {
        ContentHash::from_felt(self.manifest_hash).ok()
    }
}

/// A dispute about a result.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dispute {
    /// What the client put at stake.
    pub bond: Fri,
    /// When it is ruled by default: timestamp and block, both of which must pass.
    pub ends: (u64, BlockNumber),
    /// The group that runs the job again, where a committee decides.
    pub committee: Option<JobId>,
    /// Whether the result was found right; `None` until it is ruled.
    pub is_right: Option<bool>,
}

/// A job as the chain's events tell it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Job {
    /// Its number.
    pub job_id: JobId,
    /// Who submitted and pays for it; also the tenant in fair sharing.
    pub client: Address,
    /// What was asked for.
    pub spec: JobSpec,
    /// Where it stands.
    pub state: JobState,
    /// The attempt that is queued, running or was the last.
    pub attempt: Attempt,
    /// The block after which the job may expire.
    pub deadline_block: BlockNumber,
    /// When it was submitted: block timestamp, in seconds.
    pub submitted_at: u64,
    /// When its present or latest attempt was queued: block timestamp, in seconds.
    pub queued_at: u64,
    /// The block that submitted it.
    pub submitted_block: BlockNumber,
    /// The worker of the latest attempt.
    pub worker_id: Option<WorkerId>,
    /// When the latest attempt was allocated: block timestamp, in seconds.
    pub allocated_at: Option<u64>,
    /// The block in which the latest attempt was allocated.
    pub allocated_block: Option<BlockNumber>,
    /// The rate agreed for the latest attempt.
    pub rate: Option<Rate>,
    /// The score of the latest allocation.
    pub score: Option<u16>,
    /// How the latest allocation came about.
    pub strategy: Option<Strategy>,
    /// When the running attempt may be expired, committed to or not: timestamp and block, both of which must pass.
    pub attempt_deadline: Option<(u64, BlockNumber)>,
    /// The group, named by its first job, where the job is a replica.
    pub group_id: Option<JobId>,
    /// What the worker is committed to.
    pub commitment: Option<Felt>,
    /// The output's content hash.
    pub result_hash: Option<Felt>,
    /// When the result may be settled by anyone: timestamp and block, both of which must pass.
    pub challenge_ends: Option<(u64, BlockNumber)>,
    /// Whether the job counts among its worker's holds.
    pub is_held: bool,
    /// The dispute about the result.
    pub dispute: Option<Dispute>,
    /// Why the result was not paid.
    pub rejected: Option<RejectionCause>,
    /// Workers that failed this job, in order; never given it again.
    pub excluded: Vec<WorkerId>,
    /// What the worker was paid.
    pub paid: Fri,
    /// What the client got back.
    pub refunded: Fri,
    /// The reason code of the latest failed attempt, a short string.
    pub last_failure: Option<Felt>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn states_have_names_that_read_back() {
        for (index, state) in JobState::ALL.into_iter().enumerate() {
            assert_eq!(state as usize, index + 1);
            assert_eq!(state.name().parse::<JobState>().unwrap(), state);
        }
        assert!("running".parse::<JobState>().is_err());
    }
}
