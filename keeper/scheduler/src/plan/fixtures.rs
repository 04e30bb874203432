//! A job and a worker that match each other exactly.

use std::collections::BTreeMap;

use keeper_types::{
    Address, AgentView, Attempt, BlockNumber, Capabilities, Features, Felt, JobId, ManifestView, Queue, Rate,
    Requirements, RunningJob, WorkerId, WorkerStatus,
};

use crate::{ManifestStatus, PendingJob, Snapshot, WorkerView};

/// The time of every snapshot in the tests.
pub(crate) const NOW: u64 = 100_000;

/// A job for exactly [`worker`].
pub(crate) fn job(id: u64) -> PendingJob {
    PendingJob {
        job_id: JobId(id),
        attempt: Attempt(1),
        client: Address(Felt::TWO),
        requirements: Requirements {
            gpu_count: 2,
            vram_gib: 80,
            compute_capability: 90,
            cuda_version: 124,
            driver_version: 550,
            cpu_cores: 16,
            memory_gib: 128,
            min_reputation: 500,
            features: Features::NVLINK,
            region: Some("eu-w1".parse().unwrap()),
        },
        priority: 5,
        queue: Queue::Default,
        max_rate: Rate(1_000),
        deadline: (NOW + 600, BlockNumber(1_060)),
        submitted_at: NOW,
        queued_at: NOW,
        max_latency_ms: 0,
        model_id: Felt::ZERO,
        group_id: None,
        excluded: Vec::new(),
        execution_timeout_s: 60,
        manifest: ManifestStatus::Available,
        manifest_view: ManifestView::default(),
    }
}

/// A worker with one slot that exactly meets what [`job`] needs.
pub(crate) fn worker(id: u32) -> WorkerView {
    WorkerView {
        worker_id: WorkerId(id),
        status: WorkerStatus::Active,
        capabilities: Capabilities {
            gpu_count: 2,
            vram_gib: 80,
            compute_capability: 90,
            cuda_version: 124,
            driver_version: 550,
            cpu_cores: 16,
            memory_gib: 128,
            features: Features::NVLINK,
            region: Some("eu-w1".parse().unwrap()),
        },
        slots: 1,
        free_slots: 1,
        free_gpus: 2,
        rate: Rate(1_000),
        reputation: 500,
        is_static: false,
        online: true,
        agent: AgentView::default(),
    }
}

/// A snapshot at [`NOW`], block 1,000.
pub(crate) fn snapshot(jobs: Vec<PendingJob>, workers: Vec<WorkerView>) -> Snapshot {
    Snapshot {
        now: NOW,
        block: BlockNumber(1_000),
        seed: 0,
        jobs,
        workers,
        running: Vec::new(),
        used_milli: BTreeMap::new(),
        turn: None,
        portion: None,
    }
}

/// A job on both GPUs of a [`worker`] that is due in a minute.
pub(crate) fn running(id: u64, worker_id: u32) -> RunningJob {
    RunningJob {
        job_id: JobId(id),
        client: Address(Felt::TWO),
        worker_id: WorkerId(worker_id),
        gpus: 2,
        execution_timeout_s: 60,
        submitted_at: NOW - 60,
        ends_by: NOW + 60,
    }
}
