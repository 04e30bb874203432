// SPDX-License-Identifier: MIT

//! How jobs come into being.

use crate::clock::now;
use crate::job_mgr::contract::JobMgr::{ContractState, Emitter, Event};
use crate::job_mgr::types::JobSpec;
use crate::job_mgr::{events, group_record, job_record, job_spec};
use crate::math::group_word::Group;
use crate::math::job_slot::QueuedJob;
use crate::math::job_terms::Terms;
use crate::math::{job_slot, job_terms};
use crate::types::Deadline;
use starknet::ContractAddress;
use starknet::event::EventEmitter;
use starknet::storage::{
    StorageMapReadAccess, StorageMapWriteAccess, StoragePointerReadAccess,
    StoragePointerWriteAccess,
};

/// A job with its replicas, in the queue but not yet paid for and not yet reported.
#[derive(Copy, Drop)]
pub struct Submission {
    /// The id of the first replica.
    pub first_id: u64,
    pub client: ContractAddress,
    pub spec: JobSpec,
    pub deadline_block: u64,
}

#[generate_trait]
pub impl SubmissionImpl of SubmissionTrait {
    /// Checks the spec and queues a job for each replica. Whoever calls this takes
    /// [`escrow`] and reports.
    fn _submit(ref self: ContractState, client: ContractAddress, spec: JobSpec) -> Submission {
        let (terms, queued) = job_spec::checked(spec, now());
        let terms = Terms { client: self._number_client(client), ..terms };
        let first_id = self._queue(spec, terms, queued, is_committee: false);
        Submission { first_id, client, spec, deadline_block: terms.deadline.block }
    }

    /// Queues a job for each of the spec's replicas and returns the first one's id.
    fn _queue(
        ref self: ContractState, spec: JobSpec, terms: Terms, queued: QueuedJob, is_committee: bool,
    ) -> u64 {
        let first_id = self.job_count.read() + 1;
        let end = first_id + spec.replicas.into();
        self.job_count.write(end - 1);

        let terms = job_terms::pack(terms);
        let queued = job_slot::pack_queued(queued);
        let mut job_id = first_id;
        while job_id != end {
            let record = job_record::at(job_id.into());
            record.slot.write(queued);
            record.terms.write(terms);
            record.queued_or_result.write(queued);
            record.manifest_hash.write(spec.manifest_hash);
            if spec.model_id != 0 {
                record.model_id.write(spec.model_id);
            }
            if job_id != first_id {
                record.group.write(first_id.into());
            }
            job_id += 1;
        };
        if spec.replicas != 1 {
            group_record::write(first_id, new_group(spec, is_committee));
        }
        first_id
    }

    fn _report_submission(ref self: ContractState, submission: Submission) {
        let Submission { first_id, client, spec, deadline_block } = submission;
        let group_id = if spec.replicas == 1 {
            0
        } else {
            first_id
        };
        let end = first_id + spec.replicas.into();
        let mut job_id = first_id;
        while job_id != end {
            self
                .emit(
                    Event::JobSubmitted(
                        events::JobSubmitted { job_id, client, spec, deadline_block, group_id }
                    )
                );
            job_id += 1;
        };
    }

    /// The number of a client, who gets one with its first job.
    fn _number_client(ref self: ContractState, client: ContractAddress) -> u32 {
        let known = self.client_number.read(client);
        if known != 0 {
            return known;
        }
        let number = self.client_count.read() + 1;
        self.client_count.write(number);
        self.clients.write(number, client);
        self.client_number.write(client, number);
        number
    }
}

/// Fri that the replicas of a job put into escrow together.
pub fn escrow(spec: JobSpec) -> u128 {
    spec.max_price * spec.replicas.into()
}

fn new_group(spec: JobSpec, is_committee: bool) -> Group {
    Group {
        replicas: spec.replicas,
        quorum: spec.quorum,
        pending: spec.replicas,
        revealed: 0,
        allocations: 0,
        is_decided: false,
        is_committee,
        opened: Deadline { timestamp: 0, block: 0 },
    }
}
