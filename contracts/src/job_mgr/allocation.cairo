// SPDX-License-Identifier: MIT

//! Allocates batches. Nothing else is done as often, so the ordinary case is kept short: an item's
//! job slot is read, compared and written at once, the pool is called once for the whole batch and
//! answers only what it refuses, and what it refuses is undone.

use crate::job_mgr::candidate::{Candidate, Moment};
use crate::job_mgr::types::Skip;
use crate::job_mgr::{candidate, job_record, replica_allocation};
use crate::math::allocation_item::AllocationItem;
use crate::math::{allocation_item, job_slot, reserve_request};
use crate::rare::rare;
use crate::types::{Deadline, skip_reason};
use starknet::storage::{StoragePointerReadAccess, StoragePointerWriteAccess};
use starknet::syscalls::{call_contract_syscall, emit_event_syscall};
use starknet::{ContractAddress, SyscallResultTrait};

/// Items in one event, which has room for some 300 felts.
const MAX_REPORTED: u32 = 250;

/// The attempt bits of a first attempt.
const FIRST_ATTEMPT: u128 = 0x1_0000_0000;

/// Allocates each item that holds, emits `JobsAllocated`, and returns the others: first those that
/// the job's side refuses, then those that the worker's side does, each in order. An item for a job
/// that an earlier one was for is skipped as JOB_NOT_QUEUED even where the worker's side then
/// refuses the earlier one.
pub fn allocate(items: Span<felt252>, cdc_pool: ContractAddress, now: Deadline) -> Array<Skip> {
    let moment = candidate::moment(now);
    let mut rest = items;
    // Both begin with their length, as a call and an event want it, and as it is if nothing is
    // skipped.
    let mut requests = array![items.len().into() * 2];
    let mut allocated = array![items.len().into()];
    // The slots of the allocated jobs as they were.
    let mut queued = array![];
    let mut skipped = array![];
    loop {
        let item = match rest.pop_front() {
            Option::Some(item) => *item,
            Option::None => { break; },
        };
        let fields = allocation_item::unpack(item);
        let slot = job_record::slot_at(fields.job_id.into());
        let packed = slot.read();
        match examine(fields, packed, moment) {
            Result::Ok(candidate) => {
                slot.write(candidate.allocated);
                requests.append(candidate.ask);
                requests.append(candidate.worker_id);
                allocated.append(item);
                queued.append(packed);
            },
            Result::Err(reason) => skipped.append(Skip { item, reason }),
        }
    };
    if queued.is_empty() {
        return skipped;
    }
    let refusals = reserve(cdc_pool, requests.span());
    if refusals.is_empty() && queued.len() == items.len() && items.len() <= MAX_REPORTED {
        report(allocated.span());
    } else {
        rare();
        let allocated = allocated.span().slice(1, queued.len());
        conclude(allocated, queued.span(), refusals, ref skipped);
    }
    skipped
}

/// What the job's side says to an item: a candidate, or the first reason to skip it.
#[inline(always)]
fn examine(item: AllocationItem, slot: felt252, moment: Moment) -> Result<Candidate, u8> {
    match candidate::in_ordinary_case(item, slot, moment) {
        Option::Some(candidate) => {
            // Nobody is excluded from a first attempt, which saves the read in the ordinary case.
            if allocation_item::attempt_bits(item) == FIRST_ATTEMPT {
                Result::Ok(candidate)
            } else {
                rare();
                examine_exclusion(item, candidate)
            }
        },
        Option::None => {
            rare();
            examine_closely(item, slot, moment)
        },
    }
}

fn examine_exclusion(item: AllocationItem, candidate: Candidate) -> Result<Candidate, u8> {
    if is_excluded(item) {
        Result::Err(skip_reason::WORKER_EXCLUDED)
    } else {
        Result::Ok(candidate)
    }
}

