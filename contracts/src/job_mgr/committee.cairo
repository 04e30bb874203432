// SPDX-License-Identifier: MIT

//! The group that runs a disputed job again.

use crate::clock::now;
use crate::job_mgr::contract::JobMgr::ContractState;
use crate::job_mgr::submission::{Submission, SubmissionTrait};
use crate::job_mgr::types::{JobSpec, verification};
use crate::job_mgr::{job_record, job_spec};
use crate::math::deadlines::REVEAL_WINDOW_S;
use crate::math::job_slot::QueuedJob;
use crate::math::job_terms::Terms;
use crate::math::{deadlines, job_slot};
use crate::types::Deadline;
use starknet::ContractAddress;
use starknet::storage::{StoragePointerReadAccess, StoragePointerWriteAccess};

const REPLICAS: u8 = 3;
const QUORUM: u8 = 2;
const MAX_ATTEMPTS: u8 = 3;
/// On top of two dispute windows and all attempts: the reveals, and an hour for the transactions.
const SLACK_S: u64 = REVEAL_WINDOW_S + 3_600;

#[generate_trait]
pub impl CommitteeImpl of CommitteeTrait {
    /// Queues the replicas of a disputed job, all closed to its worker. Whoever calls this takes
    /// their escrow and reports them.
    fn _call_committee(
        ref self: ContractState, job_id: u64, client: ContractAddress, worker_id: u32, terms: Terms,
    ) -> Submission {
        let record = job_record::at(job_id.into());
        let deadline = deadlines::after(now(), self.dispute_window_s.read());
        let terms = Terms {
            deadline,
            max_attempts: MAX_ATTEMPTS,
            verification: verification::NONE,
            is_replica: true,
            ..terms,
        };
        let queued = job_slot::unpack_queued(record.queued_for_committee.read());
        let queued = QueuedJob { attempt: 1, deadline, is_replica: true, ..queued };
        let restored = job_spec::restored(
            record.manifest_hash.read(),
            record.model_id.read(),
            terms,
            job_spec::requirements_of_queued(queued),
        );
        let spec = BoxTrait::new(JobSpec { replicas: REPLICAS, quorum: QUORUM, ..restored });

        let first_id = self._queue(spec, terms, queued, is_committee: true);
        job_record::exclusion_at(first_id.into(), worker_id.into()).write(1);
        Submission { first_id, client, spec, deadline_block: deadline.block }
    }

    /// When the dispute about a job with these terms ends, its committee agreed or not.
    fn _committee_ends(self: @ContractState, terms: Terms) -> Deadline {
        let attempts_s = terms.execution_timeout_s.into() * MAX_ATTEMPTS.into();
        deadlines::after(now(), 2 * self.dispute_window_s.read() + attempts_s + SLACK_S)
    }
}
