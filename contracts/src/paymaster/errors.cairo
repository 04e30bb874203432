// SPDX-License-Identifier: MIT

//! Error texts of the paymaster. They are part of the ABI.

// Callers.
pub const NOT_JOB_MGR: felt252 = 'Paymaster: not the job manager';
pub const NOT_RELAYER: felt252 = 'Paymaster: caller not relayer';

// Arguments.
pub const ZERO_ADDRESS: felt252 = 'Paymaster: zero address';
pub const ZERO_AMOUNT: felt252 = 'Paymaster: zero amount';
pub const ZERO_CAP: felt252 = 'Paymaster: zero cap';
pub const ZERO_BUDGET: felt252 = 'Paymaster: zero budget';
pub const BAD_MAX_FEE: felt252 = 'Paymaster: bad max fee';

// Money.
pub const BALANCE_TOO_LOW: felt252 = 'Paymaster: balance too low';
pub const CAP_TOO_LOW: felt252 = 'Paymaster: cap too low';
pub const TRANSFER_FAILED: felt252 = 'Paymaster: transfer failed';

// Sponsoring.
pub const NOT_SPONSORED: felt252 = 'Paymaster: not sponsored';
pub const ALREADY_RELAYER: felt252 = 'Paymaster: already a relayer';
pub const UNKNOWN_RELAYER: felt252 = 'Paymaster: unknown relayer';
pub const NO_CALLS: felt252 = 'Paymaster: no calls';
pub const CALL_NOT_ALLOWED: felt252 = 'Paymaster: call not allowed';
pub const FEE_TOO_HIGH: felt252 = 'Paymaster: fee too high';
pub const BUDGET_SPENT: felt252 = 'Paymaster: budget spent';
