// SPDX-License-Identifier: MIT

//! Error texts of the job manager. They are part of the ABI.

// Callers.
pub const NOT_ADMIN: felt252 = 'JobMgr: caller not admin';
pub const NOT_CLIENT: felt252 = 'JobMgr: caller not client';
pub const NOT_WORKER: felt252 = 'JobMgr: caller not the worker';
pub const NOT_TASK_ALLOCATOR: felt252 = 'JobMgr: caller not allocator';

// Set-up.
pub const ZERO_ADDRESS: felt252 = 'JobMgr: zero address';
pub const WINDOW_TOO_LONG: felt252 = 'JobMgr: window too long';
pub const TASK_ALLOCATOR_ALREADY_SET: felt252 = 'JobMgr: allocator set before';

// What a client submits.
pub const ZERO_MANIFEST: felt252 = 'JobMgr: zero manifest hash';
pub const BAD_PRIORITY: felt252 = 'JobMgr: bad priority';
pub const BAD_QUEUE: felt252 = 'JobMgr: bad queue';
pub const BAD_MAX_ATTEMPTS: felt252 = 'JobMgr: bad max attempts';
pub const TOO_MANY_GPUS: felt252 = 'JobMgr: too many GPUs';
pub const TOO_MUCH_VRAM: felt252 = 'JobMgr: too much VRAM';
pub const BAD_COMPUTE_CAPABILITY: felt252 = 'JobMgr: bad compute capability';
pub const BAD_DRIVER_VERSION: felt252 = 'JobMgr: bad driver version';
pub const TOO_MANY_CPU_CORES: felt252 = 'JobMgr: too many CPU cores';
pub const TOO_MUCH_MEMORY: felt252 = 'JobMgr: too much memory';
pub const BAD_MIN_REPUTATION: felt252 = 'JobMgr: bad min reputation';
pub const REGION_TOO_LONG: felt252 = 'JobMgr: region too long';
pub const ZERO_TIMEOUT: felt252 = 'JobMgr: zero timeout';
pub const TIMEOUT_TOO_LONG: felt252 = 'JobMgr: timeout too long';
pub const DEADLINE_IN_PAST: felt252 = 'JobMgr: deadline in the past';
pub const DEADLINE_TOO_FAR: felt252 = 'JobMgr: deadline too far';
pub const ZERO_MAX_PRICE: felt252 = 'JobMgr: zero max price';
pub const PRICE_TOO_LOW: felt252 = 'JobMgr: price too low';
pub const PRICE_TOO_HIGH: felt252 = 'JobMgr: price too high';

// A job's life.
pub const NO_SUCH_JOB: felt252 = 'JobMgr: no such job';
pub const NOT_QUEUED: felt252 = 'JobMgr: not queued';
pub const NOT_ALLOCATED: felt252 = 'JobMgr: not allocated';
pub const NOT_REVEALED: felt252 = 'JobMgr: not revealed';
pub const WRONG_ATTEMPT: felt252 = 'JobMgr: wrong attempt';
pub const ZERO_RESULT: felt252 = 'JobMgr: zero result hash';
pub const DEADLINE_NOT_PASSED: felt252 = 'JobMgr: deadline not passed';
pub const CHALLENGE_OPEN: felt252 = 'JobMgr: challenge window open';
pub const TRANSFER_FAILED: felt252 = 'JobMgr: token transfer failed';

// Views.
pub const TOO_MANY_ASKED: felt252 = 'JobMgr: too many asked';
