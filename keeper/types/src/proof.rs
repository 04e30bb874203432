//! Proof that an agent acts for a worker's account: what is signed.

use crate::{Address, ChainId, Felt, WorkerId};

/// What an agent signs to open a session. Every field is bound by the signature, so that a proof is worth
/// nothing at another keeper, on another chain, for another worker, or later.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProofOfAccount {
    /// The account that owns the worker.
    pub account: Address,
    /// The worker.
    pub worker_id: WorkerId,
    /// The challenge's nonce.
    pub nonce: Felt,
    /// The keeper that the proof is for.
    pub audience: String,
    /// The chain.
    pub chain_id: ChainId,
    /// The worker registry.
    pub cdc_pool: Address,
    /// When the proof becomes worthless, in seconds since the epoch.
    pub expires_at: u64,
}
