// SPDX-License-Identifier: MIT

//! The part of ERC-20 that moves money.

use starknet::ContractAddress;

#[starknet::interface]
pub trait IErc20<TContractState> {
    fn transfer(ref self: TContractState, recipient: ContractAddress, amount: u256) -> bool;
    fn transfer_from(
        ref self: TContractState, sender: ContractAddress, recipient: ContractAddress, amount: u256,
    ) -> bool;
}
