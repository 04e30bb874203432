//! Where crates that must not know each other meet: the chain behind the dispatcher's and the agent's traits.

use async_trait::async_trait;
use keeper_chain::{
    ChainJob, Contracts, Credentials, ProofError, RpcError, SaltSource, SendError, Sender, sign_proof, verify_proof,
};
use keeper_dispatch::{AuthError, Authenticator, ProofSigner, SignError};
use keeper_types::{Attempt, ContentHash, Felt, JobId, JobState, ProofOfAccount, TxHash, WorkerStatus};
use keeper_worker::{AllocationOnChain, FailureCode, WorkerChain, WorkerChainError};

/// Checks agents' proofs on chain.
#[derive(Debug)]
pub(crate) struct ChainAuthenticator {
    pub(crate) contracts: Contracts,
}

#[async_trait]
impl Authenticator for ChainAuthenticator {
    async fn verify(&self, proof: &ProofOfAccount, signature: &[Felt]) -> Result<(), AuthError> {
        let ProofOfAccount { account, worker_id, .. } = *proof;
        let not_owner = |reason: &str| AuthError::NotOwner { account, worker_id, reason: reason.to_owned() };
        let worker = self.contracts.worker(worker_id).await;
        match worker.map_err(|error| AuthError::Unavailable(error.to_string()))? {
            None => return Err(not_owner("there is no such worker")),
            Some(worker) if worker.owner != account => return Err(not_owner("it belongs to another account")),
            Some(worker) if worker.status == WorkerStatus::Exited => return Err(not_owner("it has left")),
            Some(_) => {}
        }
        match verify_proof(self.contracts.rpc(), proof, signature).await {
            Ok(()) => Ok(()),
            Err(ProofError::Refused(account)) => Err(AuthError::BadSignature { account }),
            Err(error) => Err(AuthError::Unavailable(error.to_string())),
        }
    }
}

/// Signs an agent's proofs.
pub(crate) struct AccountSigner {
    pub(crate) credentials: Credentials,
}

#[async_trait]
impl ProofSigner for AccountSigner {
    async fn sign(&self, proof: &ProofOfAccount) -> Result<Vec<Felt>, SignError> {
        sign_proof(proof, &self.credentials).map_err(|error| SignError(error.to_string()))
    }
}

/// The chain as a worker's agent needs it.
#[derive(Debug)]
pub(crate) struct AgentChain {
    pub(crate) contracts: Contracts,
    pub(crate) sender: Sender,
    pub(crate) salts: SaltSource,
}

impl AgentChain {
    /// Whether a result that is committed to may be shown: that of a replica once none of its group is pending.
    async fn reveals_open(&self, job: &ChainJob) -> Result<bool, RpcError> {
        match job.group_id {
            Some(group_id) if job.state == JobState::Committed => {
                Ok(self.contracts.group(group_id).await?.is_some_and(|group| group.opened_at.is_some()))
            }
            _ => Ok(job.state == JobState::Committed),
        }
    }
}

#[async_trait]
impl WorkerChain for AgentChain {
    async fn allocation(&self, job_id: JobId) -> Result<Option<AllocationOnChain>, WorkerChainError> {
        let job = self.contracts.job(job_id).await.map_err(|error| rpc_failure(&error))?;
        let reveals_open = match &job {
            Some(job) => self.reveals_open(job).await.map_err(|error| rpc_failure(&error))?,
            None => false,
        };
        Ok(job.and_then(|job| {
            Some(AllocationOnChain {
                client: job.client,
                worker_id: job.worker_id?,
                attempt: job.attempt,
                state: job.state,
                manifest_hash: job.spec.manifest_hash,
                gpu_count: job.spec.requirements.gpu_count,
                execution_timeout_s: job.spec.execution_timeout_s,
                attempt_deadline: job.attempt_deadline,
                result_hash: job.result_hash,
                verification: job.spec.verification,
                is_replica: job.group_id.is_some(),
                reveals_open,
            })
        }))
    }

    async fn submit_result(
        &self,
        job_id: JobId,
        attempt: Attempt,
        result_hash: ContentHash,
    ) -> Result<TxHash, WorkerChainError> {
        let sent = self.contracts.submit_result(&self.sender, job_id, attempt, result_hash).await;
        sent.map(|receipt| receipt.hash).map_err(|error| send_failure(&error))
    }

    async fn commit_result(
        &self,
        job_id: JobId,
        attempt: Attempt,
        result_hash: ContentHash,
    ) -> Result<TxHash, WorkerChainError> {
        let salt = self.salts.salt(&self.contracts, job_id, attempt);
        let owner = self.sender.address();
        let commitment = self.contracts.commitment(job_id, attempt, owner, result_hash, salt);
        let sent = self.contracts.commit_result(&self.sender, job_id, attempt, commitment).await;
        sent.map(|receipt| receipt.hash).map_err(|error| send_failure(&error))
    }

    async fn reveal_result(
        &self,
        job_id: JobId,
        attempt: Attempt,
        result_hash: ContentHash,
    ) -> Result<TxHash, WorkerChainError> {
        let salt = self.salts.salt(&self.contracts, job_id, attempt);
        let sent = self.contracts.reveal_result(&self.sender, job_id, attempt, result_hash, salt).await;
        sent.map(|receipt| receipt.hash).map_err(|error| send_failure(&error))
    }

    async fn fail_attempt(
        &self,
        job_id: JobId,
        attempt: Attempt,
        reason: FailureCode,
    ) -> Result<TxHash, WorkerChainError> {
        let sent = self.contracts.fail_attempt(&self.sender, job_id, attempt, reason.to_felt()).await;
        sent.map(|receipt| receipt.hash).map_err(|error| send_failure(&error))
    }
}

fn rpc_failure(error: &RpcError) -> WorkerChainError {
    if error.is_transient() {
        WorkerChainError::Transient(error.to_string())
    } else {
        WorkerChainError::Permanent(error.to_string())
    }
}

fn send_failure(error: &SendError) -> WorkerChainError {
    match error {
        SendError::Rpc(error) => rpc_failure(error),
        // The account may be funded, the nonce freed, the transaction included in a moment.
        SendError::Unfunded { .. } | SendError::NonceTaken { .. } | SendError::NotIncluded { .. } => {
            WorkerChainError::Transient(error.to_string())
        }
        SendError::WouldRevert { .. }
        | SendError::Reverted { .. }
        | SendError::NoSuchAccount { .. }
        | SendError::Signing(_) => WorkerChainError::Permanent(error.to_string()),
    }
}
