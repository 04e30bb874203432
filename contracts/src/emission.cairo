// SPDX-License-Identifier: MIT

//! Emits an event by itself.

use starknet::SyscallResultTrait;
use starknet::event::Event;
use starknet::syscalls::emit_event_syscall;

/// Emits what `emit` would for the variant of the contract's `Event` that has this name. As a value
/// of that enum an event is as long as the longest of them, which the events of every job's life
/// need not pay for.
pub fn emit_alone<T, impl TEvent: Event<T>, +Drop<T>>(name: felt252, event: T) {
    let mut keys = array![name];
    let mut data = array![];
    event.append_keys_and_data(ref keys, ref data);
    emit_event_syscall(keys.span(), data.span()).unwrap_syscall();
}
