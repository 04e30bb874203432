// SPDX-License-Identifier: MIT

//! Who administers a contract: one account, handed on in two steps, and a guardian of its choice
//! that can do nothing but pause.
//!
//! As OpenZeppelin's two-step ownership, except that an admin cannot give its role up: nobody could
//! unpause then.

use starknet::ContractAddress;

#[starknet::interface]
pub trait IAccess<TContractState> {
    /// The account that administers the contract.
    fn admin(self: @TContractState) -> ContractAddress;

    /// The account that may become the admin by `accept_admin`; 0 if there is none.
    fn pending_admin(self: @TContractState) -> ContractAddress;

    /// The account that may pause besides the admin; 0 if there is none.
    fn guardian(self: @TContractState) -> ContractAddress;

    /// Offers the admin's role to another account, which has it only once it accepts. A new offer
    /// replaces the one before it, and one to 0 takes it back.
    ///
    /// Preconditions: none.
    /// Emits: `AdminTransferStarted`.
    /// Errors: `NOT_ADMIN`.
    /// Access: the admin.
    fn transfer_admin(ref self: TContractState, new_admin: ContractAddress);

    /// Takes the admin's role over.
    ///
    /// Preconditions: it was offered to the caller.
    /// Emits: `AdminTransferred`.
    /// Errors: `NOT_PENDING_ADMIN`.
    /// Access: the account it was offered to.
    fn accept_admin(ref self: TContractState);

    /// Names the guardian in place of the one before it; 0 names none.
    ///
    /// Preconditions: none.
    /// Emits: `GuardianSet`.
    /// Errors: `NOT_ADMIN`.
    /// Access: the admin.
    fn set_guardian(ref self: TContractState, guardian: ContractAddress);
}

#[starknet::component]
pub mod AccessComponent {
    use core::num::traits::Zero;
    use starknet::storage::{StoragePointerReadAccess, StoragePointerWriteAccess};
    use starknet::{ContractAddress, get_caller_address};

    /// Error texts. They are part of the ABI.
    pub mod Errors {
        pub const ZERO_ADMIN: felt252 = 'Access: zero admin';
        pub const NOT_ADMIN: felt252 = 'Access: caller not admin';
        pub const NOT_PENDING_ADMIN: felt252 = 'Access: caller not offered';
        pub const NOT_ADMIN_OR_GUARDIAN: felt252 = 'Access: caller may not pause';
    }

    #[storage]
    pub struct Storage {
        pub Access_admin: ContractAddress,
        pub Access_pending_admin: ContractAddress,
        pub Access_guardian: ContractAddress,
    }

    #[event]
    #[derive(Drop, PartialEq, Debug, starknet::Event)]
    pub enum Event {
        AdminTransferStarted: AdminTransferStarted,
        AdminTransferred: AdminTransferred,
        GuardianSet: GuardianSet,
    }

    #[derive(Drop, PartialEq, Debug, starknet::Event)]
    pub struct AdminTransferStarted {
        #[key]
        pub previous_admin: ContractAddress,
        /// 0 where an offer was taken back.
        #[key]
        pub new_admin: ContractAddress,
    }

    #[derive(Drop, PartialEq, Debug, starknet::Event)]
    pub struct AdminTransferred {
        /// 0 at the deployment.
        #[key]
        pub previous_admin: ContractAddress,
        #[key]
        pub new_admin: ContractAddress,
    }

    #[derive(Drop, PartialEq, Debug, starknet::Event)]
    pub struct GuardianSet {
        /// 0 where there is none any more.
        #[key]
        pub guardian: ContractAddress,
    }

    #[embeddable_as(AccessImpl)]
    impl Access<
        TContractState, +HasComponent<TContractState>,
    > of super::IAccess<ComponentState<TContractState>> {
        fn admin(self: @ComponentState<TContractState>) -> ContractAddress {
            self.Access_admin.read()
        }

        fn pending_admin(self: @ComponentState<TContractState>) -> ContractAddress {
            self.Access_pending_admin.read()
        }

        fn guardian(self: @ComponentState<TContractState>) -> ContractAddress {
            self.Access_guardian.read()
        }

        fn transfer_admin(ref self: ComponentState<TContractState>, new_admin: ContractAddress) {
            self.assert_only_admin();
            self.Access_pending_admin.write(new_admin);
            self.emit(AdminTransferStarted { previous_admin: self.Access_admin.read(), new_admin });
        }

        fn accept_admin(ref self: ComponentState<TContractState>) {
            self.assert_only_pending_admin();
            self.Access_pending_admin.write(Zero::zero());
            self._make_admin(get_caller_address());
        }

        fn set_guardian(ref self: ComponentState<TContractState>, guardian: ContractAddress) {
            self.assert_only_admin();
            self.Access_guardian.write(guardian);
            self.emit(GuardianSet { guardian });
        }
    }

    #[generate_trait]
    pub impl InternalImpl<
        TContractState, +HasComponent<TContractState>,
    > of InternalTrait<TContractState> {
        /// For the constructor. Emits `AdminTransferred` from 0.
        ///
        /// Errors: `ZERO_ADMIN`.
        fn initializer(ref self: ComponentState<TContractState>, admin: ContractAddress) {
            assert(admin.is_non_zero(), Errors::ZERO_ADMIN);
            self._make_admin(admin);
        }

        /// Errors: `NOT_ADMIN`.
        fn assert_only_admin(self: @ComponentState<TContractState>) {
            assert(get_caller_address() == self.Access_admin.read(), Errors::NOT_ADMIN);
        }

        /// Errors: `NOT_ADMIN_OR_GUARDIAN`.
        fn assert_only_admin_or_guardian(self: @ComponentState<TContractState>) {
            let caller = get_caller_address();
            assert(
                caller == self.Access_admin.read() || caller == self.Access_guardian.read(),
                Errors::NOT_ADMIN_OR_GUARDIAN,
            );
        }

        fn assert_only_pending_admin(self: @ComponentState<TContractState>) {
            let pending_admin = self.Access_pending_admin.read();
            assert(get_caller_address() == pending_admin, Errors::NOT_PENDING_ADMIN);
        }

        fn _make_admin(ref self: ComponentState<TContractState>, new_admin: ContractAddress) {
            let previous_admin = self.Access_admin.read();
            self.Access_admin.write(new_admin);
            self.emit(AdminTransferred { previous_admin, new_admin });
        }
    }
}
