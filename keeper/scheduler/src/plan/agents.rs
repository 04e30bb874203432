//! What speaks against a worker besides the contracts' requirements: what jobs' manifests ask, what agents say.

use std::collections::BTreeMap;

use keeper_types::{PreferenceSet, TrustTier, WorkerFacts, WorkerId, WorkerStatus};

use super::pools::Tiers;
use crate::{PendingJob, Rejection, WorkerView, feasibility::RejectionCounts};

/// The workers as their agents present them.
pub(super) struct Agents<'a> {
    workers: Vec<&'a WorkerView>,
    /// Those that refuse something.
    picky: Vec<&'a WorkerView>,
}

/// Who does not get a job.
#[derive(Debug, Default)]
pub(super) struct Barred {
    /// The workers, ascending.
    pub(super) workers: Vec<WorkerId>,
    /// How many for which reason.
    pub(super) counts: RejectionCounts,
}

impl<'a> Agents<'a> {
    pub(super) fn new(workers: &BTreeMap<WorkerId, &'a WorkerView>) -> Self {
        let workers: Vec<_> = workers.values().copied().collect();
        let refuses = |worker: &&&WorkerView| {
            let refuses = &worker.agent.profile.refuses;
            !refuses.clients.is_empty() || !refuses.executors.is_empty()
        };
        Self { picky: workers.iter().filter(refuses).copied().collect(), workers }
    }

    /// Who does not get the job. A job that asks for nothing is refused by picky workers only.
    pub(super) fn barred(&self, job: &PendingJob) -> Barred {
        let mut barred = Barred::default();
        let workers = if asks(job) { &self.workers } else { &self.picky };
        for worker in workers {
            let before = barred.counts.clone();
            each_objection(job, worker, |rejection| barred.counts.add(rejection, 1));
            if barred.counts != before {
                barred.workers.push(worker.worker_id);
            }
        }
        barred
    }

    /// The workers by which preferences of the job they miss; nothing where the job has none.
    pub(super) fn tiers(&self, job: &PendingJob) -> Tiers {
        let mut tiers = Tiers::new();
        if job.manifest_view.placement.prefers.wanted().is_empty() {
            return tiers;
        }
        for worker in self.workers.iter().filter(|worker| worker.status == WorkerStatus::Active) {
            tiers.entry(misses(job, worker)).or_default().insert(worker.worker_id);
        }
        tiers
    }
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
pub(super) fn each_objection(job: &PendingJob, worker: &WorkerView, mut object: impl FnMut(Rejection)) {
    let placement = &job.manifest_view.placement;
    let profile = &worker.agent.profile;
    if worker.online {
        let is_near = |latency_ms| latency_ms <= u32::from(job.max_latency_ms);
        let found = [
            (job.max_latency_ms > 0 && !worker.agent.latency_ms.is_some_and(is_near), Rejection::Latency),
            (!placement.takes_gpu_model(&profile.gpu_model), Rejection::GpuModel),
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
