// SPDX-License-Identifier: MIT

//! What the job manager reports.

use crate::job_mgr::types::JobSpec;
use starknet::ContractAddress;

#[derive(Drop, PartialEq, Debug, starknet::Event)]
pub struct JobSubmitted {
    #[key]
    pub job_id: u64,
    #[key]
    pub client: ContractAddress,
    pub spec: JobSpec,
    pub deadline_block: u64,
    /// The id of the first replica; 0 where the job is alone.
    pub group_id: u64,
}

/// Up to 250 allocations, in order, as they were proposed (`math/allocation_item.cairo`): an item
/// says all that an allocation comes to, but for the client, who is that of `JobSubmitted`. A
/// result is due the execution timeout and 60 s after the block of this event.
#[derive(Drop, PartialEq, Debug, starknet::Event)]
pub struct JobsAllocated {
    pub items: Span<felt252>,
}

/// A worker has taken the job itself; the allocation is in the `JobsAllocated` before this.
#[derive(Drop, PartialEq, Debug, starknet::Event)]
pub struct JobClaimed {
    #[key]
    pub job_id: u64,
    #[key]
    pub worker_id: u32,
}

/// The worker's slot and GPUs are free again, its stake is held.
#[derive(Drop, PartialEq, Debug, starknet::Event)]
pub struct ResultCommitted {
    #[key]
    pub job_id: u64,
    #[key]
    pub worker_id: u32,
    pub attempt: u8,
    pub commitment: felt252,
}

#[derive(Drop, PartialEq, Debug, starknet::Event)]
pub struct ResultSubmitted {
    #[key]
    pub job_id: u64,
    #[key]
    pub worker_id: u32,
    pub attempt: u8,
    pub result_hash: felt252,
    /// Unix time in seconds. Of a replica both are 0: its group decides.
    pub challenge_ends_at: u64,
    pub challenge_ends_block: u64,
}

#[derive(Drop, PartialEq, Debug, starknet::Event)]
pub struct JobSettled {
    #[key]
    pub job_id: u64,
    #[key]
    pub worker_id: u32,
    #[key]
    pub client: ContractAddress,
    /// Fri, to the credit of the worker's owner.
    pub paid: u128,
    /// Fri, to the client's credit.
    pub refunded: u128,
}

/// The result is not paid for; `JobFailed` follows.
#[derive(Drop, PartialEq, Debug, starknet::Event)]
pub struct ResultRejected {
    #[key]
    pub job_id: u64,
    #[key]
    pub worker_id: u32,
    /// `types::rejection_cause`.
    pub cause: u8,
}

/// The replicas of a group have agreed, or can no longer.
#[derive(Drop, PartialEq, Debug, starknet::Event)]
pub struct GroupDecided {
    #[key]
    pub group_id: u64,
    /// The result hash that reached the quorum; 0 where none can any more.
    pub winner: felt252,
}

#[derive(Drop, PartialEq, Debug, starknet::Event)]
pub struct ResultDisputed {
    #[key]
    pub job_id: u64,
    #[key]
    pub client: ContractAddress,
    /// Fri: what the client put up, and where there is a committee, its escrow.
    pub bond: u128,
    /// Without a ruling before, the dispute is decided by default once this time (s) and
    /// `ends_block`
    /// have passed.
    pub ends_at: u64,
    pub ends_block: u64,
    /// The group that runs the job again; 0 where the referee decides.
    pub committee: u64,
}

/// `JobSettled` follows where the result is right, `ResultRejected` where not.
#[derive(Drop, PartialEq, Debug, starknet::Event)]
pub struct DisputeRuled {
    #[key]
    pub job_id: u64,
    #[key]
    pub worker_id: u32,
    pub is_right: bool,
    /// Whether nobody ruled in time.
    pub by_default: bool,
}

#[derive(Drop, PartialEq, Debug, starknet::Event)]
pub struct AttemptFailed {
    #[key]
    pub job_id: u64,
    #[key]
    pub worker_id: u32,
    /// The attempt that failed; a queued job waits for the next.
    pub attempt: u8,
    /// Whether its deadline, or that of its reveal, had passed; otherwise the worker gave it up.
    pub expired: bool,
    /// The worker's own words, 0 where the attempt expired.
    pub reason: felt252,
    /// Whether the job is queued again; `JobFailed` follows where not.
    pub requeued: bool,
}

#[derive(Drop, PartialEq, Debug, starknet::Event)]
pub struct JobCancelled {
    #[key]
    pub job_id: u64,
    #[key]
    pub client: ContractAddress,
    /// Fri.
    pub refunded: u128,
}

#[derive(Drop, PartialEq, Debug, starknet::Event)]
pub struct JobExpired {
    #[key]
    pub job_id: u64,
    #[key]
    pub client: ContractAddress,
    /// Fri.
    pub refunded: u128,
}

#[derive(Drop, PartialEq, Debug, starknet::Event)]
pub struct JobFailed {
    #[key]
    pub job_id: u64,
    #[key]
    pub client: ContractAddress,
    /// Fri.
    pub refunded: u128,
}

#[derive(Drop, PartialEq, Debug, starknet::Event)]
pub struct TaskAllocatorSet {
    pub task_allocator: ContractAddress,
}

#[derive(Drop, PartialEq, Debug, starknet::Event)]
pub struct PaymasterSet {
    pub paymaster: ContractAddress,
}

#[derive(Drop, PartialEq, Debug, starknet::Event)]
pub struct RefereeSet {
    pub referee: ContractAddress,
}

/// Credit that paid for new jobs or for a dispute.
#[derive(Drop, PartialEq, Debug, starknet::Event)]
pub struct CreditSpent {
    #[key]
    pub account: ContractAddress,
    /// Fri.
    pub amount: u128,
}

#[derive(Drop, PartialEq, Debug, starknet::Event)]
pub struct CreditWithdrawn {
    #[key]
    pub account: ContractAddress,
    /// Fri.
    pub amount: u128,
}
