// SPDX-License-Identifier: MIT

//! The ABI of the paymaster, split by who calls it.

use crate::paymaster::types::{PaymasterConfig, SponsorshipView};
use crate::src9::OutsideExecution;
use starknet::ContractAddress;

/// For an account that keeps a balance here, and lets gateways submit jobs out of it.
#[starknet::interface]
pub trait IPaymasterClient<TContractState> {
    /// Pulls `amount` (fri) from the caller and adds it to the balance of `account`.
    ///
    /// Preconditions: not paused; the contract has an allowance for it.
    /// Emits: `Deposited`.
    /// Errors: `Pausable: PAUSED`, `ZERO_ADDRESS`, `ZERO_AMOUNT`, `TRANSFER_FAILED`.
    /// Access: anyone.
    fn deposit(ref self: TContractState, account: ContractAddress, amount: u128);

    /// Sends `amount` (fri) of the caller's balance to the caller.
    ///
    /// Preconditions: the balance covers it.
    /// Emits: `Withdrawn`.
    /// Errors: `ZERO_AMOUNT`, `BALANCE_TOO_LOW`, `TRANSFER_FAILED`.
    /// Access: anyone, for its own balance.
    fn withdraw(ref self: TContractState, amount: u128);

    /// Lets a gateway submit jobs for the caller, escrowing up to `cap` (fri) of its balance from
    /// now on. It replaces what was left of an earlier cap; a gateway that sees this coming can
    /// use the earlier cap first.
    ///
    /// Preconditions: not paused.
    /// Emits: `GatewayAuthorised`.
    /// Errors: `Pausable: PAUSED`, `ZERO_ADDRESS`, `ZERO_CAP`.
    /// Access: anyone, for its own balance.
    fn authorise_gateway(ref self: TContractState, gateway: ContractAddress, cap: u128);

    /// Takes what is left of the gateway's cap away.
    ///
    /// Preconditions: none.
    /// Emits: `GatewayRevoked`.
    /// Errors: none.
    /// Access: anyone, for its own balance.
    fn revoke_gateway(ref self: TContractState, gateway: ContractAddress);
}

/// For an account that pays others' fees out of its balance.
#[starknet::interface]
pub trait IPaymasterSponsor<TContractState> {
    /// Pays for what relayers of the caller execute for `account`: up to `max_fee` (fri) each time
    /// and up to `budget_per_epoch` in each day of Unix time. It replaces earlier terms; what was
    /// spent today stays counted.
    ///
    /// Preconditions: not paused; `max_fee` is 1 to `budget_per_epoch`.
    /// Emits: `AccountSponsored`.
    /// Errors: `Pausable: PAUSED`, `ZERO_ADDRESS`, `ZERO_BUDGET`, `BAD_MAX_FEE`.
    /// Access: anyone, as the sponsor.
    fn sponsor_account(
        ref self: TContractState, account: ContractAddress, budget_per_epoch: u128, max_fee: u128,
    );

    /// Preconditions: the caller sponsors the account.
    /// Emits: `SponsoringStopped`.
    /// Errors: `NOT_SPONSORED`.
    /// Access: the sponsor.
    fn stop_sponsoring(ref self: TContractState, account: ContractAddress);

    /// Lets `relayer` charge fees to the caller within the caller's terms for each account. Nothing
    /// here can tell a fee that was due from one that was not: a sponsor trusts its relayers with
    /// the budgets it has set.
    ///
    /// Preconditions: not paused; `relayer` is none of the caller's relayers.
    /// Emits: `RelayerAuthorised`.
    /// Errors: `Pausable: PAUSED`, `ZERO_ADDRESS`, `ALREADY_RELAYER`.
    /// Access: anyone, as the sponsor.
    fn authorise_relayer(ref self: TContractState, relayer: ContractAddress);

    /// Preconditions: `relayer` is a relayer of the caller.
    /// Emits: `RelayerRevoked`.
    /// Errors: `UNKNOWN_RELAYER`.
    /// Access: the sponsor.
    fn revoke_relayer(ref self: TContractState, relayer: ContractAddress);
}

/// For relayers.
#[starknet::interface]
pub trait IPaymasterRelayer<TContractState> {
    /// Hands `account` the calls that its owner signed, and pays `fee` (fri) out of the sponsor's
    /// balance to the caller. If the account refuses or a call fails, everything reverts and no fee
    /// is paid: a relayer simulates first.
    ///
    /// Each call must be one of: `approve` of the token for JobMgr or CdcPool, `submit_job` of
    /// JobMgr, `register_worker` of CdcPool. The signature, the times and the nonce, which allows
    /// each execution once, are the account's to check; its `caller` must be this contract or
    /// `'ANY_CALLER'`.
    ///
    /// Preconditions: not paused; the caller is a relayer of the sponsor; the sponsor sponsors the
    /// account; there is a call; the fee is within the terms, what is left of today's budget, and
    /// the sponsor's balance.
    /// Emits: `Relayed`, after what the calls emit.
    /// Errors, in this order: `Pausable: PAUSED`, `NOT_RELAYER`, `NOT_SPONSORED`, `NO_CALLS`,
    /// `CALL_NOT_ALLOWED`, `FEE_TOO_HIGH`, `BUDGET_SPENT`, `BALANCE_TOO_LOW`, the account's own,
    /// `TRANSFER_FAILED`.
    /// Access: the sponsor's relayers.
    fn relay(
        ref self: TContractState,
        sponsor: ContractAddress,
        fee: u128,
        account: ContractAddress,
        outside_execution: OutsideExecution,
        signature: Span<felt252>,
    );
}

