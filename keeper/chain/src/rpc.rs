//! The connection to a node, checked before anything is believed.
//!
//! A keeper that talks to the wrong chain spends real money or reports a test as the truth, so [`connect`]
//! refuses a node whose chain id is not the network's, or that speaks a version of the JSON-RPC specification
//! that this client was not written for.

use std::{sync::Arc, time::Duration};

use keeper_types::{ChainId, Felt, TxHash};
use starknet::{
    core::types::{StarknetError, TransactionReceipt},
    providers::{JsonRpcClient, Provider as _, ProviderError, jsonrpc::HttpTransport},
};
use url::Url;

use crate::Network;

/// How long one request may take. The client library sets no limit of its own.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// The client that everything in this crate shares.
pub(crate) type Client = Arc<JsonRpcClient<HttpTransport>>;

/// A connection to a node of the right network.
#[derive(Clone, Debug)]
pub struct Rpc {
    pub(crate) client: Client,
    pub(crate) http: reqwest::Client,
    pub(crate) url: Url,
    /// The network that the node was checked to belong to.
    pub network: Network,
}

/// Why a node cannot be used, or did not answer.
#[derive(Debug, thiserror::Error)]
pub enum RpcError {
    /// No answer came, or one that is no JSON-RPC.
    #[error("the node at {url} cannot be reached: {reason}")]
    Unreachable {
        /// The endpoint, without a key that its path may hold.
        url: String,
        /// What went wrong.
        reason: String,
    },
    /// The node belongs to another network.
    #[error(
        "the node at {url} is on chain {actual}, but --network {network} is {expected}: \
         change --network or --rpc-url"
    )]
    WrongChain {
        /// The endpoint.
        url: String,
        /// The network asked for.
        network: Network,
        /// Its chain id.
        expected: String,
        /// The node's.
        actual: String,
    },
    /// The node speaks a version of the specification that this client does not.
    #[error(
        "the node at {url} speaks JSON-RPC specification {version}, but 0.9 or 0.10 is needed: use an endpoint such as .../rpc/v0_10"
    )]
    WrongVersion {
        /// The endpoint.
        url: String,
        /// What it speaks.
        version: String,
    },
    /// The node refused a request.
    #[error("the node refused {request}: {reason}")]
    Refused {
        /// What was asked.
        request: &'static str,
        /// Its answer.
        reason: String,
    },
    /// The node answered something that makes no sense.
    #[error("the node's answer to {request} cannot be used: {reason}")]
    Malformed {
        /// What was asked.
        request: &'static str,
        /// Why.
        reason: String,
    },
}

impl RpcError {
    /// Whether the same request may succeed later.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Unreachable { .. } | Self::Malformed { .. } => true,
            Self::WrongChain { .. } | Self::WrongVersion { .. } | Self::Refused { .. } => false,
        }
    }
}

impl Rpc {
    /// Connects to `url` and checks that it is a node of `network`.
    ///
    /// # Errors
    /// Fails where the node cannot be reached, is on another chain, or speaks another specification.
    pub async fn connect(network: Network, url: &Url) -> Result<Self, RpcError> {
        let unreachable = |reason: String| RpcError::Unreachable { url: shown_url(url), reason };
        let http = reqwest::Client::builder()
            .timeout(REQUEST_TIMEOUT)
            .connect_timeout(CONNECT_TIMEOUT)
            .build()
            .map_err(|error| unreachable(error.to_string()))?;
        let transport = HttpTransport::new_with_client(url.clone(), http.clone());
        let rpc = Self { client: Arc::new(JsonRpcClient::new(transport)), http, url: url.clone(), network };
        rpc.check().await?;
        Ok(rpc)
    }

    /// Checks anew that the node is one of the network: what answers at an address may have been exchanged.
    ///
    /// # Errors
    /// As [`Rpc::connect`].
    pub async fn check(&self) -> Result<(), RpcError> {
        let version = self.client.spec_version().await.map_err(|error| self.error("spec version", &error))?;
        if !matches!(version.split('.').collect::<Vec<_>>()[..], ["0", "9" | "10", ..]) {
            return Err(RpcError::WrongVersion { url: self.endpoint(), version });
        }
        let actual = ChainId(self.client.chain_id().await.map_err(|error| self.error("chain id", &error))?);
        if actual != self.network.chain_id() {
            return Err(RpcError::WrongChain {
                url: self.endpoint(),
                network: self.network,
                expected: self.network.chain_id().name(),
                actual: actual.name(),
            });
        }
        Ok(())
    }

    /// The endpoint, without a key that its path or query may hold.
    pub fn endpoint(&self) -> String {
        shown_url(&self.url)
    }

