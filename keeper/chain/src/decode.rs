//! Events of our contracts, from felts to the market's terms.

use std::panic::{AssertUnwindSafe, catch_unwind};

use keeper_bindings::{cdc_pool, job_mgr, task_allocator};
use keeper_types::{
    AllocationItem, Attempt, BlockNumber, Felt, Fri, JobId, MarketContract, MarketEvent, PolicyId, Rate,
    RejectionCause, SkipReason, WorkerFault, WorkerId,
};
use starknet::core::types::Event;

use crate::convert::{self, ValueError, address, impossible, some_job};

mod admin;
mod names;

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
    let contract = match event.from_address {
        from if from == *pool => MarketContract::CdcPool,
        from if from == *manager => MarketContract::JobMgr,
        from if from == *allocator => MarketContract::TaskAllocator,
        from => return Err(DecodeError::Felts(format!("emitted by {from:#x}, which is none of our contracts"))),
    };
    if let Some(admin_event) = admin::decode(event)? {
        return Ok(MarketEvent::Administered { contract, admin_event });
    }
    // The generated code indexes without bounds checks. Our own contracts emit what it expects; a node that
    // cuts an event short must not bring the keeper down.
    let read = catch_unwind(AssertUnwindSafe(|| match contract {
        MarketContract::CdcPool => names::pool_event(event).map(Emitted::Pool),
        MarketContract::JobMgr => names::job_event(event).map(Emitted::Jobs),
        MarketContract::TaskAllocator => names::allocator_event(event).map(Emitted::Allocator),
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
            group_id: some_job(event.group_id),
        },
        Event::JobsAllocated(event) => MarketEvent::JobsAllocated { items: items(event.items)? },
        Event::JobClaimed(event) => {
            MarketEvent::JobClaimed { job_id: JobId(event.job_id), worker_id: WorkerId(event.worker_id) }
        }
        Event::ResultCommitted(event) => MarketEvent::ResultCommitted {
            job_id: JobId(event.job_id),
            worker_id: WorkerId(event.worker_id),
            attempt: Attempt(event.attempt),
            commitment: event.commitment,
        },
        Event::ResultDisputed(event) => MarketEvent::ResultDisputed {
            job_id: JobId(event.job_id),
            client: address(event.client),
            bond: Fri(event.bond),
            ends_at: event.ends_at,
            ends_block: BlockNumber(event.ends_block),
            committee: some_job(event.committee),
        },
        Event::DisputeRuled(event) => MarketEvent::DisputeRuled {
            job_id: JobId(event.job_id),
            worker_id: WorkerId(event.worker_id),
            is_right: event.is_right,
            by_default: event.by_default,
        },
        Event::ResultRejected(event) => MarketEvent::ResultRejected {
            job_id: JobId(event.job_id),
            worker_id: WorkerId(event.worker_id),
            cause: RejectionCause::from_number(event.cause).ok_or_else(|| impossible("cause", &event.cause))?,
        },
        Event::GroupDecided(event) => MarketEvent::GroupDecided {
            group_id: JobId(event.group_id),
            winner: (event.winner != Felt::ZERO).then_some(event.winner),
        },
        Event::ResultSubmitted(event) => MarketEvent::ResultSubmitted {
            job_id: JobId(event.job_id),
            worker_id: WorkerId(event.worker_id),
            attempt: Attempt(event.attempt),
            result_hash: event.result_hash,
            challenge_ends_at: event.challenge_ends_at,
            challenge_ends_block: BlockNumber(event.challenge_ends_block),
        },
        event => settlement_event(event)?,
    })
}

fn items(packed: Vec<Felt>) -> Result<Vec<AllocationItem>, DecodeError> {
    let items: Result<Vec<_>, _> = packed.into_iter().map(AllocationItem::unpack).collect();
    items.map_err(|error| impossible("items", &error).into())
}

