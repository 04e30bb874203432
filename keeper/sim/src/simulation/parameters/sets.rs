//! The sets that are compared.

use keeper_scheduler::{
    Policy,
    queueing::{Backfill, QueueConfig, RetryPolicy},
};
use serde::{Deserialize, Serialize};

/// A scheduler with all its settings.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "engine", rename_all = "snake_case")]
pub enum ParameterSet {
    /// Queues, an ordering policy, gangs and backfill: `keeper_scheduler::queueing`.
    Queues(QueuesSet),
    /// Scored workers with requirements and slots: `keeper_scheduler::plan`.
    Plan(PlanSet),
}

impl ParameterSet {
    /// What it is called.
    pub fn name(&self) -> &str {
        match self {
            Self::Queues(set) => &set.name,
            Self::Plan(set) => &set.name,
        }
    }

    /// What follows a failure.
    pub(crate) fn retry(&self) -> RetryPolicy {
        match self {
            Self::Queues(set) => set.retry,
            Self::Plan(set) => set.retry,
        }
    }
}

/// Settings of the engine `queues`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct QueuesSet {
    /// What the set is called; unique.
    pub name: String,
    /// The order of jobs.
    #[serde(default)]
    pub policy: Ordering,
    /// After how many seconds a tenant's use counts half.
    #[serde(default = "a_week")]
    pub half_life_s: u32,
    /// The queues; the market's three where they are left out.
    #[serde(default = "QueueConfig::market")]
    pub queues: Vec<QueueConfig>,
    /// What follows a failure.
    #[serde(default)]
    pub retry: RetryPolicy,
}

fn a_week() -> u32 {
    604_800
}

/// Settings of the engine `plan`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PlanSet {
    /// What the set is called; unique.
    pub name: String,
    /// Weights and limits.
    #[serde(default)]
    pub policy: Policy,
    /// What follows a failure.
    #[serde(default)]
    pub retry: RetryPolicy,
}

/// An order of jobs, with its settings.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Ordering {
    /// The keeper's own; a weight that is left out is the default one.
    Balanced {
        /// What a doubling of the job's limit counts.
        size: Option<u32>,
        /// What a doubling of its GPUs counts.
        width: Option<u32>,
        /// What a doubling of what its tenant holds counts.
        fairness: Option<u32>,
        /// What a level of priority counts.
        priority: Option<u32>,
        /// What a doubling of its queue's weight counts.
        queue: Option<u32>,
    },
    /// First in, first out.
    Fifo {
        /// What may start before the head.
        #[serde(default)]
        backfill: BackfillKind,
    },
    /// Least decayed use by weight first.
    FairShare {
        /// What may start before the head.
        #[serde(default)]
        backfill: BackfillKind,
    },
    /// Earliest deadline first.
    EarliestDeadline {
        /// What may start before the head.
        #[serde(default)]
        backfill: BackfillKind,
    },
    /// Highest aged priority first.
    Priority {
        /// Seconds of waiting that are worth a level; 0 turns aging off.
        aging_interval_s: u32,
        /// What may start before the head.
        #[serde(default)]
        backfill: BackfillKind,
    },
    /// Slurm's multifactor priority with its documented example weights.
    SlurmMultifactor {},
}

impl Default for Ordering {
    fn default() -> Self {
        Self::Balanced { size: None, width: None, fairness: None, priority: None, queue: None }
    }
}

/// What may start before the head of the queue while that does not fit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BackfillKind {
    /// Nothing.
    None,
    /// What leaves the head's reservation as it is.
    #[default]
    Easy,
    /// Only what ends before the reserved start.
    BeforeReservation,
}

impl From<BackfillKind> for Backfill {
    fn from(kind: BackfillKind) -> Self {
        match kind {
            BackfillKind::None => Self::None,
            BackfillKind::Easy => Self::Easy,
            BackfillKind::BeforeReservation => Self::BeforeReservation,
        }
    }
}
