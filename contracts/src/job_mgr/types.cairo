// SPDX-License-Identifier: MIT

//! Types of the job manager.

use crate::types::Requirements;
use starknet::ContractAddress;

/// Where a job stands; `docs/job-lifecycle.md` says who moves it.
#[derive(Copy, Drop, Serde, PartialEq, Debug, Default)]
pub enum JobState {
    /// No job has this id.
    #[default]
    None,
    /// Waits for a worker.
    Queued,
    /// A worker runs it.
    Allocated,
    /// The worker has committed to a result that nobody else knows yet.
    Committed,
    /// The result is known; the client can accept it, a replica's group decides on it.
    Revealed,
    /// The client has disputed the result; the referee or a committee decides.
    Disputed,
    /// The worker was paid. Final.
    Settled,
    /// The client took it back. Final.
    Cancelled,
    /// No worker was found in time. Final.
    Expired,
    /// Every attempt failed, or the result was rejected. Final.
    Failed,
}

/// What a client submits.
#[derive(Copy, Drop, Serde, PartialEq, Debug)]
pub struct JobSpec {
    /// First 31 bytes of the SHA-256 of the manifest.
    pub manifest_hash: felt252,
    /// 0 where the job names no model.
    pub model_id: felt252,
    pub requirements: Requirements,
    /// 1 to 10, higher is more urgent.
    pub priority: u8,
    /// 0 default, 1 high, 2 low.
    pub queue: u8,
    /// Fri for each replica, paid into escrow.
    pub max_price: u128,
    /// Unix time in seconds until when the job may be allocated; at most a year ahead, or 7 days
    /// with more than one replica.
    pub deadline: u64,
    /// What the worker has from allocation to result, and what it is paid for; at most 30 days, or
    /// one with more than one replica.
    pub execution_timeout_s: u32,
    /// 1 to 15.
    pub max_attempts: u8,
    /// Milliseconds that the worker may take to answer, for keepers to choose by; the contracts do
    /// not check it. At most 16,383, 0 for any.
    pub max_latency_ms: u16,
    /// [`verification`]: who decides where the client disputes a result.
    pub verification: u8,
    /// Workers that run the job independently: 1, or 3 to 15.
    pub replicas: u8,
    /// Equal results that make a result right: 1 for one replica, else more than half of the
    /// replicas, and fewer than all.
    pub quorum: u8,
}

/// How a disputed result is verified. The numbers are part of the ABI.
pub mod verification {
    /// Results cannot be disputed.
    pub const NONE: u8 = 0;
    /// The command gives the same result bit by bit, and a committee runs it again.
    pub const RERUN: u8 = 1;
    /// The manifest is the canonical one of a matrix product, and the referee checks the result.
    pub const MATMUL: u8 = 2;
}

/// Why a result was rejected. The numbers are part of the ABI.
pub mod rejection_cause {
    /// The group's quorum agreed on another result.
    pub const OUTLIER: u8 = 1;
    /// The group found no quorum; nobody is to blame.
    pub const NO_QUORUM: u8 = 2;
    /// The dispute was ruled against it.
    pub const RULED_WRONG: u8 = 3;
}

/// A job as views show it.
#[derive(Copy, Drop, Serde, PartialEq, Debug)]
pub struct JobView {
    pub job_id: u64,
    pub client: ContractAddress,
    pub state: JobState,
    /// From 1. Of a queued job: the attempt that the next allocation begins.
    pub attempt: u8,
    /// The worker of this attempt; 0 while queued, and where the job ended in the queue.
    pub worker_id: u32,
    /// Of the requirements only the number of GPUs is kept once there is a result, the rest is 0;
    /// those of a job that is verified by a committee are kept. `replicas` and `quorum` are the
    /// group's.
    pub spec: JobSpec,
    /// The worker's rate, gFri per GPU-second; 0 without a worker, as the next three.
    pub rate_gfri: u64,
    pub score: u16,
    pub strategy: u8,
    /// Unix time in seconds.
    pub allocated_at: u64,
    /// The worker's result, or its commitment, is due before this time (s) and
    /// `attempt_deadline_block` have passed.
    pub attempt_deadline: u64,
    /// With `spec.deadline`: the job can be allocated until both have passed.
    pub deadline_block: u64,
    pub attempt_deadline_block: u64,
    /// 0 until the worker has submitted it.
    pub result_hash: felt252,
    /// Anyone can settle once this time (s) and `challenge_ends_block` have passed; 0 before the
    /// result.
    pub challenge_ends_at: u64,
    pub challenge_ends_block: u64,
    /// What the worker committed to; 0 where it did not.
    pub commitment: felt252,
    /// The id of the first replica; 0 where the job is alone.
    pub group_id: u64,
}

