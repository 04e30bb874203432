// SPDX-License-Identifier: MIT

//! A stop to whatever brings new work or money in. What lets them out never asks this component.

#[starknet::interface]
pub trait IPausable<TContractState> {
    fn is_paused(self: @TContractState) -> bool;

    /// Preconditions: not paused.
    /// Emits: `Paused`.
    /// Errors: `Access: NOT_ADMIN_OR_GUARDIAN`, `PAUSED`.
    /// Access: the admin, the guardian.
    fn pause(ref self: TContractState);

    /// Preconditions: paused.
    /// Emits: `Unpaused`.
    /// Errors: `Access: NOT_ADMIN`, `NOT_PAUSED`.
    /// Access: the admin.
    fn unpause(ref self: TContractState);
}

#[starknet::component]
pub mod PausableComponent {
    use crate::components::access::AccessComponent;
    use crate::components::access::AccessComponent::InternalTrait as AccessInternalTrait;
    use starknet::storage::{StoragePointerReadAccess, StoragePointerWriteAccess};
    use starknet::{ContractAddress, get_caller_address};

    /// Error texts. They are part of the ABI.
    pub mod Errors {
        pub const PAUSED: felt252 = 'Pausable: paused';
        pub const NOT_PAUSED: felt252 = 'Pausable: not paused';
    }

    #[storage]
    pub struct Storage {
        pub Pausable_paused: bool,
    }

    #[event]
    #[derive(Drop, PartialEq, Debug, starknet::Event)]
    pub enum Event {
        Paused: Paused,
        Unpaused: Unpaused,
    }

    #[derive(Drop, PartialEq, Debug, starknet::Event)]
    pub struct Paused {
        /// Who paused.
        pub account: ContractAddress,
    }

    #[derive(Drop, PartialEq, Debug, starknet::Event)]
    pub struct Unpaused {
        /// Who ended the pause.
        pub account: ContractAddress,
    }

    #[embeddable_as(PausableImpl)]
    impl Pausable<
        TContractState,
        +HasComponent<TContractState>,
        impl Access: AccessComponent::HasComponent<TContractState>,
        +Drop<TContractState>,
    > of super::IPausable<ComponentState<TContractState>> {
        fn is_paused(self: @ComponentState<TContractState>) -> bool {
            self.Pausable_paused.read()
        }

        fn pause(ref self: ComponentState<TContractState>) {
            get_dep_component!(@self, Access).assert_only_admin_or_guardian();
            self.assert_not_paused();
            self.Pausable_paused.write(true);
            self.emit(Paused { account: get_caller_address() });
        }

        fn unpause(ref self: ComponentState<TContractState>) {
            get_dep_component!(@self, Access).assert_only_admin();
            assert(self.Pausable_paused.read(), Errors::NOT_PAUSED);
            self.Pausable_paused.write(false);
            self.emit(Unpaused { account: get_caller_address() });
        }
    }

    #[generate_trait]
    pub impl InternalImpl<
        TContractState, +HasComponent<TContractState>,
    > of InternalTrait<TContractState> {
        /// Errors: `PAUSED`.
        fn assert_not_paused(self: @ComponentState<TContractState>) {
            assert(!self.Pausable_paused.read(), Errors::PAUSED);
        }
    }
}
