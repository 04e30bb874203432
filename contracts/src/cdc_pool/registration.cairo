// SPDX-License-Identifier: MIT

//! How a worker comes into the pool, and what may be offered there.

use crate::cdc_pool::contract::CdcPool::{ContractState, Emitter, Event};
use crate::cdc_pool::interface::Events;
use crate::cdc_pool::stakes::Stakes;
use crate::cdc_pool::types::{Bond, WorkerStatus};
use crate::cdc_pool::{errors, offer, worker_record, worker_status};
use crate::clock::now;
use crate::math::worker_slot::WorkerSlot;
use crate::math::{reputation, worker_load, worker_slot};
use crate::types::Capabilities;
use starknet::ContractAddress;
use starknet::event::EventEmitter;
use starknet::storage::{
    StorageMapReadAccess, StorageMapWriteAccess, StoragePointerReadAccess,
    StoragePointerWriteAccess,
};

#[generate_trait]
pub impl RegistrationImpl of Registration {
    /// Registers a worker of `owner` and pulls its stake.
    fn register(
        ref self: ContractState,
        owner: ContractAddress,
        capabilities: Capabilities,
        slots: u8,
        rate_gfri: u64,
        stake: u128,
    ) -> u32 {
        self.assert_has_no_worker(owner);
        self.assert_offer(capabilities, slots, rate_gfri, stake);

        let worker_id = self.worker_count.read() + 1;
        let registered_at = now().timestamp;
        let worker = WorkerSlot {
            status: WorkerStatus::Active,
            capabilities,
            slots,
            rate_gfri,
            is_static: false,
            reputation: reputation::INITIAL,
            reputation_at: registered_at,
        };
        let record = worker_record::at(worker_id.into());
        self.worker_count.write(worker_id);
        self.worker_of.write(owner, worker_id);
        record.owner.write(owner);
        record.slot.write(worker_slot::pack(worker));
        record.bond.write(Bond { stake, registered_at, exit_at: 0, exit_block: 0 });
        worker_record::add_load(worker_id, worker_load::free(capabilities.gpu_count, slots));

        self.pull(owner, stake);
        self
            .emit(
                Event::WorkerRegistered(
                    Events::WorkerRegistered {
                        worker_id, owner, capabilities, slots, rate_gfri, stake,
                    }
                ),
            );
        worker_id
    }

    /// An owner has one worker at a time; one that has exited does not count.
    fn assert_has_no_worker(self: @ContractState, owner: ContractAddress) {
        let worker_id = self.worker_of.read(owner);
        if worker_id != 0 {
            let worker = worker_status::known_worker(worker_id);
            assert(worker.status == WorkerStatus::Exited, errors::ALREADY_REGISTERED);
        }
    }

    fn assert_offer(
        self: @ContractState, capabilities: Capabilities, slots: u8, rate_gfri: u64, stake: u128,
    ) {
        offer::assert_valid(capabilities, slots, rate_gfri);
        assert(self.is_covered(slots, stake), errors::STAKE_TOO_LOW);
    }
}
