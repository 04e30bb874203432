// SPDX-License-Identifier: MIT

//! Types of the paymaster.

use starknet::ContractAddress;

/// What a sponsor pays for an account, as views show it.
#[derive(Copy, Drop, Serde, PartialEq, Debug)]
pub struct SponsorshipView {
    /// Fri; 0 if the account is not sponsored.
    pub budget_per_epoch: u128,
    /// Fri, of one relayed execution.
    pub max_fee: u128,
    /// The epoch that views are asked in: the timestamp in days.
    pub epoch: u64,
    /// Fri, in that epoch.
    pub spent: u128,
}

#[derive(Copy, Drop, Serde, PartialEq, Debug)]
pub struct PaymasterConfig {
    pub token: ContractAddress,
    pub job_mgr: ContractAddress,
    pub cdc_pool: ContractAddress,
}

/// What a sponsor allows for an account, in storage.
#[derive(Copy, Drop, starknet::Store)]
pub(crate) struct Sponsorship {
    pub budget_per_epoch: u128,
    pub max_fee: u128,
    /// In the latest epoch with any; see [`SpendingPacking`].
    pub spending: Spending,
}

#[derive(Copy, Drop, PartialEq, Debug)]
pub(crate) struct Spending {
    pub amount: u128,
    pub epoch: u64,
}

/// ```text
/// low    0..128  amount
/// high   0..64   epoch
/// ```
impl SpendingPacking of starknet::storage_access::StorePacking<Spending, felt252> {
    fn pack(value: Spending) -> felt252 {
        value.amount.into() + value.epoch.into() * 0x1_0000_0000_0000_0000_0000_0000_0000_0000
    }

    fn unpack(value: felt252) -> Spending {
        let packed: u256 = value.into();
        Spending { amount: packed.low, epoch: packed.high.try_into().unwrap() }
    }
}
