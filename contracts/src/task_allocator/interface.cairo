// SPDX-License-Identifier: MIT

//! The ABI of the task allocator, split by who calls it.

use crate::task_allocator::types::{
    AllocationParams, AllocationResult, AllocationStats, KeeperView, PolicyView, RoundHeader,
    TaskAllocatorConfig, WorkerMetrics,
};
use starknet::ContractAddress;

/// For everyone who wants to know about allocations.
#[starknet::interface]
pub trait ITaskAllocator<TContractState> {
    /// The recorded allocation of a job, if there is one that satisfies the parameters. It changes
    /// nothing: deciding is the keepers' part. Only a job that is Allocated, Committed,
    /// Revealed, Disputed or Settled has one.
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

    /// The block of the latest round of any keeper; 0 before the first.
    fn last_round_block(self: @TContractState) -> u64;

    /// Whether the address is admitted and has bonded enough.
    fn is_keeper(self: @TContractState, address: ContractAddress) -> bool;

    /// What is known of a keeper; zeros if nothing is.
    fn get_keeper(self: @TContractState, address: ContractAddress) -> KeeperView;

    /// What is known of a policy; zeros if nothing is.
    fn get_policy(self: @TContractState, policy_id: felt252) -> PolicyView;

    fn get_config(self: @TContractState) -> TaskAllocatorConfig;
}

/// For keepers.
#[starknet::interface]
pub trait ITaskAllocatorKeeper<TContractState> {
    /// Proposes allocations. Each item that still holds is allocated, each other one skipped with
    /// its reason; see `math/allocation_item.cairo` for the packing and `types::skip_reason` for
    /// the reasons.
    ///
    /// Preconditions: not paused; 1 to 500 items; `header.round` is above the keeper's latest and
    /// below 2^48;
    /// `header.snapshot_block` is not above the current block; `header.policy_id` is announced,
    /// active and not retired.
    /// Emits: `AllocationSkipped` for each skipped item, then `RoundApplied`; the job manager emits
    /// `JobsAllocated` with the others.
    /// Errors: `Pausable: PAUSED`, `NOT_KEEPER`, `EMPTY_BATCH`, `BATCH_TOO_LARGE`, `STALE_ROUND`,
    /// `ROUND_TOO_HIGH`, `FUTURE_SNAPSHOT`, `UNKNOWN_POLICY`, `POLICY_NOT_ACTIVE`.
    /// Access: keepers.
    fn apply_batch(ref self: TContractState, header: RoundHeader, items: Span<felt252>);

    /// Pulls `amount` (fri) from the caller and adds it to its bond. No rule takes a bond away:
    /// whatever a keeper does wrong that a contract could prove is refused in the first place. The
    /// bond only makes it cost something to be many keepers.
    ///
    /// Preconditions: not paused; the caller is admitted; the contract has an allowance for the
    /// amount.
    /// Emits: `BondPosted`.
    /// Errors: `Pausable: PAUSED`, `NOT_ADMITTED`, `ZERO_AMOUNT`, `TRANSFER_FAILED`.
    /// Access: an account that the admin has added.
    fn post_bond(ref self: TContractState, amount: u128);

    /// Stops being a keeper at once and starts the wait for the bond, which is as long as a
    /// policy's.
    ///
    /// Preconditions: the caller is admitted.
    /// Emits: `KeeperLeft`.
    /// Errors: `NOT_ADMITTED`.
    /// Access: an account that the admin has added.
    fn leave(ref self: TContractState);

    /// Returns the caller's bond.
    ///
    /// Preconditions: the caller has left or was removed, and the wait has passed by the clock and
    /// by the block number.
    /// Emits: `BondWithdrawn`.
    /// Errors: `NO_BOND`, `STILL_BONDED`, `TRANSFER_FAILED`.
    /// Access: an account with a bond.
    fn withdraw_bond(ref self: TContractState);
}

/// For the admin, who can do nothing else.
#[starknet::interface]
pub trait ITaskAllocatorAdmin<TContractState> {
    /// Admits a keeper; it is one once its bond is at least the least one. One that left or was
    /// removed must have withdrawn its bond before it can return: nobody is kept from its bond by
    /// being admitted.
    ///
    /// Preconditions: `keeper` is not 0, not admitted and has no bond on its way out.
    /// Emits: `KeeperAdded`.
    /// Errors: `Access: NOT_ADMIN`, `ZERO_ADDRESS`, `ALREADY_KEEPER`, `STILL_BONDED`.
    /// Access: the admin.
    fn add_keeper(ref self: TContractState, keeper: ContractAddress);

    /// Ends a keeper's admission at once; it may withdraw its bond after the same wait as one that
    /// left. Its rounds stay counted, should it be added again.
    ///
    /// Preconditions: `keeper` is admitted.
    /// Emits: `KeeperRemoved`.
    /// Errors: `Access: NOT_ADMIN`, `UNKNOWN_KEEPER`.
    /// Access: the admin.
    fn remove_keeper(ref self: TContractState, keeper: ContractAddress);

    /// Announces a policy, the hash of how keepers weigh. Rounds may name it once `policy_delay_s`
    /// has passed by the clock and by the block number, so that nobody is ruled by a policy that
    /// could not be read before.
    ///
    /// Preconditions: `policy_id` is not 0 and was never announced.
    /// Emits: `PolicyAnnounced`.
    /// Errors: `Access: NOT_ADMIN`, `ZERO_POLICY`, `ALREADY_ANNOUNCED`.
    /// Access: the admin.
    fn announce_policy(ref self: TContractState, policy_id: felt252);

    /// Ends a policy at once and for good.
    ///
    /// Preconditions: the policy was announced and is not retired.
    /// Emits: `PolicyRetired`.
    /// Errors: `Access: NOT_ADMIN`, `UNKNOWN_POLICY`, `ALREADY_RETIRED`.
    /// Access: the admin.
    fn retire_policy(ref self: TContractState, policy_id: felt252);
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
        pub snapshot_root: felt252,
        pub policy_id: felt252,
        pub plan_root: felt252,
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
    pub struct BondPosted {
        #[key]
        pub keeper: ContractAddress,
        /// Fri.
        pub amount: u128,
        /// The whole bond from now on, fri.
        pub bond: u128,
    }

    /// The bond can be withdrawn once both have passed.
    #[derive(Drop, PartialEq, Debug, starknet::Event)]
    pub struct KeeperLeft {
        #[key]
        pub keeper: ContractAddress,
        /// Unix time in seconds.
        pub leaves_at: u64,
        pub leaves_block: u64,
    }

    #[derive(Drop, PartialEq, Debug, starknet::Event)]
    pub struct BondWithdrawn {
        #[key]
        pub keeper: ContractAddress,
        /// Fri.
        pub amount: u128,
    }

    /// Rounds may name the policy once both have been reached.
    #[derive(Drop, PartialEq, Debug, starknet::Event)]
    pub struct PolicyAnnounced {
        #[key]
        pub policy_id: felt252,
        /// Unix time in seconds.
        pub active_from: u64,
        pub active_from_block: u64,
    }

    #[derive(Drop, PartialEq, Debug, starknet::Event)]
    pub struct PolicyRetired {
        #[key]
        pub policy_id: felt252,
    }

    #[derive(Drop, PartialEq, Debug, starknet::Event)]
    pub struct WorkerMetricsUpdated {
        #[key]
        pub worker_id: felt252,
        pub metrics: WorkerMetrics,
    }
}
