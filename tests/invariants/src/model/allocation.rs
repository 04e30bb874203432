//! What each item of a batch comes to: docs/job-lifecycle.md, "What an allocation must satisfy".

use keeper_types::{AllocationItem, Felt, JobState, SkipReason, WorkerStatus};

use super::{Model, Placement, Refusal, cdc_pool::NOT_JOB_MGR, job_mgr::NOT_TASK_ALLOCATOR, max_rate};
use crate::{
    actors::Contract,
    calls::{Capabilities, Requirements},
};

impl Model {
    /// Allocates what holds, item by item. For each, 0 or the number of the reason to skip it.
    pub(super) fn allocate_batch(&mut self, caller: Felt, items: &[Felt]) -> Result<Vec<u8>, Refusal> {
        if caller != self.job_mgr.task_allocator {
            return Err(NOT_TASK_ALLOCATOR);
        }
        // An empty batch has nothing to ask the pool.
        if !items.is_empty() && self.cdc_pool.job_mgr != Contract::JobMgr.address() {
            return Err(NOT_JOB_MGR);
        }
        Ok(items.iter().map(|item| self.allocate(*item)).collect())
    }

    fn allocate(&mut self, item: Felt) -> u8 {
        let Ok(item) = AllocationItem::unpack(item) else { return SkipReason::ItemMalformed as u8 };
        match self.verdict(&item) {
            Err(reason) => reason as u8,
            Ok(rate_gfri) => {
                self.place(&item, rate_gfri);
                0
            }
        }
    }

    /// The worker's rate, or the first reason to skip the item.
    fn verdict(&self, item: &AllocationItem) -> Result<u64, SkipReason> {
        let job = self.job(item.job_id).ok_or(SkipReason::JobUnknown)?;
        let wanted = &job.spec.requirements;
        let unless = |holds: bool, reason: SkipReason| if holds { Ok(()) } else { Err(reason) };
        unless(job.state == JobState::Queued, SkipReason::JobNotQueued)?;
        unless(job.attempt == item.attempt.0, SkipReason::AttemptMismatch)?;
        unless(!job.deadline.has_passed(self.now), SkipReason::DeadlinePassed)?;
        let is_excluded = self.job_mgr.excluded.contains(&(item.job_id.0, item.worker_id.0));
        unless(!is_excluded, SkipReason::WorkerExcluded)?;

        let worker = self.worker(item.worker_id.0).ok_or(SkipReason::WorkerUnknown)?;
        let offered = &worker.offer.capabilities;
        let (used_slots, used_gpus) = self.in_use(item.worker_id.0);
        unless(worker.status == WorkerStatus::Active, SkipReason::WorkerUnavailable)?;
        unless(used_slots < worker.offer.slots, SkipReason::NoFreeSlot)?;
        unless(wanted.gpu_count <= offered.gpu_count - used_gpus, SkipReason::NoFreeGpu)?;
        unless(is_hardware_enough(wanted, offered), SkipReason::RequirementUnmet)?;
        unless(u128::from(worker.offer.rate_gfri) <= max_rate(&job.spec), SkipReason::RateTooHigh)?;
        unless(worker.reputation >= wanted.min_reputation, SkipReason::ReputationTooLow)?;
        let is_in_region = wanted.region == Felt::ZERO || wanted.region == offered.region;
        unless(is_in_region, SkipReason::RegionMismatch)?;
        Ok(worker.offer.rate_gfri)
    }

    fn place(&mut self, item: &AllocationItem, rate_gfri: u64) {
        let now = self.now;
        let strategy = item.strategy as u8;
        let choice = u32::from(item.attempt.0) + (u32::from(strategy) << 8) + (u32::from(item.score) << 12);
        let job = self.job_mut(item.job_id).expect("the verdict found it");
        let timeout_s = job.spec.execution_timeout_s;
        let placement = Placement::new(now, timeout_s, item.worker_id.0, rate_gfri, item.score, strategy);
        job.state = JobState::Allocated;
        job.placement = Some(placement);
        let fields = vec![
            ("job_id", item.job_id.0.into()),
            ("worker_id", item.worker_id.0.into()),
            ("rate_gfri", rate_gfri.into()),
            ("choice", choice.into()),
        ];
        self.emit(Contract::JobMgr, "JobAllocated", fields);
    }
}

/// Everything that a worker must have and cannot run out of.
pub(crate) fn is_hardware_enough(wanted: &Requirements, offered: &Capabilities) -> bool {
    wanted.vram_gib <= offered.vram_gib
        && wanted.compute_capability <= offered.compute_capability
        && wanted.cuda_version <= offered.cuda_version
        && wanted.driver_version <= offered.driver_version
        && wanted.cpu_cores <= offered.cpu_cores
        && wanted.memory_gib <= offered.memory_gib
        && wanted.features & !offered.features == 0
}