/// What [`examine`] says outside the ordinary case: the reasons are looked at in the order that
/// they are named in (`types::skip_reason`). Of a replica the group is marked.
fn examine_closely(item: AllocationItem, slot: felt252, moment: Moment) -> Result<Candidate, u8> {
    if !allocation_item::is_well_formed(item) {
        return Result::Err(skip_reason::ITEM_MALFORMED);
    }
    let attempt = allocation_item::attempt(item);
    let (job_id, worker_id) = ids(item);
    match replica_allocation::examine(job_id, worker_id, attempt, slot, moment.now) {
        Option::Some(examined) => {
            let job = examined?;
            let candidate = priced(item, job, moment)?;
            replica_allocation::mark(job_id, worker_id);
            let allocated = candidate.allocated + job_slot::REPLICA_UNIT;
            Result::Ok(Candidate { allocated, ..candidate })
        },
        Option::None => {
            let job = match job_slot::waiting_for(slot, attempt) {
                Option::Some(job) => job,
                Option::None => { return Result::Err(candidate::why_not_waiting(slot)); },
            };
            if job_slot::is_late(job, moment.now) {
                return Result::Err(skip_reason::DEADLINE_PASSED);
            }
            if attempt != 1 && is_excluded(item) {
                return Result::Err(skip_reason::WORKER_EXCLUDED);
            }
            priced(item, job, moment)
        },
    }
}

fn priced(item: AllocationItem, job: job_slot::Waiting, moment: Moment) -> Result<Candidate, u8> {
    candidate::if_paid(item, job.needs, job.offer, moment.allocated_now)
        .ok_or(skip_reason::RATE_TOO_HIGH)
}

/// Whether an earlier attempt of the item's job, which is alone, failed on its worker.
fn is_excluded(item: AllocationItem) -> bool {
    let worker_id = allocation_item::worker_id(item);
    job_record::exclusion_at(item.job_id.into(), worker_id.into()).read() != 0
}

/// Asks the pool, and returns what it refuses. `requests` begins with a length, which is right if
/// no item was skipped.
fn reserve(cdc_pool: ContractAddress, requests: Span<felt252>) -> Span<felt252> {
    let count = (requests.len() - 1).into();
    let calldata = if *requests[0] == count {
        requests
    } else {
        rare();
        let mut calldata = array![count];
        calldata.append_span(requests.slice(1, requests.len() - 1));
        calldata.span()
    };
    // What a dispatcher would do, but for copying the requests once more.
    let answer = call_contract_syscall(cdc_pool, selector!("reserve_batch"), calldata)
        .unwrap_syscall();
    answer.slice(1, answer.len() - 1)
}

/// Undoes what the pool refused, and reports the rest.
fn conclude(
    allocated: Span<felt252>,
    queued: Span<felt252>,
    refusals: Span<felt252>,
    ref skipped: Array<Skip>,
) {
    let mut refusals = refusals;
    let mut index = 0;
    // Each event's data begins with the number of its items, which is known at its end.
    let mut items: Array<felt252> = array![];
    while index != allocated.len() {
        let item = *allocated[index];
        match refused(ref refusals, index) {
            Option::Some(reason) => {
                restore(item, *queued[index]);
                skipped.append(Skip { item, reason });
            },
            Option::None => {
                items.append(item);
                if items.len() == MAX_REPORTED {
                    report(counted(items.span()));
                    items = array![];
                }
            },
        }
        index += 1;
    };
    if !items.is_empty() {
        report(counted(items.span()));
    }
}

/// Why the request with this index was refused, if it was; refusals rise by index.
fn refused(ref refusals: Span<felt252>, index: u32) -> Option<u8> {
    let (refused_index, reason) = reserve_request::unpack_refusal(*refusals.get(0)?.unbox());
    if refused_index != index {
        return Option::None;
    }
    let _ = refusals.pop_front();
    Option::Some(reason)
}

/// Gives a job the slot back that it had in the queue.
fn restore(item: felt252, queued: felt252) {
    let item = allocation_item::unpack(item);
    job_record::slot_at(item.job_id.into()).write(queued);
    if job_slot::waiting_replica(queued).is_some() {
        let (job_id, worker_id) = ids(item);
        replica_allocation::unmark(job_id, worker_id);
    }
}

fn ids(item: AllocationItem) -> (u64, u32) {
    let job_id = item.job_id.try_into().unwrap();
    (job_id, allocation_item::worker_id(item).try_into().unwrap())
}

fn counted(items: Span<felt252>) -> Span<felt252> {
    let mut data = array![];
    items.serialize(ref data);
    data.span()
}

/// Emits `JobsAllocated`, whose data is a number and as many items.
fn report(data: Span<felt252>) {
    emit_event_syscall(array![selector!("JobsAllocated")].span(), data).unwrap_syscall();
}
