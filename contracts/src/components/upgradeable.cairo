// SPDX-License-Identifier: MIT

//! Replaces a contract's code, after a notice long enough for whoever disagrees to leave.

use starknet::ClassHash;

/// An announced upgrade.
#[derive(Copy, Drop, Serde, PartialEq, Debug)]
pub struct UpgradeView {
    /// 0 if none is announced, as the other fields then.
    pub class_hash: ClassHash,
    /// The upgrade is possible after this time (s) and this block.
    pub ready_at: u64,
    pub ready_block: u64,
}

#[starknet::interface]
pub trait IUpgradeable<TContractState> {
    /// The announced upgrade.
    fn get_upgrade(self: @TContractState) -> UpgradeView;

    /// How long the notice of an upgrade is, in seconds; set at the deployment.
    fn upgrade_delay_s(self: @TContractState) -> u64;

    /// Starts the notice of an upgrade to a class.
    ///
    /// Preconditions: `class_hash` is not 0; no upgrade is announced.
    /// Emits: `UpgradeAnnounced`.
    /// Errors: `Access: NOT_ADMIN`, `ZERO_CLASS`, `ALREADY_ANNOUNCED`.
    /// Access: the admin.
    fn announce_upgrade(ref self: TContractState, class_hash: ClassHash);

    /// Takes the announcement back.
    ///
    /// Preconditions: an upgrade is announced.
    /// Emits: `UpgradeCancelled`.
    /// Errors: `Access: NOT_ADMIN`, `NOT_ANNOUNCED`.
    /// Access: the admin.
    fn cancel_upgrade(ref self: TContractState);

    /// Replaces the code by the announced class, from the next call on. Storage stays.
    ///
    /// Preconditions: an upgrade is announced; its notice has passed by the clock and by the block
    /// number; the class is declared.
    /// Emits: `Upgraded`.
    /// Errors: `Access: NOT_ADMIN`, `NOT_ANNOUNCED`, `NOTICE_RUNNING`.
    /// Access: the admin.
    fn upgrade(ref self: TContractState);
}

#[starknet::component]
pub mod UpgradeableComponent {
    use core::num::traits::Zero;
    use crate::clock::now;
    use crate::components::access::AccessComponent;
    use crate::components::access::AccessComponent::InternalTrait as AccessInternalTrait;
    use crate::math::deadlines;
    use crate::types::Deadline;
    use starknet::storage::{StoragePointerReadAccess, StoragePointerWriteAccess};
    use starknet::syscalls::replace_class_syscall;
    use starknet::{ClassHash, SyscallResultTrait};
    use super::UpgradeView;

    /// Two years: a longer notice is a mistake.
    const MAX_DELAY_S: u64 = 63_072_000;

    /// Error texts. They are part of the ABI.
    pub mod Errors {
        pub const DELAY_TOO_LONG: felt252 = 'Upgradeable: delay too long';
        pub const ZERO_CLASS: felt252 = 'Upgradeable: zero class hash';
        pub const ALREADY_ANNOUNCED: felt252 = 'Upgradeable: already announced';
        pub const NOT_ANNOUNCED: felt252 = 'Upgradeable: not announced';
        pub const NOTICE_RUNNING: felt252 = 'Upgradeable: notice running';
    }

    #[storage]
    pub struct Storage {
        pub Upgradeable_delay_s: u64,
        /// 0 unless an upgrade is announced.
        pub Upgradeable_class_hash: ClassHash,
        pub Upgradeable_ready_at: u64,
        pub Upgradeable_ready_block: u64,
    }

    #[event]
    #[derive(Drop, PartialEq, Debug, starknet::Event)]
    pub enum Event {
        UpgradeAnnounced: UpgradeAnnounced,
        UpgradeCancelled: UpgradeCancelled,
        Upgraded: Upgraded,
    }

    /// The upgrade is possible once both have passed.
    #[derive(Drop, PartialEq, Debug, starknet::Event)]
    pub struct UpgradeAnnounced {
        #[key]
        pub class_hash: ClassHash,
        /// Unix time in seconds.
        pub ready_at: u64,
        pub ready_block: u64,
    }

