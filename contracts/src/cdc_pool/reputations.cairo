// SPDX-License-Identifier: MIT

//! Moves reputations, by the rules of `math/reputation.cairo`.

use crate::cdc_pool::contract::CdcPool::ContractState;
use crate::cdc_pool::interface::Events;
use crate::cdc_pool::{errors, worker_record};
use crate::clock::now;
use crate::emission::emit_alone;
use crate::math::reputation::Outcome;
use crate::math::{reputation, worker_slot};
use starknet::storage::{StoragePointerReadAccess, StoragePointerWriteAccess};

#[generate_trait]
pub impl ReputationsImpl of Reputations {
    /// Lets a worker's reputation decay until now, and then moves it by an outcome.
    fn record_outcome(ref self: ContractState, worker_id: u32, outcome: Outcome, time: u64) {
        let packed = worker_record::slot_at(worker_id.into()).read();
        let (old, since) = worker_slot::reputation(packed);
        let decayed = reputation::after_decay(old, reputation::decay_periods(since, time));
        let new = reputation::after_outcome(decayed, outcome);
        self.write_reputation(worker_id, packed, (old, since), (new, time));
    }

    /// Writes the worker's slot with another reputation.
    fn write_reputation(
        ref self: ContractState, worker_id: u32, packed: felt252, old: (u16, u64), new: (u16, u64),
    ) {
        let slot = worker_slot::with_reputation(packed, old, new);
        worker_record::slot_at(worker_id.into()).write(slot);
        let (old_reputation, _) = old;
        let (new_reputation, _) = new;
        if new_reputation != old_reputation {
            emit_alone(
                selector!("ReputationChanged"),
                Events::ReputationChanged { worker_id, old_reputation, new_reputation },
            );
        }
    }

    /// Lets a worker's reputation decay for the full periods that have passed.
    fn decay(ref self: ContractState, worker_id: u32) {
        let packed = worker_record::slot_at(worker_id.into()).read();
        assert(packed != 0, errors::UNKNOWN_WORKER);
        let (old, since) = worker_slot::reputation(packed);
        let periods = reputation::decay_periods(since, now().timestamp);
        assert(periods != 0, errors::NOTHING_TO_DECAY);

        let until = since + periods * reputation::DECAY_PERIOD_S;
        let new = reputation::after_decay(old, periods);
        self.write_reputation(worker_id, packed, (old, since), (new, until));
    }
}
