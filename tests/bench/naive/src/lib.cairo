// SPDX-License-Identifier: MIT

//! What one would write first, to compare with: one new storage slot and one event for each job,
//! and not a single check but the caller's. Only for measuring.

use starknet::ContractAddress;

#[starknet::interface]
pub trait INaiveAllocator<TContractState> {
    /// Records each item, a felt with the job in its lower 64 bits and the worker above them.
    ///
    /// Emits: `Allocated` for each.
    /// Errors: `Naive: not the keeper`.
    /// Access: the keeper.
    fn allocate(ref self: TContractState, items: Span<felt252>);

    /// The worker of a job; 0 without one.
    fn worker_of(self: @TContractState, job_id: u64) -> u32;

    fn keeper(self: @TContractState) -> ContractAddress;
}

#[starknet::contract]
pub mod NaiveAllocator {
    use starknet::storage::{
        Map, StorageMapReadAccess, StorageMapWriteAccess, StoragePointerReadAccess,
        StoragePointerWriteAccess,
    };
    use starknet::{ContractAddress, get_caller_address};
    use super::INaiveAllocator;

    const JOBS: NonZero<u128> = 0x1_0000_0000_0000_0000;
    const NOT_KEEPER: felt252 = 'Naive: not the keeper';

    #[storage]
    struct Storage {
        keeper: ContractAddress,
        workers: Map<u64, u32>,
    }

    #[event]
    #[derive(Drop, starknet::Event)]
    pub enum Event {
        Allocated: Allocated,
    }

    #[derive(Drop, starknet::Event)]
    pub struct Allocated {
        #[key]
        pub job_id: u64,
        #[key]
        pub worker_id: u32,
    }

    #[constructor]
    fn constructor(ref self: ContractState, keeper: ContractAddress) {
        self.keeper.write(keeper);
    }

    #[abi(embed_v0)]
    impl NaiveAllocatorImpl of INaiveAllocator<ContractState> {
        fn allocate(ref self: ContractState, items: Span<felt252>) {
            assert(get_caller_address() == self.keeper.read(), NOT_KEEPER);
            for item in items {
                let packed: u256 = (*item).into();
                let (worker, job) = DivRem::div_rem(packed.low, JOBS);
                let job_id: u64 = job.try_into().unwrap();
                let worker_id: u32 = worker.try_into().unwrap();
                self.workers.write(job_id, worker_id);
                self.emit(Allocated { job_id, worker_id });
            }
        }

        fn worker_of(self: @ContractState, job_id: u64) -> u32 {
            self.workers.read(job_id)
        }

        fn keeper(self: @ContractState) -> ContractAddress {
            self.keeper.read()
        }
    }
}
