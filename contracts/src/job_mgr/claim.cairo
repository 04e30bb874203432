// SPDX-License-Identifier: MIT

//! How a worker takes a job itself while no keeper is at work.

use core::num::traits::Zero;
use crate::cdc_pool::interface::ICdcPoolViewDispatcherTrait;
use crate::clock::now;
use crate::job_mgr::contract::JobMgr::ContractState;
use crate::job_mgr::job_access::JobAccessTrait;
use crate::job_mgr::{allocation, errors, group_record};
use crate::math::allocation_item;
use crate::task_allocator::interface::{ITaskAllocatorDispatcher, ITaskAllocatorDispatcherTrait};
use crate::types::skip_reason;
use starknet::get_caller_address;
use starknet::storage::StoragePointerReadAccess;

/// Blocks without a round after which keepers count as absent.
const CLAIM_AFTER_BLOCKS: u64 = 100;

/// Fallback.
const STRATEGY: u8 = 3;
const SCORE: u16 = 0;

#[generate_trait]
pub impl ClaimImpl of ClaimTrait {
    /// The caller's worker.
    fn assert_only_worker(self: @ContractState) -> u32 {
        let worker_id = self._pool_view().worker_of(get_caller_address());
        assert(worker_id != 0, errors::NOT_WORKER);
        worker_id
    }

    fn _assert_no_keeper_is_active(self: @ContractState) {
        let task_allocator = self.task_allocator.read();
        assert(task_allocator.is_non_zero(), errors::KEEPERS_ACTIVE);
        let last_round_block = ITaskAllocatorDispatcher { contract_address: task_allocator }
            .last_round_block();
        assert(last_round_block + CLAIM_AFTER_BLOCKS < now().block, errors::KEEPERS_ACTIVE);
    }

    /// Allocates the job, which must run alone, to the worker as if a keeper had proposed it, or
    /// reverts with the reason why not.
    fn _allocate_claimed(ref self: ContractState, job_id: u64, worker_id: u32) {
        let attempt = self._queued_attempt(job_id);
        // Else one owner of many workers could take a group's seats, or a committee's, by itself.
        assert(group_record::id_of(job_id) == 0, errors::IS_REPLICA);
        let rate_gfri = self._pool_view().get_worker(worker_id).rate_gfri;
        let item = allocation_item::pack(job_id, worker_id, attempt, STRATEGY, SCORE, rate_gfri);
        let skipped = allocation::allocate(array![item].span(), self.cdc_pool.read(), now());
        if !skipped.is_empty() {
            core::panic_with_felt252(refusal(*skipped[0].reason));
        }
    }
}

/// What a claim reverts with where a keeper's item would be skipped. The job is Queued, the attempt
/// its own and the worker known, or the claim does not come as far.
fn refusal(reason: u8) -> felt252 {
    if reason == skip_reason::DEADLINE_PASSED {
        errors::DEADLINE_PASSED
    } else if reason == skip_reason::WORKER_EXCLUDED {
        errors::WORKER_EXCLUDED
    } else if reason == skip_reason::WORKER_UNAVAILABLE {
        errors::WORKER_UNAVAILABLE
    } else if reason == skip_reason::NO_FREE_SLOT {
        errors::NO_FREE_SLOT
    } else if reason == skip_reason::NO_FREE_GPU {
        errors::NO_FREE_GPU
    } else if reason == skip_reason::REQUIREMENT_UNMET {
        errors::REQUIREMENT_UNMET
    } else if reason == skip_reason::RATE_TOO_HIGH {
        errors::RATE_TOO_HIGH
    } else if reason == skip_reason::REPUTATION_TOO_LOW {
        errors::REPUTATION_TOO_LOW
    } else if reason == skip_reason::REGION_MISMATCH {
        errors::REGION_MISMATCH
    } else {
        errors::NOT_QUEUED
    }
}
