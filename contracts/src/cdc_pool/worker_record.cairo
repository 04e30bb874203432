// SPDX-License-Identifier: MIT

//! Where a worker lies in storage.
//!
//! Records lie side by side, so that finding one takes no hash: record `n` begins at
//! `WORKERS + 4 * n`. What of the workers is in use lies apart, one slot for four of them: the slot
//! of the workers from `n` on, `n` being 1, 5, 9 and so on, is at `LOADS + n`. `WORKERS` and
//! `LOADS`
//! are hashes of 250 bits, all of this together takes less than 2^35 addresses, and every other
//! variable lies at the hash of its own name or key: that one of those falls among these is as
//! unlikely as a collision of that hash in its first 215 bits.

use crate::cdc_pool::errors;
use crate::cdc_pool::types::WorkerRecord;
use crate::math::worker_load;
use crate::math::worker_load::WorkerLoad;
use starknet::storage::{
    Mutable, StoragePointer0Offset, StoragePointerReadAccess, StoragePointerWriteAccess,
};
use starknet::storage_access::storage_base_address_from_felt252;

const WORKERS: felt252 = selector!("CdcPool.worker_records");
const LOADS: felt252 = selector!("CdcPool.worker_loads");
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

/// What is in use of four workers (`math/worker_load.cairo`), of whom `first` is the first.
#[inline(always)]
pub fn loads_at(first: felt252) -> StoragePointer0Offset<Mutable<felt252>> {
    StoragePointer0Offset {
        __storage_pointer_address__: storage_base_address_from_felt252(LOADS + first),
    }
}

/// What of a worker is in use.
pub fn load(worker_id: u32) -> WorkerLoad {
    let first = worker_load::first_of(worker_id.into());
    worker_load::unpack(loads_at(first).read(), worker_load::unit_of(worker_id.into(), first))
}

/// Adds to a worker's lane, and returns what it held before. The caller answers for every field's
/// staying within its width.
pub fn add_load(worker_id: u32, addition: felt252) -> WorkerLoad {
    let first = worker_load::first_of(worker_id.into());
    let unit = worker_load::unit_of(worker_id.into(), first);
    let loads = loads_at(first);
    let stored = loads.read();
    // The first registration among the four sets the guards of all.
    let word = if stored == 0 {
        worker_load::EMPTY
    } else {
        stored
    };
    loads.write(word + addition * unit);
    worker_load::unpack(word, unit)
}

/// Adds to a worker's lane as [`add_load`] does, and one hold.
pub fn add_hold(worker_id: u32, addition: felt252) -> WorkerLoad {
    let before = add_load(worker_id, addition + worker_load::HOLD);
    assert(before.holds != worker_load::MAX_HOLDS, errors::TOO_MANY_HOLDS);
    before
}

/// Takes a hold off a worker, who must have one: there is nothing below that a lane could borrow
/// from but its neighbours.
pub fn end_hold(worker_id: u32) {
    let before = add_load(worker_id, -worker_load::HOLD);
    assert(before.holds != 0, errors::NOT_HELD);
}