    /// L2 gas and L1 data gas that a transaction used.
    ///
    /// # Errors
    /// Fails where the node does not answer, or does not know the transaction.
    pub async fn gas_used(&self, hash: TxHash) -> Result<(u64, u64), RpcError> {
        let receipt = self.client.get_transaction_receipt(hash.0).await;
        let receipt = receipt.map_err(|error| self.error("a receipt", &error))?.receipt;
        let used = match receipt {
            TransactionReceipt::Invoke(receipt) => receipt.execution_resources,
            TransactionReceipt::Declare(receipt) => receipt.execution_resources,
            TransactionReceipt::Deploy(receipt) => receipt.execution_resources,
            TransactionReceipt::DeployAccount(receipt) => receipt.execution_resources,
            TransactionReceipt::L1Handler(receipt) => receipt.execution_resources,
        };
        Ok((used.l2_gas, used.l1_data_gas))
    }

    /// What a library says, without the endpoint's key that it may repeat.
    fn reason(&self, text: &str) -> String {
        short(&text.replace(self.url.as_str(), &shown_url(&self.url)))
    }

    /// Classifies what the client library reports. A refusal by the node is an answer; everything else is the
    /// lack of one.
    pub(crate) fn error(&self, request: &'static str, error: &ProviderError) -> RpcError {
        match error {
            ProviderError::StarknetError(error) => RpcError::Refused { request, reason: describe(error) },
            other => RpcError::Unreachable { url: shown_url(&self.url), reason: self.reason(&other.to_string()) },
        }
    }
}

/// A node's error with the details that people need, without the Rust of it.
pub(crate) fn describe(error: &StarknetError) -> String {
    match error {
        StarknetError::ContractError(data) => readable_revert(&format!("{:?}", data.revert_error)),
        StarknetError::TransactionExecutionError(data) => readable_revert(&format!("{:?}", data.execution_error)),
        StarknetError::ValidationFailure(reason) => format!("{}: {reason}", error.message()),
        StarknetError::UnexpectedError(reason) => reason.clone(),
        other => other.message().to_owned(),
    }
}

/// Finds the contract's own words in a trace. Cairo panics carry short strings; nodes print them as `('Text')`,
/// as hexadecimal numbers, or both.
pub(crate) fn readable_revert(trace: &str) -> String {
    let quoted = trace.rsplit("('").find_map(|tail| {
        let (text, _) = tail.split_once("')")?;
        is_contracts_words(text).then(|| text.to_owned())
    });
    let spelt = || {
        trace.rsplit("0x").find_map(|tail| {
            let digits = tail.split(|character: char| !character.is_ascii_hexdigit()).next()?;
            let bytes = Felt::from_hex(&format!("0x{digits}")).ok()?.to_bytes_be();
            let text: String = bytes.into_iter().skip_while(|byte| *byte == 0).map(char::from).collect();
            is_contracts_words(&text).then_some(text)
        })
    };
    quoted.or_else(spelt).unwrap_or_else(|| short(trace))
}

/// Our contracts' errors read `JobMgr: not queued`, and fit a felt.
fn is_contracts_words(text: &str) -> bool {
    text.contains(": ") && text.len() <= 31 && text.chars().all(|character| (' '..='~').contains(&character))
}

fn short(text: &str) -> String {
    const LONGEST: usize = 400;
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    if line.len() <= LONGEST {
        return line;
    }
    let end = (0..=LONGEST).rev().find(|end| line.is_char_boundary(*end)).unwrap_or(0);
    format!("{}...", &line[..end])
}

/// An endpoint as it may be shown: those of hosted nodes carry their key in the path or the query.
pub fn shown_url(url: &Url) -> String {
    let mut shown = url.clone();
    let has_key = url.path().split('/').any(|part| part.len() >= 20);
    if has_key {
        shown.set_path("/...");
    }
    if url.query().is_some() {
        shown.set_query(Some("..."));
    }
    // A URL that holds a password has a host, so neither call can fail.
    let _ = shown.set_password(None);
    shown.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_in_endpoints_are_not_shown() {
        let shown = |text: &str| shown_url(&Url::parse(text).unwrap());
        assert_eq!(shown("http://127.0.0.1:5050/rpc"), "http://127.0.0.1:5050/rpc");
        assert_eq!(shown("https://node.example/v2/abcdefghijklmnopqrstuv"), "https://node.example/...");
        assert_eq!(shown("https://node.example/rpc?key=secret"), "https://node.example/rpc?...");
        assert_eq!(shown("https://me:secret@node.example/rpc"), "https://me@node.example/rpc");
    }

    #[test]
    fn the_contracts_words_are_found_in_a_trace() {
        let trace = "Error in the called contract (0x1): 0x4a6f (('JobMgr: not queued'), 'ENTRYPOINT_FAILED')";
        assert_eq!(readable_revert(trace), "JobMgr: not queued");
        let felt = "Execution failed. Failure reason: [0x4a6f624d67723a206e6f7420717565756564, 0x454e5452]";
        assert_eq!(readable_revert(felt), "JobMgr: not queued");
        assert_eq!(readable_revert("boom"), "boom");
    }
}
