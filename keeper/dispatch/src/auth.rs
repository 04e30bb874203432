//! Proof that the other end may act for a worker's account.

use async_trait::async_trait;
use keeper_types::{Address, Felt, ProofOfAccount, WorkerId};

/// Checks proofs for a keeper.
#[async_trait]
pub trait Authenticator: Send + Sync {
    /// Checks on chain that `signature` is the account's for `proof` and that the account owns the worker.
    /// Nonce and expiry are checked by the caller.
    ///
    /// # Errors
    /// Says which of the two does not hold, or that the chain could not be asked.
    async fn verify(&self, proof: &ProofOfAccount, signature: &[Felt]) -> Result<(), AuthError>;
}

/// Why a proof was not accepted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AuthError {
    /// The account's contract does not recognise the signature.
    #[error("the signature is not one of account {account}")]
    BadSignature {
        /// The account.
        account: Address,
    },
    /// The worker is not the account's, or does not take part (any more).
    #[error("account {account} does not own worker {worker_id}: {reason}")]
    NotOwner {
        /// The account.
        account: Address,
        /// The worker.
        worker_id: WorkerId,
        /// What the registry says instead.
        reason: String,
    },
    /// The chain could not be asked.
    #[error("the proof could not be checked: {0}")]
    Unavailable(String),
}

/// Signs proofs for an agent.
#[async_trait]
pub trait ProofSigner: Send + Sync {
    /// The account's signature of `proof`.
    ///
    /// # Errors
    /// Fails where the key is not at hand, or is not the account's.
    async fn sign(&self, proof: &ProofOfAccount) -> Result<Vec<Felt>, SignError>;
}

/// A proof could not be signed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("cannot sign the proof of account: {0}")]
pub struct SignError(pub String);
