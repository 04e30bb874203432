//! Rounds of the keepers: batches whose items mostly make sense.

use keeper_types::{AllocationItem, Felt, JobId, JobState, Strategy, WorkerId, WorkerStatus};

use super::Generator;
use crate::{
    actors::Actor,
    calls::Call,
    model::{Job, Model, is_hardware_enough, max_rate},
};

/// Bits of an item that must be 0 start here.
const ITEM_BITS: u64 = 124;
/// Where the strategy stands in an item.
const STRATEGY_BIT: u64 = 104;

impl Generator {
    pub(super) fn apply_batch(&mut self, model: &Model) -> (Actor, Call) {
        let length = self.dice.weighted(&[(300, 1), (300, 2), (300, 4), (60, 9), (12, 0), (3, 501), (1, 500)]);
        // A batch at the limit is there for its length; its items name no job.
        let items = (0..length).map(|_| if length > 9 { Felt::ZERO } else { self.any_item(model) }).collect();
        self.batch_of(model, items)
    }

    /// A batch in a round, mostly the keeper's next one.
    pub(super) fn batch_of(&mut self, model: &Model, items: Vec<Felt>) -> (Actor, Call) {
        let keeper = self.dice.pick(&Actor::KEEPERS);
        let last = model.task_allocator.last_round.get(&keeper.address()).copied().unwrap_or_default();
        let round = self.dice.weighted(&[
            (60, last.saturating_add(1)),
            (6, last.saturating_add(5)),
            (2, last),
            (1, last.saturating_sub(1)),
            (1, 0),
        ]);
        let block = model.now.block;
        let snapshot_block = self.dice.weighted(&[(30, block), (20, block - 3), (2, 0), (2, block + 1), (1, u64::MAX)]);
        (keeper, Call::ApplyBatch { round, snapshot_block, items })
    }

    fn any_item(&mut self, model: &Model) -> Felt {
        let (job_id, _) = self.job_in(model, JobState::Queued);
        self.item(model, job_id)
    }

    /// An item for the job: for a worker that can serve it, or for any.
    pub(super) fn item(&mut self, model: &Model, job_id: JobId) -> Felt {
        let job = model.job(job_id);
        let last = u32::try_from(model.cdc_pool.workers.len()).unwrap_or(u32::MAX);
        let fitting: Vec<u32> = (1..=last)
            .filter(|id| {
                let is_excluded = model.job_mgr.excluded.contains(&(job_id.0, *id));
                !is_excluded && job.is_some_and(|job| is_fit(model, job, *id))
            })
            .collect();
        let any = self.worker_id(model);
        let worker_id = match self.dice.pick_any(&fitting) {
            Some(id) if self.dice.chance(75) => id,
            _ => any,
        };
        let strategies = [Strategy::Standard, Strategy::Batch, Strategy::Emergency, Strategy::Fallback];
        let item = AllocationItem {
            job_id,
            worker_id: WorkerId(worker_id),
            attempt: self.attempt_of(job),
            strategy: self.dice.pick(&strategies),
            score: u16::try_from(self.dice.edge(u16::MAX.into())).unwrap_or(0),
        };
        let felt = item.pack();
        let stray = ITEM_BITS + self.dice.below(126);
        let bit = self.dice.weighted(&[(1, STRATEGY_BIT + 2), (1, STRATEGY_BIT + 3), (1, ITEM_BITS), (1, stray)]);
        if self.dice.chance(3) { felt + Felt::TWO.pow(bit) } else { felt }
    }
}

/// Whether the worker could take the job, as far as a keeper knows.
fn is_fit(model: &Model, job: &Job, worker_id: u32) -> bool {
    let wanted = &job.spec.requirements;
    model.worker(worker_id).is_some_and(|worker| {
        let offered = &worker.offer.capabilities;
        let (used_slots, used_gpus) = model.in_use(worker_id);
        worker.status == WorkerStatus::Active
            && used_slots < worker.offer.slots
            && wanted.gpu_count <= offered.gpu_count - used_gpus
            && is_hardware_enough(wanted, offered)
            && u128::from(worker.offer.rate_gfri) <= max_rate(&job.spec)
    })
}
