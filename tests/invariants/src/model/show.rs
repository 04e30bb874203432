//! What the model answers to each view, with the names of the ABI's fields.

use keeper_types::{Felt, JobId, JobState};

use super::{Fields, Job, Model, Refusal};
use crate::{
    actors::{Actor, Contract},
    calls::{Capabilities, JobSpec, Moment, Requirements},
    views::View,
};

/// A view that is one value has one field without a name.
fn one(felt: impl Into<Felt>) -> Fields {
    vec![("", felt.into())]
}

/// Amounts are 256 bits wide at the token.
fn amount(fri: u128) -> Fields {
    vec![("low", fri.into()), ("high", Felt::ZERO)]
}

impl Model {
    /// What a view answers.
    pub(crate) fn show(&self, view: View) -> Result<Fields, Refusal> {
        let rounds = &self.task_allocator;
        Ok(match view {
            View::Job(id) => self.job_view(JobId(id)),
            View::IsExcluded(job_id, worker_id) => one(self.job_mgr.excluded.contains(&(job_id, worker_id))),
            View::JobCount => one(self.job_mgr.jobs.len()),
            View::JobMgrConfig => vec![
                ("admin", Actor::Admin.address()),
                ("token", Contract::Token.address()),
                ("cdc_pool", Contract::CdcPool.address()),
                ("task_allocator", self.job_mgr.task_allocator),
                ("challenge_window_s", self.terms.challenge_window_s.into()),
            ],
            View::Worker(id) => self.worker_view(id),
            View::WorkerOwner(id) => one(self.worker(id).map_or(Felt::ZERO, |worker| worker.owner)),
            View::WorkerOf(actor) => one(self.cdc_pool.worker_of.get(&actor.address()).copied().unwrap_or_default()),
            View::WorkerCount => one(self.cdc_pool.workers.len()),
            View::CdcPoolConfig => vec![
                ("admin", Actor::Admin.address()),
                ("token", Contract::Token.address()),
                ("job_mgr", self.cdc_pool.job_mgr),
                ("min_stake_per_slot", self.terms.min_stake_per_slot.into()),
                ("unbonding_s", self.terms.unbonding_s.into()),
            ],
            View::Stats => vec![
                ("rounds", rounds.rounds.into()),
                ("allocated", rounds.allocated.into()),
                ("skipped", rounds.skipped.into()),
                ("last_round_block", rounds.last_round_block.into()),
            ],
            View::LastRound(actor) => one(rounds.last_round.get(&actor.address()).copied().unwrap_or_default()),
            View::IsKeeper(actor) => one(rounds.keepers.contains(&actor.address())),
            View::Metrics(id) => {
                let names = ["queue_length", "response_ms", "success_bps", "utilisation_bps"];
                names.into_iter().zip(self.get_worker_metrics(id.into())?).collect()
            }
            View::MetricsReportedAt(id) => one(self.metrics_reported_at(id.into())?),
            View::Load(id) => one(self.get_worker_load(id.into())?),
            View::TaskAllocatorConfig => vec![
                ("admin", Actor::Admin.address()),
                ("job_mgr", Contract::JobMgr.address()),
                ("cdc_pool", Contract::CdcPool.address()),
            ],
            View::BalanceOf(actor) => amount(self.token.balance(actor.address())),
            View::Held(contract) => amount(self.token.balance(contract.address())),
            View::Allowance(owner, spender) => amount(self.token.allowance(owner.address(), spender.address())),
        })
    }

    pub(super) fn job_view(&self, job_id: JobId) -> Fields {
        let never = Moment::default();
        let Some(job) = self.job(job_id) else {
            let nothing = JobSpec::default();
            return job_fields(job_id, Felt::ZERO, 0, 0, &nothing, None, [never; 3]);
        };
        let due = job.placement.map_or(never, |placement| placement.due);
        let ends = job.challenge_ends.unwrap_or(never);
        let moments = [job.deadline, due, ends];
        let mut spec = job.spec;
        if matches!(job.state, JobState::Revealed | JobState::Settled) {
            // The result has taken the place of the requirements.
            spec.requirements = Requirements { gpu_count: spec.requirements.gpu_count, ..Requirements::default() };
        }
        job_fields(job_id, job.client, job.state as u8, job.attempt, &spec, Some(job), moments)
    }

