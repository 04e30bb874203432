// SPDX-License-Identifier: MIT

//! Turns what is stored of a worker into what views show. Pure.

use crate::cdc_pool::types::{WorkerRecord, WorkerView};
use crate::math::worker_load::WorkerLoad;
use crate::math::worker_slot;

pub fn worker_view(worker_id: u32, record: WorkerRecord, load: WorkerLoad) -> WorkerView {
    let worker = worker_slot::unpack(record.slot);
    let bond = record.bond;
    WorkerView {
        worker_id,
        owner: record.owner,
        status: worker.status,
        capabilities: worker.capabilities,
        slots: worker.slots,
        free_slots: load.free_slots,
        free_gpus: load.free_gpus,
        rate_gfri: worker.rate_gfri,
        stake: bond.stake,
        reputation: worker.reputation,
        reputation_at: worker.reputation_at,
        registered_at: bond.registered_at,
        exit_at: bond.exit_at,
        exit_block: bond.exit_block,
        is_static: worker.is_static,
        holds: load.holds,
    }
}
