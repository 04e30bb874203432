//! Rounds: each item is compared with what is there, and taken or skipped.

use keeper_types::{
    Address, AllocationItem, BlockNumber, Felt, JobState, MarketEvent, PolicyId, SkipReason, WorkerStatus,
};

use super::{Contracts, Moment, Refusal};

/// Seconds for the result's transaction on top of the execution timeout.
const GRACE_S: u64 = 60;

impl Contracts {
    pub(super) fn apply_batch(
        &mut self,
        now: Moment,
        keeper: Address,
        (round, snapshot_block): (u64, BlockNumber),
        items: &[AllocationItem],
    ) -> Result<Vec<MarketEvent>, Refusal> {
        if round <= self.last_round(keeper) {
            return Err("TaskAllocator: round too low");
        }
        self.rounds.insert(keeper, round);
        let (mut allocated, mut skipped) = (Vec::new(), Vec::new());
        for item in items {
            match self.allows(now, item) {
                Err(reason) if !self.ignores_state => skipped.push(MarketEvent::AllocationSkipped {
                    job_id: item.job_id,
                    worker_id: item.worker_id,
                    attempt: item.attempt,
                    reason,
                }),
                _ => {
                    self.allocate(now, item);
                    allocated.push(*item);
                }
            }
        }
        let counts = (allocated.len(), skipped.len());
        let mut events = Vec::new();
        if !allocated.is_empty() {
            events.push(MarketEvent::JobsAllocated { items: allocated });
        }
        events.extend(skipped);
        let count = |count| u32::try_from(count).unwrap_or(u32::MAX);
        events.push(MarketEvent::RoundApplied {
            keeper,
            round,
            snapshot_block,
            snapshot_root: Felt::ZERO,
            policy_id: PolicyId(Felt::ZERO),
            plan_root: Felt::ZERO,
            allocated: count(counts.0),
            skipped: count(counts.1),
        });
        Ok(events)
    }

    /// The first reason to skip an item.
    fn allows(&self, now: Moment, item: &AllocationItem) -> Result<(), SkipReason> {
        let unless = |holds: bool, reason: SkipReason| if holds { Ok(()) } else { Err(reason) };
        let job = self.jobs.get(&item.job_id).ok_or(SkipReason::JobUnknown)?;
        unless(job.state == JobState::Queued, SkipReason::JobNotQueued)?;
        unless(job.attempt == item.attempt, SkipReason::AttemptMismatch)?;
        unless(!job.deadline.has_passed(now), SkipReason::DeadlinePassed)?;
        unless(!job.excluded.contains(&item.worker_id), SkipReason::WorkerExcluded)?;
        unless(item.rate <= job.spec.max_rate(), SkipReason::RateTooHigh)?;
        let wanted = &job.spec.requirements;
        let worker = self.workers.get(&item.worker_id).ok_or(SkipReason::WorkerUnknown)?;
        unless(worker.status == WorkerStatus::Active, SkipReason::WorkerUnavailable)?;
        unless(worker.used_slots < worker.slots, SkipReason::NoFreeSlot)?;
        let free_gpus = worker.capabilities.gpu_count - worker.used_gpus;
        unless(wanted.gpu_count <= free_gpus, SkipReason::NoFreeGpu)?;
        unless(wanted.vram_gib <= worker.capabilities.vram_gib, SkipReason::RequirementUnmet)?;
        unless(worker.rate == item.rate, SkipReason::RateChanged)?;
        unless(worker.reputation >= wanted.min_reputation, SkipReason::ReputationTooLow)
    }

    fn allocate(&mut self, now: Moment, item: &AllocationItem) {
        let Some(job) = self.jobs.get_mut(&item.job_id) else { return };
        job.state = JobState::Allocated;
        (job.worker, job.rate, job.attempt) = (Some(item.worker_id), item.rate, item.attempt);
        job.due = Some(now.after(u64::from(job.spec.execution_timeout_s) + GRACE_S));
        let gpus = job.spec.requirements.gpu_count;
        if let Some(worker) = self.workers.get_mut(&item.worker_id) {
            worker.used_slots = worker.used_slots.saturating_add(1);
            worker.used_gpus = worker.used_gpus.saturating_add(gpus);
        }
    }
}
