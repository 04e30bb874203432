// SPDX-License-Identifier: MIT

//! What an allocation does on a replica's side beyond what it does for a job alone. A queued
//! replica's slot has a state code of its own, so that the ordinary case comes here only after it
//! has found that the slot is not what it waits for.
//!
//! A worker computes for one replica of a group at most, ever: its group's exclusions lie with the
//! first replica, are read at every attempt and written at the allocation itself, so that a later
//! item of the same batch finds them.

use crate::job_mgr::{group_record, job_record};
use crate::math::group_word::Group;
use crate::math::job_slot;
use crate::math::job_slot::Waiting;
use crate::types::{Deadline, skip_reason};
use starknet::storage::{StoragePointerReadAccess, StoragePointerWriteAccess};

/// What an allocation needs of a slot that is not [`job_slot::waiting_for`] the item's attempt, if
/// it is that of a queued replica which does and whose group the worker may compute for. `None`
/// where it is no queued replica at all. Else the first reason to skip the item:
/// `ATTEMPT_MISMATCH`, `DEADLINE_PASSED` or `WORKER_EXCLUDED`. Changes nothing.
pub fn examine(
    job_id: u64, worker_id: u32, attempt: u128, slot: felt252, now: Deadline,
) -> Option<Result<Waiting, u8>> {
    let (job, awaited) = job_slot::waiting_replica(slot)?;
    if awaited != attempt {
        return Option::Some(Result::Err(skip_reason::ATTEMPT_MISMATCH));
    }
    if job_slot::is_late(job, now) {
        return Option::Some(Result::Err(skip_reason::DEADLINE_PASSED));
    }
    let group_id: felt252 = group_record::id_of(job_id).into();
    if job_record::exclusion_at(group_id, worker_id.into()).read() != 0 {
        return Option::Some(Result::Err(skip_reason::WORKER_EXCLUDED));
    }
    Option::Some(Result::Ok(job))
}

/// Counts the allocation of a replica that [`examine`] let pass and excludes the worker from the
/// rest of its group. The job's slot is written by the caller, with [`job_slot::REPLICA_UNIT`]
/// added.
pub fn mark(job_id: u64, worker_id: u32) {
    let group_id = group_record::id_of(job_id);
    let group = group_record::read(group_id);
    group_record::write(group_id, Group { allocations: group.allocations + 1, ..group });
    job_record::exclusion_at(group_id.into(), worker_id.into()).write(1);
}

/// Undoes [`mark`], where the pool has refused the worker after all.
pub fn unmark(job_id: u64, worker_id: u32) {
    let group_id = group_record::id_of(job_id);
    let group = group_record::read(group_id);
    group_record::write(group_id, Group { allocations: group.allocations - 1, ..group });
    job_record::exclusion_at(group_id.into(), worker_id.into()).write(0);
}
