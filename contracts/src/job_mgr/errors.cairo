// SPDX-License-Identifier: MIT

//! Error texts of the job manager. They are part of the ABI.

// Callers.
pub const NOT_CLIENT: felt252 = 'JobMgr: caller not client';
pub const NOT_WORKER: felt252 = 'JobMgr: caller not the worker';
pub const NOT_TASK_ALLOCATOR: felt252 = 'JobMgr: caller not allocator';
pub const NOT_REFEREE: felt252 = 'JobMgr: caller not referee';

// Set-up.
pub const ZERO_ADDRESS: felt252 = 'JobMgr: zero address';
pub const WINDOW_TOO_LONG: felt252 = 'JobMgr: window too long';
pub const UNBONDING_TOO_SHORT: felt252 = 'JobMgr: unbonding too short';
pub const TASK_ALLOCATOR_ALREADY_SET: felt252 = 'JobMgr: allocator set before';
pub const PAYMASTER_ALREADY_SET: felt252 = 'JobMgr: paymaster set before';
pub const REFEREE_ALREADY_SET: felt252 = 'JobMgr: referee set before';
pub const NO_PAYMASTER: felt252 = 'JobMgr: no paymaster';
pub const NO_REFEREE: felt252 = 'JobMgr: no referee';

// What a client submits.
pub const ZERO_MANIFEST: felt252 = 'JobMgr: zero manifest hash';
pub const BAD_PRIORITY: felt252 = 'JobMgr: bad priority';
pub const BAD_QUEUE: felt252 = 'JobMgr: bad queue';
pub const BAD_MAX_ATTEMPTS: felt252 = 'JobMgr: bad max attempts';
pub const BAD_LATENCY: felt252 = 'JobMgr: bad latency';
pub const BAD_VERIFICATION: felt252 = 'JobMgr: bad verification';
pub const BAD_REPLICAS: felt252 = 'JobMgr: bad replicas';
pub const BAD_QUORUM: felt252 = 'JobMgr: bad quorum';
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
pub const NOT_COMMITTED: felt252 = 'JobMgr: not committed';
pub const NOT_REVEALED: felt252 = 'JobMgr: not revealed';
pub const NOT_DISPUTED: felt252 = 'JobMgr: not disputed';
pub const WRONG_ATTEMPT: felt252 = 'JobMgr: wrong attempt';
pub const ZERO_RESULT: felt252 = 'JobMgr: zero result hash';
pub const ZERO_COMMITMENT: felt252 = 'JobMgr: zero commitment';
pub const WRONG_REVEAL: felt252 = 'JobMgr: wrong reveal';
pub const REVEALS_CLOSED: felt252 = 'JobMgr: reveals closed';
pub const DEADLINE_NOT_PASSED: felt252 = 'JobMgr: deadline not passed';
pub const CHALLENGE_OPEN: felt252 = 'JobMgr: challenge window open';
pub const TRANSFER_FAILED: felt252 = 'JobMgr: token transfer failed';
pub const NO_CREDIT: felt252 = 'JobMgr: no credit';

// Groups.
pub const IS_REPLICA: felt252 = 'JobMgr: is a replica';
pub const IS_COMMITTEE: felt252 = 'JobMgr: is a committee';
pub const GROUP_STARTED: felt252 = 'JobMgr: group started';
pub const GROUP_OPEN: felt252 = 'JobMgr: group open';

// Disputes.
pub const NOT_DISPUTABLE: felt252 = 'JobMgr: not disputable';
pub const WINDOW_PASSED: felt252 = 'JobMgr: challenge window passed';
pub const DISPUTE_OPEN: felt252 = 'JobMgr: dispute open';

// Claims, beside those of a job's life.
pub const KEEPERS_ACTIVE: felt252 = 'JobMgr: keepers active';
pub const DEADLINE_PASSED: felt252 = 'JobMgr: deadline passed';
pub const WORKER_UNAVAILABLE: felt252 = 'JobMgr: worker unavailable';
pub const NO_FREE_SLOT: felt252 = 'JobMgr: no free slot';
pub const NO_FREE_GPU: felt252 = 'JobMgr: no free GPU';
pub const REQUIREMENT_UNMET: felt252 = 'JobMgr: requirement unmet';
pub const RATE_TOO_HIGH: felt252 = 'JobMgr: rate too high';
pub const REPUTATION_TOO_LOW: felt252 = 'JobMgr: reputation too low';
pub const REGION_MISMATCH: felt252 = 'JobMgr: region mismatch';
pub const WORKER_EXCLUDED: felt252 = 'JobMgr: worker excluded';

// Views.
pub const TOO_MANY_ASKED: felt252 = 'JobMgr: too many asked';