    pub(super) fn worker_view(&self, worker_id: u32) -> Fields {
        let worker = self.worker(worker_id);
        let (used_slots, used_gpus) = self.in_use(worker_id);
        let offer = worker.map(|worker| worker.offer);
        let capabilities = offer.map(|offer| offer.capabilities).unwrap_or_default();
        let slots = offer.map_or(0, |offer| offer.slots);
        let exit = worker.and_then(|worker| worker.exit).unwrap_or_default();
        let mut fields = vec![
            ("worker_id", worker_id.into()),
            ("owner", worker.map_or(Felt::ZERO, |worker| worker.owner)),
            ("status", worker.map_or(0, |worker| worker.status as u8).into()),
        ];
        fields.extend(capability_fields(&capabilities));
        fields.extend([
            ("slots", slots.into()),
            ("free_slots", (slots - used_slots).into()),
            ("free_gpus", (capabilities.gpu_count - used_gpus).into()),
            ("rate_gfri", offer.map_or(0, |offer| offer.rate_gfri).into()),
            ("stake", worker.map_or(0, |worker| worker.stake).into()),
            ("reputation", worker.map_or(0, |worker| worker.reputation).into()),
            ("registered_at", worker.map_or(0, |worker| worker.registered_at).into()),
            ("exit_at", exit.timestamp.into()),
            ("exit_block", exit.block.into()),
        ]);
        fields
    }
}

/// The moments are the job's deadline, the attempt's, and the end of the challenge window.
fn job_fields(
    job_id: JobId,
    client: Felt,
    state: u8,
    attempt: u8,
    spec: &JobSpec,
    job: Option<&Job>,
    [deadline, due, ends]: [Moment; 3],
) -> Fields {
    let placement = job.and_then(|job| job.placement);
    let mut fields = vec![
        ("job_id", job_id.0.into()),
        ("client", client),
        ("state", state.into()),
        ("attempt", attempt.into()),
        ("worker_id", placement.map_or(0, |placement| placement.worker_id).into()),
    ];
    fields.extend(spec_fields(spec));
    fields.extend([
        ("rate_gfri", placement.map_or(0, |placement| placement.rate_gfri).into()),
        ("score", placement.map_or(0, |placement| placement.score).into()),
        ("strategy", placement.map_or(0, |placement| placement.strategy).into()),
        ("allocated_at", placement.map_or(0, |placement| placement.at.timestamp).into()),
        ("attempt_deadline", due.timestamp.into()),
        ("deadline_block", deadline.block.into()),
        ("attempt_deadline_block", due.block.into()),
        ("result_hash", job.map_or(Felt::ZERO, |job| job.result_hash)),
        ("challenge_ends_at", ends.timestamp.into()),
        ("challenge_ends_block", ends.block.into()),
    ]);
    fields
}

pub(super) fn spec_fields(spec: &JobSpec) -> Fields {
    let wanted = &spec.requirements;
    vec![
        ("spec.manifest_hash", spec.manifest_hash),
        ("spec.model_id", spec.model_id),
        ("spec.requirements.gpu_count", wanted.gpu_count.into()),
        ("spec.requirements.vram_gib", wanted.vram_gib.into()),
        ("spec.requirements.compute_capability", wanted.compute_capability.into()),
        ("spec.requirements.cuda_version", wanted.cuda_version.into()),
        ("spec.requirements.driver_version", wanted.driver_version.into()),
        ("spec.requirements.cpu_cores", wanted.cpu_cores.into()),
        ("spec.requirements.memory_gib", wanted.memory_gib.into()),
        ("spec.requirements.min_reputation", wanted.min_reputation.into()),
        ("spec.requirements.features", wanted.features.into()),
        ("spec.requirements.region", wanted.region),
        ("spec.priority", spec.priority.into()),
        ("spec.queue", spec.queue.into()),
        ("spec.max_price", spec.max_price.into()),
        ("spec.deadline", spec.deadline.into()),
        ("spec.execution_timeout_s", spec.execution_timeout_s.into()),
        ("spec.max_attempts", spec.max_attempts.into()),
    ]
}

pub(super) fn capability_fields(offered: &Capabilities) -> Fields {
    vec![
        ("capabilities.gpu_count", offered.gpu_count.into()),
        ("capabilities.vram_gib", offered.vram_gib.into()),
        ("capabilities.compute_capability", offered.compute_capability.into()),
        ("capabilities.cuda_version", offered.cuda_version.into()),
        ("capabilities.driver_version", offered.driver_version.into()),
        ("capabilities.cpu_cores", offered.cpu_cores.into()),
        ("capabilities.memory_gib", offered.memory_gib.into()),
        ("capabilities.features", offered.features.into()),
        ("capabilities.region", offered.region),
    ]
}
