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
    /// The worker has committed to a result. Not entered yet.
    Committed,
    /// The result is known and can be accepted.
    Revealed,
    /// The client has disputed the result. Not entered yet.
    Disputed,
    /// The worker was paid. Final.
    Settled,
    /// The client took it back. Final.
    Cancelled,
    /// No worker was found in time. Final.
    Expired,
    /// Every attempt failed. Final.
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
    /// Fri, paid into escrow.
    pub max_price: u128,
    /// Unix time in seconds until when the job may be allocated; at most a year ahead.
    pub deadline: u64,
    /// What the worker has from allocation to result, and what it is paid for; at most 30 days.
    pub execution_timeout_s: u32,
    /// 1 to 15.
    pub max_attempts: u8,
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
    /// Of the requirements only the number of GPUs is kept once there is a result; the rest is 0.
    pub spec: JobSpec,
    /// The worker's rate, gFri per GPU-second; 0 without a worker, as the next three.
    pub rate_gfri: u64,
    pub score: u16,
    pub strategy: u8,
    /// Unix time in seconds.
    pub allocated_at: u64,
    /// The worker's result is due before this time (s) and `attempt_deadline_block` have passed.
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
}

#[derive(Copy, Drop, Serde, PartialEq, Debug)]
pub struct JobMgrConfig {
    pub admin: ContractAddress,
    pub token: ContractAddress,
    pub cdc_pool: ContractAddress,
    /// 0 until the admin has set it.
    pub task_allocator: ContractAddress,
    pub challenge_window_s: u64,
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
}

/// An item of a batch that was not allocated.
#[derive(Copy, Drop, Serde, PartialEq, Debug)]
pub struct Skip {
    /// As the keeper packed it, without what a malformed one has outside the fields.
    pub item: felt252,
    /// `types::skip_reason`.
    pub reason: u8,
}
