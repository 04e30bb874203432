//! Events of our contracts, from felts to the market's terms.

use std::panic::{AssertUnwindSafe, catch_unwind};

use keeper_bindings::{cdc_pool, job_mgr, task_allocator};
use keeper_types::{Attempt, BlockNumber, Felt, Fri, JobId, MarketEvent, Rate, SkipReason, WorkerId};
use starknet::core::types::Event;

use crate::convert::{self, ValueError, address, impossible};

/// An event that our contracts cannot have emitted.
#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    /// The felts do not spell an event of the contract.
    #[error("the event's felts cannot be read: {0}")]
    Felts(String),
    /// A value in it is out of bounds.
    #[error(transparent)]
    Value(#[from] ValueError),
}

/// Reads an event of CdcPool, JobMgr or TaskAllocator, whose addresses are given in this order.
///
/// # Errors
/// Fails where the felts do not spell such an event.
pub(crate) fn decode_event(event: &Event, contracts: &[Felt; 3]) -> Result<MarketEvent, DecodeError> {
    let [pool, manager, allocator] = contracts;
    // The generated code indexes without bounds checks. Our own contracts emit what it expects; a node that
    // cuts an event short must not bring the keeper down.
    let read = catch_unwind(AssertUnwindSafe(|| {
        if event.from_address == *pool {
            cdc_pool::Event::try_from(event).map(Emitted::Pool)
        } else if event.from_address == *manager {
            job_mgr::Event::try_from(event).map(Emitted::Jobs)
        } else if event.from_address == *allocator {
            task_allocator::Event::try_from(event).map(Emitted::Allocator)
        } else {
            Err(format!("emitted by {:#x}, which is none of our contracts", event.from_address))
        }
    }));
    match read {
        Ok(Ok(Emitted::Pool(event))) => pool_event(event),
        Ok(Ok(Emitted::Jobs(event))) => job_event(event),
        Ok(Ok(Emitted::Allocator(event))) => allocator_event(event),
        Ok(Err(reason)) => Err(DecodeError::Felts(reason)),
        Err(_) => Err(DecodeError::Felts("felts are missing".to_owned())),
    }
}

enum Emitted {
    Pool(cdc_pool::Event),
    Jobs(job_mgr::Event),
    Allocator(task_allocator::Event),
}

fn job_event(event: job_mgr::Event) -> Result<MarketEvent, DecodeError> {
    use job_mgr::Event;
    Ok(match event {
        Event::JobSubmitted(event) => MarketEvent::JobSubmitted {
            job_id: JobId(event.job_id),
            client: address(event.client),
            spec: Box::new(convert::job_spec(event.spec)?),
            deadline_block: BlockNumber(event.deadline_block),
        },
        Event::JobAllocated(event) => {
            let (attempt, strategy, score) = convert::choice(event.choice)?;
            MarketEvent::JobAllocated {
                job_id: JobId(event.job_id),
                worker_id: WorkerId(event.worker_id),
                attempt,
                rate: Rate(event.rate_gfri),
                score,
                strategy,
            }
        }
        Event::ResultSubmitted(event) => MarketEvent::ResultSubmitted {
            job_id: JobId(event.job_id),
            worker_id: WorkerId(event.worker_id),
            attempt: Attempt(event.attempt),
            result_hash: event.result_hash,
            challenge_ends_at: event.challenge_ends_at,
            challenge_ends_block: BlockNumber(event.challenge_ends_block),
        },
        Event::JobSettled(event) => MarketEvent::JobSettled {
            job_id: JobId(event.job_id),
            worker_id: WorkerId(event.worker_id),
            client: address(event.client),
            paid: Fri(event.paid),
            refunded: Fri(event.refunded),
        },
        Event::AttemptFailed(event) => MarketEvent::AttemptFailed {
            job_id: JobId(event.job_id),
            worker_id: WorkerId(event.worker_id),
            attempt: Attempt(event.attempt),
            expired: event.expired,
            reason: event.reason,
            requeued: event.requeued,
        },
        Event::JobCancelled(event) => MarketEvent::JobCancelled {
            job_id: JobId(event.job_id),
            client: address(event.client),
            refunded: Fri(event.refunded),
        },
        Event::JobExpired(event) => MarketEvent::JobExpired {
            job_id: JobId(event.job_id),
            client: address(event.client),
            refunded: Fri(event.refunded),
        },
        Event::JobFailed(event) => MarketEvent::JobFailed {
            job_id: JobId(event.job_id),
            client: address(event.client),
            refunded: Fri(event.refunded),
        },
        Event::TaskAllocatorSet(event) => {
            MarketEvent::TaskAllocatorSet { task_allocator: address(event.task_allocator) }
        }
    })
}

