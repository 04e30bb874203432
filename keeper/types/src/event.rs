//! What the contracts said: their events, decoded.

use std::fmt;

use serde::{Deserialize, Serialize};
use starknet_types_core::felt::Felt;

use crate::{
    Address, AllocationItem, Attempt, BlockNumber, Capabilities, Fri, JobId, JobSpec, PolicyId, Rate, RejectionCause,
    SkipReason, TxHash, WorkerFault, WorkerId,
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

/// A contract that the keeper follows. Every contract has the same admin's events; this tells them apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MarketContract {
    /// Jobs and money.
    JobMgr,
    /// Workers and stake.
    CdcPool,
    /// The keepers' entrance.
    TaskAllocator,
}

impl fmt::Display for MarketContract {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::JobMgr => "JobMgr",
            Self::CdcPool => "CdcPool",
            Self::TaskAllocator => "TaskAllocator",
        })
    }
}

/// What every contract emits about its own administration.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "change", rename_all = "snake_case")]
#[expect(missing_docs, reason = "docs/events.md documents every field of every event once")]
pub enum AdminEvent {
    AdminTransferStarted { previous_admin: Address, new_admin: Address },
    AdminTransferred { previous_admin: Address, new_admin: Address },
    GuardianSet { guardian: Address },
    Paused { account: Address },
    Unpaused { account: Address },
    UpgradeAnnounced { class_hash: Felt, ready_at: u64, ready_block: BlockNumber },
    UpgradeCancelled { class_hash: Felt },
    Upgraded { class_hash: Felt },
}

macro_rules! market_events {
    ($($name:ident { $($field:ident: $kind:ty),* $(,)? })*) => {
        /// An event of JobMgr, CdcPool or TaskAllocator. Fields mean what `docs/events.md` says.
        #[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
        #[serde(tag = "event", rename_all = "snake_case")]
        #[expect(missing_docs, reason = "docs/events.md documents every field of every event once")]
        pub enum MarketEvent {
            $($name { $($field: $kind),* },)*
            /// One of the events that every contract has.
            Administered { contract: MarketContract, admin_event: AdminEvent },
        }

        impl MarketEvent {
            /// The event's name, as the contract emits it.
            pub fn name(&self) -> &'static str {
                match self {
                    $(Self::$name { .. } => stringify!($name),)*
                    Self::Administered { admin_event, .. } => admin_event.name(),
                }
            }
        }
    };
}

