//! Rounds of the keepers: batches whose items mostly make sense.

use keeper_types::{Felt, JobId, JobState, WorkerStatus};

use super::Generator;
use crate::{
    actors::Actor,
    calls::{Call, ITEM_BITS, Item, RoundHeader, STRATEGY_BIT},
    model::{Job, Model, is_hardware_enough, max_rate},
    views::POLICIES,
};

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
        let last = model.keeper(keeper.address()).last_round;
        let round = self.dice.weighted(&[
            (90, last.saturating_add(1)),
            (6, last.saturating_add(5)),
            (2, last),
            (1, last.saturating_sub(1)),
            (1, 0),
            (1, 1 << 48),
            (1, (1 << 48) - 1 - u64::from(last != 0)),
        ]);
        let block = model.now.block;
        let snapshot_block = self.dice.weighted(&[(30, block), (20, block - 3), (2, 0), (2, block + 1), (1, u64::MAX)]);
        let policy = self.policy(model);
        let header = RoundHeader {
            round,
            snapshot_block,
            snapshot_root: Felt::from(self.dice.next()),
            policy_id: policy,
            plan_root: Felt::from(self.dice.next()),
        };
        (keeper, Call::ApplyBatch { header, items })
    }

    /// Mostly one to decide by.
    fn policy(&mut self, model: &Model) -> Felt {
        let announced: Vec<Felt> = model.task_allocator.policies.keys().copied().collect();
        let usable: Vec<Felt> =
            announced.iter().copied().filter(|id| model.task_allocator.policies[id].is_usable(model.now)).collect();
        let any = Felt::from(self.dice.between(0, POLICIES));
        let known = self.dice.pick_any(&announced).unwrap_or(any);
        let right = self.dice.pick_any(&usable).unwrap_or(known);
        self.dice.weighted(&[(40, right), (2, known), (1, any)])
    }

    /// Mostly one that nobody has announced.
    pub(super) fn new_policy(&mut self, model: &Model) -> Felt {
        let is_new = |id: &u64| !model.task_allocator.policies.contains_key(&Felt::from(*id));
        let any = self.dice.between(0, POLICIES);
        let first = (1..=POLICIES).find(is_new).unwrap_or(any);
        Felt::from(self.dice.weighted(&[(5, first), (1, any)]))
    }

    fn any_item(&mut self, model: &Model) -> Felt {
        let last = model.job_mgr.jobs.len() as u64;
        let is_servable = |id: &u64| {
            let job = model.job(JobId(*id)).filter(|job| job.state == JobState::Queued);
            job.is_some_and(|job| !job.deadline.has_passed(model.now))
                && !self.fitting_workers(model, JobId(*id), job).is_empty()
        };
        let servable: Vec<u64> = (1..=last).filter(is_servable).collect();
        let is_replica = |id: &&u64| model.job(JobId(**id)).is_some_and(|job| job.group != 0);
        let replicas: Vec<u64> = servable.iter().filter(is_replica).copied().collect();
        let chosen = if self.dice.chance(50) { &replicas } else { &servable };
        let job_id = match self.dice.pick_any(chosen) {
            Some(id) if self.dice.chance(85) => JobId(id),
            _ => self.queued_job(model),
        };
        self.item(model, job_id)
    }

    /// The workers that can serve the job.
    pub(super) fn fitting_workers(&self, model: &Model, job_id: JobId, job: Option<&Job>) -> Vec<u32> {
        let last = u32::try_from(model.cdc_pool.workers.len()).unwrap_or(u32::MAX);
        let is_fitting = |id: &u32| {
            job.is_some_and(|job| {
                !model.job_mgr.excluded.contains(&(job.exclusion(job_id), *id)) && is_fit(model, job, *id)
            })
        };
        (1..=last).filter(is_fitting).collect()
    }

    /// An item for the job: for a worker that can serve it, or for any.
    pub(super) fn item(&mut self, model: &Model, job_id: JobId) -> Felt {
        let job = model.job(job_id);
        let fitting = self.fitting_workers(model, job_id, job);
        let any = self.worker_id(model);
        let worker_id = match self.dice.pick_any(&fitting) {
            Some(id) if self.dice.chance(85) => id,
            _ => any,
        };
        let rate = model.worker(worker_id).map_or(1_000, |worker| worker.offer.rate_gfri);
        let highest = job.map_or(1, |job| u64::try_from(max_rate(&job.spec)).unwrap_or(u64::MAX));
        let rate_end = (1 << 40) - 1;
        let item = Item {
            job_id: job_id.0,
            worker_id,
            attempt: self.attempt_of(job).0,
            strategy: u8::try_from(self.dice.below(4)).unwrap_or(0),
            score: u16::try_from(self.dice.edge(u16::MAX.into())).unwrap_or(0),
            rate_gfri: self.dice.weighted(&[
                (60, rate),
                (1, (rate + 1).min(rate_end)),
                (1, rate - 1),
                (1, highest.min(rate_end)),
                (1, (highest.saturating_add(1)).min(rate_end)),
                (1, 0),
            ]),
        };
        let felt = item.pack();
        let stray = ITEM_BITS + self.dice.below(86);
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
