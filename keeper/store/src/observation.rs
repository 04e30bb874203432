//! What only this keeper knows about a job: why it decided as it did, and when it saw the job move.

use std::{fmt, str::FromStr};

use keeper_scheduler::Explanation;
use keeper_types::{Attempt, BlockNumber, JobId};
use serde::{Deserialize, Serialize};

use crate::UnknownName;

/// An explanation with the plan that it comes from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExplanationRecord {
    /// What was decided, and why.
    pub explanation: Explanation,
    /// The round that the plan was sent in; `None` where it placed nothing and so nothing was sent.
    pub round: Option<u64>,
    /// The block that the snapshot was taken at.
    pub snapshot_block: BlockNumber,
    /// When the plan was made, in milliseconds since the epoch.
    pub time_ms: u64,
}

/// What an attempt at a job reaches, in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// It is queued: submitted, or queued again.
    Submitted,
    /// A worker has it.
    Allocated,
    /// Its result is on chain.
    Revealed,
    /// The worker is paid.
    Settled,
}

impl Stage {
    /// Every stage, in order.
    pub const ALL: [Self; 4] = [Self::Submitted, Self::Allocated, Self::Revealed, Self::Settled];

    /// The stage's name in the database.
    pub fn name(self) -> &'static str {
        match self {
            Self::Submitted => "submitted",
            Self::Allocated => "allocated",
            Self::Revealed => "revealed",
            Self::Settled => "settled",
        }
    }
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Stage {
    type Err = UnknownName;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL.into_iter().find(|stage| stage.name() == text).ok_or_else(|| UnknownName { text: text.to_owned() })
    }
}

/// This keeper saw an attempt reach a stage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Observation {
    /// The job.
    pub job_id: JobId,
    /// The attempt.
    pub attempt: Attempt,
    /// What it reached.
    pub stage: Stage,
    /// The block that moved it there; the observation goes where that block is reverted.
    pub block: BlockNumber,
    /// When this keeper saw it, in milliseconds since the epoch by its own clock.
    pub observed_ms: u64,
}

/// When this keeper first saw an attempt reach each stage, in milliseconds since the epoch; `None` where it did
/// not, because it has not happened or the keeper was not running.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobTimings {
    /// The job.
    pub job_id: JobId,
    /// The attempt.
    pub attempt: Attempt,
    /// Queued.
    pub observed_submitted_ms: Option<u64>,
    /// Given to a worker.
    pub observed_allocated_ms: Option<u64>,
    /// Result on chain.
    pub observed_revealed_ms: Option<u64>,
    /// Paid.
    pub observed_settled_ms: Option<u64>,
}