fn pool_event(event: cdc_pool::Event) -> Result<MarketEvent, DecodeError> {
    use cdc_pool::Event;
    Ok(match event {
        Event::WorkerRegistered(event) => MarketEvent::WorkerRegistered {
            worker_id: WorkerId(event.worker_id),
            owner: address(event.owner),
            capabilities: convert::capabilities(&event.capabilities)?,
            slots: event.slots,
            rate: Rate(event.rate_gfri),
            stake: Fri(event.stake),
        },
        Event::WorkerUpdated(event) => MarketEvent::WorkerUpdated {
            worker_id: WorkerId(event.worker_id),
            capabilities: convert::capabilities(&event.capabilities)?,
            slots: event.slots,
            rate: Rate(event.rate_gfri),
        },
        Event::WorkerDrained(event) => MarketEvent::WorkerDrained { worker_id: WorkerId(event.worker_id) },
        Event::WorkerResumed(event) => MarketEvent::WorkerResumed { worker_id: WorkerId(event.worker_id) },
        Event::WorkerExiting(event) => MarketEvent::WorkerExiting {
            worker_id: WorkerId(event.worker_id),
            exit_at: event.exit_at,
            exit_block: BlockNumber(event.exit_block),
        },
        Event::StakeWithdrawn(event) => MarketEvent::StakeWithdrawn {
            worker_id: WorkerId(event.worker_id),
            owner: address(event.owner),
            amount: Fri(event.amount),
        },
        Event::ReputationChanged(event) => MarketEvent::ReputationChanged {
            worker_id: WorkerId(event.worker_id),
            old_reputation: event.old_reputation,
            new_reputation: event.new_reputation,
        },
        Event::JobMgrSet(event) => MarketEvent::JobMgrSet { job_mgr: address(event.job_mgr) },
    })
}

fn allocator_event(event: task_allocator::Event) -> Result<MarketEvent, DecodeError> {
    use task_allocator::Event;
    Ok(match event {
        Event::RoundApplied(event) => MarketEvent::RoundApplied {
            keeper: address(event.keeper),
            round: event.round,
            snapshot_block: BlockNumber(event.snapshot_block),
            allocated: event.allocated,
            skipped: event.skipped,
        },
        Event::AllocationSkipped(event) => MarketEvent::AllocationSkipped {
            job_id: JobId(event.job_id),
            worker_id: WorkerId(event.worker_id),
            attempt: Attempt(event.attempt),
            reason: SkipReason::from_number(event.reason).ok_or_else(|| impossible("skip reason", &event.reason))?,
        },
        Event::KeeperAdded(event) => MarketEvent::KeeperAdded { keeper: address(event.keeper) },
        Event::KeeperRemoved(event) => MarketEvent::KeeperRemoved { keeper: address(event.keeper) },
        Event::WorkerMetricsUpdated(event) => {
            let worker_id = u32::try_from(event.worker_id);
            let worker_id = worker_id.map_err(|_| impossible("worker_id", &format!("{:#x}", event.worker_id)))?;
            MarketEvent::WorkerMetricsUpdated { worker_id: WorkerId(worker_id) }
        }
    })
}
