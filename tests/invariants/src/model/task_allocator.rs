//! Rounds and reported metrics, as `task_allocator/interface.cairo` has it.

use std::collections::BTreeMap;

use keeper_types::{Felt, JobId, JobState};

use super::{
    Answered, Model, Refusal, ensure,
    keepers::{Keeper, Policy},
};
use crate::{
    actors::Contract,
    calls::{AllocationParams, Item, Metrics, RoundHeader},
};

const UNKNOWN_WORKER: Refusal = "TaskAllocator: unknown worker";
const MAX_BATCH: usize = 500;
const BASIS_POINTS: u32 = 10_000;
/// Rounds lie below it.
const ROUND_END: u64 = 1 << 48;

#[derive(Clone, Debug, Default)]
pub(crate) struct TaskAllocator {
    /// Everyone who ever was one.
    pub(crate) keepers: BTreeMap<Felt, Keeper>,
    pub(crate) policies: BTreeMap<Felt, Policy>,
    pub(crate) rounds: u64,
    pub(crate) allocated: u64,
    pub(crate) skipped: u64,
    pub(crate) last_round_block: u64,
    /// What was last reported of a worker, and when.
    pub(crate) metrics: BTreeMap<u32, (Metrics, u64)>,
}

impl Model {
    pub(super) fn apply_batch(&mut self, caller: Felt, header: &RoundHeader, items: &[Felt]) -> Answered {
        self.unless_paused(Contract::TaskAllocator)?;
        ensure(self.is_keeper(caller), "TaskAllocator: not a keeper")?;
        ensure(!items.is_empty(), "TaskAllocator: empty batch")?;
        ensure(items.len() <= MAX_BATCH, "TaskAllocator: batch too large")?;
        ensure(header.round > self.keeper(caller).last_round, "TaskAllocator: stale round")?;
        ensure(header.round < ROUND_END, "TaskAllocator: round too high")?;
        ensure(header.snapshot_block <= self.now.block, "TaskAllocator: future snapshot")?;
        self.check_policy(header.policy_id)?;

        let keeper = self.task_allocator.keepers.get_mut(&caller).expect("only a keeper comes here");
        keeper.last_round = header.round;
        let skips = self.allocate_batch(Contract::TaskAllocator.address(), items)?;
        for (item, reason) in &skips {
            self.report_skip(*item, *reason);
        }
        let skipped = skips.len() as u64;
        let allocated = items.len() as u64 - skipped;
        let totals = &mut self.task_allocator;
        totals.rounds += 1;
        totals.allocated += allocated;
        totals.skipped += skipped;
        totals.last_round_block = self.now.block;
        let mut fields = vec![("keeper", caller)];
        fields.extend(header.fields());
        fields.extend([("allocated", allocated.into()), ("skipped", skipped.into())]);
        self.emit(Contract::TaskAllocator, "RoundApplied", fields);
        Ok(Vec::new())
    }

    fn report_skip(&mut self, item: Felt, reason: u8) {
        // Of a malformed item too, the bits are read where they would lie.
        let Item { job_id, worker_id, attempt, .. } = Item::unpack(item).0;
        let fields = vec![
            ("job_id", job_id.into()),
            ("worker_id", worker_id.into()),
            ("attempt", attempt.into()),
            ("reason", reason.into()),
        ];
        self.emit(Contract::TaskAllocator, "AllocationSkipped", fields);
    }

    pub(super) fn update_worker_metrics(&mut self, caller: Felt, worker_id: Felt, metrics: Metrics) -> Answered {
        let id = u32::try_from(worker_id).map_err(|_| UNKNOWN_WORKER)?;
        let owner = self.worker(id).ok_or(UNKNOWN_WORKER)?.owner;
        let is_allowed = caller == owner || self.is_keeper(caller);
        ensure(is_allowed, "TaskAllocator: not worker owner")?;
        let is_plausible = u32::from(metrics.success_bps.max(metrics.utilisation_bps)) <= BASIS_POINTS;
        ensure(is_plausible, "TaskAllocator: bad metrics")?;
        self.task_allocator.metrics.insert(id, (metrics, self.now.timestamp));
        let [queue_length, response_ms, success_bps, utilisation_bps] = metrics.felts();
        let fields = vec![
            ("worker_id", worker_id),
            ("metrics.queue_length", queue_length),
            ("metrics.response_ms", response_ms),
            ("metrics.success_bps", success_bps),
            ("metrics.utilisation_bps", utilisation_bps),
        ];
        self.emit(Contract::TaskAllocator, "WorkerMetricsUpdated", fields);
        Ok(Vec::new())
    }

    /// Cairo's `Some` is variant 0 and `None` variant 1.
    pub(super) fn allocate_job(&self, params: &AllocationParams) -> Vec<Felt> {
        let (low, high) = params.job_id;
        let job_id = u64::try_from(low).ok().filter(|_| high == 0).map(JobId);
        let recorded = job_id.and_then(|id| self.job(id)).and_then(|job| {
            let is_placed = matches!(
                job.state,
                JobState::Allocated | JobState::Committed | JobState::Revealed | JobState::Disputed | JobState::Settled
            );
            let placement = job.placement.filter(|_| is_placed)?;
            let worker = self.worker(placement.worker_id)?;
            let is_satisfied = (params.model_id == Felt::ZERO || params.model_id == job.spec.model_id)
                && job.spec.priority >= params.priority
                && (params.region == Felt::ZERO || params.region == worker.offer.capabilities.region)
                && u32::from(worker.reputation) >= params.min_reputation;
            is_satisfied.then_some((placement, job.spec.execution_timeout_s))
        });
        match recorded {
            None => vec![Felt::ONE],
            Some((placement, timeout_s)) => {
                let done_at = placement.at.timestamp + u64::from(timeout_s);
                vec![Felt::ZERO, placement.worker_id.into(), done_at.into(), placement.score.into()]
            }
        }
    }

    pub(super) fn get_worker_load(&self, worker_id: Felt) -> Result<Felt, Refusal> {
        let id = u32::try_from(worker_id).map_err(|_| UNKNOWN_WORKER)?;
        let worker = self.worker(id).ok_or(UNKNOWN_WORKER)?;
        let (used, _) = self.in_use(id);
        Ok(Felt::from(u32::from(used) * BASIS_POINTS / u32::from(worker.offer.slots)))
    }

    pub(super) fn get_worker_metrics(&self, worker_id: Felt) -> Answered {
        let id = u32::try_from(worker_id).map_err(|_| UNKNOWN_WORKER)?;
        let (metrics, _) = self.task_allocator.metrics.get(&id).copied().unwrap_or_default();
        Ok(metrics.felts().to_vec())
    }

    pub(super) fn metrics_reported_at(&self, worker_id: Felt) -> Result<Felt, Refusal> {
        let id = u32::try_from(worker_id).map_err(|_| UNKNOWN_WORKER)?;
        let (_, reported_at) = self.task_allocator.metrics.get(&id).copied().unwrap_or_default();
        Ok(reported_at.into())
    }
}
