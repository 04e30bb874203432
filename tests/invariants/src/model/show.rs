//! What the model answers to each view, with the names of the ABI's fields.

use keeper_types::{Felt, JobId};

use super::{Fields, Job, Model, Refusal, groups::REVEAL_WINDOW_S};
use crate::{
    actors::Contract,
    calls::{JobSpec, Moment, Requirements},
    views::View,
};

/// A view that is one value has one field without a name.
fn one(felt: impl Into<Felt>) -> Fields {
    vec![("", felt.into())]
}

impl Model {
    /// What a view answers.
    pub(crate) fn show(&self, view: View) -> Result<Fields, Refusal> {
        let rounds = &self.task_allocator;
        Ok(match view {
            View::Job(id) => self.job_view(JobId(id)),
            View::IsExcluded(job_id, worker_id) => {
                let key = self.job(JobId(job_id)).map_or(job_id, |job| job.exclusion(JobId(job_id)));
                one(self.job_mgr.excluded.contains(&(key, worker_id)))
            }
            View::JobCount => one(self.job_mgr.jobs.len()),
            View::Group(id) => self.group_view(id),
            View::Dispute(id) => self.dispute_view(id),
            View::CreditOf(actor) => one(self.credit_of(actor.address())),
            View::Worker(id) => self.worker_view(id),
            View::WorkerOwner(id) => one(self.worker(id).map_or(Felt::ZERO, |worker| worker.owner)),
            View::WorkerOf(actor) => one(self.cdc_pool.worker_of.get(&actor.address()).copied().unwrap_or_default()),
            View::WorkerCount => one(self.cdc_pool.workers.len()),
            View::IsAlive(id) => one(self.is_alive(id)),
            View::Stats => vec![
                ("rounds", rounds.rounds.into()),
                ("allocated", rounds.allocated.into()),
                ("skipped", rounds.skipped.into()),
                ("last_round_block", rounds.last_round_block.into()),
            ],
            View::LastRound(actor) => one(self.keeper(actor.address()).last_round),
            View::LastRoundBlock => one(rounds.last_round_block),
            View::IsKeeper(actor) => one(self.is_keeper(actor.address())),
            View::Keeper(actor) => self.keeper_view(actor.address()),
            View::Policy(id) => self.policy_view(id.into()),
            View::Metrics(id) => {
                let names = ["queue_length", "response_ms", "success_bps", "utilisation_bps"];
                names.into_iter().zip(self.get_worker_metrics(id.into())?).collect()
            }
            View::MetricsReportedAt(id) => one(self.metrics_reported_at(id.into())?),
            View::Load(id) => one(self.get_worker_load(id.into())?),
            View::PaymasterBalance(actor) => one(self.balance_at_paymaster(actor.address())),
            View::GatewayAllowance(client, gateway) => one(self.gateway_allowance(client.address(), gateway.address())),
            View::Sponsorship(sponsor, account) => self.sponsorship_view(sponsor.address(), account.address()),
            View::IsRelayer(sponsor, relayer) => {
                one(self.paymaster.relayers.contains(&(sponsor.address(), relayer.address())))
            }
            View::Admin(contract) => one(self.control(contract).admin),
            View::PendingAdmin(contract) => one(self.control(contract).pending_admin),
            View::Guardian(contract) => one(self.control(contract).guardian),
            View::IsPaused(contract) => one(self.control(contract).is_paused),
            View::Upgrade(contract) => {
                let (class_hash, ready) = self.control(contract).upgrade.unwrap_or_default();
                vec![
                    ("class_hash", class_hash),
                    ("ready_at", ready.timestamp.into()),
                    ("ready_block", ready.block.into()),
                ]
            }
            View::JobMgrConfig => self.job_mgr_config(),
            View::CdcPoolConfig | View::TaskAllocatorConfig | View::PaymasterConfig => self.other_config(view),
        })
    }

    fn job_mgr_config(&self) -> Fields {
        vec![
            ("admin", self.control(Contract::JobMgr).admin),
            ("token", Contract::Token.address()),
            ("cdc_pool", Contract::CdcPool.address()),
            ("task_allocator", self.job_mgr.task_allocator),
            ("paymaster", self.job_mgr.paymaster),
            ("referee", self.job_mgr.referee),
            ("challenge_window_s", self.terms.challenge_window_s.into()),
            ("dispute_window_s", self.terms.dispute_window_s.into()),
            ("reveal_window_s", REVEAL_WINDOW_S.into()),
        ]
    }

