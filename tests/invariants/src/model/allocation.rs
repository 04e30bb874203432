//! What each item of a batch comes to: docs/job-lifecycle.md, "What an allocation must satisfy".

use keeper_types::{Felt, JobId, JobState, WorkerStatus};

use super::{Answered, Job, Model, Placement, Refusal, cdc_pool::NOT_JOB_MGR, ensure, job_mgr::IS_REPLICA, max_rate};
use crate::{
    actors::Contract,
    calls::{Capabilities, Item, Requirements, skip},
};

/// Blocks without a round after which workers help themselves.
const CLAIM_AFTER_BLOCKS: u64 = 100;
/// Of a job that its worker took.
const FALLBACK: u8 = 3;
const ITEMS_PER_EVENT: usize = 250;

/// An item that the job's side allows, with what is to be undone where the worker's side does not.
struct Candidate {
    /// As it was sent.
    felt: Felt,
    item: Item,
    before: Job,
}

impl Model {
    /// Allocates what holds: first every item for its job, then every one for its worker. Returns the others with the
    /// reasons to skip them: first the jobs', then the workers'.
    pub(super) fn allocate_batch(&mut self, caller: Felt, items: &[Felt]) -> Result<Vec<(Felt, u8)>, Refusal> {
        self.unless_paused(Contract::JobMgr)?;
        ensure(caller == self.job_mgr.task_allocator, "JobMgr: caller not allocator")?;
        self.allocate(items)
    }

    fn allocate(&mut self, items: &[Felt]) -> Result<Vec<(Felt, u8)>, Refusal> {
        let (mut skipped, mut allocated, mut candidates) = (Vec::new(), Vec::new(), Vec::new());
        for felt in items {
            let (item, is_well_formed) = Item::unpack(*felt);
            let verdict = if is_well_formed { self.job_allows(&item) } else { Err(skip::ITEM_MALFORMED) };
            match verdict {
                Ok(()) => candidates.push(self.place(*felt, item)),
                Err(reason) => skipped.push((*felt, reason)),
            }
        }
        // Where nothing is left there is nothing to ask the pool.
        if !candidates.is_empty() {
            ensure(self.cdc_pool.job_mgr == Contract::JobMgr.address(), NOT_JOB_MGR)?;
        }
        for candidate in candidates {
            match self.worker_allows(&candidate) {
                Ok(()) => {
                    self.grant(&candidate.item);
                    allocated.push(candidate.felt);
                }
                Err(reason) => {
                    skipped.push((candidate.felt, reason));
                    self.take_back(candidate);
                }
            }
        }
        for chunk in allocated.chunks(ITEMS_PER_EVENT) {
            self.emit_list(Contract::JobMgr, "JobsAllocated", Vec::new(), chunk.to_vec());
        }
        Ok(skipped)
    }

    /// The first reason on the job's side to skip an item.
    fn job_allows(&self, item: &Item) -> Result<(), u8> {
        let unless = |holds: bool, reason: u8| if holds { Ok(()) } else { Err(reason) };
        let job_id = JobId(item.job_id);
        let job = self.job(job_id).ok_or(skip::JOB_UNKNOWN)?;
        unless(job.state == JobState::Queued, skip::JOB_NOT_QUEUED)?;
        unless(job.attempt == item.attempt, skip::ATTEMPT_MISMATCH)?;
        unless(!job.deadline.has_passed(self.now), skip::DEADLINE_PASSED)?;
        let is_excluded = self.job_mgr.excluded.contains(&(job.exclusion(job_id), item.worker_id));
        unless(!is_excluded, skip::WORKER_EXCLUDED)?;
        unless(u128::from(item.rate_gfri) <= max_rate(&job.spec), skip::RATE_TOO_HIGH)
    }

    /// Takes the job out of the queue; its worker has not been asked yet.
    fn place(&mut self, felt: Felt, item: Item) -> Candidate {
        let job = self.job_mut(JobId(item.job_id)).expect("the verdict found it");
        let before = job.clone();
        job.state = JobState::Allocated;
        if let Some(group) = self.job_mgr.groups.get_mut(&before.group) {
            group.allocations += 1;
            self.job_mgr.excluded.insert((before.group, item.worker_id));
        }
        Candidate { felt, item, before }
    }

