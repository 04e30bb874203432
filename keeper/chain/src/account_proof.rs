//! Proof that a worker's agent acts for its account: a SNIP-12 message signed by the account.
//!
//! The message binds the chain, the registry, the worker, the keeper that asked and its nonce, and an expiry,
//! so that it is of no use anywhere else. It is checked by asking the account itself
//! (`is_valid_signature`), which works for every kind of account: multisigs and passkeys have no key that
//! could be checked here.

use keeper_types::{Address, ChainId, Felt, WorkerId};
use starknet::{
    core::types::{BlockId, BlockTag, FunctionCall, TypedData},
    macros::{selector, short_string},
    providers::Provider as _,
};

use crate::{Credentials, Rpc, RpcError};

/// What the account signs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccountProof {
    /// The account.
    pub account: Address,
    /// The worker that it says it owns.
    pub worker_id: WorkerId,
    /// The keeper's challenge.
    pub nonce: Felt,
    /// Who the proof is for: the keeper's address as the agent reached it, at most 31 characters are signed as
    /// a short string, so its hash is taken.
    pub audience: String,
    /// The chain.
    pub chain_id: ChainId,
    /// The registry that holds the worker.
    pub cdc_pool: Address,
    /// When the proof stops being good, in seconds since the epoch.
    pub expires_at: u64,
}

/// A proof cannot be made or checked.
#[derive(Debug, thiserror::Error)]
pub enum ProofError {
    /// The message cannot be hashed.
    #[error("the proof's message cannot be hashed: {0}")]
    Malformed(String),
    /// Signing failed.
    #[error("signing the proof failed: {0}")]
    Signing(String),
    /// The account says that the signature is not its own.
    #[error("account {0} does not recognise the signature")]
    Refused(Address),
    /// The node did not answer.
    #[error(transparent)]
    Rpc(#[from] RpcError),
}

impl AccountProof {
    /// The hash that the account signs.
    ///
    /// # Errors
    /// Fails where a field cannot be encoded.
    pub fn hash(&self) -> Result<Felt, ProofError> {
        let audience = keeper_types::ContentHash::of(self.audience.as_bytes()).to_felt();
        let document = serde_json::json!({
            "types": {
                "StarknetDomain": [
                    { "name": "name", "type": "shortstring" },
                    { "name": "version", "type": "shortstring" },
                    { "name": "chainId", "type": "shortstring" },
                    { "name": "revision", "type": "shortstring" },
                ],
                "WorkerSession": [
                    { "name": "worker", "type": "felt" },
                    { "name": "registry", "type": "ContractAddress" },
                    { "name": "audience", "type": "felt" },
                    { "name": "nonce", "type": "felt" },
                    { "name": "expires_at", "type": "timestamp" },
                ],
            },
            "primaryType": "WorkerSession",
            "domain": { "name": "CIRO Keeper", "version": "1", "chainId": self.chain_id.name(), "revision": "1" },
            "message": {
                "worker": self.worker_id.0.to_string(),
                "registry": self.cdc_pool.to_string(),
                "audience": format!("{audience:#x}"),
                "nonce": format!("{:#x}", self.nonce),
                "expires_at": self.expires_at.to_string(),
            },
        });
        let typed: TypedData =
            serde_json::from_value(document).map_err(|error| ProofError::Malformed(error.to_string()))?;
        typed.message_hash(self.account.0).map_err(|error| ProofError::Malformed(error.to_string()))
    }

    /// Signs the proof with the account's key.
    ///
    /// # Errors
    /// Fails where the message cannot be hashed or signed.
    pub fn sign(&self, credentials: &Credentials) -> Result<Vec<Felt>, ProofError> {
        let hash = self.hash()?;
        let signature = credentials.key.sign(&hash).map_err(|error| ProofError::Signing(error.to_string()))?;
        Ok(vec![signature.r, signature.s])
    }

    /// Asks the account whether the signature is its own.
    ///
    /// # Errors
    /// Fails where it is not, or the node does not answer.
    pub async fn verify(&self, rpc: &Rpc, signature: &[Felt]) -> Result<(), ProofError> {
        /// Signatures of multisigs are longer than one key's two felts, but not without bound.
        const LONGEST_SIGNATURE: usize = 256;
        if signature.len() > LONGEST_SIGNATURE {
            return Err(ProofError::Refused(self.account));
        }
        let mut calldata = vec![self.hash()?, Felt::from(signature.len())];
        calldata.extend_from_slice(signature);
        let request = FunctionCall {
            contract_address: self.account.0,
            entry_point_selector: selector!("is_valid_signature"),
            calldata,
        };
        match rpc.client.call(request, BlockId::Tag(BlockTag::Latest)).await {
            Ok(answer) if answer == [short_string!("VALID")] => Ok(()),
            Ok(_) => Err(ProofError::Refused(self.account)),
            Err(error) => match rpc.error("is_valid_signature", &error) {
                // Accounts also say no by reverting.
                RpcError::Refused { .. } => Err(ProofError::Refused(self.account)),
                error => Err(error.into()),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn proof() -> AccountProof {
        AccountProof {
            account: Address(Felt::from(0x1234)),
            worker_id: WorkerId(7),
            nonce: Felt::from(99),
            audience: "ws://127.0.0.1:7070/v1/session".to_owned(),
            chain_id: ChainId::SEPOLIA,
            cdc_pool: Address(Felt::from(0x77)),
            expires_at: 1_700_000_000,
        }
    }

    #[test]
    fn every_field_is_bound() {
        let hash = proof().hash().unwrap();
        let changed = [
            AccountProof { account: Address(Felt::ONE), ..proof() },
            AccountProof { worker_id: WorkerId(8), ..proof() },
            AccountProof { nonce: Felt::ONE, ..proof() },
            AccountProof { audience: "ws://elsewhere".to_owned(), ..proof() },
            AccountProof { chain_id: ChainId::MAINNET, ..proof() },
            AccountProof { cdc_pool: Address(Felt::ONE), ..proof() },
            AccountProof { expires_at: 1, ..proof() },
        ];
        for other in changed {
            assert_ne!(other.hash().unwrap(), hash, "{other:?}");
        }
    }
}
