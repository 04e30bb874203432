//! The connection to a node, or to several as if they were one, checked before anything is believed.
//!
//! A keeper that talks to the wrong chain spends real money or reports a test as the truth, so [`connect`]
//! refuses a node whose chain id is not the network's, or that speaks a version of the JSON-RPC specification
//! that this client was not written for. Of several endpoints ([`Rpc::connect_all`]) one that is good is enough; what
//! they say is compared, and none is believed against the others ([`pool`]).

mod breaker;
mod endpoint;
mod essence;
mod events;
mod head;
mod health;
mod latency;
mod limiter;
mod monitor;
mod pool;
mod request;
mod settings;
mod tally;
mod text;
mod transport;
mod typed;
mod writing;

use std::{sync::Arc, time::Duration};

use keeper_types::{BlockNumber, TxHash};
use serde_json::Value;
use starknet::{
    core::types::TransactionReceipt,
    providers::{JsonRpcClient, Provider as _, ProviderError, jsonrpc::JsonRpcClientError},
};
use url::Url;

pub(crate) use self::text::{describe, readable_revert, short};
use self::{
    endpoint::Reply,
    pool::{Pool, PoolError},
    request::Request,
    transport::PoolTransport,
};
pub use self::{
    health::{EndpointHealth, Standing},
    monitor::CrossCheck,
    settings::PoolSettings,
    text::shown_url,
};
use crate::Network;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// The client that everything in this crate shares.
pub(crate) type Client = Arc<JsonRpcClient<PoolTransport>>;

/// A connection to nodes of the right network.
#[derive(Clone, Debug)]
pub struct Rpc {
    pub(crate) client: Client,
    pool: Arc<Pool>,
    /// The network that the nodes were checked to belong to.
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
    /// The node refused a request with a code that the specification does not have. Each program means something of its
    /// own by it, so that it may pass.
    #[error("the node at {url} refused {request}: code {code}: {reason}")]
    Unspecified {
        /// The endpoint.
        url: String,
        /// What was asked.
        request: &'static str,
        /// The code.
        code: i64,
        /// Its words.
        reason: String,
    },
    /// Several nodes were asked, and what they say cannot all be true.
    #[error("{request} cannot be told: the nodes at {endpoints} contradict each other")]
    Contradiction {
        /// What was asked.
        request: &'static str,
        /// The endpoints.
        endpoints: String,
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
            Self::Unreachable { .. }
            | Self::Unspecified { .. }
            | Self::Contradiction { .. }
            | Self::Malformed { .. } => true,
            Self::WrongChain { .. } | Self::WrongVersion { .. } | Self::Refused { .. } => false,
        }
    }

    /// Whether the node has answered, and the answer is no: it is well, and does not have what was asked for.
    pub fn is_refusal(&self) -> bool {
        match self {
            Self::Refused { .. } => true,
            Self::Unspecified { code, .. } => essence::meaning(*code, false) == essence::Meaning::Answer,
            Self::Unreachable { .. }
            | Self::WrongChain { .. }
            | Self::WrongVersion { .. }
            | Self::Contradiction { .. }
            | Self::Malformed { .. } => false,
        }
    }
}

impl Rpc {
    /// Connects to `url` and checks that it is a node of `network`.
    ///
    /// # Errors
    /// Fails where the node cannot be reached, is on another chain, or speaks another specification.
    pub async fn connect(network: Network, url: &Url) -> Result<Self, RpcError> {
        Self::connect_all(network, std::slice::from_ref(url), PoolSettings::default()).await
    }

    /// Connects to nodes of `network`, to be asked as one. Those that cannot be used are named in a warning and tried
    /// again.
    ///
    /// # Errors
    /// Fails where none can be used, with what is wrong with the first.
    pub async fn connect_all(network: Network, urls: &[Url], settings: PoolSettings) -> Result<Self, RpcError> {
        let http = reqwest::Client::builder().timeout(settings.timeout).connect_timeout(CONNECT_TIMEOUT);
        #[cfg(target_os = "linux")]
        let http = http.tcp_user_timeout(settings.unacknowledged);
        let http = http.build().map_err(|error| RpcError::Unreachable {
            url: shown_urls(urls),
            reason: error.without_url().to_string(),
        })?;
        let pool = Arc::new(Pool::new(network, urls, settings, &http));
        pool.start().await?;
        if pool.compares() {
            monitor::watch(&pool);
        }
        let client = Arc::new(JsonRpcClient::new(PoolTransport { pool: pool.clone() }));
        Ok(Self { client, pool, network })
    }

    /// Checks anew that the nodes are of the network: what answers at an address may have been exchanged. One that is not
    /// is not asked any more until it is again.
    ///
    /// # Errors
    /// Fails where none is, as [`Rpc::connect`].
    pub async fn check(&self) -> Result<(), RpcError> {
        self.pool.identify_all(monitor::SHORT_GRACE).await.map(|_| ())
    }

    /// The endpoints, without keys that their paths or queries may hold.
    pub fn endpoint(&self) -> String {
        let shown: Vec<String> = self.pool.endpoints.iter().map(|endpoint| endpoint.shown()).collect();
        shown.join(", ")
    }

    /// How every endpoint is, as far as is known; nothing is asked.
    pub fn endpoints(&self) -> Vec<EndpointHealth> {
        self.pool.health()
    }

    /// Asks every endpoint for a look at how far it is behind and whether its blocks are those of the others.
    pub async fn look_at_endpoints(&self) {
        self.pool.look().await;
    }

    /// Has every healthy endpoint say which block has this number.
    pub async fn cross_check(&self, number: BlockNumber) -> CrossCheck {
        self.pool.cross_check(number, self.pool.order()).await.0
    }

    /// Asks what the client library has no call for.
    ///
    /// # Errors
    /// Says why there is no answer.
    pub(crate) async fn ask(&self, method: &str, params: Value) -> Result<Value, String> {
        match self.pool.send(&Request::new(method, params), &|_| true).await {
            Ok(Reply::Result(result)) => Ok(result),
            Ok(Reply::Refusal(refusal)) => Err(text::short(&refusal.message)),
            Err(error) => Err(error.to_string()),
        }
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

    /// Classifies what the client library reports. A refusal by the node is an answer, by whatever code; everything
    /// else is the lack of one.
    pub(crate) fn error(&self, request: &'static str, error: &ProviderError) -> RpcError {
        let unreachable = |reason| RpcError::Unreachable { url: self.endpoint(), reason };
        let other = match error {
            ProviderError::StarknetError(error) => return RpcError::Refused { request, reason: describe(error) },
            ProviderError::Other(other) => other.as_any().downcast_ref::<JsonRpcClientError<PoolError>>(),
            ProviderError::RateLimited | ProviderError::ArrayLengthMismatch => None,
        };
        match other {
            Some(JsonRpcClientError::TransportError(PoolError::Contradiction(endpoints))) => {
                RpcError::Contradiction { request, endpoints: endpoints.join(", ") }
            }
            Some(JsonRpcClientError::JsonRpcError(error)) => self.unspecified(request, error.code, &error.message),
            _ => unreachable(text::short(&error.to_string())),
        }
    }

    /// A refusal by a code that is none of the specification's.
    fn unspecified(&self, request: &'static str, code: i64, message: &str) -> RpcError {
        RpcError::Unspecified { url: self.endpoint(), request, code, reason: text::short(message) }
    }
}

fn shown_urls(urls: &[Url]) -> String {
    urls.iter().map(shown_url).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
pub(crate) mod tests;
