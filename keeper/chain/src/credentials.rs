//! Accounts and keys, in the files that Starknet's tools write.
//!
//! An account is named by starkli's account file (`--account`) and its key by a Web3 Secret Storage keystore
//! (`--keystore`), or by `STARKNET_PRIVATE_KEY`. A local chain's predeployed accounts are `devnet-1`,
//! `devnet-2`, and so on.

use std::path::{Path, PathBuf};

use keeper_types::{Address, Felt, parse_felt};
use secrecy::{ExposeSecret as _, SecretString};
use serde::Deserialize;
use starknet::signers::SigningKey;

use crate::{Network, Rpc};

/// Where an account and its key come from.
#[derive(Clone, Debug)]
pub enum AccountSource {
    /// The n-th predeployed account of a local chain, from 1.
    Devnet(usize),
    /// starkli's account file, and where the key is.
    File {
        /// The account file.
        account: PathBuf,
        /// Its key.
        key: KeySource,
    },
}

/// Where a private key comes from.
#[derive(Clone, Debug)]
pub enum KeySource {
    /// An encrypted keystore and its password.
    Keystore {
        /// The keystore file.
        path: PathBuf,
        /// What opens it.
        password: SecretString,
    },
    /// The key itself, from the environment.
    Plain(SecretString),
}

/// An account with the key that signs for it.
#[derive(Clone)]
pub struct Credentials {
    /// The account's address.
    pub address: Address,
    pub(crate) key: SigningKey,
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Credentials").field("address", &self.address).finish_non_exhaustive()
    }
}

/// Why an account or its key cannot be used. Each message names the file and what to do.
#[derive(Debug, thiserror::Error)]
pub enum CredentialsError {
    /// A file cannot be read.
    #[error("{path} cannot be read: {source}", path = path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The account file is not of starkli's form.
    #[error("{path} is not a starkli account file: {reason}", path = path.display())]
    MalformedAccount {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// The account's class predates Cairo 1 and encodes calls in another way.
    #[error(
        "{path} describes a legacy (Cairo 0) account, which cannot be used: upgrade the account, or create \
         another with `starkli account oz init` and set `\"legacy\": false`", path = path.display()
    )]
    LegacyAccount {
        /// The file.
        path: PathBuf,
    },
    /// The account is not on chain yet.
    #[error("the account in {path} is not deployed: fund it and run `starkli account deploy {path}` first", path = path.display())]
    NotDeployed {
        /// The file.
        path: PathBuf,
    },
    /// The keystore does not open.
    #[error("the keystore {path} does not open: {reason}; is STARKNET_KEYSTORE_PASSWORD right?", path = path.display())]
    Keystore {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// The private key is not a felt.
    #[error("STARKNET_PRIVATE_KEY is not a felt: expected 0x and hexadecimal digits, below the field's prime")]
    MalformedKey,
    /// The key does not belong to the account.
    #[error("the key does not belong to the account in {path}: its public key is {actual:#x}, the file names {expected:#x}", path = path.display())]
    WrongKey {
        /// The account file.
        path: PathBuf,
        /// The file's public key.
        expected: Felt,
        /// The key's.
        actual: Felt,
    },
    /// `devnet-N` on a network that has no predeployed accounts.
    #[error(
        "devnet-{index} is an account of a local chain, but --network is {network}: give --account and --keystore files"
    )]
    NotOnThisNetwork {
        /// Which account.
        index: usize,
        /// The network.
        network: Network,
    },
    /// The local chain does not list its accounts, or has fewer.
    #[error("the local chain has no account devnet-{index}: {reason}")]
    NoSuchDevnetAccount {
        /// Which account.
        index: usize,
        /// Why.
        reason: String,
    },
}

impl Credentials {
    /// Reads the account and its key.
    ///
    /// # Errors
    /// Says which file is wrong and what to do about it.
    pub async fn load(rpc: &Rpc, source: &AccountSource) -> Result<Self, CredentialsError> {
        match source {
            AccountSource::Devnet(index) => predeployed(rpc, *index).await,
            AccountSource::File { account, key } => Self::from_files(account, key),
        }
    }

