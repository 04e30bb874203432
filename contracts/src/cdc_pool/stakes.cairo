// SPDX-License-Identifier: MIT

//! What the pool does with stakes, and the workers that hold them.

use core::num::traits::Zero;
use crate::cdc_pool::contract::CdcPool::{ContractState, Emitter, Event};
use crate::cdc_pool::interface::Events;
use crate::cdc_pool::types::{Bond, WorkerFault, WorkerStatus};
use crate::cdc_pool::{errors, worker_record, worker_status};
use crate::clock::now;
use crate::erc20::{IErc20Dispatcher, IErc20DispatcherTrait};
use crate::math::slashing::Slash;
use crate::math::{deadlines, slashing, worker_slot};
use starknet::event::EventEmitter;
use starknet::storage::{StoragePointerReadAccess, StoragePointerWriteAccess};
use starknet::{ContractAddress, get_contract_address};

/// What is slashed and goes to nobody goes here: nobody has the key.
const BURN_ADDRESS: felt252 = 0xdead;

#[generate_trait]
pub impl StakesImpl of Stakes {
    /// Whether a stake is enough for so many slots, of which there is at least one.
    fn is_covered(self: @ContractState, slots: u8, stake: u128) -> bool {
        stake / slots.into() >= self.min_stake_per_slot.read()
    }

    fn token(self: @ContractState) -> IErc20Dispatcher {
        IErc20Dispatcher { contract_address: self.token.read() }
    }

    fn pull(ref self: ContractState, sender: ContractAddress, amount: u128) {
        let is_paid = self.token().transfer_from(sender, get_contract_address(), amount.into());
        assert(is_paid, errors::TRANSFER_FAILED);
    }

    fn pay(ref self: ContractState, recipient: ContractAddress, amount: u128) {
        if amount != 0 {
            assert(self.token().transfer(recipient, amount.into()), errors::TRANSFER_FAILED);
        }
    }

    /// Starts the unbonding time, anew if it has begun before.
    fn begin_unbonding(ref self: ContractState, worker_id: u32) {
        let exit = deadlines::after(now(), self.unbonding_s.read());
        let record = worker_record::at(worker_id.into());
        let bond = record.bond.read();
        record.bond.write(Bond { exit_at: exit.timestamp, exit_block: exit.block, ..bond });
        self
            .emit(
                Event::WorkerExiting(
                    Events::WorkerExiting {
                        worker_id, exit_at: exit.timestamp, exit_block: exit.block,
                    }
                ),
            );
    }

    /// Takes what a fault costs from a worker's stake and hands it out; with `client` 0 all of it
    /// is burned.
    fn slash(
        ref self: ContractState,
        worker_id: u32,
        fault: WorkerFault,
        penalty: u128,
        challenger: ContractAddress,
        client: ContractAddress,
    ) {
        let record = worker_record::at(worker_id.into());
        let worker = worker_slot::unpack(record.slot.read());
        let bond = record.bond.read();
        let least = self.min_stake_per_slot.read();
        let is_shared = client.is_non_zero();
        let slash = slashing::slash(fault, bond.stake, penalty, least, is_shared);
        let Slash { amount, burned, to_challenger, to_client } = slash;
        let stake = bond.stake - amount;
        record.bond.write(Bond { stake, ..bond });
        let is_drained = worker.status == WorkerStatus::Active
            && !self.is_covered(worker.slots, stake);
        if is_drained {
            worker_status::write_status(worker_id, worker, WorkerStatus::Draining);
        }

        self.pay(challenger, to_challenger);
        self.pay(client, to_client);
        self.pay(BURN_ADDRESS.try_into().unwrap(), burned);
        let fault = match fault {
            WorkerFault::Unrevealed => 1,
            WorkerFault::Wrong => 2,
        };
        self
            .emit(
                Event::WorkerSlashed(
                    Events::WorkerSlashed {
                        worker_id, fault, amount, burned, to_challenger, to_client,
                    }
                ),
            );
        if is_drained {
            self.emit(Event::WorkerDrained(Events::WorkerDrained { worker_id }));
        }
    }
}