    fn other_config(&self, view: View) -> Fields {
        let token = ("token", Contract::Token.address());
        match view {
            View::CdcPoolConfig => vec![
                ("admin", self.control(Contract::CdcPool).admin),
                token,
                ("job_mgr", self.cdc_pool.job_mgr),
                ("task_allocator", self.cdc_pool.task_allocator),
                ("min_stake_per_slot", self.terms.min_stake_per_slot.into()),
                ("unbonding_s", self.terms.unbonding_s.into()),
            ],
            View::TaskAllocatorConfig => vec![
                ("admin", self.control(Contract::TaskAllocator).admin),
                ("job_mgr", Contract::JobMgr.address()),
                ("cdc_pool", Contract::CdcPool.address()),
                token,
                ("min_keeper_bond", self.terms.min_keeper_bond.into()),
                ("policy_delay_s", self.terms.policy_delay_s.into()),
            ],
            _ => vec![
                ("admin", self.control(Contract::Paymaster).admin),
                token,
                ("job_mgr", Contract::JobMgr.address()),
                ("cdc_pool", Contract::CdcPool.address()),
            ],
        }
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
        if job.result_hash != Felt::ZERO && spec.verification != 1 {
            // The result has taken the place of the requirements.
            spec.requirements = Requirements { gpu_count: spec.requirements.gpu_count, ..Requirements::default() };
        }
        job_fields(job_id, job.client, job.state as u8, job.attempt, &spec, Some(job), moments)
    }

    fn group_view(&self, id: u64) -> Fields {
        let group = self.job_mgr.groups.get(&id);
        let opened = group.and_then(|group| group.opened).unwrap_or_default();
        vec![
            ("group_id", id.into()),
            ("replicas", group.map_or(0, |group| group.replicas).into()),
            ("quorum", group.map_or(0, |group| group.quorum).into()),
            ("pending", self.pending(id).into()),
            ("revealed", group.map_or(0, |group| group.revealed()).into()),
            ("started", group.is_some_and(|group| group.allocations > 0).into()),
            ("opened_at", opened.timestamp.into()),
            ("opened_block", opened.block.into()),
            ("decided", group.is_some_and(|group| group.is_decided).into()),
            ("winner", group.and_then(|group| group.winner).unwrap_or_default()),
        ]
    }

    fn dispute_view(&self, job_id: u64) -> Fields {
        let dispute = self.job_mgr.disputes.get(&job_id).copied().unwrap_or_default();
        vec![
            ("job_id", job_id.into()),
            ("bond", dispute.bond.into()),
            ("ends_at", dispute.ends.timestamp.into()),
            ("ends_block", dispute.ends.block.into()),
            ("committee", dispute.committee.into()),
        ]
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
        fields.extend(capabilities.fields());
        fields.extend([
            ("slots", slots.into()),
            ("free_slots", (slots - used_slots).into()),
            ("free_gpus", (capabilities.gpu_count - used_gpus).into()),
            ("rate_gfri", offer.map_or(0, |offer| offer.rate_gfri).into()),
            ("stake", worker.map_or(0, |worker| worker.stake).into()),
            ("reputation", worker.map_or(0, |worker| worker.reputation).into()),
            ("reputation_at", worker.map_or(0, |worker| worker.reputation_at).into()),
            ("registered_at", worker.map_or(0, |worker| worker.registered_at).into()),
            ("exit_at", exit.timestamp.into()),
            ("exit_block", exit.block.into()),
            ("is_static", worker.is_some_and(|worker| worker.is_static).into()),
            ("holds", self.holds(worker_id).into()),
        ]);
        fields
    }

    fn keeper_view(&self, address: Felt) -> Fields {
        let keeper = self.keeper(address);
        let leaves = keeper.leaves.unwrap_or_default();
        vec![
            ("address", address),
            ("is_admitted", keeper.is_admitted.into()),
            ("bond", keeper.bond.into()),
            ("last_round", keeper.last_round.into()),
            ("leaves_at", leaves.timestamp.into()),
            ("leaves_block", leaves.block.into()),
        ]
    }

    fn policy_view(&self, policy_id: Felt) -> Fields {
        let policy = self.task_allocator.policies.get(&policy_id);
        let active_from = policy.map(|policy| policy.active_from).unwrap_or_default();
        vec![
            ("policy_id", policy_id),
            ("active_from", active_from.timestamp.into()),
            ("active_from_block", active_from.block.into()),
            ("is_retired", policy.is_some_and(|policy| policy.is_retired).into()),
        ]
    }

    fn sponsorship_view(&self, sponsor: Felt, account: Felt) -> Fields {
        let terms = self.paymaster.sponsored.get(&(sponsor, account));
        let (epoch, spent) = self.spent_today(sponsor, account);
        vec![
            ("budget_per_epoch", terms.map_or(0, |terms| terms.budget).into()),
            ("max_fee", terms.map_or(0, |terms| terms.max_fee).into()),
            ("epoch", epoch.into()),
            ("spent", spent.into()),
        ]
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
    let commitment = job.map_or(Felt::ZERO, |job| job.commitment);
    let mut fields = vec![
        ("job_id", job_id.0.into()),
        ("client", client),
        ("state", state.into()),
        ("attempt", attempt.into()),
        ("worker_id", placement.map_or(0, |placement| placement.worker_id).into()),
    ];
    fields.extend(spec.fields());
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
        ("commitment", commitment),
        ("group_id", job.map_or(0, |job| job.group).into()),
    ]);
    fields
}
