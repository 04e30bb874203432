// SPDX-License-Identifier: MIT

/// An account that lets others bring its calls (SNIP-9), where it has signed with `'signed'`.
/// Anyone may arm it: it then makes that call instead of what it was brought.
#[starknet::contract]
mod TestAccount {
    use crate::trap::{Trap, spring};
    use starknet::account::Call;
    use starknet::storage::{
        Map, StorageMapReadAccess, StorageMapWriteAccess, StoragePointerReadAccess,
        StoragePointerWriteAccess,
    };
    use starknet::syscalls::call_contract_syscall;
    use starknet::{ContractAddress, SyscallResultTrait, get_block_timestamp, get_caller_address};

    const ANY_CALLER: felt252 = 'ANY_CALLER';

    #[derive(Copy, Drop, Serde)]
    struct OutsideExecution {
        caller: ContractAddress,
        nonce: felt252,
        execute_after: u64,
        execute_before: u64,
        calls: Span<Call>,
    }

    #[storage]
    struct Storage {
        used: Map<felt252, bool>,
        is_armed: bool,
        to: ContractAddress,
        selector: felt252,
        length: u32,
        calldata: Map<u32, felt252>,
    }

    #[external(v0)]
    fn execute_from_outside_v2(
        ref self: ContractState, outside_execution: OutsideExecution, signature: Span<felt252>,
    ) -> Array<Span<felt252>> {
        let execution = outside_execution;
        if execution.caller.into() != ANY_CALLER {
            assert(get_caller_address() == execution.caller, 'Account: invalid caller');
        }
        let now = get_block_timestamp();
        assert(execution.execute_after < now, 'Account: too early');
        assert(now < execution.execute_before, 'Account: too late');
        assert(!self.used.read(execution.nonce), 'Account: nonce used');
        assert(signature == array!['signed'].span(), 'Account: not signed');
        self.used.write(execution.nonce, true);

        let mut results = array![];
        if self.is_armed.read() {
            self.is_armed.write(false);
            let mut calldata = array![];
            for index in 0..self.length.read() {
                calldata.append(self.calldata.read(index));
            };
            let (to, selector) = (self.to.read(), self.selector.read());
            spring(Trap { to, selector, calldata: calldata.span() });
            return results;
        }
        for call in execution.calls {
            let result = call_contract_syscall(*call.to, *call.selector, *call.calldata);
            results.append(result.unwrap_syscall());
        };
        results
    }

    #[external(v0)]
    fn arm(ref self: ContractState, trap: Trap) {
        self.is_armed.write(true);
        self.to.write(trap.to);
        self.selector.write(trap.selector);
        self.length.write(trap.calldata.len());
        let mut index = 0;
        for felt in trap.calldata {
            self.calldata.write(index, *felt);
            index += 1;
        };
    }
}
