//! The networks that a keeper can run on.

use std::{fmt, str::FromStr};

use keeper_types::{Address, ChainId, TxHash};
use serde::{Deserialize, Serialize};
use url::Url;

/// A Starknet network.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Network {
    /// A chain on this machine; it carries Sepolia's chain id.
    Devnet,
    /// The public test network.
    Sepolia,
    /// The main network.
    Mainnet,
}

impl Network {
    /// The id that the network's nodes report.
    pub fn chain_id(self) -> ChainId {
        match self {
            Self::Devnet | Self::Sepolia => ChainId::SEPOLIA,
            Self::Mainnet => ChainId::MAINNET,
        }
    }

    /// The network's name on the command line and in `deployments/`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Devnet => "devnet",
            Self::Sepolia => "sepolia",
            Self::Mainnet => "mainnet",
        }
    }

    /// The endpoint used where none is given: only a local chain has one that is always the same.
    pub fn default_rpc_url(self) -> Option<Url> {
        match self {
            Self::Devnet => Url::parse("http://127.0.0.1:5050/rpc").ok(),
            Self::Sepolia | Self::Mainnet => None,
        }
    }

    /// The page of a transaction in the Voyager explorer.
    pub fn transaction_page(self, hash: TxHash) -> Option<String> {
        self.explorer().map(|explorer| format!("{explorer}/tx/{hash}"))
    }

    /// The page of a contract in the Voyager explorer.
    pub fn contract_page(self, address: Address) -> Option<String> {
        self.explorer().map(|explorer| format!("{explorer}/contract/{address}"))
    }

    fn explorer(self) -> Option<&'static str> {
        match self {
            Self::Devnet => None,
            Self::Sepolia => Some("https://sepolia.voyager.online"),
            Self::Mainnet => Some("https://voyager.online"),
        }
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Network {
    type Err = UnknownNetwork;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "devnet" => Ok(Self::Devnet),
            "sepolia" | "alpha-sepolia" | "sepolia-testnet" => Ok(Self::Sepolia),
            "mainnet" | "alpha-mainnet" => Ok(Self::Mainnet),
            _ => Err(UnknownNetwork(text.to_owned())),
        }
    }
}

/// A text names no network.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown network `{0}`: known are devnet, sepolia and mainnet")]
pub struct UnknownNetwork(String);

#[cfg(test)]
mod tests {
    use keeper_types::Felt;

    use super::*;

    #[test]
    fn names_read_back_and_aliases_work() {
        for network in [Network::Devnet, Network::Sepolia, Network::Mainnet] {
            assert_eq!(network.name().parse::<Network>().unwrap(), network);
        }
        assert_eq!("alpha-sepolia".parse::<Network>().unwrap(), Network::Sepolia);
        assert!("goerli".parse::<Network>().unwrap_err().to_string().contains("devnet, sepolia and mainnet"));
    }

    #[test]
    fn only_public_networks_have_explorer_pages() {
        let hash = TxHash(Felt::ONE);
        assert_eq!(Network::Devnet.transaction_page(hash), None);
        let page = Network::Sepolia.transaction_page(hash).unwrap();
        assert!(page.starts_with("https://sepolia.voyager.online/tx/0x00"), "{page}");
    }
}
