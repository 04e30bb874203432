// SPDX-License-Identifier: MIT

//! What the job manager owes to accounts.
//!
//! Only a withdrawal pays out. Everything else is credited, so that no recipient can hold up a
//! settlement, and no state depends on a transfer.

use core::cmp::min;
use crate::erc20::{IErc20Dispatcher, IErc20DispatcherTrait};
use crate::job_mgr::contract::JobMgr::{ContractState, Emitter, Event};
use crate::job_mgr::{errors, events};
use crate::math::account_word;
use starknet::event::EventEmitter;
use starknet::storage::{
    StorageMapReadAccess, StorageMapWriteAccess, StoragePathEntry, StoragePointerReadAccess,
    StoragePointerWriteAccess,
};
use starknet::{ContractAddress, get_contract_address};

#[generate_trait]
pub impl LedgerImpl of LedgerTrait {
    /// Fri that the account can withdraw.
    fn _credit_of(self: @ContractState, account: ContractAddress) -> u128 {
        account_word::credit(self.accounts.read(account))
    }

    /// Adds to what the account can withdraw.
    fn _credit(ref self: ContractState, account: ContractAddress, amount: u128) {
        if amount != 0 {
            // Finding an entry takes a hash: once is enough.
            let entry = self.accounts.entry(account);
            entry.write(account_word::with_more_credit(entry.read(), amount));
        }
    }

    /// Takes the amount from the account's credit, and what that does not cover from its balance.
    fn _draw(ref self: ContractState, account: ContractAddress, amount: u128) {
        self._draw_known(account, self.accounts.read(account), amount, get_contract_address());
    }

    /// As [`_draw`], where the account's word and this contract's address are known.
    fn _draw_known(
        ref self: ContractState,
        account: ContractAddress,
        word: felt252,
        amount: u128,
        this: ContractAddress,
    ) {
        let spent = min(account_word::credit(word), amount);
        if spent != 0 {
            self.accounts.write(account, account_word::with_less_credit(word, spent));
            self.emit(Event::CreditSpent(events::CreditSpent { account, amount: spent }));
        }
        if amount != spent {
            let is_paid = token(@self).transfer_from(account, this, (amount - spent).into());
            assert(is_paid, errors::TRANSFER_FAILED);
        }
    }

    /// Pays the account's whole credit out.
    fn _withdraw(ref self: ContractState, account: ContractAddress) -> u128 {
        let word = self.accounts.read(account);
        let amount = account_word::credit(word);
        assert(amount != 0, errors::NO_CREDIT);
        self.accounts.write(account, account_word::with_less_credit(word, amount));
        assert(token(@self).transfer(account, amount.into()), errors::TRANSFER_FAILED);
        self.emit(Event::CreditWithdrawn(events::CreditWithdrawn { account, amount }));
        amount
    }
}

fn token(self: @ContractState) -> IErc20Dispatcher {
    IErc20Dispatcher { contract_address: self.token.read() }
}
