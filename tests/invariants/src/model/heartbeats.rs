//! Who is alive.

use keeper_types::Felt;

use super::{Answered, Model, ensure};
use crate::{
    actors::Contract,
    calls::{GROUP_SIZE, group_of, heartbeats},
};

const EPOCH_S: u64 = 600;
const MAX_GROUPS: usize = 250;

impl Model {
    pub(super) fn heartbeat(&mut self, caller: Felt) -> Answered {
        let position = self.staying_worker_of(caller)? - 1;
        let beat = heartbeats(u64::from(position / GROUP_SIZE), 1 << (position % GROUP_SIZE));
        self.record_beats(caller, &[beat]);
        Ok(Vec::new())
    }

    pub(super) fn heartbeat_batch(&mut self, caller: Felt, groups: &[Felt]) -> Answered {
        // Until the pool knows the task allocator, it knows no keeper.
        let is_keeper = self.cdc_pool.task_allocator != Felt::ZERO && self.is_keeper(caller);
        ensure(is_keeper, "CdcPool: caller not a keeper")?;
        ensure(!groups.is_empty(), "CdcPool: empty batch")?;
        ensure(groups.len() <= MAX_GROUPS, "CdcPool: batch too large")?;
        let count = self.cdc_pool.workers.len() as u64;
        let known = Felt::from(count.div_ceil(u64::from(GROUP_SIZE)));
        for group in groups {
            ensure(group_of(*group).0 < known, "CdcPool: unknown group")?;
        }
        self.record_beats(caller, groups);
        Ok(Vec::new())
    }

    fn record_beats(&mut self, reporter: Felt, groups: &[Felt]) {
        let epoch = self.now.timestamp / EPOCH_S;
        for group in groups {
            let (index, positions) = group_of(*group);
            let first = u32::try_from(index).expect("groups of workers are few") * GROUP_SIZE + 1;
            self.cdc_pool.beats.extend(positions.into_iter().map(|position| (first + position, epoch)));
        }
        let fields = vec![("reporter", reporter), ("epoch", epoch.into())];
        self.emit_list(Contract::CdcPool, "HeartbeatsRecorded", fields, groups.to_vec());
    }

    /// Whether the worker has a heartbeat in this epoch or the one before.
    pub(crate) fn is_alive(&self, worker_id: u32) -> bool {
        let epoch = self.now.timestamp / EPOCH_S;
        let beats = &self.cdc_pool.beats;
        self.worker(worker_id).is_some()
            && (beats.contains(&(worker_id, epoch)) || beats.contains(&(worker_id, epoch - 1)))
    }
}
