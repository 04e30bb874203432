// SPDX-License-Identifier: MIT

//! The ABI of the referee.
//!
//! An `output` is the product `C`, row by row, each entry an int32 in little-endian order, packed
//! 28 bytes (seven entries) to a felt: each felt is the big-endian number that the next 28 bytes
//! are, the last one padded with zero bytes at its end. The product of two matrices of side `n`
//! takes `n * n / 7` felts, rounded up.

use starknet::ContractAddress;

/// For everyone.
#[starknet::interface]
pub trait IReferee<TContractState> {
    /// Rules the dispute about a matrix product, once somebody shows what the worker's result is
    /// the hash of: the result is right if that is the product of the two matrices which the
    /// manifest's seed gives (`keeper/worker/src/matmul.rs`). A worker whose result is right has to
    /// call this, or let it be called, before the dispute ends; so it takes no job that is larger
    /// than `max_size`, which JobMgr cannot see.
    ///
    /// What is compared are `u * C * v` and `u * A * B * v` in the field, for vectors `u` and `v`
    /// of powers of a hash of the result: a wrong product passes with a chance below `n * n /
    /// 2^250`.
    ///
    /// Preconditions: `size` is 1 to 34; the job is Disputed and verified by the referee;
    /// `{"version":1,"executor":{"kind":"matmul","size":<size>,"seed":<seed>}}` is the job's
    /// manifest; `output` has the SHA-256 that the worker submitted.
    /// Emits: nothing; the job manager reports the ruling.
    /// Errors, in this order: `BAD_SIZE`, `NOT_DISPUTED`, `OTHER_MANIFEST`, `MALFORMED_OUTPUT`,
    /// `OTHER_OUTPUT`, those of JobMgr's `rule_dispute`.
    /// Access: anyone.
    fn judge(ref self: TContractState, job_id: u64, size: u32, seed: u64, output: Span<felt252>);

    /// Whether `output` is the product of the matrices that the seed gives: for whoever wants to
    /// know before `judge`.
    ///
    /// Errors: `BAD_SIZE`, `MALFORMED_OUTPUT`.
    fn is_product(self: @TContractState, size: u32, seed: u64, output: Span<felt252>) -> bool;

    /// The largest side of a matrix whose product can be judged in one transaction.
    fn max_size(self: @TContractState) -> u32;

    fn job_mgr(self: @TContractState) -> ContractAddress;
}
