// SPDX-License-Identifier: MIT

//! Where groups of replicas lie in storage: in the record of the first replica.

use crate::job_mgr::job_record;
use crate::math::group_word;
use crate::math::group_word::{Group, GroupSlot};
use crate::types::Deadline;
use starknet::storage::{StoragePointerReadAccess, StoragePointerWriteAccess};

const NO_GROUP: Group =
    Group {
        replicas: 0,
        quorum: 0,
        pending: 0,
        revealed: 0,
        allocations: 0,
        is_decided: false,
        is_committee: false,
        opened: Deadline { timestamp: 0, block: 0 },
    };

/// The id of the job's group; 0 where the job is alone.
pub fn id_of(job_id: u64) -> u64 {
    match group_word::unpack(job_record::at(job_id.into()).group.read()) {
        GroupSlot::Alone => 0,
        GroupSlot::Member(first) => first,
        GroupSlot::First(_) => job_id,
    }
}

/// The group whose first replica has this id; one of 0 replicas if there is none.
pub fn read(group_id: u64) -> Group {
    match group_word::unpack(job_record::at(group_id.into()).group.read()) {
        GroupSlot::First(group) => group,
        _ => NO_GROUP,
    }
}

pub fn write(group_id: u64, group: Group) {
    job_record::at(group_id.into()).group.write(group_word::pack(group));
}

/// The result hash that reached the group's quorum; 0 without one.
pub fn winner(group_id: u64) -> felt252 {
    job_record::at(group_id.into()).dispute_or_winner.read()
}
