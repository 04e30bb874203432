// SPDX-License-Identifier: MIT

//! Which workers have lately said that they are alive.

use crate::cdc_pool::contract::CdcPool::ContractState;
use crate::math::heartbeats;
use crate::math::heartbeats::Beats;
use starknet::storage::{StorageMapReadAccess, StorageMapWriteAccess, StoragePointerReadAccess};

#[generate_trait]
pub impl LivenessImpl of Liveness {
    /// Adds beats to those of a group in this epoch.
    fn record_beats(ref self: ContractState, group: u32, beats: u128, epoch: u64) {
        let seen = heartbeats::seen_in(heartbeats::unpack(self.heartbeats.read(group)), epoch);
        let current = seen.current | beats;
        self.heartbeats.write(group, heartbeats::pack(Beats { current, ..seen }));
    }

    /// Whether a worker's beat was recorded in this or the previous epoch.
    fn has_beaten(self: @ContractState, worker_id: u32, epoch: u64) -> bool {
        if worker_id == 0 || worker_id > self.worker_count.read() {
            return false;
        }
        let (group, beat) = heartbeats::place_of(worker_id);
        let recorded = heartbeats::unpack(self.heartbeats.read(group));
        let seen = heartbeats::seen_in(recorded, epoch);
        (seen.current | seen.previous) & beat != 0
    }
}
