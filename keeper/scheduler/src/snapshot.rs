//! What a plan is made from: queued jobs and registered workers as of one block.

use std::collections::{BTreeMap, BTreeSet};

use keeper_types::{
    Address, AgentView, AllocationItem, Attempt, BlockNumber, Capabilities, Felt, Job, JobId, ManifestView, Market,
    Queue, Rate, Requirements, RunningJob, Worker, WorkerId, WorkerStatus,
};
use serde::{Deserialize, Serialize};

use crate::{Policy, Portion};

/// Everything that a plan depends on besides the policy. The order of jobs and of workers does not matter.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Snapshot {
    /// The block's timestamp, in seconds: the only clock there is.
    pub now: u64,
    /// The block that the snapshot was taken at.
    pub block: BlockNumber,
    /// For policies that draw lots, so that a plan can be replayed.
    pub seed: u64,
    /// Jobs that wait for a worker. Ids are unique: of two jobs with the same id one is ignored.
    pub jobs: Vec<PendingJob>,
    /// Workers that are registered. Ids are unique: of two workers with the same id one is ignored.
    pub workers: Vec<WorkerView>,
    /// Jobs that hold a worker's slot and GPUs.
    pub running: Vec<RunningJob>,
    /// What clients with queued jobs have used until now, in thousandths of a GPU-second, decayed
    /// ([`Usage`](keeper_types::Usage)). Who is not listed has used nothing.
    pub used_milli: BTreeMap<Address, u64>,
    /// Who of the workers was given a job last, after whom it is the next one's turn; only where the policy goes by turns
    /// ([`Snapshot::with_turn`]).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub turn: Option<WorkerId>,
    /// What of the market this is, where several keepers decide at once; all of it otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub portion: Option<Portion>,
}

impl Snapshot {
    /// The snapshot without agents' round trips where no queued job asks for a short one or prefers it, and the policy does
    /// not go by them. They are another for every worker in every round, and what is another is hashed, published and
    /// checked anew.
    #[must_use]
    pub fn without_idle_measures(mut self, policy: &Policy) -> Self {
        let asks =
            |job: &PendingJob| job.max_latency_ms > 0 || job.manifest_view.placement.prefers.max_latency_ms.is_some();
        if !policy.balancing.goes_by_response() && !self.jobs.iter().any(asks) {
            self.workers.iter_mut().for_each(|worker| worker.agent.latency_ms = None);
        }
        self
    }

    /// The snapshot with who of its workers was given a job last on chain, where the policy goes by turns.
    #[must_use]
    pub fn with_turn(self, market: &Market, policy: &Policy) -> Self {
        let workers = self.workers.iter().map(|worker| worker.worker_id);
        let turn = if policy.balancing.takes_turns() { market.turns.last_among(workers) } else { None };
        Self { turn, ..self }
    }

    /// The market's queued and running jobs and registered workers at `block`, whose timestamp is `now` seconds.
    ///
    /// `manifest` says how a job's manifest stands and what it says about placing the job, `agent` what is known of a
    /// worker's agent where it is connected; of that, only what matters to the queued jobs is kept.
    pub fn of_market(
        market: &Market,
        (block, now): (BlockNumber, u64),
        seed: u64,
        manifest: impl Fn(&Job) -> (ManifestStatus, ManifestView),
        agent: impl Fn(WorkerId) -> Option<AgentView>,
    ) -> Self {
        let registered = market.workers.values().filter(|worker| worker.status != WorkerStatus::Exited);
        let jobs: Vec<_> =
            market.queued_jobs().map(|job| PendingJob::new(job, market.excluded_workers(job), manifest(job))).collect();
        let models: BTreeSet<Felt> = jobs.iter().map(|job| job.model_id).collect();
        let clients: BTreeSet<Address> = jobs.iter().map(|job| job.client).collect();
        let about = |worker_id| agent(worker_id).map(|agent: AgentView| agent.about(&models, &clients));
        let used = |client| market.usage.get(&client).map_or(0, |usage| usage.used_milli(now));
        let used_milli = jobs.iter().map(|job| (job.client, used(job.client))).filter(|(_, used)| *used > 0).collect();
        Self {
            now,
            block,
            seed,
            jobs,
            workers: registered.map(|worker| WorkerView::new(worker, about(worker.worker_id))).collect(),
            running: market.running_jobs().copied().collect(),
            used_milli,
            turn: None,
            portion: None,
        }
    }

