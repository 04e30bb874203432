// SPDX-License-Identifier: MIT

//! The ABI of the worker pool, split by who calls it.

use crate::cdc_pool::types::{AttemptFailure, CdcPoolConfig, WorkerFault, WorkerView};
use crate::types::Capabilities;
use starknet::ContractAddress;

/// For the account that owns a worker.
#[starknet::interface]
pub trait ICdcPoolWorker<TContractState> {
    /// Registers the caller as a worker, pulls its stake and returns its id. A worker starts
    /// Active, with every slot free and reputation 500 of 1000. An owner whose earlier worker has
    /// exited gets a new id.
    ///
    /// Preconditions: not paused; the capabilities are within their limits with a region, `slots`
    /// is 1 or more, `rate_gfri` (gFri per GPU-second) is 1 or more and below 2^40, `stake` (fri)
    /// is at least `slots` times the minimum, and the pool has an allowance for it.
    /// Emits: `WorkerRegistered`.
    /// Errors, in this order: `Pausable: PAUSED`, `ALREADY_REGISTERED`, `ZERO_SLOTS`, `ZERO_RATE`,
    /// `RATE_TOO_HIGH`, `TOO_MANY_GPUS`, `TOO_MUCH_VRAM`, `BAD_COMPUTE_CAPABILITY`,
    /// `BAD_DRIVER_VERSION`, `TOO_MANY_CPU_CORES`, `TOO_MUCH_MEMORY`, `ZERO_REGION`,
    /// `REGION_TOO_LONG`, `STAKE_TOO_LOW`, `TRANSFER_FAILED`.
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
    /// Preconditions: not paused; as for `register_worker`; the stake covers the new slots; no job
    /// is running on the worker.
    /// Emits: `WorkerUpdated`.
    /// Errors: `Pausable: PAUSED`, `NOT_A_WORKER`, `IS_LEAVING`, `JOBS_RUNNING`, then those of
    /// `register_worker` from `ZERO_SLOTS` to `STAKE_TOO_LOW`.
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
    /// Preconditions: not paused; the worker is Draining; its stake covers its slots.
    /// Emits: `WorkerResumed`.
    /// Errors: `Pausable: PAUSED`, `NOT_A_WORKER`, `NOT_DRAINING`, `STAKE_TOO_LOW`.
    /// Access: the worker's owner.
    fn resume_worker(ref self: TContractState);

    /// Pulls `amount` (fri) from the caller and adds it to its worker's stake.
    ///
    /// Preconditions: not paused; the worker is Active or Draining; the pool has an allowance for
    /// the amount.
    /// Emits: `StakeAdded`.
    /// Errors: `Pausable: PAUSED`, `NOT_A_WORKER`, `IS_LEAVING`, `ZERO_AMOUNT`, `TRANSFER_FAILED`.
    /// Access: the worker's owner.
    fn add_stake(ref self: TContractState, amount: u128);

    /// Says that the caller's worker is alive, see `ICdcPoolView::is_alive`.
    ///
    /// Preconditions: the worker is Active or Draining.
    /// Emits: `HeartbeatsRecorded`.
    /// Errors: `NOT_A_WORKER`, `IS_LEAVING`.
    /// Access: the worker's owner.
    fn heartbeat(ref self: TContractState);

    /// Stops new allocations for good and starts the unbonding time.
    ///
    /// Preconditions: the worker is Active or Draining.
    /// Emits: `WorkerExiting`.
    /// Errors: `NOT_A_WORKER`, `IS_LEAVING`.
    /// Access: the worker's owner.
    fn exit_worker(ref self: TContractState);

    /// Returns what is left of the stake.
    ///
    /// Preconditions: the worker is Exiting, no job is running on it, nothing holds it, and the
    /// unbonding time has passed by the clock and by the block number. That time begins anew
    /// whenever a leaving worker submits or commits to a result, so that each of its results can be
    /// challenged while the stake is still there.
    /// Emits: `StakeWithdrawn`.
    /// Errors: `NOT_A_WORKER`, `NOT_EXITING`, `JOBS_RUNNING`, `DISPUTE_PENDING`, `STILL_BONDED`,
    /// `TRANSFER_FAILED`.
    /// Access: the worker's owner.
    fn withdraw_stake(ref self: TContractState);
}

