// SPDX-License-Identifier: MIT

//! How the rest of the job manager reads a job: checked, and with the caller's part in it.

use core::num::traits::Zero;
use crate::cdc_pool::interface::{
    ICdcPoolJobMgrDispatcher, ICdcPoolViewDispatcher, ICdcPoolViewDispatcherTrait,
};
use crate::job_mgr::contract::JobMgr::ContractState;
use crate::job_mgr::types::JobState;
use crate::job_mgr::{errors, job_record};
use crate::math::job_slot::PlacedJob;
use crate::math::job_terms::Terms;
use crate::math::{job_slot, job_terms};
use starknet::storage::{StoragePointerReadAccess, StoragePointerWriteAccess};
use starknet::{ContractAddress, get_caller_address};

#[generate_trait]
pub impl JobAccessImpl of JobAccessTrait {
    /// Returns the client, who is the caller.
    fn assert_only_client(self: @ContractState, job_id: u64) -> ContractAddress {
        let client = client_of(terms_of(job_id).client);
        assert(client.is_non_zero(), errors::NO_SUCH_JOB);
        assert(get_caller_address() == client, errors::NOT_CLIENT);
        client
    }

    fn assert_only_worker_owner(self: @ContractState, worker_id: u32) {
        let owner = self._pool_view().worker_owner(worker_id);
        assert(get_caller_address() == owner, errors::NOT_WORKER);
    }

    fn _pool(self: @ContractState) -> ICdcPoolJobMgrDispatcher {
        ICdcPoolJobMgrDispatcher { contract_address: self.cdc_pool.read() }
    }

    fn _pool_view(self: @ContractState) -> ICdcPoolViewDispatcher {
        ICdcPoolViewDispatcher { contract_address: self.cdc_pool.read() }
    }

    /// The attempt that the job, which must be Queued, waits for.
    fn _queued_attempt(self: @ContractState, job_id: u64) -> u8 {
        let packed = job_record::at(job_id.into()).slot.read();
        let state = job_slot::state(packed);
        assert(state != JobState::None, errors::NO_SUCH_JOB);
        assert(state == JobState::Queued, errors::NOT_QUEUED);
        job_slot::unpack_queued(packed).attempt
    }

    /// The job, which must be in `state`, one that has a worker.
    fn _placed(self: @ContractState, job_id: u64, state: JobState, error: felt252) -> PlacedJob {
        // Of a queued job everything but the state is without meaning.
        let placed = job_slot::unpack_placed(job_record::at(job_id.into()).slot.read());
        assert(placed.state != JobState::None, errors::NO_SUCH_JOB);
        assert(placed.state == state, error);
        placed
    }

    /// The job, which must be Allocated or Committed.
    fn _running(self: @ContractState, job_id: u64) -> PlacedJob {
        let packed = job_record::at(job_id.into()).slot.read();
        let state = job_slot::state(packed);
        assert(state != JobState::None, errors::NO_SUCH_JOB);
        let is_running = state == JobState::Allocated || state == JobState::Committed;
        assert(is_running, errors::NOT_ALLOCATED);
        job_slot::unpack_placed(packed)
    }

    /// The job, which must be in `state`, in `attempt`.
    fn _attempt(
        self: @ContractState, job_id: u64, attempt: u8, state: JobState, error: felt252,
    ) -> PlacedJob {
        let placed = self._placed(job_id, state, error);
        assert(placed.attempt == attempt, errors::WRONG_ATTEMPT);
        placed
    }
}

/// The address of the client with this number.
pub fn client_of(number: u32) -> ContractAddress {
    job_record::client_at(number.into()).read()
}

pub fn terms_of(job_id: u64) -> Terms {
    job_terms::unpack(job_record::at(job_id.into()).terms.read())
}

/// The hash of a job's result, which must be known.
pub fn result_of(job_id: u64) -> felt252 {
    job_record::at(job_id.into()).queued_or_result.read()
}

/// Writes a job's result over what only a later attempt would need.
pub fn keep_result(job_id: u64, result_hash: felt252) {
    job_record::at(job_id.into()).queued_or_result.write(result_hash);
}
