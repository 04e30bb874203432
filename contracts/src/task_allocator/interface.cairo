// SPDX-License-Identifier: MIT

//! The ABI of the task allocator, split by who calls it.

use crate::task_allocator::types::{
    AllocationParams, AllocationResult, AllocationStats, TaskAllocatorConfig, WorkerMetrics,
};
use starknet::ContractAddress;

/// For everyone who wants to know about allocations.
#[starknet::interface]
pub trait ITaskAllocator<TContractState> {
    /// The recorded allocation of a job, if there is one that satisfies the parameters. It changes
    /// nothing: deciding is the keepers' part. Only a job that is Allocated, Revealed or Settled
    /// has one.
    fn allocate_job(self: @TContractState, params: AllocationParams) -> Option<AllocationResult>;

    /// Slots in use, in basis points of the worker's slots.
    ///
    /// Errors: `UNKNOWN_WORKER`.
    fn get_worker_load(self: @TContractState, worker_id: felt252) -> u32;

    /// Replaces what is reported of a worker.
    ///
    /// Preconditions: basis points are at most 10,000.
    /// Emits: `WorkerMetricsUpdated`.
    /// Errors: `UNKNOWN_WORKER`, `NOT_KEEPER_OR_OWNER`, `BAD_METRICS`.
    /// Access: a keeper, or the worker's owner.
    fn update_worker_metrics(ref self: TContractState, worker_id: felt252, metrics: WorkerMetrics);

    /// Totals since the deployment.
    fn get_allocation_stats(self: @TContractState) -> AllocationStats;

    /// What was last reported of a worker; zeros if nothing was.
    ///
    /// Errors: `UNKNOWN_WORKER` where no id can be `worker_id`.
    fn get_worker_metrics(self: @TContractState, worker_id: felt252) -> WorkerMetrics;

    /// When that was (Unix time in seconds); 0 if nothing was.
    ///
    /// Errors: `UNKNOWN_WORKER` where no id can be `worker_id`.
    fn metrics_reported_at(self: @TContractState, worker_id: felt252) -> u64;

    /// The number of the keeper's latest round; 0 before its first.
    fn last_round(self: @TContractState, keeper: ContractAddress) -> u64;

    fn is_keeper(self: @TContractState, address: ContractAddress) -> bool;

    fn get_config(self: @TContractState) -> TaskAllocatorConfig;
}

/// For keepers.
#[starknet::interface]
pub trait ITaskAllocatorKeeper<TContractState> {
    /// Proposes allocations. Each item that still holds is allocated, each other one skipped with
    /// its reason; see `math/allocation_item.cairo` for the packing and `types::skip_reason` for
    /// the reasons.
    ///
    /// Preconditions: 1 to 500 items; `round` is above the keeper's latest; `snapshot_block`, the
    /// block that the keeper decided on, is not above the current block.
    /// Emits: `AllocationSkipped` for each skipped item, then `RoundApplied`; the job manager emits
    /// `JobAllocated` for each allocated one.
    /// Errors: `NOT_KEEPER`, `EMPTY_BATCH`, `BATCH_TOO_LARGE`, `STALE_ROUND`, `FUTURE_SNAPSHOT`.
    /// Access: keepers.
    fn apply_batch(
        ref self: TContractState, round: u64, snapshot_block: u64, items: Span<felt252>,
    );
}

/// For the admin, who can do nothing else.
#[starknet::interface]
pub trait ITaskAllocatorAdmin<TContractState> {
    /// Preconditions: `keeper` is not 0 and not a keeper.
    /// Emits: `KeeperAdded`.
    /// Errors: `NOT_ADMIN`, `ZERO_ADDRESS`, `ALREADY_KEEPER`.
    /// Access: the admin.
    fn add_keeper(ref self: TContractState, keeper: ContractAddress);

    /// The keeper's rounds stay counted, should it be added again.
    ///
    /// Preconditions: `keeper` is a keeper.
    /// Emits: `KeeperRemoved`.
    /// Errors: `NOT_ADMIN`, `UNKNOWN_KEEPER`.
    /// Access: the admin.
    fn remove_keeper(ref self: TContractState, keeper: ContractAddress);
}

pub mod Events {
    use crate::task_allocator::types::WorkerMetrics;
    use starknet::ContractAddress;

    #[derive(Drop, PartialEq, Debug, starknet::Event)]
    pub struct RoundApplied {
        #[key]
        pub keeper: ContractAddress,
        pub round: u64,
        pub snapshot_block: u64,
        pub allocated: u32,
        pub skipped: u32,
    }

    #[derive(Drop, PartialEq, Debug, starknet::Event)]
    pub struct AllocationSkipped {
        #[key]
        pub job_id: u64,
        #[key]
        pub worker_id: u32,
        pub attempt: u8,
        /// `types::skip_reason`.
        pub reason: u8,
    }

    #[derive(Drop, PartialEq, Debug, starknet::Event)]
    pub struct KeeperAdded {
        #[key]
        pub keeper: ContractAddress,
    }

    #[derive(Drop, PartialEq, Debug, starknet::Event)]
    pub struct KeeperRemoved {
        #[key]
        pub keeper: ContractAddress,
    }

    #[derive(Drop, PartialEq, Debug, starknet::Event)]
    pub struct WorkerMetricsUpdated {
        #[key]
        pub worker_id: felt252,
        pub metrics: WorkerMetrics,
    }
}