/// For keepers.
#[starknet::interface]
pub trait ICdcPoolKeeper<TContractState> {
    /// Says of many workers that they are alive. A group stands for 100 workers and is packed as
    /// `math/heartbeats.cairo` says; beats are added to those that are there.
    ///
    /// Preconditions: 1 to 250 groups; a worker of each group has been registered.
    /// Emits: `HeartbeatsRecorded`.
    /// Errors: `NOT_KEEPER`, `EMPTY_BATCH`, `BATCH_TOO_LARGE`, `UNKNOWN_GROUP`.
    /// Access: keepers of the task allocator.
    fn heartbeat_batch(ref self: TContractState, groups: Span<felt252>);
}

/// For anyone.
#[starknet::interface]
pub trait ICdcPoolUpkeep<TContractState> {
    /// Lets a worker's reputation decay for the 30-day periods in which it had no outcome, by the
    /// rules of `math/reputation.cairo`. Every outcome does so first, so nobody has to call this
    /// for a worker that works.
    ///
    /// Preconditions: a full period has passed since the worker's `reputation_at`.
    /// Emits: `ReputationChanged`, where it changed.
    /// Errors: `UNKNOWN_WORKER`, `NOTHING_TO_DECAY`.
    /// Access: anyone.
    fn decay_reputation(ref self: TContractState, worker_id: u32);
}

/// For the job manager.
#[starknet::interface]
pub trait ICdcPoolJobMgr<TContractState> {
    /// Takes a slot and the GPUs for each request that its worker can serve, in order; later
    /// requests see what earlier ones took. A request is two felts and a refusal one, packed as
    /// `math/reserve_request.cairo` says. Returns only the refusals, in the order of the requests:
    /// what is not refused is granted.
    ///
    /// Any order of the workers is right; a batch costs least where workers of four neighbouring
    /// ids (1 to 4, 5 to 8 and so on) stand together.
    ///
    /// Preconditions: none on the workers.
    /// Emits: nothing; the job manager reports allocations.
    /// Errors: `NOT_JOB_MGR`.
    /// Access: the job manager.
    fn reserve_batch(ref self: TContractState, requests: Span<felt252>) -> Span<felt252>;

    /// Gives back one slot and `gpu_count` GPUs after a result, if `owner` owns the worker; returns
    /// whether it does. With `hold` the worker is held from now on: its result is committed to and
    /// not yet known. Of a leaving worker the unbonding time begins anew.
    ///
    /// Preconditions: an earlier reservation of just that.
    /// Emits: `WorkerExiting`, where the worker is leaving.
    /// Errors: `NOT_JOB_MGR`, `TOO_MANY_HOLDS`.
    /// Access: the job manager.
    fn release(
        ref self: TContractState, worker_id: u32, gpu_count: u8, owner: ContractAddress, hold: bool,
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

    /// Ends a hold, lowers the worker's reputation by the rules of `math/reputation.cairo` and
    /// takes some of its stake by those of `math/slashing.cairo`. A quarter of what is taken goes
    /// to `challenger`, a quarter to `client`, the rest is burned; with `client` 0, where votes
    /// alone speak against the worker, all of it is. An Active worker whose stake no longer covers
    /// its slots becomes Draining.
    ///
    /// Preconditions: an earlier hold. `penalty` is in fri; `challenger` is not 0 unless `client`
    /// is.
    /// Emits: `ReputationChanged`, where it changed; `WorkerSlashed`; `WorkerDrained`, where the
    /// worker became Draining.
    /// Errors: `NOT_JOB_MGR`, `NOT_HELD`, `TRANSFER_FAILED`.
    /// Access: the job manager.
    fn record_fault(
        ref self: TContractState,
        worker_id: u32,
        fault: WorkerFault,
        penalty: u128,
        challenger: ContractAddress,
        client: ContractAddress,
    );

    /// Raises a worker's reputation by the rules of `math/reputation.cairo` after its result was
    /// accepted, and returns the worker's owner, who is to be paid. With `unhold` a hold ends.
    ///
    /// Preconditions: the worker exists, whatever its status; with `unhold`, an earlier hold.
    /// Emits: `ReputationChanged`, where it changed.
    /// Errors: `NOT_JOB_MGR`, `NOT_HELD`.
    /// Access: the job manager.
    fn record_settlement(ref self: TContractState, worker_id: u32, unhold: bool) -> ContractAddress;

    /// Holds the worker's stake: a result of it may still turn out wrong. Holds are counted.
    ///
    /// Preconditions: the worker exists.
    /// Emits: nothing.
    /// Errors: `NOT_JOB_MGR`, `TOO_MANY_HOLDS`.
    /// Access: the job manager.
    fn hold(ref self: TContractState, worker_id: u32);

    /// Ends a hold without an outcome.
    ///
    /// Preconditions: an earlier hold.
    /// Emits: nothing.
    /// Errors: `NOT_JOB_MGR`, `NOT_HELD`.
    /// Access: the job manager.
    fn unhold(ref self: TContractState, worker_id: u32);
}

/// For the admin, who can do nothing else.
#[starknet::interface]
pub trait ICdcPoolAdmin<TContractState> {
    /// Names the job manager, once and for all.
    ///
    /// Preconditions: none was set; `job_mgr` is not 0.
    /// Emits: `JobMgrSet`.
    /// Errors: `Access: NOT_ADMIN`, `ZERO_ADDRESS`, `JOB_MGR_ALREADY_SET`.
    /// Access: the admin.
    fn set_job_mgr(ref self: TContractState, job_mgr: ContractAddress);