/// For the job manager.
#[starknet::interface]
pub trait IPaymasterJobMgr<TContractState> {
    /// Moves `amount` (fri) of the client's balance to the job manager, for jobs that the gateway
    /// submits for the client.
    ///
    /// Preconditions: not paused; what is left of the gateway's cap and the client's balance cover
    /// it.
    /// Emits: `EscrowDrawn`.
    /// Errors: `Pausable: PAUSED`, `NOT_JOB_MGR`, `CAP_TOO_LOW`, `BALANCE_TOO_LOW`,
    /// `TRANSFER_FAILED`.
    /// Access: the job manager.
    fn draw_escrow(
        ref self: TContractState, client: ContractAddress, gateway: ContractAddress, amount: u128,
    );
}

/// For everyone; nothing here changes state.
#[starknet::interface]
pub trait IPaymasterView<TContractState> {
    /// Fri.
    fn balance_of(self: @TContractState, account: ContractAddress) -> u128;

    /// What is left of the gateway's cap, in fri.
    fn gateway_allowance(
        self: @TContractState, client: ContractAddress, gateway: ContractAddress,
    ) -> u128;

    fn get_sponsorship(
        self: @TContractState, sponsor: ContractAddress, account: ContractAddress,
    ) -> SponsorshipView;

    fn is_relayer(
        self: @TContractState, sponsor: ContractAddress, relayer: ContractAddress,
    ) -> bool;

    fn get_config(self: @TContractState) -> PaymasterConfig;
}

pub mod Events {
    use starknet::ContractAddress;

    #[derive(Drop, PartialEq, Debug, starknet::Event)]
    pub struct Deposited {
        #[key]
        pub account: ContractAddress,
        /// Who paid.
        #[key]
        pub payer: ContractAddress,
        /// Fri.
        pub amount: u128,
    }

    #[derive(Drop, PartialEq, Debug, starknet::Event)]
    pub struct Withdrawn {
        #[key]
        pub account: ContractAddress,
        /// Fri.
        pub amount: u128,
    }

    #[derive(Drop, PartialEq, Debug, starknet::Event)]
    pub struct GatewayAuthorised {
        #[key]
        pub client: ContractAddress,
        #[key]
        pub gateway: ContractAddress,
        /// Fri.
        pub cap: u128,
    }

    #[derive(Drop, PartialEq, Debug, starknet::Event)]
    pub struct GatewayRevoked {
        #[key]
        pub client: ContractAddress,
        #[key]
        pub gateway: ContractAddress,
    }

    #[derive(Drop, PartialEq, Debug, starknet::Event)]
    pub struct EscrowDrawn {
        #[key]
        pub client: ContractAddress,
        #[key]
        pub gateway: ContractAddress,
        /// Fri.
        pub amount: u128,
    }

    #[derive(Drop, PartialEq, Debug, starknet::Event)]
    pub struct AccountSponsored {
        #[key]
        pub sponsor: ContractAddress,
        #[key]
        pub account: ContractAddress,
        /// Fri.
        pub budget_per_epoch: u128,
        /// Fri.
        pub max_fee: u128,
    }

    #[derive(Drop, PartialEq, Debug, starknet::Event)]
    pub struct SponsoringStopped {
        #[key]
        pub sponsor: ContractAddress,
        #[key]
        pub account: ContractAddress,
    }

    #[derive(Drop, PartialEq, Debug, starknet::Event)]
    pub struct RelayerAuthorised {
        #[key]
        pub sponsor: ContractAddress,
        #[key]
        pub relayer: ContractAddress,
    }

    #[derive(Drop, PartialEq, Debug, starknet::Event)]
    pub struct RelayerRevoked {
        #[key]
        pub sponsor: ContractAddress,
        #[key]
        pub relayer: ContractAddress,
    }

    #[derive(Drop, PartialEq, Debug, starknet::Event)]
    pub struct Relayed {
        #[key]
        pub sponsor: ContractAddress,
        #[key]
        pub account: ContractAddress,
        #[key]
        pub relayer: ContractAddress,
        /// Fri, from the sponsor to the relayer.
        pub fee: u128,
    }
}
