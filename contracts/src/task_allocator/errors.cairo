// SPDX-License-Identifier: MIT

//! Error texts of the task allocator. They are part of the ABI.

// Callers.
pub const NOT_KEEPER: felt252 = 'TaskAllocator: not a keeper';
pub const NOT_KEEPER_OR_OWNER: felt252 = 'TaskAllocator: not worker owner';

// Set-up.
pub const ZERO_ADDRESS: felt252 = 'TaskAllocator: zero address';
pub const ALREADY_KEEPER: felt252 = 'TaskAllocator: already keeper';
pub const UNKNOWN_KEEPER: felt252 = 'TaskAllocator: unknown keeper';
pub const DELAY_TOO_LONG: felt252 = 'TaskAllocator: delay too long';

// Rounds.
pub const EMPTY_BATCH: felt252 = 'TaskAllocator: empty batch';
pub const BATCH_TOO_LARGE: felt252 = 'TaskAllocator: batch too large';
pub const STALE_ROUND: felt252 = 'TaskAllocator: stale round';
pub const ROUND_TOO_HIGH: felt252 = 'TaskAllocator: round too high';
pub const FUTURE_SNAPSHOT: felt252 = 'TaskAllocator: future snapshot';

// Policies.
pub const ZERO_POLICY: felt252 = 'TaskAllocator: zero policy';
pub const ALREADY_ANNOUNCED: felt252 = 'TaskAllocator: announced before';
pub const UNKNOWN_POLICY: felt252 = 'TaskAllocator: unknown policy';
pub const POLICY_NOT_ACTIVE: felt252 = 'TaskAllocator: policy inactive';
pub const ALREADY_RETIRED: felt252 = 'TaskAllocator: retired before';

// Bonds.
pub const NOT_ADMITTED: felt252 = 'TaskAllocator: not admitted';
pub const ZERO_AMOUNT: felt252 = 'TaskAllocator: zero amount';
pub const NO_BOND: felt252 = 'TaskAllocator: no bond';
pub const STILL_BONDED: felt252 = 'TaskAllocator: still bonded';
pub const TRANSFER_FAILED: felt252 = 'TaskAllocator: transfer failed';

// Workers.
pub const UNKNOWN_WORKER: felt252 = 'TaskAllocator: unknown worker';
pub const BAD_METRICS: felt252 = 'TaskAllocator: bad metrics';
