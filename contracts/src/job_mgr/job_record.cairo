// SPDX-License-Identifier: MIT

//! Where jobs, and the workers that are excluded from them, lie in storage.
//!
//! Records lie side by side, so that finding one takes no hash: that of job `n` begins at
//! `JOBS + 16 * n`, and the exclusion of worker `w` from it is at `EXCLUSIONS + 2^32 * n + w`.
//! `JOBS` and `EXCLUSIONS` are hashes of 250 bits, the records take less than 2^68 addresses, the
//! exclusions less than 2^96, and every other variable lies at the hash of its own name or key:
//! that one of those falls among these is as unlikely as a collision of that hash in its first 154
//! bits.

use crate::job_mgr::types::JobRecord;
use starknet::ContractAddress;
use starknet::storage::{Mutable, StoragePointer0Offset};
use starknet::storage_access::storage_base_address_from_felt252;

const CLIENTS: felt252 = selector!("JobMgr.client_addresses");
const JOBS: felt252 = selector!("JobMgr.job_records");
const EXCLUSIONS: felt252 = selector!("JobMgr.exclusions");
/// What one job adds to the address of an exclusion.
const WORKERS: felt252 = 0x1_0000_0000;
/// Addresses that a record has, some of them spare.
const JOB_STRIDE: felt252 = 16;

/// The record of a job, whose id is below 2^64.
#[inline(always)]
pub fn at(job_id: felt252) -> StoragePointer0Offset<Mutable<JobRecord>> {
    let address = storage_base_address_from_felt252(JOBS + job_id * JOB_STRIDE);
    StoragePointer0Offset { __storage_pointer_address__: address }
}

/// The first field of a job's record, which an allocation needs alone.
#[inline(always)]
pub fn slot_at(job_id: felt252) -> StoragePointer0Offset<Mutable<felt252>> {
    let address = storage_base_address_from_felt252(JOBS + job_id * JOB_STRIDE);
    StoragePointer0Offset { __storage_pointer_address__: address }
}

/// Whether a worker is excluded from a job: 1 if it is, else 0.
#[inline(always)]
pub fn exclusion_at(
    job_id: felt252, worker_id: felt252,
) -> StoragePointer0Offset<Mutable<felt252>> {
    let address = storage_base_address_from_felt252(EXCLUSIONS + job_id * WORKERS + worker_id);
    StoragePointer0Offset { __storage_pointer_address__: address }
}

/// The address of the client with a number, which is below 2^32; 0 without one.
#[inline(always)]
pub fn client_at(number: felt252) -> StoragePointer0Offset<Mutable<ContractAddress>> {
    let address = storage_base_address_from_felt252(CLIENTS + number);
    StoragePointer0Offset { __storage_pointer_address__: address }
}
