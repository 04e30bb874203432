// SPDX-License-Identifier: MIT

//! What a worker does with its attempt, and how an attempt ends that brings no result.

use core::poseidon::poseidon_hash_span;
use crate::cdc_pool::interface::ICdcPoolJobMgrDispatcherTrait;
use crate::cdc_pool::types::{AttemptFailure, WorkerFault};
use crate::context::{Context, context};
use crate::emission::emit_alone;
use crate::job_mgr::contract::JobMgr::{ContractState, Emitter, Event};
use crate::job_mgr::groups::GroupsTrait;
use crate::job_mgr::job_access::{JobAccessTrait, client_of, keep_result, terms_of};
use crate::job_mgr::ledger::LedgerTrait;
use crate::job_mgr::settlement::{penalty_of, write_slot};
use crate::job_mgr::types::JobState;
use crate::job_mgr::{errors, events, group_record, groups, job_record};
use crate::math::job_slot::PlacedJob;
use crate::math::job_terms::Terms;
use crate::math::{deadlines, job_slot};
use crate::types::Deadline;
use starknet::event::EventEmitter;
use starknet::storage::{StoragePointerReadAccess, StoragePointerWriteAccess};
use starknet::{ContractAddress, get_caller_address, get_contract_address, get_tx_info};

/// What is stored where a worker is excluded from a job.
const EXCLUDED: felt252 = 1;
const COMMIT_DOMAIN: felt252 = 'ciro-commit-v1';
const NEVER: Deadline = Deadline { timestamp: 0, block: 0 };

#[generate_trait]
pub impl AttemptsImpl of AttemptsTrait {
    /// Commits to a result and reveals it in one.
    fn _submit_result(ref self: ContractState, job_id: u64, attempt: u8, result_hash: felt252) {
        let placed = self._attempt(job_id, attempt, JobState::Allocated, errors::NOT_ALLOCATED);
        assert(!placed.is_replica, errors::IS_REPLICA);
        let Context { caller: owner, now, .. } = context();
        let challenge_ends = self._keep_result(job_id, placed, result_hash, now);
        // The pool knows the owner. One call both asks it and frees the worker; where the
        // answer is no, all of this is undone.
        let is_owner = self._pool().release(placed.worker_id, placed.gpu_count, owner, false);
        assert(is_owner, errors::NOT_WORKER);
        assert(result_hash != 0, errors::ZERO_RESULT);
        self._report_result(job_id, placed, result_hash, challenge_ends);
    }

    /// Takes a commitment.
    fn _commit_result(ref self: ContractState, job_id: u64, attempt: u8, commitment: felt252) {
        let placed = self._attempt(job_id, attempt, JobState::Allocated, errors::NOT_ALLOCATED);
        let worker_id = placed.worker_id;
        let Context { caller: owner, now, .. } = context();
        let challenge_ends = reveal_due(job_id, placed, now);
        let committed = PlacedJob { is_held: true, challenge_ends, ..placed };
        write_slot(job_id, committed, JobState::Committed);
        job_record::at(job_id.into()).commitment.write(commitment);
        if placed.is_replica {
            groups::leave_pending(job_id);
        }

        let is_owner = self._pool().release(worker_id, placed.gpu_count, owner, true);
        assert(is_owner, errors::NOT_WORKER);
        assert(commitment != 0, errors::ZERO_COMMITMENT);
        self
            .emit(
                Event::ResultCommitted(
                    events::ResultCommitted { job_id, worker_id, attempt, commitment }
                )
            );
    }

    /// Takes the result that was committed to.
    fn _reveal_result(
        ref self: ContractState, job_id: u64, attempt: u8, result_hash: felt252, salt: felt252,
    ) {
        let placed = self._attempt(job_id, attempt, JobState::Committed, errors::NOT_COMMITTED);
        let Context { caller: owner, now, .. } = context();
        if placed.is_replica {
            let group = group_record::read(group_record::id_of(job_id));
            assert(groups::is_revealing(group, now), errors::REVEALS_CLOSED);
        }
        let revealed = commitment_of(job_id, attempt, owner, result_hash, salt);
        let committed = job_record::at(job_id.into()).commitment.read();
        assert(revealed == committed, errors::WRONG_REVEAL);
        assert(result_hash != 0, errors::ZERO_RESULT);
        let challenge_ends = self._keep_result(job_id, placed, result_hash, now);
        self._report_result(job_id, placed, result_hash, challenge_ends);
        if placed.is_replica {
            self._count_result(job_id, result_hash);
        }
    }

    /// The result is known: the job is Revealed. Returns when its challenge window ends; a replica
    /// has none, its group must count it.
    fn _keep_result(
        ref self: ContractState,
        job_id: u64,
        placed: PlacedJob,
        result_hash: felt252,
        now: Deadline,
    ) -> Deadline {
        let challenge_ends = if placed.is_replica {
            NEVER
        } else {
            deadlines::after(now, self.challenge_window_s.read())
        };
        let revealed = PlacedJob { challenge_ends, has_result: true, ..placed };
        write_slot(job_id, revealed, JobState::Revealed);
        keep_result(job_id, result_hash);
        challenge_ends
    }