    /// Names the task allocator, which knows who is a keeper, once and for all.
    ///
    /// Preconditions: none was set; `task_allocator` is not 0.
    /// Emits: `TaskAllocatorSet`.
    /// Errors: `Access: NOT_ADMIN`, `ZERO_ADDRESS`, `TASK_ALLOCATOR_ALREADY_SET`.
    /// Access: the admin.
    fn set_task_allocator(ref self: TContractState, task_allocator: ContractAddress);

    /// Admits a worker to the static pool: those that the operator vouches for. No contract decides
    /// by it; a keeper's policy may.
    ///
    /// Preconditions: the worker exists and is not admitted.
    /// Emits: `WorkerAdmitted`.
    /// Errors: `Access: NOT_ADMIN`, `UNKNOWN_WORKER`, `ALREADY_ADMITTED`.
    /// Access: the admin.
    fn admit_worker(ref self: TContractState, worker_id: u32);

    /// Takes a worker out of the static pool; it stays a worker like any other.
    ///
    /// Preconditions: the worker exists and is admitted.
    /// Emits: `WorkerDismissed`.
    /// Errors: `Access: NOT_ADMIN`, `UNKNOWN_WORKER`, `NOT_ADMITTED`.
    /// Access: the admin.
    fn dismiss_worker(ref self: TContractState, worker_id: u32);
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

    /// Whether a heartbeat of the worker was recorded in this or the previous epoch of 600 s.
    fn is_alive(self: @TContractState, worker_id: u32) -> bool;

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

    /// The stake can be withdrawn once both have passed. Emitted again when a result of the
    /// worker comes later, which puts them off.
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
    pub struct StakeAdded {
        #[key]
        pub worker_id: u32,
        /// Fri.
        pub amount: u128,
        /// The whole stake from now on, fri.
        pub stake: u128,
    }

    #[derive(Drop, PartialEq, Debug, starknet::Event)]
    pub struct WorkerSlashed {
        #[key]
        pub worker_id: u32,
        /// 1 unrevealed, 2 wrong (`WorkerFault`).
        pub fault: u8,
        /// What the stake lost, fri: the sum of the next three.
        pub amount: u128,
        /// All of it where only votes spoke against the worker: then the next two are 0.
        pub burned: u128,
        pub to_challenger: u128,
        pub to_client: u128,
    }

    #[derive(Drop, PartialEq, Debug, starknet::Event)]
    pub struct WorkerAdmitted {
        #[key]
        pub worker_id: u32,
    }

    #[derive(Drop, PartialEq, Debug, starknet::Event)]
    pub struct WorkerDismissed {
        #[key]
        pub worker_id: u32,
    }

    #[derive(Drop, PartialEq, Debug, starknet::Event)]
    pub struct HeartbeatsRecorded {
        /// The keeper, or the owner of the one worker.
        #[key]
        pub reporter: ContractAddress,
        /// Timestamp / 600 s.
        pub epoch: u64,
        /// As reported, see `math/heartbeats.cairo`.
        pub groups: Span<felt252>,
    }

    #[derive(Drop, PartialEq, Debug, starknet::Event)]
    pub struct TaskAllocatorSet {
        pub task_allocator: ContractAddress,
    }

    #[derive(Drop, PartialEq, Debug, starknet::Event)]
    pub struct JobMgrSet {
        pub job_mgr: ContractAddress,
    }
}
