// SPDX-License-Identifier: MIT

//! Error texts of the worker pool. They are part of the ABI.

// Callers.
pub const NOT_JOB_MGR: felt252 = 'CdcPool: caller not job manager';
pub const NOT_KEEPER: felt252 = 'CdcPool: caller not a keeper';
pub const NOT_A_WORKER: felt252 = 'CdcPool: caller not a worker';

// Set-up.
pub const ZERO_ADDRESS: felt252 = 'CdcPool: zero address';
pub const ZERO_MIN_STAKE: felt252 = 'CdcPool: zero min stake';
pub const UNBONDING_TOO_LONG: felt252 = 'CdcPool: unbonding too long';
pub const JOB_MGR_ALREADY_SET: felt252 = 'CdcPool: job manager set before';
pub const TASK_ALLOCATOR_ALREADY_SET: felt252 = 'CdcPool: allocator set before';

// What a worker offers.
pub const ZERO_SLOTS: felt252 = 'CdcPool: zero slots';
pub const ZERO_RATE: felt252 = 'CdcPool: zero rate';
pub const RATE_TOO_HIGH: felt252 = 'CdcPool: rate too high';
pub const TOO_MANY_GPUS: felt252 = 'CdcPool: too many GPUs';
pub const TOO_MUCH_VRAM: felt252 = 'CdcPool: too much VRAM';
pub const BAD_COMPUTE_CAPABILITY: felt252 = 'CdcPool: bad compute capability';
pub const BAD_DRIVER_VERSION: felt252 = 'CdcPool: bad driver version';
pub const TOO_MANY_CPU_CORES: felt252 = 'CdcPool: too many CPU cores';
pub const TOO_MUCH_MEMORY: felt252 = 'CdcPool: too much memory';
pub const ZERO_REGION: felt252 = 'CdcPool: zero region';
pub const REGION_TOO_LONG: felt252 = 'CdcPool: region too long';

// A worker's life.
pub const ALREADY_REGISTERED: felt252 = 'CdcPool: already registered';
pub const STAKE_TOO_LOW: felt252 = 'CdcPool: stake too low';
pub const NOT_ACTIVE: felt252 = 'CdcPool: not active';
pub const NOT_DRAINING: felt252 = 'CdcPool: not draining';
pub const NOT_EXITING: felt252 = 'CdcPool: not exiting';
pub const IS_LEAVING: felt252 = 'CdcPool: worker is leaving';
pub const JOBS_RUNNING: felt252 = 'CdcPool: jobs running';
pub const DISPUTE_PENDING: felt252 = 'CdcPool: dispute pending';
pub const STILL_BONDED: felt252 = 'CdcPool: still bonded';
pub const ZERO_AMOUNT: felt252 = 'CdcPool: zero amount';
pub const TRANSFER_FAILED: felt252 = 'CdcPool: token transfer failed';

// The static pool, heartbeats and reputation.
pub const UNKNOWN_WORKER: felt252 = 'CdcPool: unknown worker';
pub const ALREADY_ADMITTED: felt252 = 'CdcPool: already admitted';
pub const NOT_ADMITTED: felt252 = 'CdcPool: not admitted';
pub const EMPTY_BATCH: felt252 = 'CdcPool: empty batch';
pub const BATCH_TOO_LARGE: felt252 = 'CdcPool: batch too large';
pub const UNKNOWN_GROUP: felt252 = 'CdcPool: unknown group';
pub const NOTHING_TO_DECAY: felt252 = 'CdcPool: nothing to decay';
pub const TOO_MANY_HOLDS: felt252 = 'CdcPool: too many holds';
pub const NOT_HELD: felt252 = 'CdcPool: not held';

// Views.
pub const TOO_MANY_ASKED: felt252 = 'CdcPool: too many asked';
