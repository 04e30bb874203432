// SPDX-License-Identifier: MIT

//! The ABI of the job manager, split by who calls it.

use crate::job_mgr::types::{JobMgrConfig, JobSpec, JobView, Skip};
use starknet::ContractAddress;

/// For the account that pays for a job.
#[starknet::interface]
pub trait IJobMgrClient<TContractState> {
    /// Pulls `spec.max_price` from the caller into escrow, queues the job and returns its id.
    ///
    /// Preconditions: every field of the spec is within its limits; `max_price` pays for a rate of
    /// at least 1 gFri and below 2^40 gFri per GPU-second; the contract has an allowance for it.
    /// Emits: `JobSubmitted`.
    /// Errors, in this order: `ZERO_MANIFEST`, `BAD_PRIORITY`, `BAD_QUEUE`, `BAD_MAX_ATTEMPTS`,
    /// `TOO_MANY_GPUS`, `TOO_MUCH_VRAM`, `BAD_COMPUTE_CAPABILITY`, `BAD_DRIVER_VERSION`,
    /// `TOO_MANY_CPU_CORES`, `TOO_MUCH_MEMORY`, `BAD_MIN_REPUTATION`, `REGION_TOO_LONG`,
    /// `ZERO_TIMEOUT`, `TIMEOUT_TOO_LONG`, `DEADLINE_IN_PAST`, `DEADLINE_TOO_FAR`,
    /// `ZERO_MAX_PRICE`, `PRICE_TOO_LOW`, `PRICE_TOO_HIGH`, `TRANSFER_FAILED`.
    /// Access: anyone.
    fn submit_job(ref self: TContractState, spec: JobSpec) -> u64;

    /// Takes a queued job back and refunds all of it.
    ///
    /// Preconditions: the job is Queued.
    /// Emits: `JobCancelled`.
    /// Errors: `NO_SUCH_JOB`, `NOT_CLIENT`, `NOT_QUEUED`, `TRANSFER_FAILED`.
    /// Access: the job's client.
    fn cancel_job(ref self: TContractState, job_id: u64);

    /// Settles at once, without waiting for the challenge window.
    ///
    /// Preconditions: the job is Revealed.
    /// Emits: `JobSettled`.
    /// Errors: `NO_SUCH_JOB`, `NOT_CLIENT`, `NOT_REVEALED`, `TRANSFER_FAILED`.
    /// Access: the job's client.
    fn accept_result(ref self: TContractState, job_id: u64);
}

/// For the account that owns the worker of the attempt.
#[starknet::interface]
pub trait IJobMgrWorker<TContractState> {
    /// Submits the result, frees the worker's slot and GPUs and opens the challenge window. A
    /// result after the attempt's deadline is still taken as long as nobody has expired the
    /// attempt.
    ///
    /// Preconditions: the job is Allocated, in this attempt, to a worker of the caller;
    /// `result_hash`, the first 31 bytes of the result's SHA-256, is not 0.
    /// Emits: `ResultSubmitted`.
    /// Errors: `NO_SUCH_JOB`, `NOT_ALLOCATED`, `WRONG_ATTEMPT`, `NOT_WORKER`, `ZERO_RESULT`.
    /// Access: the worker's owner.
    fn submit_result(ref self: TContractState, job_id: u64, attempt: u8, result_hash: felt252);

    /// Gives the attempt up. The job is queued for its next attempt, or ends Failed with a full
    /// refund after its last one. The worker gets no further attempt of this job and loses a
    /// twentieth of its reputation.
    ///
    /// Preconditions: the job is Allocated, in this attempt, to a worker of the caller.
    /// Emits: `AttemptFailed`, and `JobFailed` after the last attempt.
    /// Errors: `NO_SUCH_JOB`, `NOT_ALLOCATED`, `WRONG_ATTEMPT`, `NOT_WORKER`, `TRANSFER_FAILED`.
    /// Access: the worker's owner.
    fn fail_attempt(ref self: TContractState, job_id: u64, attempt: u8, reason: felt252);
}

/// Every deadline's exit. Anyone may call these, so nothing is ever stuck behind one party.
#[starknet::interface]
pub trait IJobMgrDeadlines<TContractState> {
    /// Ends a job that found no worker in time and refunds all of it.
    ///
    /// Preconditions: the job is Queued and its deadline has passed.
    /// Emits: `JobExpired`.
    /// Errors: `NO_SUCH_JOB`, `NOT_QUEUED`, `DEADLINE_NOT_PASSED`, `TRANSFER_FAILED`.
    /// Access: anyone.
    fn expire_job(ref self: TContractState, job_id: u64);