    /// The jobs and workers as they will most likely be once a round's items are applied: what can be hashed ahead. It leaves
    /// out what follows from there being fewer jobs (which models and clients agents' views speak of, whether round trips
    /// matter), workers that are ruled out for the other replicas of a group, and who runs what, since the block that applies
    /// the items says until when.
    #[must_use]
    pub fn once_applied(&self, items: &[AllocationItem]) -> Self {
        let mut next = self.clone();
        let placed: BTreeMap<JobId, WorkerId> = items.iter().map(|item| (item.job_id, item.worker_id)).collect();
        let held = |job: &PendingJob| Some((*placed.get(&job.job_id)?, job.requirements.gpu_count));
        let mut taken: BTreeMap<WorkerId, (u8, u8)> = BTreeMap::new();
        for (worker_id, gpus) in self.jobs.iter().filter_map(held) {
            let (slots, held) = taken.entry(worker_id).or_default();
            *slots = slots.saturating_add(1);
            *held = held.saturating_add(gpus);
        }
        for worker in &mut next.workers {
            if let Some((slots, gpus)) = taken.get(&worker.worker_id) {
                worker.free_slots = worker.free_slots.saturating_sub(*slots);
                worker.free_gpus = worker.free_gpus.saturating_sub(*gpus);
            }
        }
        next.jobs.retain(|job| !placed.contains_key(&job.job_id));
        next
    }

    /// Whether a running job counts for what its client holds: in a portion of the market only where it is of its shards.
    /// Others are there for the workers that they hold.
    pub(crate) fn counts_for_its_client(&self, job: &RunningJob) -> bool {
        self.portion.as_ref().is_none_or(|portion| portion.shards.has_job(job.job_id))
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
    /// When this attempt was queued: block timestamp, in seconds.
    pub queued_at: u64,
    /// The longest round trip to the worker's agent, in milliseconds; 0 for any.
    pub max_latency_ms: u16,
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
    /// What its manifest says about where it may run.
    pub manifest_view: ManifestView,
}

impl PendingJob {
    /// What placing `job` depends on. Only a queued job belongs into a snapshot.
    pub fn new(job: &Job, excluded: Vec<WorkerId>, (manifest, manifest_view): (ManifestStatus, ManifestView)) -> Self {
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
            queued_at: job.queued_at,
            max_latency_ms: job.spec.max_latency_ms,
            model_id: job.spec.model_id,
            group_id: job.group_id,
            excluded,
            execution_timeout_s: job.spec.execution_timeout_s,
            manifest,
            manifest_view,
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
    /// Whether the admin admitted it to the static workers, which are tried first.
    pub is_static: bool,
    /// Whether its agent is connected, so that it would start a job now.
    pub online: bool,
    /// What is known of its agent; nothing where it is not connected.
    pub agent: AgentView,
}

impl WorkerView {
    /// What placing a job on `worker` depends on.
    pub fn new(worker: &Worker, agent: Option<AgentView>) -> Self {
        Self {
            worker_id: worker.worker_id,
            status: worker.status,
            capabilities: worker.capabilities.clone(),
            slots: worker.slots,
            free_slots: worker.free_slots(),
            free_gpus: worker.free_gpus(),
            rate: worker.rate,
            reputation: worker.reputation,
            is_static: worker.is_static,
            online: agent.is_some(),
            agent: agent.unwrap_or_default(),
        }
    }
}