/// The replicas of a job.
#[derive(Copy, Drop, Serde, PartialEq, Debug)]
pub struct GroupView {
    /// The id of the first replica; the others follow it.
    pub group_id: u64,
    /// 0 if there is no such group.
    pub replicas: u8,
    pub quorum: u8,
    /// Replicas that are Queued or Allocated.
    pub pending: u8,
    pub revealed: u8,
    /// Whether a replica was ever allocated.
    pub started: bool,
    /// Since when (Unix time in seconds) no replica is pending, and results can be revealed; 0
    /// before.
    pub opened_at: u64,
    pub opened_block: u64,
    /// Whether the group has a winner, or was found to have none.
    pub decided: bool,
    /// The result hash that reached the quorum; 0 without one.
    pub winner: felt252,
}

/// The latest dispute about a job; zeros if there was none.
#[derive(Copy, Drop, Serde, PartialEq, Debug)]
pub struct DisputeView {
    pub job_id: u64,
    /// Fri: what the client put up, and where there is a committee, its escrow.
    pub bond: u128,
    /// Unix time in seconds. Anyone can settle the dispute by default once this and `ends_block`
    /// have passed.
    pub ends_at: u64,
    pub ends_block: u64,
    /// The group that runs the job again; 0 where the referee decides.
    pub committee: u64,
}

#[derive(Copy, Drop, Serde, PartialEq, Debug)]
pub struct JobMgrConfig {
    pub admin: ContractAddress,
    pub token: ContractAddress,
    pub cdc_pool: ContractAddress,
    /// 0 until the admin has set it.
    pub task_allocator: ContractAddress,
    /// 0 until the admin has set it.
    pub paymaster: ContractAddress,
    /// 0 until the admin has set it.
    pub referee: ContractAddress,
    pub challenge_window_s: u64,
    /// What the referee has for a ruling, and a committee to be allocated.
    pub dispute_window_s: u64,
    /// What a worker has to reveal its result.
    pub reveal_window_s: u64,
}

/// A job in storage: one storage slot each.
#[derive(Copy, Drop, starknet::Store)]
pub(crate) struct JobRecord {
    /// `math/job_slot.cairo`: what changes with the state.
    pub slot: felt252,
    /// `math/job_terms.cairo`.
    pub terms: felt252,
    /// Until there is a result: the slot as it first was, in the queue, for later attempts. From
    /// then on: the result's hash.
    pub queued_or_result: felt252,
    pub manifest_hash: felt252,
    pub model_id: felt252,
    /// What the worker committed to; 0 where it did not.
    pub commitment: felt252,
    /// Of a group's first replica: `math/group_word.cairo`. Of every other: the first one's id.
    pub group: felt252,
    /// Of a disputed job: `math/dispute_word.cairo`. Of a group's first replica: the result that
    /// won.
    pub dispute_or_winner: felt252,
    /// Where a committee may have to run the job again: the slot as it first was.
    pub queued_for_committee: felt252,
}

/// An item of a batch that was not allocated.
#[derive(Copy, Drop, Serde, PartialEq, Debug)]
pub struct Skip {
    /// As it was proposed.
    pub item: felt252,
    /// `types::skip_reason`.
    pub reason: u8,
}
