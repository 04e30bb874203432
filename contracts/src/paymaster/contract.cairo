// SPDX-License-Identifier: MIT

/// Money that others may spend for its owner, within limits that the owner sets: gateways by
/// submitting jobs for it, relayers by paying the fees of accounts that it sponsors.
///
/// Roles: an account deposits, withdraws and sets the limits on its own balance; its relayers are
/// paid out of it; the job manager alone draws escrow; the admin and the guardian pause, the admin
/// upgrades.
///
/// Invariants:
/// - the token balance covers the sum of all balances;
/// - a balance falls only by its owner's withdrawal, by escrow within a cap that its owner set, or
///   by fees within terms that its owner set;
/// - withdrawing, revoking and ceasing to sponsor are always possible.
#[starknet::contract]
pub mod Paymaster {
    use core::num::traits::Zero;
    use crate::clock::now;
    use crate::components::access::AccessComponent;
    use crate::components::access::AccessComponent::InternalTrait as AccessInternalTrait;
    use crate::components::pausable::PausableComponent;
    use crate::components::pausable::PausableComponent::InternalTrait as PausableInternalTrait;
    use crate::components::upgradeable::UpgradeableComponent;
    use crate::components::upgradeable::UpgradeableComponent::InternalTrait as UpgradeableInternalTrait;
    use crate::erc20::{IErc20Dispatcher, IErc20DispatcherTrait};
    use crate::paymaster::errors;
    use crate::paymaster::interface::{
        Events, IPaymasterClient, IPaymasterJobMgr, IPaymasterRelayer, IPaymasterSponsor,
        IPaymasterView,
    };
    use crate::paymaster::types::{PaymasterConfig, Spending, Sponsorship, SponsorshipView};
    use crate::src9::{ISrc9Dispatcher, ISrc9DispatcherTrait, OutsideExecution};
    use starknet::account::Call;
    use starknet::storage::{
        Map, StorageMapReadAccess, StorageMapWriteAccess, StoragePathEntry,
        StoragePointerReadAccess, StoragePointerWriteAccess,
    };
    use starknet::{ContractAddress, get_caller_address, get_contract_address};

    /// Seconds in which a sponsor's budget for an account can be spent once.
    const EPOCH_S: u64 = 86_400;

    component!(path: AccessComponent, storage: access, event: AccessEvent);
    component!(path: PausableComponent, storage: pausable, event: PausableEvent);
    component!(path: UpgradeableComponent, storage: upgradeable, event: UpgradeableEvent);

    #[abi(embed_v0)]
    impl AccessImpl = AccessComponent::AccessImpl<ContractState>;
    #[abi(embed_v0)]
    impl PausableImpl = PausableComponent::PausableImpl<ContractState>;
    #[abi(embed_v0)]
    impl UpgradeableImpl = UpgradeableComponent::UpgradeableImpl<ContractState>;

    #[storage]
    struct Storage {
        #[substorage(v0)]
        access: AccessComponent::Storage,
        #[substorage(v0)]
        pausable: PausableComponent::Storage,
        #[substorage(v0)]
        upgradeable: UpgradeableComponent::Storage,
        token: ContractAddress,
        job_mgr: ContractAddress,
        cdc_pool: ContractAddress,
        balances: Map<ContractAddress, u128>,
        /// What is left of a cap, by client and gateway.
        caps: Map<(ContractAddress, ContractAddress), u128>,
        /// By sponsor and account.
        sponsorships: Map<(ContractAddress, ContractAddress), Sponsorship>,
        /// By sponsor and relayer.
        relayers: Map<(ContractAddress, ContractAddress), bool>,
    }

    #[event]
    #[derive(Drop, PartialEq, Debug, starknet::Event)]
    pub enum Event {
        #[flat]
        AccessEvent: AccessComponent::Event,
        #[flat]
        PausableEvent: PausableComponent::Event,
        #[flat]
        UpgradeableEvent: UpgradeableComponent::Event,
        Deposited: Events::Deposited,
        Withdrawn: Events::Withdrawn,
        GatewayAuthorised: Events::GatewayAuthorised,
        GatewayRevoked: Events::GatewayRevoked,
        EscrowDrawn: Events::EscrowDrawn,
        AccountSponsored: Events::AccountSponsored,
        SponsoringStopped: Events::SponsoringStopped,
        RelayerAuthorised: Events::RelayerAuthorised,
        RelayerRevoked: Events::RelayerRevoked,
        Relayed: Events::Relayed,
    }

    #[constructor]
    fn constructor(
        ref self: ContractState,
        admin: ContractAddress,
        token: ContractAddress,
        job_mgr: ContractAddress,
        cdc_pool: ContractAddress,
        upgrade_delay_s: u64,
    ) {
        self.access.initializer(admin);
        self.upgradeable.initializer(upgrade_delay_s);
        assert(
            token.is_non_zero() && job_mgr.is_non_zero() && cdc_pool.is_non_zero(),
            errors::ZERO_ADDRESS,
        );
        self.token.write(token);
        self.job_mgr.write(job_mgr);
        self.cdc_pool.write(cdc_pool);
    }

