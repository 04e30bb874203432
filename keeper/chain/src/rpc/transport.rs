//! The pool as the Starknet client's transport, so that everything above it asks one node, as far as it can tell.

use std::sync::Arc;

use async_trait::async_trait;
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;
use starknet::providers::{
    ProviderRequestData,
    jsonrpc::{JsonRpcError, JsonRpcMethod, JsonRpcResponse, JsonRpcTransport},
};

use super::{
    endpoint::Reply,
    pool::{Pool, PoolError},
    request::Request,
};

/// A transport over several endpoints.
#[derive(Clone, Debug)]
pub(crate) struct PoolTransport {
    pub(super) pool: Arc<Pool>,
}

/// Answers carry a number that nothing above looks at; the endpoint's own was compared where it came in.
const ID: u64 = 1;

impl PoolTransport {
    async fn ask<R: DeserializeOwned>(&self, method: Value, params: Value) -> Result<JsonRpcResponse<R>, PoolError> {
        let request = Request::new(method.as_str().unwrap_or_default(), params);
        let readable = |result: &Value| R::deserialize(result).is_ok();
        match self.pool.send(&request, &readable).await? {
            Reply::Result(result) => Ok(JsonRpcResponse::Success { id: ID, result: serde_json::from_value(result)? }),
            Reply::Refusal(refusal) => {
                let error = JsonRpcError { code: refusal.code, message: refusal.message, data: refusal.data };
                Ok(JsonRpcResponse::Error { id: ID, error })
            }
        }
    }
}

#[async_trait]
impl JsonRpcTransport for PoolTransport {
    type Error = PoolError;

    async fn send_request<P, R>(&self, method: JsonRpcMethod, params: P) -> Result<JsonRpcResponse<R>, PoolError>
    where
        P: Serialize + Send + Sync,
        R: DeserializeOwned + Send,
    {
        self.ask(serde_json::to_value(method)?, serde_json::to_value(params)?).await
    }

    /// Each request is compared on its own, and the client library does not say which methods a batch asks.
    async fn send_requests<R>(&self, _requests: R) -> Result<Vec<JsonRpcResponse<Value>>, PoolError>
    where
        R: AsRef<[ProviderRequestData]> + Send + Sync,
    {
        Err(PoolError::Batch)
    }
}
