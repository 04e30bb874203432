//! What speaks against a worker besides the contracts' requirements: what jobs' manifests ask, what agents say.

use std::collections::{BTreeMap, BTreeSet};

use keeper_types::{PreferenceSet, TrustTier, WorkerFacts, WorkerId, WorkerStatus};

use super::pools::Tiers;
use crate::{PendingJob, Rejection, WorkerView, feasibility::RejectionCounts};

/// The workers as their agents present them.
pub(super) struct Agents<'a> {
    workers: Vec<Presented<'a>>,
    /// Places among them of those that refuse something, or do not begin what they were given.
    picky: Vec<usize>,
    /// What their GPUs are called, each name once, in lower case.
    gpu_models: Vec<String>,
}

struct Presented<'a> {
    view: &'a WorkerView,
    /// Place of its GPUs' name among all names.
    gpu_model: usize,
}

/// Who does not get a job.
#[derive(Debug, Default)]
pub(super) struct Barred {
    /// Workers that never will as things stand, ascending.
    pub(super) workers: Vec<WorkerId>,
    /// Workers that may, once more is known of them; ascending.
    pub(super) for_now: Vec<WorkerId>,
    /// How many for which reason.
    pub(super) counts: RejectionCounts,
}

impl<'a> Agents<'a> {
    pub(super) fn new(workers: &BTreeMap<WorkerId, &'a WorkerView>) -> Self {
        let name = |worker: &WorkerView| worker.agent.profile.gpu_model.to_ascii_lowercase();
        let names: BTreeSet<String> = workers.values().map(|worker| name(worker)).collect();
        let gpu_models: Vec<_> = names.into_iter().collect();
        let presented = workers.values().map(|view| Presented {
            view,
            gpu_model: gpu_models.binary_search(&name(view)).expect("every name was just collected"),
        });
        let workers: Vec<_> = presented.collect();
        let refuses = |(place, worker): (usize, &Presented<'_>)| {
            let refuses = &worker.view.agent.profile.refuses;
            let is_stalled = worker.view.agent.is_stalled;
            (is_stalled || !refuses.clients.is_empty() || !refuses.executors.is_empty()).then_some(place)
        };
        Self { picky: workers.iter().enumerate().filter_map(refuses).collect(), workers, gpu_models }
    }

    /// Who does not get the job. A job that asks for nothing is refused by picky workers only.
    pub(super) fn barred(&self, job: &PendingJob) -> Barred {
        let mut barred = Barred::default();
        if asks(job) {
            let takes: Vec<bool> = self.gpu_models.iter().map(|name| takes_gpu_model(job, name)).collect();
            self.workers.iter().for_each(|worker| barred.judge(job, worker.view, takes[worker.gpu_model]));
        } else {
            self.picky.iter().for_each(|place| barred.judge(job, self.workers[*place].view, true));
        }
        barred
    }

    /// The workers by which preferences of the job they miss; nothing where the job has none.
    pub(super) fn tiers(&self, job: &PendingJob) -> Tiers {
        let mut tiers = Tiers::new();
        if job.manifest_view.placement.prefers.wanted().is_empty() {
            return tiers;
        }
        let workers = self.workers.iter().map(|worker| worker.view);
        for worker in workers.filter(|worker| worker.status == WorkerStatus::Active) {
            tiers.entry(misses(job, worker)).or_default().insert(worker.worker_id);
        }
        tiers
    }
}

impl Barred {
    fn judge(&mut self, job: &PendingJob, worker: &WorkerView, takes_gpu_model: bool) {
        let (mut is_barred, mut is_passing) = (false, true);
        each_objection(job, worker, takes_gpu_model, |rejection| {
            self.counts.add(rejection, 1);
            is_barred = true;
            is_passing &= rejection.is_passing();
        });
        match (is_barred, is_passing) {
            (true, false) => self.workers.push(worker.worker_id),
            (true, true) => self.for_now.push(worker.worker_id),
            (false, _) => {}
        }
    }
}

/// Whether the job takes GPUs of this name, which is in lower case.
pub(super) fn takes_gpu_model(job: &PendingJob, name: &str) -> bool {
    let models = &job.manifest_view.placement.gpu_models;
    models.is_empty() || job.manifest_view.placement.takes_gpu_model(name)
}

/// The preferences of the job that the worker misses.
pub(super) fn misses(job: &PendingJob, worker: &WorkerView) -> PreferenceSet {
    job.manifest_view.placement.prefers.wanted().without(met(job, worker))
}

/// The preferences of the job that the worker meets.
pub(super) fn met(job: &PendingJob, worker: &WorkerView) -> PreferenceSet {
    job.manifest_view.placement.prefers.met_by(&facts(job, worker))
}

/// Everything that speaks against the worker. Of an agent that is not connected nothing is known, so that nothing but
/// its absence is held against it.
pub(super) fn each_objection(
    job: &PendingJob,
    worker: &WorkerView,
    takes_gpu_model: bool,
    mut object: impl FnMut(Rejection),
) {
    let placement = &job.manifest_view.placement;
    let profile = &worker.agent.profile;
    if worker.online {
        let most = Some(u32::from(job.max_latency_ms)).filter(|most| *most > 0);
        let is_far = |latency_ms| most.is_some_and(|most| latency_ms > most);
        let found = [
            (worker.agent.latency_ms.is_some_and(is_far), Rejection::Latency),
            (most.is_some() && worker.agent.latency_ms.is_none(), Rejection::LatencyUnknown),
            (worker.agent.is_stalled, Rejection::Stalled),
            (!takes_gpu_model, Rejection::GpuModel),
            (profile.disk_gib < placement.disk_gib, Rejection::Disk),
            (profile.pcie_generation < placement.pcie_generation, Rejection::PcieGeneration),
            (profile.refuses.clients.contains(&job.client), Rejection::RefusesClient),
            (profile.refuses.executors.contains(&job.manifest_view.executor), Rejection::RefusesExecutor),
        ];
        found.into_iter().filter(|(fails, _)| *fails).for_each(|(_, rejection)| object(rejection));
    }
    if TrustTier::of(worker.is_static) < placement.trust {
        object(Rejection::Trust);
    }
}

/// Whether the job asks anything of agents at all.
fn asks(job: &PendingJob) -> bool {
    let placement = &job.manifest_view.placement;
    job.max_latency_ms > 0
        || !placement.gpu_models.is_empty()
        || placement.disk_gib > 0
        || placement.pcie_generation > 0
        || placement.trust > TrustTier::Staked
}

fn facts(job: &PendingJob, worker: &WorkerView) -> WorkerFacts {
    WorkerFacts {
        is_warm: worker.agent.profile.holds_model(job.model_id),
        region: worker.capabilities.region,
        latency_ms: worker.agent.latency_ms.unwrap_or(u32::MAX),
        rate: worker.rate,
        reputation: worker.reputation,
    }
}