    fn _report_result(
        ref self: ContractState,
        job_id: u64,
        placed: PlacedJob,
        result_hash: felt252,
        challenge_ends: Deadline,
    ) {
        emit_alone(
            selector!("ResultSubmitted"),
            events::ResultSubmitted {
                job_id,
                worker_id: placed.worker_id,
                attempt: placed.attempt,
                result_hash,
                challenge_ends_at: challenge_ends.timestamp,
                challenge_ends_block: challenge_ends.block,
            },
        );
    }

    /// Ends an Allocated attempt: queues the job again or, after its last attempt, refunds it.
    fn _end_attempt(
        ref self: ContractState,
        job_id: u64,
        placed: PlacedJob,
        failure: AttemptFailure,
        reason: felt252,
    ) {
        let PlacedJob { worker_id, attempt, is_replica, .. } = placed;
        let terms = terms_of(job_id);
        let requeued = attempt < terms.max_attempts;
        self._requeue_or_refund(job_id, placed, terms, requeued);
        if is_replica && !requeued {
            groups::leave_pending(job_id);
        }
        self._pool().record_failure(worker_id, placed.gpu_count, failure);
        let expired = failure == AttemptFailure::Expired;
        self._report_failure(job_id, placed, terms, reason, :expired, :requeued);
    }

    /// Ends a Committed attempt whose result was not revealed. A replica has no further attempt:
    /// its group waits for nobody once the reveals are open, and the others' results are known.
    fn _end_unrevealed(ref self: ContractState, job_id: u64, placed: PlacedJob) {
        let terms = terms_of(job_id);
        let requeued = !placed.is_replica && placed.attempt < terms.max_attempts;
        let unheld = PlacedJob { is_held: false, challenge_ends: NEVER, ..placed };
        self._requeue_or_refund(job_id, unheld, terms, requeued);
        job_record::at(job_id.into()).commitment.write(0);
        let client = client_of(terms.client);
        self
            ._pool()
            .record_fault(
                placed.worker_id,
                WorkerFault::Unrevealed,
                penalty_of(placed, terms),
                get_caller_address(),
                client,
            );
        self._report_failure(job_id, placed, terms, 0, expired: true, :requeued);
    }

    /// The state and the money of a job whose attempt has failed.
    fn _requeue_or_refund(
        ref self: ContractState, job_id: u64, placed: PlacedJob, terms: Terms, requeued: bool,
    ) {
        let record = job_record::at(job_id.into());
        // A worker that fails at once would otherwise be free again first and be given every
        // attempt. That of a replica is excluded since its allocation, from the whole group.
        if !placed.is_replica {
            job_record::exclusion_at(job_id.into(), placed.worker_id.into()).write(EXCLUDED);
        }
        if requeued {
            let queued = record.queued_or_result.read();
            record.slot.write(job_slot::with_later_attempt(queued, placed.attempt));
        } else {
            write_slot(job_id, placed, JobState::Failed);
            self._credit(client_of(terms.client), terms.max_price);
        }
    }

    fn _report_failure(
        ref self: ContractState,
        job_id: u64,
        placed: PlacedJob,
        terms: Terms,
        reason: felt252,
        expired: bool,
        requeued: bool,
    ) {
        let PlacedJob { worker_id, attempt, .. } = placed;
        self
            .emit(
                Event::AttemptFailed(
                    events::AttemptFailed { job_id, worker_id, attempt, expired, reason, requeued }
                )
            );
        if !requeued {
            let client = client_of(terms.client);
            self
                .emit(
                    Event::JobFailed(
                        events::JobFailed { job_id, client, refunded: terms.max_price }
                    )
                );
        }
    }
}

/// When an Allocated or Committed job's worker must have answered; not yet known of a replica whose
/// group's reveals have not opened.
pub fn answer_due(job_id: u64, placed: PlacedJob) -> Option<Deadline> {
    if placed.state != JobState::Committed {
        Option::Some(attempt_due(job_id, placed))
    } else if placed.is_replica {
        groups::reveals_end(group_record::read(group_record::id_of(job_id)))
    } else {
        Option::Some(placed.challenge_ends)
    }
}

/// When a result that is committed to now must be revealed: in the whole reveal window, however
/// late the commitment comes. A replica's group says when.
fn reveal_due(job_id: u64, placed: PlacedJob, now: Deadline) -> Deadline {
    if placed.is_replica {
        return NEVER;
    }
    let begins = deadlines::later(attempt_due(job_id, placed), now);
    deadlines::after(begins, deadlines::REVEAL_WINDOW_S)
}

fn attempt_due(job_id: u64, placed: PlacedJob) -> Deadline {
    let allocated_at = job_slot::placement(placed).allocated_at;
    deadlines::of_attempt(allocated_at, terms_of(job_id).execution_timeout_s)
}

/// Whether the worker is excluded from the job, or from the group that it is a replica of.
pub fn is_excluded(job_id: u64, worker_id: u32) -> bool {
    let group_id = group_record::id_of(job_id);
    let list = if group_id == 0 {
        job_id
    } else {
        group_id
    };
    job_record::exclusion_at(list.into(), worker_id.into()).read() == EXCLUDED
}

/// What `owner` commits to a result with.
pub fn commitment_of(
    job_id: u64, attempt: u8, owner: ContractAddress, result_hash: felt252, salt: felt252,
) -> felt252 {
    poseidon_hash_span(
        array![
            COMMIT_DOMAIN,
            get_tx_info().unbox().chain_id,
            get_contract_address().into(),
            job_id.into(),
            attempt.into(),
            owner.into(),
            result_hash,
            salt,
        ]
            .span(),
    )
}
