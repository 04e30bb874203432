// SPDX-License-Identifier: MIT

//! The ABI of the worker pool, split by who calls it.

use crate::cdc_pool::types::{AttemptFailure, CdcPoolConfig, WorkerView};
use crate::types::Capabilities;
use starknet::ContractAddress;

/// For the account that owns a worker.
#[starknet::interface]
pub trait ICdcPoolWorker<TContractState> {
    /// Registers the caller as a worker, pulls its stake and returns its id. A worker starts
    /// Active, with every slot free and reputation 500 of 1000. An owner whose earlier worker has
    /// exited gets a new id.
    ///
    /// Preconditions: the capabilities are within their limits with a region, `slots` is 1 or more,
    /// `rate_gfri` (gFri per GPU-second) is 1 or more and below 2^40, `stake` (fri) is at least
    /// `slots` times the minimum, and the pool has an allowance for it.
    /// Emits: `WorkerRegistered`.
    /// Errors, in this order: `ALREADY_REGISTERED`, `ZERO_SLOTS`, `ZERO_RATE`, `RATE_TOO_HIGH`,
    /// `TOO_MANY_GPUS`, `TOO_MUCH_VRAM`, `BAD_COMPUTE_CAPABILITY`, `BAD_DRIVER_VERSION`,
    /// `TOO_MANY_CPU_CORES`, `TOO_MUCH_MEMORY`, `ZERO_REGION`, `REGION_TOO_LONG`, `STAKE_TOO_LOW`,
    /// `TRANSFER_FAILED`.
    /// Access: any account without a worker.
    fn register_worker(
        ref self: TContractState,
        capabilities: Capabilities,
        slots: u8,
        rate_gfri: u64,
        stake: u128,
    ) -> u32;

    /// Replaces what the caller's worker offers.
    ///
    /// Preconditions: as for `register_worker`; the stake covers the new slots; no job is running
    /// on the worker.
    /// Emits: `WorkerUpdated`.
    /// Errors: `NOT_A_WORKER`, `IS_LEAVING`, `JOBS_RUNNING`, then those of `register_worker` from
    /// `ZERO_SLOTS` to `STAKE_TOO_LOW`.
    /// Access: the worker's owner.
    fn update_worker(
        ref self: TContractState, capabilities: Capabilities, slots: u8, rate_gfri: u64,
    );

    /// Stops new allocations; running jobs go on.
    ///
    /// Preconditions: the worker is Active.
    /// Emits: `WorkerDrained`.
    /// Errors: `NOT_A_WORKER`, `NOT_ACTIVE`.
    /// Access: the worker's owner.
    fn drain_worker(ref self: TContractState);

    /// Takes allocations again.
    ///
    /// Preconditions: the worker is Draining.
    /// Emits: `WorkerResumed`.
    /// Errors: `NOT_A_WORKER`, `NOT_DRAINING`.
    /// Access: the worker's owner.
    fn resume_worker(ref self: TContractState);

    /// Stops new allocations for good and starts the unbonding time.
    ///
    /// Preconditions: the worker is Active or Draining.
    /// Emits: `WorkerExiting`.
    /// Errors: `NOT_A_WORKER`, `IS_LEAVING`.
    /// Access: the worker's owner.
    fn exit_worker(ref self: TContractState);

    /// Returns the whole stake.
    ///
    /// Preconditions: the worker is Exiting, no job is running on it, and the unbonding time has
    /// passed by the clock and by the block number.
    /// Emits: `StakeWithdrawn`.
    /// Errors: `NOT_A_WORKER`, `NOT_EXITING`, `JOBS_RUNNING`, `STILL_BONDED`, `TRANSFER_FAILED`.
    /// Access: the worker's owner.
    fn withdraw_stake(ref self: TContractState);
}

/// For the job manager.
#[starknet::interface]
pub trait ICdcPoolJobMgr<TContractState> {
    /// Takes a slot and the GPUs for each request that its worker can serve, in order; later
    /// requests see what earlier ones took. Requests and answers are packed as
    /// `math/reserve_request.cairo` says and stand in the same order.
    ///
    /// Preconditions: no two requests are for the same job.
    /// Emits: nothing; the job manager reports allocations.
    /// Errors: `NOT_JOB_MGR`.
    /// Access: the job manager.
    fn reserve_batch(ref self: TContractState, requests: Span<felt252>) -> Span<felt252>;

    /// Gives back one slot and `gpu_count` GPUs after a result, if `owner` owns the worker; returns
    /// whether it does.
    ///
    /// Preconditions: an earlier reservation of just that.
    /// Emits: nothing.
    /// Errors: `NOT_JOB_MGR`.
    /// Access: the job manager.
    fn release(
        ref self: TContractState, worker_id: u32, gpu_count: u8, owner: ContractAddress,
    ) -> bool;

