//! Proof that a worker's agent acts for its account: a SNIP-12 message signed by the account.
//!
//! It is checked by asking the account itself (`is_valid_signature`), which works for every kind of account:
//! multisigs and passkeys have no key that could be checked here.

use keeper_types::{Address, ContentHash, Felt, ProofOfAccount};
use starknet::{
    core::types::{BlockId, BlockTag, FunctionCall, TypedData},
    macros::{selector, short_string},
    providers::Provider as _,
};

use crate::{Credentials, Rpc, RpcError};

/// Signatures of multisigs are longer than one key's two felts, but not without bound.
const LONGEST_SIGNATURE: usize = 256;

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

/// The hash that the account signs, by SNIP-12 revision 1. The audience is as long as it likes, so its content
/// hash is signed in its place.
///
/// # Errors
/// Fails where a field cannot be encoded.
pub fn proof_hash(proof: &ProofOfAccount) -> Result<Felt, ProofError> {
    let audience = ContentHash::of(proof.audience.as_bytes()).to_felt();
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
        "domain": { "name": "CIRO Keeper", "version": "1", "chainId": proof.chain_id.name(), "revision": "1" },
        "message": {
            "worker": proof.worker_id.0.to_string(),
            "registry": proof.cdc_pool.to_string(),
            "audience": format!("{audience:#x}"),
            "nonce": format!("{:#x}", proof.nonce),
            "expires_at": proof.expires_at.to_string(),
        },
    });
    let typed: TypedData =
        serde_json::from_value(document).map_err(|error| ProofError::Malformed(error.to_string()))?;
    typed.message_hash(proof.account.0).map_err(|error| ProofError::Malformed(error.to_string()))
}

/// Signs the proof with the account's key.
///
/// # Errors
/// Fails where the message cannot be hashed or signed.
pub fn sign_proof(proof: &ProofOfAccount, credentials: &Credentials) -> Result<Vec<Felt>, ProofError> {
    let signature = credentials.key.sign(&proof_hash(proof)?);
    let signature = signature.map_err(|error| ProofError::Signing(error.to_string()))?;
    Ok(vec![signature.r, signature.s])
}

/// Asks the account whether the signature is its own.
///
/// # Errors
/// Fails where it is not, or the node does not answer.
pub async fn verify_proof(rpc: &Rpc, proof: &ProofOfAccount, signature: &[Felt]) -> Result<(), ProofError> {
    let refused = ProofError::Refused(proof.account);
    if signature.len() > LONGEST_SIGNATURE {
        return Err(refused);
    }
    let mut calldata = vec![proof_hash(proof)?, Felt::from(signature.len())];
    calldata.extend_from_slice(signature);
    let request = FunctionCall {
        contract_address: proof.account.0,
        entry_point_selector: selector!("is_valid_signature"),
        calldata,
    };
    match rpc.client.call(request, BlockId::Tag(BlockTag::Latest)).await {
        Ok(answer) if answer == [short_string!("VALID")] => Ok(()),
        Ok(_) => Err(refused),
        Err(error) => match rpc.error("is_valid_signature", &error) {
            // Accounts also say no by reverting.
            RpcError::Refused { .. } => Err(refused),
            error => Err(error.into()),
        },
    }
}

#[cfg(test)]
mod tests {
    use keeper_types::{ChainId, WorkerId};

    use super::*;

    fn proof() -> ProofOfAccount {
        ProofOfAccount {
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
        let hash = proof_hash(&proof()).unwrap();
        let changed = [
            ProofOfAccount { account: Address(Felt::ONE), ..proof() },
            ProofOfAccount { worker_id: WorkerId(8), ..proof() },
            ProofOfAccount { nonce: Felt::ONE, ..proof() },
            ProofOfAccount { audience: "ws://elsewhere".to_owned(), ..proof() },
            ProofOfAccount { chain_id: ChainId::MAINNET, ..proof() },
            ProofOfAccount { cdc_pool: Address(Felt::ONE), ..proof() },
            ProofOfAccount { expires_at: 1, ..proof() },
        ];
        for other in changed {
            assert_ne!(proof_hash(&other).unwrap(), hash, "{other:?}");
        }
    }
}
