// SPDX-License-Identifier: MIT

//! Disputes about a result: how they begin, and what follows from a ruling.
//!
//! Where the referee decides, the worker must defend its result: without a ruling it is wrong.
//! Where a committee runs the job again, nothing is asked of the worker: without a winner its
//! result stands.

use core::cmp::max;
use core::num::traits::Zero;
use crate::cdc_pool::interface::ICdcPoolJobMgrDispatcherTrait;
use crate::clock::now;
use crate::job_mgr::committee::CommitteeTrait;
use crate::job_mgr::contract::JobMgr::{ContractState, Emitter, Event};
use crate::job_mgr::job_access::{JobAccessTrait, client_of, result_of, terms_of};
use crate::job_mgr::ledger::LedgerTrait;
use crate::job_mgr::settlement::{SettlementTrait, price_of, write_slot};
use crate::job_mgr::submission::SubmissionTrait;
use crate::job_mgr::types::{DisputeView, JobState, rejection_cause, verification};
use crate::job_mgr::{errors, events, group_record, groups, job_record, submission};
use crate::math::dispute_word::Dispute;
use crate::math::job_slot::PlacedJob;
use crate::math::job_terms::Terms;
use crate::math::{deadlines, dispute_word};
use starknet::ContractAddress;
use starknet::event::EventEmitter;
use starknet::storage::{StoragePointerReadAccess, StoragePointerWriteAccess};

/// Fri: 50 STRK. A worker that defends a right result gets the bond, which must repay it for the
/// referee's work: the largest product takes 1.07 thousand million L2 gas to judge, at 47 gFri
/// each.
const MIN_DISPUTE_BOND: u128 = 50_000_000_000_000_000_000;

#[generate_trait]
pub impl DisputesImpl of DisputesTrait {
    /// Opens a dispute that the referee decides.
    fn _dispute_by_referee(
        ref self: ContractState,
        job_id: u64,
        client: ContractAddress,
        placed: PlacedJob,
        terms: Terms,
    ) {
        // Nobody could rule for the worker.
        assert(self.referee.read().is_non_zero(), errors::NO_REFEREE);
        let bond = max(price_of(placed, terms), MIN_DISPUTE_BOND);
        let ends = deadlines::after(now(), self.dispute_window_s.read());
        let dispute = Dispute { committee: 0, ends, bond };
        write_dispute(job_id, placed, dispute);
        self._draw(client, bond);
        self._hold_worker(placed);
        self._report_dispute(job_id, client, dispute);
    }

    /// Opens a dispute that a committee decides.
    fn _dispute_by_committee(
        ref self: ContractState,
        job_id: u64,
        client: ContractAddress,
        placed: PlacedJob,
        terms: Terms,
    ) {
        let committee = self._call_committee(job_id, client, placed.worker_id, terms);
        let bond = submission::escrow(committee.spec.unbox());
        let ends = self._committee_ends(terms);
        let dispute = Dispute { committee: committee.first_id, ends, bond };
        write_dispute(job_id, placed, dispute);
        self._draw(client, bond);
        self._hold_worker(placed);
        self._report_submission(committee);
        self._report_dispute(job_id, client, dispute);
    }

    /// Holds the worker's stake until there is a ruling, unless the job does already.
    fn _hold_worker(ref self: ContractState, placed: PlacedJob) {
        if !placed.is_held {
            self._pool().hold(placed.worker_id);
        }
    }

    fn _report_dispute(
        ref self: ContractState, job_id: u64, client: ContractAddress, dispute: Dispute,
    ) {
        let Dispute { committee, ends, bond } = dispute;
        self
            .emit(
                Event::ResultDisputed(
                    events::ResultDisputed {
                        job_id,
                        client,
                        bond,
                        ends_at: ends.timestamp,
                        ends_block: ends.block,
                        committee,
                    }
                )
            );
    }

    /// Ends a dispute that nobody need rule any more.
    fn _settle_dispute(ref self: ContractState, job_id: u64, placed: PlacedJob) {
        let dispute = dispute_of(job_id);
        let is_over = deadlines::has_passed(dispute.ends, now());
        if dispute.committee == 0 {
            assert(is_over, errors::DISPUTE_OPEN);
            self._rule(job_id, placed, is_right: false, by_default: true);
            return;
        }
        let winner = group_record::winner(dispute.committee);
        if winner == 0 {
            let is_closed = groups::is_closed(group_record::read(dispute.committee), now());
            assert(is_over || is_closed, errors::DISPUTE_OPEN);
            self._rule(job_id, placed, is_right: true, by_default: true);
        } else {
            let is_right = winner == result_of(job_id);
            self._rule(job_id, placed, is_right, by_default: false);
        }
    }

    /// Ends a dispute.
    fn _rule(
        ref self: ContractState, job_id: u64, placed: PlacedJob, is_right: bool, by_default: bool,
    ) {
        let worker_id = placed.worker_id;
        let bond = kept_bond(dispute_of(job_id));
        self
            .emit(
                Event::DisputeRuled(
                    events::DisputeRuled { job_id, worker_id, is_right, by_default }
                )
            );
        if is_right {
            let owner = self._pay_worker(job_id, placed);
            self._credit(owner, bond);
        } else {
            self._credit(client_of(terms_of(job_id).client), bond);
            self._reject(job_id, placed, rejection_cause::RULED_WRONG);
        }
    }
}

/// Whether the referee decides on the job's result.
pub fn is_referees(job_id: u64) -> bool {
    terms_of(job_id).verification == verification::MATMUL
}

pub fn view(job_id: u64) -> DisputeView {
    // The slot of a replica has another meaning.
    let is_replica = terms_of(job_id).is_replica;
    let Dispute { committee, ends, bond } = if is_replica {
        dispute_word::unpack(0)
    } else {
        dispute_of(job_id)
    };
    DisputeView { job_id, bond, ends_at: ends.timestamp, ends_block: ends.block, committee }
}

/// Writes an open dispute; its worker is held from now on.
fn write_dispute(job_id: u64, placed: PlacedJob, dispute: Dispute) {
    write_slot(job_id, PlacedJob { is_held: true, ..placed }, JobState::Disputed);
    job_record::at(job_id.into()).dispute_or_winner.write(dispute_word::pack(dispute));
}

fn dispute_of(job_id: u64) -> Dispute {
    dispute_word::unpack(job_record::at(job_id.into()).dispute_or_winner.read())
}

/// What of the bond is still there: a committee's is the escrow of its replicas.
fn kept_bond(dispute: Dispute) -> u128 {
    if dispute.committee == 0 {
        dispute.bond
    } else {
        0
    }
}