    /// Gives back one slot and `gpu_count` GPUs after an attempt without a result, and lowers the
    /// worker's reputation by the rules of `math/reputation.cairo`.
    ///
    /// Preconditions: an earlier reservation of just that.
    /// Emits: `ReputationChanged`, where it changed.
    /// Errors: `NOT_JOB_MGR`.
    /// Access: the job manager.
    fn record_failure(
        ref self: TContractState, worker_id: u32, gpu_count: u8, failure: AttemptFailure,
    );

    /// Raises a worker's reputation by the rules of `math/reputation.cairo` after its result was
    /// accepted, and returns the worker's owner, who is to be paid.
    ///
    /// Preconditions: the worker exists, whatever its status.
    /// Emits: `ReputationChanged`, where it changed.
    /// Errors: `NOT_JOB_MGR`.
    /// Access: the job manager.
    fn record_settlement(ref self: TContractState, worker_id: u32) -> ContractAddress;
}

/// For the admin, who can do nothing else.
#[starknet::interface]
pub trait ICdcPoolAdmin<TContractState> {
    /// Names the job manager, once and for all.
    ///
    /// Preconditions: none was set; `job_mgr` is not 0.
    /// Emits: `JobMgrSet`.
    /// Errors: `NOT_ADMIN`, `ZERO_ADDRESS`, `JOB_MGR_ALREADY_SET`.
    /// Access: the admin.
    fn set_job_mgr(ref self: TContractState, job_mgr: ContractAddress);
}

/// For everyone; nothing here changes state.
#[starknet::interface]
pub trait ICdcPoolView<TContractState> {
    /// The worker; in status None if there is no such.
    fn get_worker(self: @TContractState, worker_id: u32) -> WorkerView;

    /// Up to `count` workers with ids from `first` (not below 1) on, in order.
    ///
    /// Errors: `TOO_MANY_ASKED` over 50.
    fn get_workers(self: @TContractState, first: u32, count: u8) -> Span<WorkerView>;

    /// The account that owns the worker; 0 if there is no such worker.
    fn worker_owner(self: @TContractState, worker_id: u32) -> ContractAddress;

    /// The owner's latest worker; 0 if it never had one.
    fn worker_of(self: @TContractState, owner: ContractAddress) -> u32;

    /// Workers registered so far, those that left included: ids run from 1 to this.
    fn worker_count(self: @TContractState) -> u32;

    fn get_config(self: @TContractState) -> CdcPoolConfig;
}

pub mod Events {
    use crate::types::Capabilities;
    use starknet::ContractAddress;

    #[derive(Drop, PartialEq, Debug, starknet::Event)]
    pub struct WorkerRegistered {
        #[key]
        pub worker_id: u32,
        #[key]
        pub owner: ContractAddress,
        pub capabilities: Capabilities,
        pub slots: u8,
        /// gFri per GPU-second.
        pub rate_gfri: u64,
        /// Fri.
        pub stake: u128,
    }

    #[derive(Drop, PartialEq, Debug, starknet::Event)]
    pub struct WorkerUpdated {
        #[key]
        pub worker_id: u32,
        pub capabilities: Capabilities,
        pub slots: u8,
        /// gFri per GPU-second.
        pub rate_gfri: u64,
    }

    #[derive(Drop, PartialEq, Debug, starknet::Event)]
    pub struct WorkerDrained {
        #[key]
        pub worker_id: u32,
    }

    #[derive(Drop, PartialEq, Debug, starknet::Event)]
    pub struct WorkerResumed {
        #[key]
        pub worker_id: u32,
    }

    /// The stake can be withdrawn once both have passed.
    #[derive(Drop, PartialEq, Debug, starknet::Event)]
    pub struct WorkerExiting {
        #[key]
        pub worker_id: u32,
        /// Unix time in seconds.
        pub exit_at: u64,
        pub exit_block: u64,
    }

    #[derive(Drop, PartialEq, Debug, starknet::Event)]
    pub struct StakeWithdrawn {
        #[key]
        pub worker_id: u32,
        #[key]
        pub owner: ContractAddress,
        /// Fri.
        pub amount: u128,
    }

    #[derive(Drop, PartialEq, Debug, starknet::Event)]
    pub struct ReputationChanged {
        #[key]
        pub worker_id: u32,
        pub old_reputation: u16,
        pub new_reputation: u16,
    }

    #[derive(Drop, PartialEq, Debug, starknet::Event)]
    pub struct JobMgrSet {
        pub job_mgr: ContractAddress,
    }
}