    fn grant(&mut self, item: &Item) {
        let now = self.now;
        let job = self.job_mut(JobId(item.job_id)).expect("it was placed");
        let timeout_s = job.spec.execution_timeout_s;
        let Item { worker_id, rate_gfri, score, strategy, .. } = *item;
        job.placement = Some(Placement::new(now, timeout_s, worker_id, rate_gfri, score, strategy));
    }

    /// Leaves the job as it was. What came of a later item because of it stays.
    fn take_back(&mut self, candidate: Candidate) {
        let Candidate { item, before, .. } = candidate;
        let group = before.group;
        *self.job_mut(JobId(item.job_id)).expect("it was placed") = before;
        if let Some(members) = self.job_mgr.groups.get_mut(&group) {
            self.job_mgr.excluded.remove(&(group, item.worker_id));
            members.allocations -= 1;
        }
    }

    /// The first reason on the worker's side to skip an item. Jobs of later items are not the worker's yet.
    fn worker_allows(&self, candidate: &Candidate) -> Result<(), u8> {
        let unless = |holds: bool, reason: u8| if holds { Ok(()) } else { Err(reason) };
        let Item { worker_id, rate_gfri, .. } = candidate.item;
        let wanted = &candidate.before.spec.requirements;
        let worker = self.worker(worker_id).ok_or(skip::WORKER_UNKNOWN)?;
        let offered = &worker.offer.capabilities;
        let (used_slots, used_gpus) = self.in_use(worker_id);
        unless(worker.status == WorkerStatus::Active, skip::WORKER_UNAVAILABLE)?;
        unless(used_slots < worker.offer.slots, skip::NO_FREE_SLOT)?;
        unless(wanted.gpu_count <= offered.gpu_count - used_gpus, skip::NO_FREE_GPU)?;
        unless(is_hardware_enough(wanted, offered), skip::REQUIREMENT_UNMET)?;
        unless(worker.offer.rate_gfri == rate_gfri, skip::RATE_CHANGED)?;
        unless(worker.reputation >= wanted.min_reputation, skip::REPUTATION_TOO_LOW)?;
        let is_in_region = wanted.region == Felt::ZERO || wanted.region == offered.region;
        unless(is_in_region, skip::REGION_MISMATCH)
    }

    pub(super) fn claim_job(&mut self, caller: Felt, job_id: JobId) -> Answered {
        self.unless_paused(Contract::JobMgr)?;
        let worker_id = self.cdc_pool.worker_of.get(&caller).copied().ok_or("JobMgr: caller not the worker")?;
        let is_quiet = self.task_allocator.last_round_block + CLAIM_AFTER_BLOCKS < self.now.block;
        ensure(is_quiet && self.job_mgr.task_allocator != Felt::ZERO, "JobMgr: keepers active")?;
        let is_queued_replica = |job: &Job| job.group != 0 && job.state == JobState::Queued;
        ensure(!self.job(job_id).is_some_and(is_queued_replica), IS_REPLICA)?;
        let attempt = self.job(job_id).map_or(0, |job| job.attempt);
        let rate_gfri = self.worker(worker_id).map_or(0, |worker| worker.offer.rate_gfri);
        let item = Item { job_id: job_id.0, worker_id, attempt, strategy: FALLBACK, score: 0, rate_gfri };
        if let Some((_, reason)) = self.allocate(&[item.pack()])?.first() {
            return Err(claim_refusal(*reason));
        }
        let fields = vec![("job_id", job_id.0.into()), ("worker_id", worker_id.into())];
        self.emit(Contract::JobMgr, "JobClaimed", fields);
        Ok(Vec::new())
    }
}

fn claim_refusal(reason: u8) -> Refusal {
    match reason {
        skip::JOB_UNKNOWN => "JobMgr: no such job",
        skip::JOB_NOT_QUEUED => "JobMgr: not queued",
        skip::DEADLINE_PASSED => "JobMgr: deadline passed",
        skip::WORKER_EXCLUDED => "JobMgr: worker excluded",
        skip::RATE_TOO_HIGH => "JobMgr: rate too high",
        skip::WORKER_UNAVAILABLE => "JobMgr: worker unavailable",
        skip::NO_FREE_SLOT => "JobMgr: no free slot",
        skip::NO_FREE_GPU => "JobMgr: no free GPU",
        skip::REQUIREMENT_UNMET => "JobMgr: requirement unmet",
        skip::REPUTATION_TOO_LOW => "JobMgr: reputation too low",
        skip::REGION_MISMATCH => "JobMgr: region mismatch",
        _ => "?",
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