    #[abi(embed_v0)]
    impl ClientImpl of IPaymasterClient<ContractState> {
        fn deposit(ref self: ContractState, account: ContractAddress, amount: u128) {
            self.pausable.assert_not_paused();
            assert(account.is_non_zero(), errors::ZERO_ADDRESS);
            assert(amount != 0, errors::ZERO_AMOUNT);

            let payer = get_caller_address();
            self.balances.write(account, self.balances.read(account) + amount);
            let is_paid = self._token().transfer_from(payer, get_contract_address(), amount.into());
            assert(is_paid, errors::TRANSFER_FAILED);
            self.emit(Events::Deposited { account, payer, amount });
        }

        fn withdraw(ref self: ContractState, amount: u128) {
            assert(amount != 0, errors::ZERO_AMOUNT);

            let account = get_caller_address();
            self._lower_balance(account, amount);
            self._pay(account, amount);
            self.emit(Events::Withdrawn { account, amount });
        }

        fn authorise_gateway(ref self: ContractState, gateway: ContractAddress, cap: u128) {
            self.pausable.assert_not_paused();
            assert(gateway.is_non_zero(), errors::ZERO_ADDRESS);
            assert(cap != 0, errors::ZERO_CAP);

            let client = get_caller_address();
            self.caps.write((client, gateway), cap);
            self.emit(Events::GatewayAuthorised { client, gateway, cap });
        }

        fn revoke_gateway(ref self: ContractState, gateway: ContractAddress) {
            let client = get_caller_address();
            self.caps.write((client, gateway), 0);
            self.emit(Events::GatewayRevoked { client, gateway });
        }
    }

    #[abi(embed_v0)]
    impl SponsorImpl of IPaymasterSponsor<ContractState> {
        fn sponsor_account(
            ref self: ContractState,
            account: ContractAddress,
            budget_per_epoch: u128,
            max_fee: u128,
        ) {
            self.pausable.assert_not_paused();
            assert(account.is_non_zero(), errors::ZERO_ADDRESS);
            assert(budget_per_epoch != 0, errors::ZERO_BUDGET);
            assert(max_fee != 0 && max_fee <= budget_per_epoch, errors::BAD_MAX_FEE);

            let sponsor = get_caller_address();
            let terms = self.sponsorships.entry((sponsor, account));
            terms.budget_per_epoch.write(budget_per_epoch);
            terms.max_fee.write(max_fee);
            self.emit(Events::AccountSponsored { sponsor, account, budget_per_epoch, max_fee },);
        }

        fn stop_sponsoring(ref self: ContractState, account: ContractAddress) {
            let sponsor = get_caller_address();
            let terms = self.sponsorships.entry((sponsor, account));
            assert(terms.budget_per_epoch.read() != 0, errors::NOT_SPONSORED);

            terms.budget_per_epoch.write(0);
            terms.max_fee.write(0);
            self.emit(Events::SponsoringStopped { sponsor, account });
        }

        fn authorise_relayer(ref self: ContractState, relayer: ContractAddress) {
            self.pausable.assert_not_paused();
            assert(relayer.is_non_zero(), errors::ZERO_ADDRESS);
            let sponsor = get_caller_address();
            assert(!self.relayers.read((sponsor, relayer)), errors::ALREADY_RELAYER);

            self.relayers.write((sponsor, relayer), true);
            self.emit(Events::RelayerAuthorised { sponsor, relayer });
        }

        fn revoke_relayer(ref self: ContractState, relayer: ContractAddress) {
            let sponsor = get_caller_address();
            assert(self.relayers.read((sponsor, relayer)), errors::UNKNOWN_RELAYER);

            self.relayers.write((sponsor, relayer), false);
            self.emit(Events::RelayerRevoked { sponsor, relayer });
        }
    }

    #[abi(embed_v0)]
    impl RelayerImpl of IPaymasterRelayer<ContractState> {
        fn relay(
            ref self: ContractState,
            sponsor: ContractAddress,
            fee: u128,
            account: ContractAddress,
            outside_execution: OutsideExecution,
            signature: Span<felt252>,
        ) {
            self.pausable.assert_not_paused();
            let relayer = self.assert_only_relayer(sponsor);
            let terms = self.sponsorships.read((sponsor, account));
            assert(terms.budget_per_epoch != 0, errors::NOT_SPONSORED);
            self._assert_calls_allowed(outside_execution.calls);

            self._spend(sponsor, account, terms, fee);
            self._lower_balance(sponsor, fee);
            ISrc9Dispatcher { contract_address: account }
                .execute_from_outside_v2(outside_execution, signature);
            self._pay(relayer, fee);
            self.emit(Events::Relayed { sponsor, account, relayer, fee });
        }
    }

