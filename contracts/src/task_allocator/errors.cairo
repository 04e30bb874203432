// SPDX-License-Identifier: MIT

//! Error texts of the task allocator. They are part of the ABI.

// Callers.
pub const NOT_ADMIN: felt252 = 'TaskAllocator: not the admin';
pub const NOT_KEEPER: felt252 = 'TaskAllocator: not a keeper';
pub const NOT_KEEPER_OR_OWNER: felt252 = 'TaskAllocator: not worker owner';

// Set-up.
pub const ZERO_ADDRESS: felt252 = 'TaskAllocator: zero address';
pub const ALREADY_KEEPER: felt252 = 'TaskAllocator: already keeper';
pub const UNKNOWN_KEEPER: felt252 = 'TaskAllocator: unknown keeper';

// Rounds.
pub const EMPTY_BATCH: felt252 = 'TaskAllocator: empty batch';
pub const BATCH_TOO_LARGE: felt252 = 'TaskAllocator: batch too large';
pub const STALE_ROUND: felt252 = 'TaskAllocator: stale round';
pub const FUTURE_SNAPSHOT: felt252 = 'TaskAllocator: future snapshot';

// Workers.
pub const UNKNOWN_WORKER: felt252 = 'TaskAllocator: unknown worker';
pub const BAD_METRICS: felt252 = 'TaskAllocator: bad metrics';
