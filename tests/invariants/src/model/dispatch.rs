//! Which rule a call is for.

use keeper_types::Felt;

use super::{Answered, Model, cdc_pool};
use crate::calls::Call;

impl Model {
    /// Makes a call as `caller`. What it changed before it was refused is the caller's to forget.
    pub(super) fn call(&mut self, caller: Felt, call: &Call) -> Answered {
        if let Some(answered) = self.call_job_mgr(caller, call) {
            return answered;
        }
        if let Some(answered) = self.call_cdc_pool(caller, call) {
            return answered;
        }
        if let Some(answered) = self.call_task_allocator(caller, call) {
            return answered;
        }
        if let Some(answered) = self.call_paymaster(caller, call) {
            return answered;
        }
        self.call_shared(caller, call)
    }

    fn call_job_mgr(&mut self, caller: Felt, call: &Call) -> Option<Answered> {
        Some(match call {
            Call::SubmitJob(spec) => self.submit_job(caller, spec),
            Call::SubmitJobFor { client, spec } => self.submit_job_for(caller, *client, spec),
            Call::CancelJob(id) => self.cancel_job(caller, *id),
            Call::AcceptResult(id) => self.accept_result(caller, *id),
            Call::DisputeResult(id) => self.dispute_result(caller, *id),
            Call::SubmitResult { job_id, attempt, result_hash } => {
                self.submit_result(caller, *job_id, *attempt, *result_hash)
            }
            Call::CommitResult { job_id, attempt, commitment } => {
                self.commit_result(caller, *job_id, *attempt, *commitment)
            }
            Call::RevealResult { job_id, attempt, result_hash, salt } => {
                self.reveal_result(caller, *job_id, *attempt, *result_hash, *salt)
            }
            Call::FailAttempt { job_id, attempt, reason } => self.fail_attempt(caller, *job_id, *attempt, *reason),
            Call::ClaimJob(id) => self.claim_job(caller, *id),
            Call::ExpireJob(id) => self.expire_job(*id),
            Call::ExpireAttempt(id) => self.expire_attempt(caller, *id),
            Call::Settle(id) => self.settle(*id),
            Call::SettleDispute(id) => self.settle_dispute(*id),
            Call::RuleDispute { job_id, is_right } => self.rule_dispute(caller, *job_id, *is_right),
            Call::Withdraw(account) => self.withdraw(*account),
            Call::AllocateBatch(items) => self.allocate_batch(caller, items).map(|skips| listed(&skips)),
            Call::SetTaskAllocator(address) => self.set_task_allocator(caller, *address),
            Call::SetPaymaster(address) => self.set_paymaster(caller, *address),
            Call::SetReferee(address) => self.set_referee(caller, *address),
            Call::GetJobs { first, count } => self.get_jobs(*first, *count),
            Call::CommitmentOf { job_id, attempt, owner, result_hash, salt } => {
                Ok(vec![Self::commitment(*job_id, *attempt, *owner, *result_hash, *salt)])
            }
            _ => return None,
        })
    }

    fn call_cdc_pool(&mut self, caller: Felt, call: &Call) -> Option<Answered> {
        Some(match call {
            Call::RegisterWorker { offer, stake } => self.register_worker(caller, offer, *stake),
            Call::UpdateWorker(offer) => self.update_worker(caller, offer),
            Call::DrainWorker => self.drain_worker(caller),
            Call::ResumeWorker => self.resume_worker(caller),
            Call::ExitWorker => self.exit_worker(caller),
            Call::WithdrawStake => self.withdraw_stake(caller),
            Call::AddStake(amount) => self.add_stake(caller, *amount),
            Call::AdmitWorker(id) => self.admit_worker(caller, *id, true),
            Call::DismissWorker(id) => self.admit_worker(caller, *id, false),
            Call::Heartbeat => self.heartbeat(caller),
            Call::HeartbeatBatch(groups) => self.heartbeat_batch(caller, groups),
            Call::DecayReputation(id) => self.decay_reputation(*id),
            // No account is the job manager.
            Call::OfJobMgr { .. } => Err(cdc_pool::NOT_JOB_MGR),
            Call::SetJobMgr(address) => self.set_job_mgr(caller, *address),
            Call::SetAllocatorOfPool(address) => self.set_allocator_of_pool(caller, *address),
            Call::GetWorkers { first, count } => self.get_workers(*first, *count),
            Call::IsAlive(id) => Ok(vec![self.is_alive(*id).into()]),
            _ => return None,
        })
    }

