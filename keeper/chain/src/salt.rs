//! Salts of commitments.
//!
//! A commitment hides its result only as long as nobody can guess the salt, and an agent that was started anew must
//! find the salt again. So it is derived: from a secret of the account that is itself derived from the key, the
//! contract, the job and the attempt. Nothing of it is written down or logged.

use std::fmt;

use keeper_types::{Address, Attempt, ChainId, ContentHash, Felt, JobId, poseidon};

use crate::{Contracts, Credentials};

/// Derives salts for one account.
pub struct SaltSource {
    secret: Felt,
}

impl fmt::Debug for SaltSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SaltSource").finish_non_exhaustive()
    }
}

impl SaltSource {
    /// The source of the account's salts.
    pub fn new(credentials: &Credentials) -> Self {
        Self::from_secret(credentials.key.secret_scalar())
    }

    fn from_secret(key: Felt) -> Self {
        Self { secret: poseidon(&[word(b"ciro-salt-secret-v1"), key]) }
    }

    /// The salt of the commitment to an attempt's result.
    pub fn salt(&self, contracts: &Contracts, job_id: JobId, attempt: Attempt) -> Felt {
        self.salt_at(contracts.deployment().network.chain_id(), contracts.deployment().job_mgr.address, job_id, attempt)
    }

    fn salt_at(&self, chain_id: ChainId, job_mgr: Address, job_id: JobId, attempt: Attempt) -> Felt {
        let (job_id, attempt) = (Felt::from(job_id.0), Felt::from(attempt.0));
        poseidon(&[word(b"ciro-salt-v1"), self.secret, chain_id.0, job_mgr.0, job_id, attempt])
    }
}

impl Contracts {
    /// What the owner of a worker commits to a result with; as JobMgr's `commitment_of`.
    pub fn commitment(&self, job_id: JobId, attempt: Attempt, owner: Address, result: ContentHash, salt: Felt) -> Felt {
        poseidon(&[
            word(b"ciro-commit-v1"),
            self.deployment().network.chain_id().0,
            self.deployment().job_mgr.address.0,
            Felt::from(job_id.0),
            Felt::from(attempt.0),
            owner.0,
            result.to_felt(),
            salt,
        ])
    }
}

fn word(text: &[u8]) -> Felt {
    Felt::from_bytes_be_slice(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_salt_is_found_again_and_each_is_another() {
        let source = SaltSource::from_secret(Felt::from(7));
        let salt = |source: &SaltSource, job: u64, attempt| {
            source.salt_at(ChainId::SEPOLIA, Address(Felt::ONE), JobId(job), Attempt(attempt))
        };
        assert_eq!(salt(&source, 1, 1), salt(&SaltSource::from_secret(Felt::from(7)), 1, 1));
        assert_ne!(salt(&source, 1, 1), salt(&source, 1, 2));
        assert_ne!(salt(&source, 1, 1), salt(&source, 2, 1));
        assert_ne!(salt(&source, 1, 1), salt(&SaltSource::from_secret(Felt::from(8)), 1, 1));
        assert!(!format!("{source:?}").contains('7'), "a secret is not shown");
    }
}
