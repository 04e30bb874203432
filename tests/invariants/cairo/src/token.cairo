// SPDX-License-Identifier: MIT

/// An ERC-20 without most of one. Anyone may arm it: its next transfer then either moves nothing
/// and answers `false`, or first calls somebody back.
#[starknet::contract]
mod TestToken {
    use crate::trap::{Trap, spring};
    use starknet::storage::{
        Map, StorageMapReadAccess, StorageMapWriteAccess, StoragePointerReadAccess,
        StoragePointerWriteAccess,
    };
    use starknet::{ContractAddress, get_caller_address};

    const IDLE: u8 = 0;
    const REFUSE: u8 = 1;

    #[storage]
    struct Storage {
        ERC20_balances: Map<ContractAddress, u256>,
        ERC20_allowances: Map<(ContractAddress, ContractAddress), u256>,
        /// What the next transfer does: 0 its duty, 1 nothing, 2 calls back first.
        mode: u8,
        to: ContractAddress,
        selector: felt252,
        length: u32,
        calldata: Map<u32, felt252>,
    }

    #[external(v0)]
    fn balance_of(self: @ContractState, account: ContractAddress) -> u256 {
        self.ERC20_balances.read(account)
    }

    #[external(v0)]
    fn allowance(self: @ContractState, owner: ContractAddress, spender: ContractAddress) -> u256 {
        self.ERC20_allowances.read((owner, spender))
    }

    #[external(v0)]
    fn approve(ref self: ContractState, spender: ContractAddress, amount: u256) -> bool {
        self.ERC20_allowances.write((get_caller_address(), spender), amount);
        true
    }

    #[external(v0)]
    fn transfer(ref self: ContractState, recipient: ContractAddress, amount: u256) -> bool {
        if !self._spring() {
            return false;
        }
        self._move(get_caller_address(), recipient, amount);
        true
    }

    #[external(v0)]
    fn transfer_from(
        ref self: ContractState, sender: ContractAddress, recipient: ContractAddress, amount: u256,
    ) -> bool {
        if !self._spring() {
            return false;
        }
        let spender = get_caller_address();
        let allowed = self.ERC20_allowances.read((sender, spender));
        assert(allowed >= amount, 'ERC20: insufficient allowance');
        self._move(sender, recipient, amount);
        self.ERC20_allowances.write((sender, spender), allowed - amount);
        true
    }

    #[external(v0)]
    fn arm(ref self: ContractState, mode: u8, trap: Trap) {
        self.mode.write(mode);
        self.to.write(trap.to);
        self.selector.write(trap.selector);
        self.length.write(trap.calldata.len());
        let mut index = 0;
        for felt in trap.calldata {
            self.calldata.write(index, *felt);
            index += 1;
        };
    }

    #[generate_trait]
    impl InternalImpl of InternalTrait {
        /// Whether the transfer is to be made.
        fn _spring(ref self: ContractState) -> bool {
            let mode = self.mode.read();
            if mode == IDLE {
                return true;
            }
            self.mode.write(IDLE);
            if mode == REFUSE {
                return false;
            }
            let mut calldata = array![];
            for index in 0..self.length.read() {
                calldata.append(self.calldata.read(index));
            };
            let (to, selector) = (self.to.read(), self.selector.read());
            spring(Trap { to, selector, calldata: calldata.span() });
            true
        }

        fn _move(
            ref self: ContractState, from: ContractAddress, to: ContractAddress, amount: u256,
        ) {
            let balance = self.ERC20_balances.read(from);
            assert(balance >= amount, 'ERC20: insufficient balance');
            self.ERC20_balances.write(from, balance - amount);
            self.ERC20_balances.write(to, self.ERC20_balances.read(to) + amount);
        }
    }
}