    /// Ends an attempt whose worker did not answer in time. The job goes on as after
    /// `fail_attempt`, but the worker loses a fifth of its reputation.
    ///
    /// Preconditions: the job is Allocated and the attempt's deadline has passed.
    /// Emits: `AttemptFailed`, and `JobFailed` after the last attempt.
    /// Errors: `NO_SUCH_JOB`, `NOT_ALLOCATED`, `DEADLINE_NOT_PASSED`, `TRANSFER_FAILED`.
    /// Access: anyone.
    fn expire_attempt(ref self: TContractState, job_id: u64);

    /// Pays the worker's owner and refunds the rest to the client; the worker's reputation rises.
    ///
    /// Preconditions: the job is Revealed and its challenge window has passed: silence is
    /// acceptance.
    /// Emits: `JobSettled`.
    /// Errors: `NO_SUCH_JOB`, `NOT_REVEALED`, `CHALLENGE_OPEN`, `TRANSFER_FAILED`.
    /// Access: anyone.
    fn settle(ref self: TContractState, job_id: u64);
}

/// For the task allocator.
#[starknet::interface]
pub trait IJobMgrAllocator<TContractState> {
    /// Allocates each item that still holds, in order, and returns each other one, in order, with
    /// the first reason why not (`types::skip_reason`). An item that does not hold changes nothing.
    /// A later item sees what earlier ones did. Items are packed as `math/allocation_item.cairo`
    /// says.
    ///
    /// Batches cost least where job ids rise from item to item: the pool is called once for each
    /// run of items that do.
    ///
    /// Preconditions: none on the items.
    /// Emits: `JobAllocated` for each allocated item.
    /// Errors: `NOT_TASK_ALLOCATOR`.
    /// Access: the task allocator.
    fn allocate_batch(ref self: TContractState, items: Span<felt252>) -> Span<Skip>;
}

/// For the admin, who can do nothing else.
#[starknet::interface]
pub trait IJobMgrAdmin<TContractState> {
    /// Names the task allocator, once and for all.
    ///
    /// Preconditions: none was set; `task_allocator` is not 0.
    /// Emits: `TaskAllocatorSet`.
    /// Errors: `NOT_ADMIN`, `ZERO_ADDRESS`, `TASK_ALLOCATOR_ALREADY_SET`.
    /// Access: the admin.
    fn set_task_allocator(ref self: TContractState, task_allocator: ContractAddress);
}

/// For everyone; nothing here changes state.
#[starknet::interface]
pub trait IJobMgrView<TContractState> {
    /// The job; in state None if there is no such.
    fn get_job(self: @TContractState, job_id: u64) -> JobView;

    /// Up to `count` jobs with ids from `first` (not below 1) on, in order.
    ///
    /// Errors: `TOO_MANY_ASKED` over 50.
    fn get_jobs(self: @TContractState, first: u64, count: u8) -> Span<JobView>;

    /// Jobs submitted so far: ids run from 1 to this.
    fn job_count(self: @TContractState) -> u64;

    /// Whether an earlier attempt of the job failed on the worker, given up or expired.
    fn is_excluded(self: @TContractState, job_id: u64, worker_id: u32) -> bool;

    fn get_config(self: @TContractState) -> JobMgrConfig;
}

pub mod Events {
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
    }

    /// The result is due the execution timeout and 60 s after the block of this event. Nothing is
    /// emitted as often, and every felt counts: `choice` is packed, and the client is that of
    /// `JobSubmitted`.
    #[derive(Drop, PartialEq, Debug, starknet::Event)]
    pub struct JobAllocated {
        #[key]
        pub job_id: u64,
        #[key]
        pub worker_id: u32,
        /// gFri per GPU-second.
        pub rate_gfri: u64,
        /// Attempt, strategy and score, in bits 0 to 7, 8 to 11 and 12 to 27 (the choice of
        /// `math/allocation_item.cairo`).
        pub choice: u32,
    }

    #[derive(Drop, PartialEq, Debug, starknet::Event)]
    pub struct ResultSubmitted {
        #[key]
        pub job_id: u64,
        #[key]
        pub worker_id: u32,
        pub attempt: u8,
        pub result_hash: felt252,
        /// Unix time in seconds.
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
        /// Fri, to the worker's owner.
        pub paid: u128,
        /// Fri, to the client.
        pub refunded: u128,
    }

    #[derive(Drop, PartialEq, Debug, starknet::Event)]
    pub struct AttemptFailed {
        #[key]
        pub job_id: u64,
        #[key]
        pub worker_id: u32,
        /// The attempt that failed; a queued job waits for the next.
        pub attempt: u8,
        /// Whether its deadline had passed; otherwise the worker gave it up.
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
}
