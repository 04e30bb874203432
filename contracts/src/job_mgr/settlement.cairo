// SPDX-License-Identifier: MIT

//! How the escrow of a job ends: paid and refunded, together always exactly `max_price`.

use core::num::traits::Zero;
use crate::cdc_pool::interface::ICdcPoolJobMgrDispatcherTrait;
use crate::cdc_pool::types::WorkerFault;
use crate::emission::emit_alone;
use crate::job_mgr::contract::JobMgr::{ContractState, Emitter, Event};
use crate::job_mgr::job_access::{JobAccessTrait, client_of, terms_of};
use crate::job_mgr::ledger::LedgerTrait;
use crate::job_mgr::types::{JobState, rejection_cause, verification};
use crate::job_mgr::{events, job_record};
use crate::math::job_slot::PlacedJob;
use crate::math::job_terms::Terms;
use crate::math::{job_slot, job_terms, money};
use starknet::ContractAddress;
use starknet::event::EventEmitter;
use starknet::storage::{StoragePointerReadAccess, StoragePointerWriteAccess,};

/// What a worker stands to lose by a fault, in prices of the job.
const PENALTY_PRICES: u128 = 10;

#[generate_trait]
pub impl SettlementImpl of SettlementTrait {
    /// Pays for a result and returns the worker's owner.
    fn _pay_worker(ref self: ContractState, job_id: u64, placed: PlacedJob) -> ContractAddress {
        let PlacedJob { worker_id, is_held, .. } = placed;
        let escrow = job_terms::unpack_payment(job_record::at(job_id.into()).terms.read());
        let client = client_of(escrow.client);
        let paid = money::price(placed.rate_gfri, placed.gpu_count, escrow.execution_timeout_s);
        let refunded = escrow.max_price - paid;
        write_slot(job_id, PlacedJob { is_held: false, ..placed }, JobState::Settled);
        self._credit(client, refunded);

        let owner = self._pool().record_settlement(worker_id, is_held);
        self._credit(owner, paid);
        emit_alone(
            selector!("JobSettled"),
            events::JobSettled { job_id, worker_id, client, paid, refunded },
        );
        owner
    }

    /// Refunds a job whose result is not taken. Unless no quorum was found, the worker answers for
    /// it. Where only votes speak against it nobody gains by that: a client whose requirements let
    /// its own workers alone in with a stranger could otherwise rob it. The job must hold the
    /// worker.
    fn _reject(ref self: ContractState, job_id: u64, placed: PlacedJob, cause: u8) {
        let worker_id = placed.worker_id;
        let terms = terms_of(job_id);
        let client = client_of(terms.client);
        write_slot(job_id, PlacedJob { is_held: false, ..placed }, JobState::Failed);
        self._credit(client, terms.max_price);

        if cause == rejection_cause::NO_QUORUM {
            self._pool().unhold(worker_id);
        } else {
            let penalty = penalty_of(placed, terms);
            let is_voted = terms.verification != verification::MATMUL;
            let gainer = if is_voted {
                Zero::zero()
            } else {
                client
            };
            self._pool().record_fault(worker_id, WorkerFault::Wrong, penalty, gainer, gainer);
        }
        self.emit(Event::ResultRejected(events::ResultRejected { job_id, worker_id, cause }));
        self
            .emit(
                Event::JobFailed(events::JobFailed { job_id, client, refunded: terms.max_price })
            );
    }

    /// Ends a queued job in a final state and returns what its client is credited.
    fn _refund_queued(
        ref self: ContractState, job_id: u64, client: ContractAddress, state: JobState,
    ) -> u128 {
        let attempt = self._queued_attempt(job_id);
        let refunded = terms_of(job_id).max_price;
        write_slot(job_id, job_slot::unplaced(state, attempt), state);
        self._credit(client, refunded);
        refunded
    }
}

/// What the worker earns, in fri.
pub fn price_of(placed: PlacedJob, terms: Terms) -> u128 {
    money::price(placed.rate_gfri, placed.gpu_count, terms.execution_timeout_s)
}

/// What the worker answers for, in fri. The pool decides how much of it is taken.
pub fn penalty_of(placed: PlacedJob, terms: Terms) -> u128 {
    PENALTY_PRICES * price_of(placed, terms)
}

pub fn write_slot(job_id: u64, placed: PlacedJob, state: JobState) {
    job_record::at(job_id.into()).slot.write(job_slot::with_state(placed, state));
}
