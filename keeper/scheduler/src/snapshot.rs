//! What a plan is made from: queued jobs and registered workers as of one block.

use keeper_types::{
    Address, Attempt, BlockNumber, Capabilities, Felt, Job, JobId, JobState, Market, Queue, Rate, Requirements, Worker,
    WorkerId, WorkerStatus,
};
use serde::{Deserialize, Serialize};

/// Everything that a plan depends on besides the policy. The order of jobs and of workers does not matter.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Snapshot {
    /// The block's timestamp, in seconds: the only clock there is.
    pub now: u64,
    /// The block that the snapshot was taken at.
    pub block: BlockNumber,
    /// For policies that draw lots, so that a plan can be replayed. No term draws any yet.
    pub seed: u64,
    /// Jobs that wait for a worker. Ids are unique: of two jobs with the same id one is ignored.
    pub jobs: Vec<PendingJob>,
    /// Workers that are registered. Ids are unique: of two workers with the same id one is ignored.
    pub workers: Vec<WorkerView>,
}

impl Snapshot {
    /// The market's queued jobs and registered workers at `block`, whose timestamp is `now` seconds.
    ///
    /// `manifest` says how a job's manifest stands, `online` whether a worker's agent is connected.
    pub fn of_market(
        market: &Market,
        (block, now): (BlockNumber, u64),
        seed: u64,
        manifest: impl Fn(&Job) -> ManifestStatus,
        online: impl Fn(WorkerId) -> bool,
    ) -> Self {
        let queued = market.jobs.values().filter(|job| job.state == JobState::Queued);
        let registered = market.workers.values().filter(|worker| worker.status != WorkerStatus::Exited);
        Self {
            now,
            block,
            seed,
            jobs: queued.map(|job| PendingJob::new(job, market.excluded_workers(job), manifest(job))).collect(),
            workers: registered.map(|worker| WorkerView::new(worker, online(worker.worker_id))).collect(),
        }
    }
}

/// A queued job, with what placing it depends on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PendingJob {
    /// Its number.
    pub job_id: JobId,
    /// The attempt that is queued.
    pub attempt: Attempt,
    /// Who submitted it.
    pub client: Address,
    /// What the worker must have.
    pub requirements: Requirements,
    /// 1 to 10, higher first.
    pub priority: u8,
    /// The queue that it waits in.
    pub queue: Queue,
    /// The highest rate that its escrow covers.
    pub max_rate: Rate,
    /// When it expires: timestamp in seconds and block, both of which must have passed.
    pub deadline: (u64, BlockNumber),
    /// When it was submitted: block timestamp, in seconds.
    pub submitted_at: u64,
    /// The model that it uses; zero where it uses none.
    pub model_id: Felt,
    /// The group that it is a replica of. A worker gets one replica of a group at most.
    pub group_id: Option<JobId>,
    /// Workers that failed it before, or had another replica of its group.
    pub excluded: Vec<WorkerId>,
    /// How long it reserves its worker, in seconds.
    pub execution_timeout_s: u32,
    /// Whether what the worker is to run is there.
    pub manifest: ManifestStatus,
}

impl PendingJob {
    /// What placing `job` depends on. Only a queued job belongs into a snapshot.
    pub fn new(job: &Job, excluded: Vec<WorkerId>, manifest: ManifestStatus) -> Self {
        Self {
            job_id: job.job_id,
            attempt: job.attempt,
            client: job.client,
            requirements: job.spec.requirements.clone(),
            priority: job.spec.priority,
            queue: job.spec.queue,
            max_rate: job.spec.max_rate(),
            deadline: (job.spec.deadline, job.deadline_block),
            submitted_at: job.submitted_at,
            model_id: job.spec.model_id,
            group_id: job.group_id,
            excluded,
            execution_timeout_s: job.spec.execution_timeout_s,
            manifest,
        }
    }

    /// How long the job has waited since its submission, in seconds.
    pub(crate) fn waited_s(&self, now: u64) -> u64 {
        now.saturating_sub(self.submitted_at)
    }

    /// Whether the contract would refuse the job because its time is over: by the clock and by the block.
    pub(crate) fn is_past_deadline(&self, snapshot: &Snapshot) -> bool {
        let (timestamp, block) = self.deadline;
        snapshot.now > timestamp && snapshot.block > block
    }
}

/// Whether the artifact store has a job's manifest. A job cannot run without, so it is not placed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ManifestStatus {
    /// It is there and can be read.
    Available,
    /// It is not there (yet).
    Missing,
    /// It is there, or its hash is on chain, but it cannot be read; why.
    Malformed(String),
}

/// A registered worker, with what placing a job on it depends on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WorkerView {
    /// Its number.
    pub worker_id: WorkerId,
    /// Whether it takes jobs. A worker that has exited is not considered at all.
    pub status: WorkerStatus,
    /// What it has.
    pub capabilities: Capabilities,
    /// Jobs that it runs at a time.
    pub slots: u8,
    /// Slots that are free.
    pub free_slots: u8,
    /// GPUs that are free.
    pub free_gpus: u8,
    /// What it asks.
    pub rate: Rate,
    /// 0 to 1,000.
    pub reputation: u16,
    /// Whether its agent is connected, so that it would start a job now.
    pub online: bool,
}

impl WorkerView {
    /// What placing a job on `worker` depends on.
    pub fn new(worker: &Worker, online: bool) -> Self {
        Self {
            worker_id: worker.worker_id,
            status: worker.status,
            capabilities: worker.capabilities.clone(),
            slots: worker.slots,
            free_slots: worker.free_slots(),
            free_gpus: worker.free_gpus(),
            rate: worker.rate,
            reputation: worker.reputation,
            online,
        }
    }
}