    #[abi(embed_v0)]
    impl JobMgrImpl of IPaymasterJobMgr<ContractState> {
        fn draw_escrow(
            ref self: ContractState,
            client: ContractAddress,
            gateway: ContractAddress,
            amount: u128,
        ) {
            self.pausable.assert_not_paused();
            let job_mgr = self.assert_only_job_mgr();
            let cap = self.caps.read((client, gateway));
            assert(cap >= amount, errors::CAP_TOO_LOW);

            self.caps.write((client, gateway), cap - amount);
            self._lower_balance(client, amount);
            self._pay(job_mgr, amount);
            self.emit(Events::EscrowDrawn { client, gateway, amount });
        }
    }

    #[abi(embed_v0)]
    impl ViewImpl of IPaymasterView<ContractState> {
        fn balance_of(self: @ContractState, account: ContractAddress) -> u128 {
            self.balances.read(account)
        }

        fn gateway_allowance(
            self: @ContractState, client: ContractAddress, gateway: ContractAddress,
        ) -> u128 {
            self.caps.read((client, gateway))
        }

        fn get_sponsorship(
            self: @ContractState, sponsor: ContractAddress, account: ContractAddress,
        ) -> SponsorshipView {
            let Sponsorship { budget_per_epoch, max_fee, spending } = self
                .sponsorships
                .read((sponsor, account));
            let epoch = epoch_now();
            SponsorshipView { budget_per_epoch, max_fee, epoch, spent: spent_in(spending, epoch) }
        }

        fn is_relayer(
            self: @ContractState, sponsor: ContractAddress, relayer: ContractAddress,
        ) -> bool {
            self.relayers.read((sponsor, relayer))
        }

        fn get_config(self: @ContractState) -> PaymasterConfig {
            PaymasterConfig {
                token: self.token.read(),
                job_mgr: self.job_mgr.read(),
                cdc_pool: self.cdc_pool.read(),
            }
        }
    }

    #[generate_trait]
    impl InternalImpl of InternalTrait {
        /// The caller.
        fn assert_only_relayer(self: @ContractState, sponsor: ContractAddress) -> ContractAddress {
            let caller = get_caller_address();
            assert(self.relayers.read((sponsor, caller)), errors::NOT_RELAYER);
            caller
        }

        /// The caller.
        fn assert_only_job_mgr(self: @ContractState) -> ContractAddress {
            let caller = get_caller_address();
            assert(caller == self.job_mgr.read(), errors::NOT_JOB_MGR);
            caller
        }

        fn _assert_calls_allowed(self: @ContractState, calls: Span<Call>) {
            assert(!calls.is_empty(), errors::NO_CALLS);
            let config = self.get_config();
            for call in calls {
                assert(is_allowed(*call, config), errors::CALL_NOT_ALLOWED);
            }
        }

        /// Counts the fee in today's budget.
        fn _spend(
            ref self: ContractState,
            sponsor: ContractAddress,
            account: ContractAddress,
            terms: Sponsorship,
            fee: u128,
        ) {
            assert(fee <= terms.max_fee, errors::FEE_TOO_HIGH);
            let epoch = epoch_now();
            // Neither is above a budget; the sum of two can be above 2^128 all the same.
            let amount: u256 = spent_in(terms.spending, epoch).into() + fee.into();
            assert(amount <= terms.budget_per_epoch.into(), errors::BUDGET_SPENT);
            self
                .sponsorships
                .entry((sponsor, account))
                .spending
                .write(Spending { amount: amount.low, epoch });
        }

        fn _lower_balance(ref self: ContractState, account: ContractAddress, amount: u128) {
            let balance = self.balances.read(account);
            assert(balance >= amount, errors::BALANCE_TOO_LOW);
            self.balances.write(account, balance - amount);
        }

        fn _pay(self: @ContractState, recipient: ContractAddress, amount: u128) {
            let is_paid = self._token().transfer(recipient, amount.into());
            assert(is_paid, errors::TRANSFER_FAILED);
        }

        fn _token(self: @ContractState) -> IErc20Dispatcher {
            IErc20Dispatcher { contract_address: self.token.read() }
        }
    }

    fn epoch_now() -> u64 {
        now().timestamp / EPOCH_S
    }

    fn spent_in(spending: Spending, epoch: u64) -> u128 {
        if spending.epoch == epoch {
            spending.amount
        } else {
            0
        }
    }

    /// Whether a sponsor pays for this call.
    fn is_allowed(call: Call, config: PaymasterConfig) -> bool {
        if call.to == config.token {
            call.selector == selector!("approve") && is_for_us(call.calldata, config)
        } else if call.to == config.job_mgr {
            call.selector == selector!("submit_job")
        } else {
            call.to == config.cdc_pool && call.selector == selector!("register_worker")
        }
    }

    /// Whether the first argument, an approval's spender, is one of our contracts.
    fn is_for_us(calldata: Span<felt252>, config: PaymasterConfig) -> bool {
        match calldata.get(0) {
            Option::Some(spender) => {
                let spender = *spender.unbox();
                spender == config.job_mgr.into() || spender == config.cdc_pool.into()
            },
            Option::None => false,
        }
    }
}
