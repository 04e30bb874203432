//! Where the contracts stand: `deployments/<network>.json`.

use std::path::{Path, PathBuf};

use keeper_types::{Address, BlockNumber, Felt};
use serde::{Deserialize, Serialize};

use crate::Network;

/// The contracts of one network.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Deployment {
    /// The network.
    pub network: Network,
    /// The STRK token that escrow and stake are paid in.
    pub token: Address,
    /// JobMgr.
    pub job_mgr: DeployedContract,
    /// CdcPool.
    pub cdc_pool: DeployedContract,
    /// TaskAllocator.
    pub task_allocator: DeployedContract,
    /// Paymaster.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub paymaster: Option<DeployedContract>,
    /// Referee.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub referee: Option<DeployedContract>,
    /// The block in or before which the first of them was deployed: where following begins.
    pub block: BlockNumber,
    /// The account that deployed and administers them.
    pub admin: Address,
    /// The commit of this repository that the classes were built from, where it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub commit: Option<String>,
}

/// One contract.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DeployedContract {
    /// Where it stands.
    pub address: Address,
    /// Its class.
    pub class_hash: Felt,
}

/// A deployment file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DeploymentError {
    /// There is none.
    #[error("no contracts are known on {network}: {path} does not exist", path = path.display())]
    Missing {
        /// The network.
        network: Network,
        /// Where the file was looked for.
        path: PathBuf,
    },
    /// It cannot be read or written.
    #[error("{path}: {source}", path = path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// It is not of the right form.
    #[error("{path} is not a deployment file: {reason}", path = path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// It is another network's.
    #[error("{path} describes contracts on {found}, but --network is {network}", path = path.display())]
    OtherNetwork {
        /// The file.
        path: PathBuf,
        /// Its network.
        found: Network,
        /// The one asked for.
        network: Network,
    },
}

impl Deployment {
    /// The contracts' addresses: CdcPool, JobMgr, TaskAllocator.
    pub(crate) fn addresses(&self) -> [Felt; 3] {
        [self.cdc_pool, self.job_mgr, self.task_allocator].map(|contract| contract.address.0)
    }

    /// The contracts with their names, in the order in which they are deployed.
    pub fn contracts(&self) -> Vec<(&'static str, DeployedContract)> {
        let always = [("CdcPool", self.cdc_pool), ("JobMgr", self.job_mgr), ("TaskAllocator", self.task_allocator)];
        let others = [("Paymaster", self.paymaster), ("Referee", self.referee)];
        let others = others.into_iter().filter_map(|(name, contract)| Some((name, contract?)));
        always.into_iter().chain(others).collect()
    }

    /// Reads the file of `network`.
    ///
    /// # Errors
    /// Fails where there is none, or it is malformed or another network's.
    pub fn load(path: &Path, network: Network) -> Result<Self, DeploymentError> {
        let text = match std::fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Err(DeploymentError::Missing { network, path: path.to_owned() });
            }
            Err(source) => return Err(DeploymentError::Io { path: path.to_owned(), source }),
        };
        let deployment: Self = serde_json::from_str(&text)
            .map_err(|error| DeploymentError::Malformed { path: path.to_owned(), reason: error.to_string() })?;
        if deployment.network != network {
            let found = deployment.network;
            return Err(DeploymentError::OtherNetwork { path: path.to_owned(), found, network });
        }
        Ok(deployment)
    }

    /// Writes the file, replacing it whole: a crash leaves the old one or the new one.
    ///
    /// # Errors
    /// Fails where the folder cannot be made or written to.
    pub fn save(&self, path: &Path) -> Result<(), DeploymentError> {
        let io = |source| DeploymentError::Io { path: path.to_owned(), source };
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder).map_err(io)?;
        }
        let mut text = serde_json::to_string_pretty(self)
            .map_err(|error| DeploymentError::Malformed { path: path.to_owned(), reason: error.to_string() })?;
        text.push('\n');
        let unfinished = path.with_extension("json.new");
        std::fs::write(&unfinished, text).map_err(io)?;
        std::fs::rename(&unfinished, path).map_err(io)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn deployment() -> Deployment {
        let contract = |n: u64| DeployedContract { address: Address(Felt::from(n)), class_hash: Felt::from(n + 100) };
        Deployment {
            network: Network::Devnet,
            token: Address(Felt::ONE),
            job_mgr: contract(2),
            cdc_pool: contract(3),
            task_allocator: contract(4),
            paymaster: Some(contract(5)),
            referee: None,
            block: BlockNumber(7),
            admin: Address(Felt::from(9)),
            commit: None,
        }
    }

    #[test]
    fn it_is_read_as_it_was_written() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("deployments/devnet.json");
        deployment().save(&path).unwrap();
        assert_eq!(Deployment::load(&path, Network::Devnet).unwrap(), deployment());
        let error = Deployment::load(&path, Network::Sepolia).unwrap_err().to_string();
        assert!(error.contains("describes contracts on devnet, but --network is sepolia"), "{error}");
    }

    #[test]
    fn a_missing_file_is_named() {
        let error = Deployment::load(Path::new("nowhere/sepolia.json"), Network::Sepolia).unwrap_err().to_string();
        assert_eq!(error, "no contracts are known on sepolia: nowhere/sepolia.json does not exist");
    }
}