market_events! {
    JobSubmitted {
        job_id: JobId,
        client: Address,
        spec: Box<JobSpec>,
        deadline_block: BlockNumber,
        group_id: Option<JobId>,
    }
    JobsAllocated { items: Vec<AllocationItem> }
    JobClaimed { job_id: JobId, worker_id: WorkerId }
    ResultCommitted { job_id: JobId, worker_id: WorkerId, attempt: Attempt, commitment: Felt }
    ResultSubmitted {
        job_id: JobId,
        worker_id: WorkerId,
        attempt: Attempt,
        result_hash: Felt,
        challenge_ends_at: u64,
        challenge_ends_block: BlockNumber,
    }
    ResultDisputed {
        job_id: JobId,
        client: Address,
        bond: Fri,
        ends_at: u64,
        ends_block: BlockNumber,
        committee: Option<JobId>,
    }
    DisputeRuled { job_id: JobId, worker_id: WorkerId, is_right: bool, by_default: bool }
    ResultRejected { job_id: JobId, worker_id: WorkerId, cause: RejectionCause }
    GroupDecided { group_id: JobId, winner: Option<Felt> }
    JobSettled { job_id: JobId, worker_id: WorkerId, client: Address, paid: Fri, refunded: Fri }
    AttemptFailed {
        job_id: JobId,
        worker_id: WorkerId,
        attempt: Attempt,
        expired: bool,
        reason: Felt,
        requeued: bool,
    }
    JobCancelled { job_id: JobId, client: Address, refunded: Fri }
    JobExpired { job_id: JobId, client: Address, refunded: Fri }
    JobFailed { job_id: JobId, client: Address, refunded: Fri }
    CreditWithdrawn { account: Address, amount: Fri }
    CreditSpent { account: Address, amount: Fri }
    WorkerRegistered {
        worker_id: WorkerId,
        owner: Address,
        capabilities: Capabilities,
        slots: u8,
        rate: Rate,
        stake: Fri,
    }
    WorkerUpdated { worker_id: WorkerId, capabilities: Capabilities, slots: u8, rate: Rate }
    WorkerDrained { worker_id: WorkerId }
    WorkerResumed { worker_id: WorkerId }
    WorkerExiting { worker_id: WorkerId, exit_at: u64, exit_block: BlockNumber }
    WorkerAdmitted { worker_id: WorkerId }
    WorkerDismissed { worker_id: WorkerId }
    StakeAdded { worker_id: WorkerId, amount: Fri, stake: Fri }
    StakeWithdrawn { worker_id: WorkerId, owner: Address, amount: Fri }
    WorkerSlashed {
        worker_id: WorkerId,
        fault: WorkerFault,
        amount: Fri,
        burned: Fri,
        to_challenger: Fri,
        to_client: Fri,
    }
    ReputationChanged { worker_id: WorkerId, old_reputation: u16, new_reputation: u16 }
    HeartbeatsRecorded { reporter: Address, epoch: u64, groups: Vec<Felt> }
    RoundApplied {
        keeper: Address,
        round: u64,
        snapshot_block: BlockNumber,
        snapshot_root: Felt,
        policy_id: PolicyId,
        plan_root: Felt,
        allocated: u32,
        skipped: u32,
    }
    AllocationSkipped { job_id: JobId, worker_id: WorkerId, attempt: Attempt, reason: SkipReason }
    PolicyAnnounced { policy_id: PolicyId, active_from: u64, active_from_block: BlockNumber }
    PolicyRetired { policy_id: PolicyId }
    KeeperAdded { keeper: Address }
    KeeperRemoved { keeper: Address }
    BondPosted { keeper: Address, amount: Fri, bond: Fri }
    KeeperLeft { keeper: Address, leaves_at: u64, leaves_block: BlockNumber }
    BondWithdrawn { keeper: Address, amount: Fri }
    JobMgrSet { job_mgr: Address }
    TaskAllocatorSet { contract: MarketContract, task_allocator: Address }
    PaymasterSet { paymaster: Address }
    RefereeSet { referee: Address }
    WorkerMetricsUpdated { worker_id: WorkerId }
}

impl MarketEvent {
    /// The jobs that the event is about, in its order; mostly one or none.
    pub fn job_ids(&self) -> Vec<JobId> {
        match self {
            Self::JobsAllocated { items } => items.iter().map(|item| item.job_id).collect(),
            Self::JobSubmitted { job_id, .. }
            | Self::JobClaimed { job_id, .. }
            | Self::ResultCommitted { job_id, .. }
            | Self::ResultSubmitted { job_id, .. }
            | Self::ResultDisputed { job_id, .. }
            | Self::DisputeRuled { job_id, .. }
            | Self::ResultRejected { job_id, .. }
            | Self::JobSettled { job_id, .. }
            | Self::AttemptFailed { job_id, .. }
            | Self::JobCancelled { job_id, .. }
            | Self::JobExpired { job_id, .. }
            | Self::JobFailed { job_id, .. }
            | Self::AllocationSkipped { job_id, .. } => vec![*job_id],
            _ => Vec::new(),
        }
    }
}

impl AdminEvent {
    /// The event's name, as the contract emits it.
    pub fn name(&self) -> &'static str {
        match self {
            Self::AdminTransferStarted { .. } => "AdminTransferStarted",
            Self::AdminTransferred { .. } => "AdminTransferred",
            Self::GuardianSet { .. } => "GuardianSet",
            Self::Paused { .. } => "Paused",
            Self::Unpaused { .. } => "Unpaused",
            Self::UpgradeAnnounced { .. } => "UpgradeAnnounced",
            Self::UpgradeCancelled { .. } => "UpgradeCancelled",
            Self::Upgraded { .. } => "Upgraded",
        }
    }
}
