//! What the contracts said: their events, decoded.

use serde::{Deserialize, Serialize};
use starknet_types_core::felt::Felt;

use crate::{
    Address, Attempt, BlockNumber, Capabilities, Fri, JobId, JobSpec, Rate, SkipReason, Strategy, TxHash, WorkerId,
};

/// Where an event stands in the chain. Positions order events as the chain does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct EventPosition {
    /// The block.
    pub block: BlockNumber,
    /// The block's timestamp, in seconds.
    pub timestamp: u64,
    /// The event's place among the block's events, from 0.
    pub index: u32,
    /// The transaction that emitted it.
    pub tx_hash: TxHash,
}

/// An event of JobMgr, CdcPool or TaskAllocator. Fields mean what `docs/events.md` says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
#[expect(missing_docs, reason = "docs/events.md documents every field of every event once")]
pub enum MarketEvent {
    JobSubmitted {
        job_id: JobId,
        client: Address,
        spec: Box<JobSpec>,
        deadline_block: BlockNumber,
    },
    JobAllocated {
        job_id: JobId,
        worker_id: WorkerId,
        attempt: Attempt,
        rate: Rate,
        score: u16,
        strategy: Strategy,
    },
    ResultSubmitted {
        job_id: JobId,
        worker_id: WorkerId,
        attempt: Attempt,
        result_hash: Felt,
        challenge_ends_at: u64,
        challenge_ends_block: BlockNumber,
    },
    JobSettled {
        job_id: JobId,
        worker_id: WorkerId,
        client: Address,
        paid: Fri,
        refunded: Fri,
    },
    AttemptFailed {
        job_id: JobId,
        worker_id: WorkerId,
        attempt: Attempt,
        expired: bool,
        reason: Felt,
        requeued: bool,
    },
    JobCancelled {
        job_id: JobId,
        client: Address,
        refunded: Fri,
    },
    JobExpired {
        job_id: JobId,
        client: Address,
        refunded: Fri,
    },
    JobFailed {
        job_id: JobId,
        client: Address,
        refunded: Fri,
    },
    WorkerRegistered {
        worker_id: WorkerId,
        owner: Address,
        capabilities: Capabilities,
        slots: u8,
        rate: Rate,
        stake: Fri,
    },
    WorkerUpdated {
        worker_id: WorkerId,
        capabilities: Capabilities,
        slots: u8,
        rate: Rate,
    },
    WorkerDrained {
        worker_id: WorkerId,
    },
    WorkerResumed {
        worker_id: WorkerId,
    },
    WorkerExiting {
        worker_id: WorkerId,
        exit_at: u64,
        exit_block: BlockNumber,
    },
    StakeWithdrawn {
        worker_id: WorkerId,
        owner: Address,
        amount: Fri,
    },
    ReputationChanged {
        worker_id: WorkerId,
        old_reputation: u16,
        new_reputation: u16,
    },
    RoundApplied {
        keeper: Address,
        round: u64,
        snapshot_block: BlockNumber,
        allocated: u32,
        skipped: u32,
    },
    AllocationSkipped {
        job_id: JobId,
        worker_id: WorkerId,
        attempt: Attempt,
        reason: SkipReason,
    },
    JobMgrSet {
        job_mgr: Address,
    },
    TaskAllocatorSet {
        task_allocator: Address,
    },
    KeeperAdded {
        keeper: Address,
    },
    KeeperRemoved {
        keeper: Address,
    },
    WorkerMetricsUpdated {
        worker_id: WorkerId,
    },
}

impl MarketEvent {
    /// The job that the event is about.
    pub fn job_id(&self) -> Option<JobId> {
        match self {
            Self::JobSubmitted { job_id, .. }
            | Self::JobAllocated { job_id, .. }
            | Self::ResultSubmitted { job_id, .. }
            | Self::JobSettled { job_id, .. }
            | Self::AttemptFailed { job_id, .. }
            | Self::JobCancelled { job_id, .. }
            | Self::JobExpired { job_id, .. }
            | Self::JobFailed { job_id, .. }
            | Self::AllocationSkipped { job_id, .. } => Some(*job_id),
            _ => None,
        }
    }

    /// The event's name, as the contract emits it.
    pub fn name(&self) -> &'static str {
        match self {
            Self::JobSubmitted { .. } => "JobSubmitted",
            Self::JobAllocated { .. } => "JobAllocated",
            Self::ResultSubmitted { .. } => "ResultSubmitted",
            Self::JobSettled { .. } => "JobSettled",
            Self::AttemptFailed { .. } => "AttemptFailed",
            Self::JobCancelled { .. } => "JobCancelled",
            Self::JobExpired { .. } => "JobExpired",
            Self::JobFailed { .. } => "JobFailed",
            Self::WorkerRegistered { .. } => "WorkerRegistered",
            Self::WorkerUpdated { .. } => "WorkerUpdated",
            Self::WorkerDrained { .. } => "WorkerDrained",
            Self::WorkerResumed { .. } => "WorkerResumed",
            Self::WorkerExiting { .. } => "WorkerExiting",
            Self::StakeWithdrawn { .. } => "StakeWithdrawn",
            Self::ReputationChanged { .. } => "ReputationChanged",
            Self::RoundApplied { .. } => "RoundApplied",
            Self::AllocationSkipped { .. } => "AllocationSkipped",
            Self::JobMgrSet { .. } => "JobMgrSet",
            Self::TaskAllocatorSet { .. } => "TaskAllocatorSet",
            Self::KeeperAdded { .. } => "KeeperAdded",
            Self::KeeperRemoved { .. } => "KeeperRemoved",
            Self::WorkerMetricsUpdated { .. } => "WorkerMetricsUpdated",
        }
    }
}