    fn call_task_allocator(&mut self, caller: Felt, call: &Call) -> Option<Answered> {
        Some(match call {
            Call::ApplyBatch { header, items } => self.apply_batch(caller, header, items),
            Call::AnnouncePolicy(id) => self.announce_policy(caller, *id),
            Call::RetirePolicy(id) => self.retire_policy(caller, *id),
            Call::AddKeeper(keeper) => self.add_keeper(caller, *keeper),
            Call::RemoveKeeper(keeper) => self.remove_keeper(caller, *keeper),
            Call::PostBond(amount) => self.post_bond(caller, *amount),
            Call::Leave => self.leave(caller),
            Call::WithdrawBond => self.withdraw_bond(caller),
            Call::UpdateWorkerMetrics { worker_id, metrics } => {
                self.update_worker_metrics(caller, *worker_id, *metrics)
            }
            Call::AllocateJob(params) => Ok(self.allocate_job(params)),
            Call::GetWorkerLoad(worker_id) => self.get_worker_load(*worker_id).map(|load| vec![load]),
            Call::GetWorkerMetrics(worker_id) => self.get_worker_metrics(*worker_id),
            Call::MetricsReportedAt(worker_id) => self.metrics_reported_at(*worker_id).map(|at| vec![at]),
            _ => return None,
        })
    }

    fn call_paymaster(&mut self, caller: Felt, call: &Call) -> Option<Answered> {
        Some(match call {
            Call::Deposit { account, amount } => self.deposit(caller, *account, *amount),
            Call::WithdrawBalance(amount) => self.withdraw_balance(caller, *amount),
            Call::AuthoriseGateway { gateway, cap } => self.authorise_gateway(caller, *gateway, *cap),
            Call::RevokeGateway(gateway) => self.revoke_gateway(caller, *gateway),
            Call::DrawEscrow { client, gateway, amount } => self.draw_escrow(caller, *client, *gateway, *amount),
            Call::SponsorAccount { account, budget, max_fee } => {
                self.sponsor_account(caller, *account, *budget, *max_fee)
            }
            Call::StopSponsoring(account) => self.stop_sponsoring(caller, *account),
            Call::AuthoriseRelayer(relayer) => self.authorise_relayer(caller, *relayer),
            Call::RevokeRelayer(relayer) => self.revoke_relayer(caller, *relayer),
            Call::Relay(relay) => self.relay(caller, relay),
            _ => return None,
        })
    }

    fn call_shared(&mut self, caller: Felt, call: &Call) -> Answered {
        match call {
            Call::TransferAdmin(contract, address) => self.transfer_admin(caller, *contract, *address),
            Call::AcceptAdmin(contract) => self.accept_admin(caller, *contract),
            Call::SetGuardian(contract, address) => self.set_guardian(caller, *contract, *address),
            Call::Pause(contract) => self.pause(caller, *contract),
            Call::Unpause(contract) => self.unpause(caller, *contract),
            Call::AnnounceUpgrade(contract, class_hash) => self.announce_upgrade(caller, *contract, *class_hash),
            Call::CancelUpgrade(contract) => self.cancel_upgrade(caller, *contract),
            Call::Upgrade(contract) => self.upgrade(caller, *contract),
            Call::Approve { spender, amount } => {
                self.token.approve(caller, spender.address(), *amount);
                Ok(vec![Felt::ONE])
            }
            Call::ArmToken(trap) => {
                self.token.trap = Some(trap.clone());
                Ok(Vec::new())
            }
            Call::ArmAccount(call) => {
                self.account.trap = Some(call.clone());
                Ok(Vec::new())
            }
            _ => unreachable!("every call is in one of the five"),
        }
    }

    /// Makes a call in the middle of another, whose maker does not care what becomes of it.
    pub(super) fn call_back(&mut self, caller: Felt, call: &Call) {
        let before = self.clone();
        if self.call(caller, call).is_err() {
            *self = before;
        }
    }
}

/// What `allocate_batch` returns.
fn listed(skips: &[(Felt, u8)]) -> Vec<Felt> {
    let felts = skips.iter().flat_map(|(item, reason)| [*item, Felt::from(*reason)]);
    std::iter::once(skips.len().into()).chain(felts).collect()
}