    /// Reads starkli's account file and the key.
    ///
    /// # Errors
    /// As [`Credentials::load`].
    pub fn from_files(account: &Path, key: &KeySource) -> Result<Self, CredentialsError> {
        let (address, public_key) = read_account(account)?;
        let key = read_key(key)?;
        let actual = starknet_crypto::get_public_key(&key.secret_scalar());
        match public_key {
            Some(expected) if expected != actual => {
                Err(CredentialsError::WrongKey { path: account.to_owned(), expected, actual })
            }
            _ => Ok(Self { address, key }),
        }
    }
}

#[derive(Deserialize)]
struct AccountFile {
    version: u64,
    variant: Variant,
    deployment: Deployment,
}

#[derive(Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Variant {
    OpenZeppelin {
        public_key: Felt,
        #[serde(default = "legacy_unless_said_otherwise")]
        legacy: bool,
    },
    Argent {
        #[serde(default)]
        owner: Option<Felt>,
    },
    Braavos {},
}

/// starkli takes a missing flag for an account of the old kind.
fn legacy_unless_said_otherwise() -> bool {
    true
}

#[derive(Deserialize)]
#[serde(tag = "status", rename_all = "snake_case")]
enum Deployment {
    Deployed { address: String },
    Undeployed {},
}

fn read_account(path: &Path) -> Result<(Address, Option<Felt>), CredentialsError> {
    let text = std::fs::read_to_string(path)
        .map_err(|source| CredentialsError::Unreadable { path: path.to_owned(), source })?;
    let malformed = |reason: String| CredentialsError::MalformedAccount { path: path.to_owned(), reason };
    let file: AccountFile = serde_json::from_str(&text).map_err(|error| malformed(error.to_string()))?;
    if file.version != 1 {
        return Err(malformed(format!("its version is {}, but only 1 is known", file.version)));
    }
    let public_key = match file.variant {
        Variant::OpenZeppelin { legacy: true, .. } => {
            return Err(CredentialsError::LegacyAccount { path: path.to_owned() });
        }
        Variant::OpenZeppelin { public_key, .. } => Some(public_key),
        Variant::Argent { owner } => owner,
        Variant::Braavos {} => None,
    };
    match file.deployment {
        Deployment::Deployed { address } => match address.parse() {
            Ok(address) => Ok((address, public_key)),
            Err(error) => Err(malformed(format!("deployment.address: {error}"))),
        },
        Deployment::Undeployed {} => Err(CredentialsError::NotDeployed { path: path.to_owned() }),
    }
}

fn read_key(source: &KeySource) -> Result<SigningKey, CredentialsError> {
    match source {
        KeySource::Plain(text) => {
            // What it is not is not repeated: it may be a key all the same.
            let scalar = parse_felt(text.expose_secret()).map_err(|_| CredentialsError::MalformedKey)?;
            Ok(SigningKey::from_secret_scalar(scalar))
        }
        KeySource::Keystore { path, password } => {
            std::fs::metadata(path).map_err(|source| CredentialsError::Unreadable { path: path.clone(), source })?;
            SigningKey::from_keystore(path, password.expose_secret())
                .map_err(|error| CredentialsError::Keystore { path: path.clone(), reason: error.to_string() })
        }
    }
}

#[derive(Deserialize)]
struct Predeployed {
    address: Felt,
    private_key: Felt,
}

async fn predeployed(rpc: &Rpc, index: usize) -> Result<Credentials, CredentialsError> {
    if rpc.network != Network::Devnet {
        return Err(CredentialsError::NotOnThisNetwork { index, network: rpc.network });
    }
    let missing = |reason: String| CredentialsError::NoSuchDevnetAccount { index, reason };
    let accounts = rpc.ask("devnet_getPredeployedAccounts", serde_json::json!({})).await.map_err(missing)?;
    let accounts: Vec<Predeployed> =
        serde_json::from_value(accounts).map_err(|_| missing("it does not list predeployed accounts".to_owned()))?;
    let count = accounts.len();
    let account = index.checked_sub(1).and_then(|place| accounts.into_iter().nth(place));
    let account = account.ok_or_else(|| missing(format!("it has {count}, numbered from 1")))?;
    Ok(Credentials { address: Address(account.address), key: SigningKey::from_secret_scalar(account.private_key) })
}

#[cfg(test)]
mod tests;
