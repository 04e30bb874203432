// SPDX-License-Identifier: MIT

//! Where a worker lies in storage.
//!
//! Records lie side by side, so that finding one takes no hash: record `n` begins at
//! `WORKERS + 4 * n`. `WORKERS` is a hash of 250 bits, all records together take less than 2^35
//! addresses, and every other variable lies at the hash of its own name or key: that one of those
//! falls among the records is as unlikely as a collision of that hash in its first 215 bits.

use crate::cdc_pool::types::WorkerRecord;
use starknet::storage::{Mutable, StoragePointer0Offset};
use starknet::storage_access::storage_base_address_from_felt252;

const WORKERS: felt252 = selector!("CdcPool.worker_records");
/// Addresses that a record has, one of them spare.
const WORKER_STRIDE: felt252 = 4;

/// The record of a worker, whose id is below 2^32.
#[inline(always)]
pub fn at(worker_id: felt252) -> StoragePointer0Offset<Mutable<WorkerRecord>> {
    let address = storage_base_address_from_felt252(WORKERS + worker_id * WORKER_STRIDE);
    StoragePointer0Offset { __storage_pointer_address__: address }
}

/// The first field of a worker's record, which an allocation needs alone.
#[inline(always)]
pub fn slot_at(worker_id: felt252) -> StoragePointer0Offset<Mutable<felt252>> {
    let address = storage_base_address_from_felt252(WORKERS + worker_id * WORKER_STRIDE);
    StoragePointer0Offset { __storage_pointer_address__: address }
}
