//! Where crates that must not know each other meet: the chain behind the dispatcher's and the agent's traits.

use async_trait::async_trait;
use keeper_chain::{AccountProof, Contracts, Credentials, ProofError};
use keeper_dispatch::{AuthError, Authenticator, ProofOfAccount, ProofSigner, SignError};
use keeper_types::{Felt, WorkerStatus};

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
        match account_proof(proof).verify(self.contracts.rpc(), signature).await {
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
        account_proof(proof).sign(&self.credentials).map_err(|error| SignError(error.to_string()))
    }
}

fn account_proof(proof: &ProofOfAccount) -> AccountProof {
    AccountProof {
        account: proof.account,
        worker_id: proof.worker_id,
        nonce: proof.nonce,
        audience: proof.audience.clone(),
        chain_id: proof.chain_id,
        cdc_pool: proof.cdc_pool,
        expires_at: proof.expires_at,
    }
}
