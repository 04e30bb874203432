// SPDX-License-Identifier: MIT

//! What a worker is at, and what must hold of it before it goes on.

use crate::cdc_pool::types::WorkerStatus;
use crate::cdc_pool::{errors, worker_record};
use crate::math::worker_slot;
use crate::math::worker_slot::WorkerSlot;
use starknet::storage::{StoragePointerReadAccess, StoragePointerWriteAccess};

pub fn known_worker(worker_id: u32) -> WorkerSlot {
    let worker = worker_slot::unpack(worker_record::slot_at(worker_id.into()).read());
    assert(worker.status != WorkerStatus::None, errors::UNKNOWN_WORKER);
    worker
}

pub fn write_worker(worker_id: u32, worker: WorkerSlot) {
    worker_record::slot_at(worker_id.into()).write(worker_slot::pack(worker));
}

pub fn write_status(worker_id: u32, worker: WorkerSlot, status: WorkerStatus) {
    write_worker(worker_id, WorkerSlot { status, ..worker });
}

pub fn assert_idle(worker_id: u32, worker: WorkerSlot) {
    assert(worker_record::load(worker_id).free_slots == worker.slots, errors::JOBS_RUNNING);
}

pub fn assert_not_leaving(worker: WorkerSlot) {
    let is_staying = worker.status == WorkerStatus::Active
        || worker.status == WorkerStatus::Draining;
    assert(is_staying, errors::IS_LEAVING);
}