    #[derive(Drop, PartialEq, Debug, starknet::Event)]
    pub struct UpgradeCancelled {
        #[key]
        pub class_hash: ClassHash,
    }

    #[derive(Drop, PartialEq, Debug, starknet::Event)]
    pub struct Upgraded {
        #[key]
        pub class_hash: ClassHash,
    }

    #[embeddable_as(UpgradeableImpl)]
    impl Upgradeable<
        TContractState,
        +HasComponent<TContractState>,
        impl Access: AccessComponent::HasComponent<TContractState>,
        +Drop<TContractState>,
    > of super::IUpgradeable<ComponentState<TContractState>> {
        fn get_upgrade(self: @ComponentState<TContractState>) -> UpgradeView {
            UpgradeView {
                class_hash: self.Upgradeable_class_hash.read(),
                ready_at: self.Upgradeable_ready_at.read(),
                ready_block: self.Upgradeable_ready_block.read(),
            }
        }

        fn upgrade_delay_s(self: @ComponentState<TContractState>) -> u64 {
            self.Upgradeable_delay_s.read()
        }

        fn announce_upgrade(ref self: ComponentState<TContractState>, class_hash: ClassHash) {
            get_dep_component!(@self, Access).assert_only_admin();
            assert(class_hash.is_non_zero(), Errors::ZERO_CLASS);
            assert(self.Upgradeable_class_hash.read().is_zero(), Errors::ALREADY_ANNOUNCED);
            let ready = deadlines::after(now(), self.Upgradeable_delay_s.read());
            self._set_upgrade(class_hash, ready);
            self
                .emit(
                    UpgradeAnnounced {
                        class_hash, ready_at: ready.timestamp, ready_block: ready.block,
                    },
                );
        }

        fn cancel_upgrade(ref self: ComponentState<TContractState>) {
            get_dep_component!(@self, Access).assert_only_admin();
            let class_hash = self._announced();
            self._set_upgrade(Zero::zero(), Deadline { timestamp: 0, block: 0 });
            self.emit(UpgradeCancelled { class_hash });
        }

        fn upgrade(ref self: ComponentState<TContractState>) {
            get_dep_component!(@self, Access).assert_only_admin();
            let class_hash = self._announced();
            let ready = Deadline {
                timestamp: self.Upgradeable_ready_at.read(),
                block: self.Upgradeable_ready_block.read(),
            };
            assert(deadlines::has_passed(ready, now()), Errors::NOTICE_RUNNING);
            self._set_upgrade(Zero::zero(), Deadline { timestamp: 0, block: 0 });
            replace_class_syscall(class_hash).unwrap_syscall();
            self.emit(Upgraded { class_hash });
        }
    }

    #[generate_trait]
    pub impl InternalImpl<
        TContractState, +HasComponent<TContractState>,
    > of InternalTrait<TContractState> {
        /// For the constructor: how long the notice of an upgrade is.
        ///
        /// Errors: `DELAY_TOO_LONG`.
        fn initializer(ref self: ComponentState<TContractState>, upgrade_delay_s: u64) {
            assert(upgrade_delay_s <= MAX_DELAY_S, Errors::DELAY_TOO_LONG);
            self.Upgradeable_delay_s.write(upgrade_delay_s);
        }

        /// The class of the announced upgrade.
        ///
        /// Errors: `NOT_ANNOUNCED`.
        fn _announced(self: @ComponentState<TContractState>) -> ClassHash {
            let class_hash = self.Upgradeable_class_hash.read();
            assert(class_hash.is_non_zero(), Errors::NOT_ANNOUNCED);
            class_hash
        }

        fn _set_upgrade(
            ref self: ComponentState<TContractState>, class_hash: ClassHash, ready: Deadline,
        ) {
            self.Upgradeable_class_hash.write(class_hash);
            self.Upgradeable_ready_at.write(ready.timestamp);
            self.Upgradeable_ready_block.write(ready.block);
        }
    }
}
