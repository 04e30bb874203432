// SPDX-License-Identifier: MIT

//! Replicas of one job, which verify one another.
//!
//! Results are revealed only once no replica is pending, that is Queued or Allocated: then every
//! worker has committed to its own. The first result hash that reaches the quorum wins. As the
//! quorum is more than half of the replicas there is one winner at most, and after the reveal
//! window none can come any more, so that a decision never changes.

use crate::clock::now;
use crate::job_mgr::contract::JobMgr::{ContractState, Emitter, Event};
use crate::job_mgr::job_access::result_of;
use crate::job_mgr::settlement::SettlementTrait;
use crate::job_mgr::types::{GroupView, JobState, rejection_cause};
use crate::job_mgr::{errors, events, group_record, job_record};
use crate::math::group_word::Group;
use crate::math::job_slot::PlacedJob;
use crate::math::{deadlines, job_slot};
use crate::types::Deadline;
use starknet::ContractAddress;
use starknet::event::EventEmitter;
use starknet::storage::{
    StorageMapReadAccess, StorageMapWriteAccess, StoragePointerReadAccess,
    StoragePointerWriteAccess,
};

#[generate_trait]
pub impl GroupsImpl of GroupsTrait {
    /// Cancels every replica that is still queued. At most 15 of them.
    fn _cancel_group(ref self: ContractState, group_id: u64, client: ContractAddress) {
        let group = group_record::read(group_id);
        // Else a client could dispute for nothing: the escrow would return at once.
        assert(!group.is_committee, errors::IS_COMMITTEE);
        assert(group.allocations == 0, errors::GROUP_STARTED);
        group_record::write(group_id, Group { pending: 0, opened: now(), ..group });

        let end = group_id + group.replicas.into();
        let mut job_id = group_id;
        while job_id != end {
            if job_slot::state(job_record::at(job_id.into()).slot.read()) == JobState::Queued {
                let refunded = self._refund_queued(job_id, client, JobState::Cancelled);
                self.emit(Event::JobCancelled(events::JobCancelled { job_id, client, refunded }));
            }
            job_id += 1;
        };
    }

    /// Counts a revealed result; the one that completes the quorum decides.
    fn _count_result(ref self: ContractState, job_id: u64, result_hash: felt252) {
        let group_id = group_record::id_of(job_id);
        let group = group_record::read(group_id);
        let equal = self.tally.read((group_id, result_hash)) + 1;
        let wins = equal == group.quorum;
        self.tally.write((group_id, result_hash), equal);
        let is_decided = group.is_decided || wins;
        group_record::write(group_id, Group { revealed: group.revealed + 1, is_decided, ..group });
        if wins {
            job_record::at(group_id.into()).dispute_or_winner.write(result_hash);
            self.emit(Event::GroupDecided(events::GroupDecided { group_id, winner: result_hash }));
        }
    }

    /// Ends a revealed replica by what its group has decided.
    fn _settle_replica(ref self: ContractState, job_id: u64, placed: PlacedJob) {
        let group_id = group_record::id_of(job_id);
        let winner = group_record::winner(group_id);
        if winner == 0 {
            self._close_without_winner(group_id);
            self._reject(job_id, placed, rejection_cause::NO_QUORUM);
        } else if winner == result_of(job_id) {
            self._pay_worker(job_id, placed);
        } else {
            self._reject(job_id, placed, rejection_cause::OUTLIER);
        }
    }

    /// The group has no winner: it must be too late for one, which is reported once.
    fn _close_without_winner(ref self: ContractState, group_id: u64) {
        let group = group_record::read(group_id);
        assert(is_closed(group, now()), errors::GROUP_OPEN);
        if !group.is_decided {
            group_record::write(group_id, Group { is_decided: true, ..group });
            self.emit(Event::GroupDecided(events::GroupDecided { group_id, winner: 0 }));
        }
    }
}

/// A replica ceases to be pending; the last one opens the reveals.
pub fn leave_pending(job_id: u64) {
    let group_id = group_record::id_of(job_id);
    let group = group_record::read(group_id);
    let pending = group.pending - 1;
    let opened = if pending == 0 {
        now()
    } else {
        group.opened
    };
    group_record::write(group_id, Group { pending, opened, ..group });
}

/// When the reveals end, if they have begun.
pub fn reveals_end(group: Group) -> Option<Deadline> {
    if group.pending == 0 {
        Option::Some(deadlines::after(group.opened, deadlines::REVEAL_WINDOW_S))
    } else {
        Option::None
    }
}

/// Whether results can be revealed.
pub fn is_revealing(group: Group, now: Deadline) -> bool {
    match reveals_end(group) {
        Option::Some(end) => !deadlines::has_passed(end, now),
        Option::None => false,
    }
}

/// Whether results can no longer be revealed.
pub fn is_closed(group: Group, now: Deadline) -> bool {
    match reveals_end(group) {
        Option::Some(end) => deadlines::has_passed(end, now),
        Option::None => false,
    }
}

pub fn view(group_id: u64) -> GroupView {
    let group = group_record::read(group_id);
    let winner = if group.replicas == 0 {
        0
    } else {
        group_record::winner(group_id)
    };
    GroupView {
        group_id,
        replicas: group.replicas,
        quorum: group.quorum,
        pending: group.pending,
        revealed: group.revealed,
        started: group.allocations != 0,
        opened_at: group.opened.timestamp,
        opened_block: group.opened.block,
        decided: group.is_decided,
        winner,
    }
}
