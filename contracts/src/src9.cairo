// SPDX-License-Identifier: MIT

//! What an account offers that takes calls which its owner signed and somebody else sends: SNIP-9,
//! version 2. The account checks the signature, the times, the caller and that the nonce is new.

use starknet::ContractAddress;
use starknet::account::Call;

/// Calls that an account's owner has signed.
#[derive(Copy, Drop, Serde, Debug)]
pub struct OutsideExecution {
    /// The only contract that may hand them in, or `'ANY_CALLER'`.
    pub caller: ContractAddress,
    /// The account takes each once.
    pub nonce: felt252,
    /// Both exclusive, Unix time in seconds.
    pub execute_after: u64,
    pub execute_before: u64,
    pub calls: Span<Call>,
}

#[starknet::interface]
pub trait ISrc9<TContractState> {
    fn execute_from_outside_v2(
        ref self: TContractState, outside_execution: OutsideExecution, signature: Span<felt252>,
    ) -> Array<Span<felt252>>;
}
