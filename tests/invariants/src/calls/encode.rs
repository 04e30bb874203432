//! Calls as the ABI wants them.

use keeper_types::Felt;
use starknet_api::abi::abi_utils::selector_from_name;

use super::{Call, Relay, Trap};
use crate::actors::Contract;

impl Call {
    /// The contract that is called, and its function.
    pub(crate) fn target(&self) -> (Contract, &'static str) {
        let (contract, function, _) = self.parts();
        (contract, function)
    }

    /// The contract, its function, and the arguments as the ABI serialises them.
    pub(crate) fn parts(&self) -> (Contract, &'static str, Vec<Felt>) {
        self.of_job_mgr().or_else(|| self.of_cdc_pool()).or_else(|| self.of_others()).unwrap_or_else(|| self.shared())
    }

    fn of_job_mgr(&self) -> Option<(Contract, &'static str, Vec<Felt>)> {
        let (function, arguments) = match self {
            Self::SubmitJob(spec) => ("submit_job", spec.felts()),
            Self::SubmitJobFor { client, spec } => ("submit_job_for", [vec![*client], spec.felts()].concat()),
            Self::CancelJob(id) => ("cancel_job", vec![id.0.into()]),
            Self::AcceptResult(id) => ("accept_result", vec![id.0.into()]),
            Self::DisputeResult(id) => ("dispute_result", vec![id.0.into()]),
            Self::SubmitResult { job_id, attempt, result_hash } => {
                ("submit_result", vec![job_id.0.into(), attempt.0.into(), *result_hash])
            }
            Self::CommitResult { job_id, attempt, commitment } => {
                ("commit_result", vec![job_id.0.into(), attempt.0.into(), *commitment])
            }
            Self::RevealResult { job_id, attempt, result_hash, salt } => {
                ("reveal_result", vec![job_id.0.into(), attempt.0.into(), *result_hash, *salt])
            }
            Self::FailAttempt { job_id, attempt, reason } => {
                ("fail_attempt", vec![job_id.0.into(), attempt.0.into(), *reason])
            }
            Self::ClaimJob(id) => ("claim_job", vec![id.0.into()]),
            Self::ExpireJob(id) => ("expire_job", vec![id.0.into()]),
            Self::ExpireAttempt(id) => ("expire_attempt", vec![id.0.into()]),
            Self::Settle(id) => ("settle", vec![id.0.into()]),
            Self::SettleDispute(id) => ("settle_dispute", vec![id.0.into()]),
            Self::RuleDispute { job_id, is_right } => ("rule_dispute", vec![job_id.0.into(), (*is_right).into()]),
            Self::Withdraw(account) => ("withdraw", vec![*account]),
            Self::AllocateBatch(items) => ("allocate_batch", with_length(items)),
            Self::SetTaskAllocator(address) => ("set_task_allocator", vec![*address]),
            Self::SetPaymaster(address) => ("set_paymaster", vec![*address]),
            Self::SetReferee(address) => ("set_referee", vec![*address]),
            Self::GetJobs { first, count } => ("get_jobs", vec![(*first).into(), (*count).into()]),
            Self::CommitmentOf { job_id, attempt, owner, result_hash, salt } => {
                ("commitment_of", vec![(*job_id).into(), (*attempt).into(), *owner, *result_hash, *salt])
            }
            _ => return None,
        };
        Some((Contract::JobMgr, function, arguments))
    }

    fn of_cdc_pool(&self) -> Option<(Contract, &'static str, Vec<Felt>)> {
        let (function, arguments) = match self {
            Self::RegisterWorker { offer, stake } => {
                ("register_worker", [offer.felts(), vec![(*stake).into()]].concat())
            }
            Self::UpdateWorker(offer) => ("update_worker", offer.felts()),
            Self::DrainWorker => ("drain_worker", Vec::new()),
            Self::ResumeWorker => ("resume_worker", Vec::new()),
            Self::ExitWorker => ("exit_worker", Vec::new()),
            Self::WithdrawStake => ("withdraw_stake", Vec::new()),
            Self::AddStake(amount) => ("add_stake", vec![(*amount).into()]),
            Self::AdmitWorker(id) => ("admit_worker", vec![(*id).into()]),
            Self::DismissWorker(id) => ("dismiss_worker", vec![(*id).into()]),
            Self::Heartbeat => ("heartbeat", Vec::new()),
            Self::HeartbeatBatch(groups) => ("heartbeat_batch", with_length(groups)),
            Self::DecayReputation(id) => ("decay_reputation", vec![(*id).into()]),
            Self::OfJobMgr { function, arguments } => (*function, arguments.clone()),
            Self::SetJobMgr(address) => ("set_job_mgr", vec![*address]),
            Self::SetAllocatorOfPool(address) => ("set_task_allocator", vec![*address]),
            Self::GetWorkers { first, count } => ("get_workers", vec![(*first).into(), (*count).into()]),
            Self::IsAlive(id) => ("is_alive", vec![(*id).into()]),
            _ => return None,
        };
        Some((Contract::CdcPool, function, arguments))
    }