#[allow(unreachable_patterns, reason = "a contract with components has their events too, which are read before")]
fn settlement_event(event: job_mgr::Event) -> Result<MarketEvent, DecodeError> {
    use job_mgr::Event;
    Ok(match event {
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
        Event::CreditWithdrawn(event) => {
            MarketEvent::CreditWithdrawn { account: address(event.account), amount: Fri(event.amount) }
        }
        Event::CreditSpent(event) => {
            MarketEvent::CreditSpent { account: address(event.account), amount: Fri(event.amount) }
        }
        Event::TaskAllocatorSet(event) => MarketEvent::TaskAllocatorSet {
            contract: MarketContract::JobMgr,
            task_allocator: address(event.task_allocator),
        },
        Event::PaymasterSet(event) => MarketEvent::PaymasterSet { paymaster: address(event.paymaster) },
        Event::RefereeSet(event) => MarketEvent::RefereeSet { referee: address(event.referee) },
        _ => return Err(DecodeError::Felts("no event of JobMgr".to_owned())),
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
        event => return rare_pool_event(event),
    })
}

#[allow(unreachable_patterns, reason = "a contract with components has their events too, which are read before")]
fn rare_pool_event(event: cdc_pool::Event) -> Result<MarketEvent, DecodeError> {
    use cdc_pool::Event;
    Ok(match event {
        Event::StakeAdded(event) => MarketEvent::StakeAdded {
            worker_id: WorkerId(event.worker_id),
            amount: Fri(event.amount),
            stake: Fri(event.stake),
        },
        Event::WorkerSlashed(event) => MarketEvent::WorkerSlashed {
            worker_id: WorkerId(event.worker_id),
            fault: WorkerFault::from_number(event.fault).ok_or_else(|| impossible("fault", &event.fault))?,
            amount: Fri(event.amount),
            burned: Fri(event.burned),
            to_challenger: Fri(event.to_challenger),
            to_client: Fri(event.to_client),
        },
        Event::WorkerAdmitted(event) => MarketEvent::WorkerAdmitted { worker_id: WorkerId(event.worker_id) },
        Event::WorkerDismissed(event) => MarketEvent::WorkerDismissed { worker_id: WorkerId(event.worker_id) },
        Event::HeartbeatsRecorded(event) => MarketEvent::HeartbeatsRecorded {
            reporter: address(event.reporter),
            epoch: event.epoch,
            groups: event.groups,
        },
        Event::JobMgrSet(event) => MarketEvent::JobMgrSet { job_mgr: address(event.job_mgr) },
        Event::TaskAllocatorSet(event) => MarketEvent::TaskAllocatorSet {
            contract: MarketContract::CdcPool,
            task_allocator: address(event.task_allocator),
        },
        _ => return Err(DecodeError::Felts("no event of CdcPool".to_owned())),
    })
}

#[allow(unreachable_patterns, reason = "a contract with components has their events too, which are read before")]
fn allocator_event(event: task_allocator::Event) -> Result<MarketEvent, DecodeError> {
    use task_allocator::Event;
    Ok(match event {
        Event::RoundApplied(event) => MarketEvent::RoundApplied {
            keeper: address(event.keeper),
            round: event.round,
            snapshot_block: BlockNumber(event.snapshot_block),
            snapshot_root: event.snapshot_root,
            policy_id: PolicyId(event.policy_id),
            plan_root: event.plan_root,
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
        Event::BondPosted(event) => {
            MarketEvent::BondPosted { keeper: address(event.keeper), amount: Fri(event.amount), bond: Fri(event.bond) }
        }
        Event::KeeperLeft(event) => MarketEvent::KeeperLeft {
            keeper: address(event.keeper),
            leaves_at: event.leaves_at,
            leaves_block: BlockNumber(event.leaves_block),
        },
        Event::BondWithdrawn(event) => {
            MarketEvent::BondWithdrawn { keeper: address(event.keeper), amount: Fri(event.amount) }
        }
        Event::PolicyAnnounced(event) => MarketEvent::PolicyAnnounced {
            policy_id: PolicyId(event.policy_id),
            active_from: event.active_from,
            active_from_block: BlockNumber(event.active_from_block),
        },
        Event::PolicyRetired(event) => MarketEvent::PolicyRetired { policy_id: PolicyId(event.policy_id) },
        Event::WorkerMetricsUpdated(event) => {
            let worker_id = u32::try_from(event.worker_id);
            let worker_id = worker_id.map_err(|_| impossible("worker_id", &format!("{:#x}", event.worker_id)))?;
            MarketEvent::WorkerMetricsUpdated { worker_id: WorkerId(worker_id) }
        }
        _ => return Err(DecodeError::Felts("no event of TaskAllocator".to_owned())),
    })
}
