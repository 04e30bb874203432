// SPDX-License-Identifier: MIT

//! What the job manager owes to accounts.
//!
//! Only a withdrawal pays out. Everything else is credited, so that no recipient can hold up a
//! settlement, and no state depends on a transfer.

use core::cmp::min;
use crate::erc20::{IErc20Dispatcher, IErc20DispatcherTrait};
use crate::job_mgr::contract::JobMgr::{ContractState, Emitter, Event};
use crate::job_mgr::{errors, events};
use starknet::event::EventEmitter;
use starknet::storage::{StorageMapReadAccess, StorageMapWriteAccess, StoragePointerReadAccess};
use starknet::{ContractAddress, get_contract_address};

#[generate_trait]
pub impl LedgerImpl of LedgerTrait {
    /// Adds to what the account can withdraw.
    fn _credit(ref self: ContractState, account: ContractAddress, amount: u128) {
        if amount != 0 {
            self.credit.write(account, self.credit.read(account) + amount);
        }
    }

    /// Takes the amount from the account's credit, and what that does not cover from its balance.
    fn _draw(ref self: ContractState, account: ContractAddress, amount: u128) {
        let credit = self.credit.read(account);
        let spent = min(credit, amount);
        if spent != 0 {
            self.credit.write(account, credit - spent);
            self.emit(Event::CreditSpent(events::CreditSpent { account, amount: spent }));
        }
        if amount != spent {
            let is_paid = token(@self)
                .transfer_from(account, get_contract_address(), (amount - spent).into());
            assert(is_paid, errors::TRANSFER_FAILED);
        }
    }

    /// Pays the account's whole credit out.
    fn _withdraw(ref self: ContractState, account: ContractAddress) -> u128 {
        let amount = self.credit.read(account);
        assert(amount != 0, errors::NO_CREDIT);
        self.credit.write(account, 0);
        assert(token(@self).transfer(account, amount.into()), errors::TRANSFER_FAILED);
        self.emit(Event::CreditWithdrawn(events::CreditWithdrawn { account, amount }));
        amount
    }
}

fn token(self: @ContractState) -> IErc20Dispatcher {
    IErc20Dispatcher { contract_address: self.token.read() }
}