    fn of_others(&self) -> Option<(Contract, &'static str, Vec<Felt>)> {
        use Contract::{Paymaster, TaskAllocator};
        Some(match self {
            Self::ApplyBatch { header, items } => {
                (TaskAllocator, "apply_batch", [header.felts(), with_length(items)].concat())
            }
            Self::AnnouncePolicy(id) => (TaskAllocator, "announce_policy", vec![*id]),
            Self::RetirePolicy(id) => (TaskAllocator, "retire_policy", vec![*id]),
            Self::AddKeeper(address) => (TaskAllocator, "add_keeper", vec![*address]),
            Self::RemoveKeeper(address) => (TaskAllocator, "remove_keeper", vec![*address]),
            Self::PostBond(amount) => (TaskAllocator, "post_bond", vec![(*amount).into()]),
            Self::Leave => (TaskAllocator, "leave", Vec::new()),
            Self::WithdrawBond => (TaskAllocator, "withdraw_bond", Vec::new()),
            Self::UpdateWorkerMetrics { worker_id, metrics } => {
                (TaskAllocator, "update_worker_metrics", [vec![*worker_id], metrics.felts().to_vec()].concat())
            }
            Self::AllocateJob(params) => (TaskAllocator, "allocate_job", params.felts()),
            Self::GetWorkerLoad(id) => (TaskAllocator, "get_worker_load", vec![*id]),
            Self::GetWorkerMetrics(id) => (TaskAllocator, "get_worker_metrics", vec![*id]),
            Self::MetricsReportedAt(id) => (TaskAllocator, "metrics_reported_at", vec![*id]),
            Self::Deposit { account, amount } => (Paymaster, "deposit", vec![*account, (*amount).into()]),
            Self::WithdrawBalance(amount) => (Paymaster, "withdraw", vec![(*amount).into()]),
            Self::AuthoriseGateway { gateway, cap } => (Paymaster, "authorise_gateway", vec![*gateway, (*cap).into()]),
            Self::RevokeGateway(gateway) => (Paymaster, "revoke_gateway", vec![*gateway]),
            Self::DrawEscrow { client, gateway, amount } => {
                (Paymaster, "draw_escrow", vec![*client, *gateway, (*amount).into()])
            }
            Self::SponsorAccount { account, budget, max_fee } => {
                (Paymaster, "sponsor_account", vec![*account, (*budget).into(), (*max_fee).into()])
            }
            Self::StopSponsoring(account) => (Paymaster, "stop_sponsoring", vec![*account]),
            Self::AuthoriseRelayer(relayer) => (Paymaster, "authorise_relayer", vec![*relayer]),
            Self::RevokeRelayer(relayer) => (Paymaster, "revoke_relayer", vec![*relayer]),
            Self::Relay(relay) => (Paymaster, "relay", relay.felts()),
            _ => return None,
        })
    }

    /// What several contracts have, and the token's.
    fn shared(&self) -> (Contract, &'static str, Vec<Felt>) {
        match self {
            Self::TransferAdmin(contract, address) => (*contract, "transfer_admin", vec![*address]),
            Self::AcceptAdmin(contract) => (*contract, "accept_admin", Vec::new()),
            Self::SetGuardian(contract, address) => (*contract, "set_guardian", vec![*address]),
            Self::Pause(contract) => (*contract, "pause", Vec::new()),
            Self::Unpause(contract) => (*contract, "unpause", Vec::new()),
            Self::AnnounceUpgrade(contract, class_hash) => (*contract, "announce_upgrade", vec![*class_hash]),
            Self::CancelUpgrade(contract) => (*contract, "cancel_upgrade", Vec::new()),
            Self::Upgrade(contract) => (*contract, "upgrade", Vec::new()),
            Self::Approve { spender, amount } => {
                (Contract::Token, "approve", vec![spender.address(), (*amount).into(), Felt::ZERO])
            }
            Self::ArmToken(trap) => (Contract::Token, "arm", trap.felts()),
            Self::ArmAccount(call) => (Contract::Account, "arm", call.as_call()),
            _ => unreachable!("every call is in one of the four"),
        }
    }

    /// A call as an argument of one.
    fn as_call(&self) -> Vec<Felt> {
        let (contract, function, arguments) = self.parts();
        let mut felts = vec![contract.address(), selector_from_name(function).0];
        felts.extend(with_length(&arguments));
        felts
    }
}

impl Trap {
    fn felts(&self) -> Vec<Felt> {
        match self {
            Self::Refuse => vec![Felt::ONE, Felt::ZERO, Felt::ZERO, Felt::ZERO],
            Self::CallBack(call) => [vec![Felt::TWO], call.as_call()].concat(),
        }
    }
}

impl Relay {
    fn felts(&self) -> Vec<Felt> {
        let mut felts = vec![self.sponsor, self.fee.into(), self.account, self.bearer, self.nonce.into()];
        felts.extend([Felt::from(self.execute_after), self.execute_before.into(), self.calls.len().into()]);
        felts.extend(self.calls.iter().flat_map(Call::as_call));
        felts.extend(with_length(&self.signature));
        felts
    }
}

fn with_length(items: &[Felt]) -> Vec<Felt> {
    std::iter::once(Felt::from(items.len())).chain(items.iter().copied()).collect()
}
