// SPDX-License-Identifier: MIT

//! How jobs come into being.

use crate::job_mgr::contract::JobMgr::{ContractState, Emitter, Event};
use crate::job_mgr::types::{JobSpec, verification};
use crate::job_mgr::{events, group_record, job_record, job_spec};
use crate::math::group_word::Group;
use crate::math::job_slot::QueuedJob;
use crate::math::job_terms::Terms;
use crate::math::{account_word, job_slot, job_terms};
use crate::types::Deadline;
use starknet::ContractAddress;
use starknet::event::EventEmitter;
use starknet::storage::{StoragePathEntry, StoragePointerReadAccess, StoragePointerWriteAccess,};

/// A job with its replicas, in the queue but not yet paid for and not yet reported.
#[derive(Copy, Drop)]
pub struct Submission {
    /// The id of the first replica.
    pub first_id: u64,
    pub client: ContractAddress,
    /// Boxed, since it is long and only passed on.
    pub spec: Box<JobSpec>,
    pub deadline_block: u64,
}

#[generate_trait]
pub impl SubmissionImpl of SubmissionTrait {
    /// Checks the spec and queues a job for each replica. Whoever calls this takes
    /// [`escrow`] and reports. Also returns the client's word (`math/account_word.cairo`).
    fn _submit(
        ref self: ContractState, client: ContractAddress, spec: Box<JobSpec>, now: Deadline,
    ) -> (Submission, felt252) {
        let (terms, queued) = job_spec::checked(spec.unbox(), now);
        let account = self._numbered(client);
        let terms = Terms { client: account_word::number(account), ..terms };
        let first_id = self._queue(spec, terms, queued, is_committee: false);
        let deadline_block = terms.deadline.block;
        (Submission { first_id, client, spec, deadline_block }, account)
    }

    /// Queues a job for each of the spec's replicas and returns the first one's id.
    fn _queue(
        ref self: ContractState,
        spec: Box<JobSpec>,
        terms: Terms,
        queued: QueuedJob,
        is_committee: bool,
    ) -> u64 {
        let JobSpec { replicas, quorum, .. } = spec.unbox();
        let first_id = self.job_count.read() + 1;
        let end = first_id + replicas.into();
        self.job_count.write(end - 1);

        let terms = job_terms::pack(terms);
        let queued = job_slot::pack_queued(queued);
        write_job(first_id, spec, terms, queued);
        if replicas != 1 {
            let mut job_id = first_id + 1;
            while job_id != end {
                write_job(job_id, spec, terms, queued);
                job_record::at(job_id.into()).group.write(first_id.into());
                job_id += 1;
            };
            group_record::write(first_id, new_group(replicas, quorum, is_committee));
        }
        first_id
    }

    #[inline(always)]
    fn _report_submission(ref self: ContractState, submission: Submission) {
        let Submission { first_id, client, spec, deadline_block } = submission;
        let spec = spec.unbox();
        if spec.replicas == 1 {
            let event = events::JobSubmitted {
                job_id: first_id, client, spec, deadline_block, group_id: 0
            };
            self.emit(Event::JobSubmitted(event));
            return;
        }
        let end = first_id + spec.replicas.into();
        let mut job_id = first_id;
        while job_id != end {
            let event = events::JobSubmitted {
                job_id, client, spec, deadline_block, group_id: first_id
            };
            self.emit(Event::JobSubmitted(event));
            job_id += 1;
        };
    }

    /// What is known of a client, who gets a number with its first job.
    fn _numbered(ref self: ContractState, client: ContractAddress) -> felt252 {
        let entry = self.accounts.entry(client);
        let known = entry.read();
        if account_word::number(known) != 0 {
            return known;
        }
        let number = self.client_count.read() + 1;
        self.client_count.write(number);
        job_record::client_at(number.into()).write(client);
        let account = account_word::with_number(known, number);
        entry.write(account);
        account
    }
}

/// Writes a new job, whose terms and slot are packed.
#[inline(always)]
fn write_job(job_id: u64, spec: Box<JobSpec>, terms: felt252, queued: felt252) {
    let JobSpec { manifest_hash, model_id, verification: verified_by, .. } = spec.unbox();
    let record = job_record::at(job_id.into());
    record.slot.write(queued);
    record.terms.write(terms);
    record.queued_or_result.write(queued);
    record.manifest_hash.write(manifest_hash);
    if model_id != 0 {
        record.model_id.write(model_id);
    }
    if verified_by == verification::RERUN {
        record.queued_for_committee.write(queued);
    }
}

/// Fri that the replicas of a job put into escrow together.
#[inline(always)]
pub fn escrow(spec: JobSpec) -> u128 {
    if spec.replicas == 1 {
        spec.max_price
    } else {
        spec.max_price * spec.replicas.into()
    }
}

fn new_group(replicas: u8, quorum: u8, is_committee: bool) -> Group {
    Group {
        replicas,
        quorum,
        pending: replicas,
        revealed: 0,
        allocations: 0,
        is_decided: false,
        is_committee,
        opened: Deadline { timestamp: 0, block: 0 },
    }
}
