//! Answers that are read straight into what the caller wants, for what is asked by the thousand.
//!
//! The client library reads an answer into a tree, and the tree into types that hold all of it. Where one endpoint is
//! asked, its bytes are read once, and what is not wanted is passed over. Several endpoints' answers are compared whole, so
//! there the believed tree is read.

use serde::{Deserialize, de::DeserializeOwned};
use serde_json::Value;
use starknet::{core::types::StarknetError, providers::jsonrpc::JsonRpcError};

use super::{
    Rpc, RpcError,
    endpoint::{Fault, NO_JSON, OF_ANOTHER, OF_ANOTHER_FORM, Refusal, Reply, refused},
    pool::{Pool, PoolError},
    request::Request,
    text,
};

/// BLOCK_NOT_FOUND
const NO_BLOCK: i64 = 24;

/// An answer: what was asked for, or a refusal by code.
#[derive(Debug)]
pub(super) enum Typed<T> {
    Result(T),
    Refusal(Refusal),
}

/// A response of JSON-RPC 2.0.
#[derive(Deserialize)]
#[serde(bound = "T: DeserializeOwned")]
struct Response<T> {
    #[serde(default)]
    id: Value,
    #[serde(default = "none")]
    result: Option<T>,
    #[serde(default)]
    error: Option<Refusal>,
}

fn none<T>() -> Option<T> {
    None
}

/// Reads a response of one endpoint.
fn response<T: DeserializeOwned>(id: u64, body: &[u8], request: &Request) -> Result<Typed<T>, Fault> {
    let read = serde_json::from_slice::<Response<T>>(body);
    let response = read.map_err(|error| if error.is_data() { OF_ANOTHER_FORM } else { NO_JSON })?;
    if response.id.as_u64() != Some(id) {
        return Err(OF_ANOTHER);
    }
    match (response.error, response.result) {
        (Some(refusal), _) => refused(refusal, request).map(Typed::Refusal),
        (None, Some(result)) => Ok(Typed::Result(result)),
        (None, None) => Err(OF_ANOTHER_FORM),
    }
}

impl Pool {
    /// Puts a request to the endpoints, as [`Pool::send`] does.
    async fn send_typed<T: DeserializeOwned + Send>(&self, request: &Request) -> Result<Typed<T>, PoolError> {
        if !self.compares() {
            return self.ask_only(request, &|id, body| response(id, body, request), Typed::Refusal).await;
        }
        match self.send(request, &|result| T::deserialize(result).is_ok()).await? {
            Reply::Result(result) => Ok(Typed::Result(serde_json::from_value(result)?)),
            Reply::Refusal(refusal) => Ok(Typed::Refusal(refusal)),
        }
    }
}

impl Rpc {
    /// Asks for something of a block; `None` where there is no such block.
    ///
    /// # Errors
    /// Fails where the node does not answer, or refuses.
    pub(crate) async fn of_block<T: DeserializeOwned + Send>(
        &self,
        what: &'static str,
        method: &str,
        params: Value,
    ) -> Result<Option<T>, RpcError> {
        let unreachable = |reason| RpcError::Unreachable { url: self.endpoint(), reason };
        let refusal = match self.pool.send_typed(&Request::new(method, params)).await {
            Ok(Typed::Result(result)) => return Ok(Some(result)),
            Ok(Typed::Refusal(refusal)) if refusal.code == NO_BLOCK => return Ok(None),
            Ok(Typed::Refusal(refusal)) => refusal,
            Err(PoolError::Contradiction(endpoints)) => {
                return Err(RpcError::Contradiction { request: what, endpoints: endpoints.join(", ") });
            }
            Err(error) => return Err(unreachable(text::short(&error.to_string()))),
        };
        let error = JsonRpcError { code: refusal.code, message: refusal.message, data: refusal.data };
        Err(match StarknetError::try_from(&error) {
            Ok(error) => RpcError::Refused { request: what, reason: text::describe(&error) },
            Err(_) => self.unspecified(what, error.code, &error.message),
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(answer: &Value) -> Result<Typed<String>, Fault> {
        response(7, answer.to_string().as_bytes(), &Request::new("starknet_getNonce", json!({})))
    }

    #[test]
    fn results_and_refusals_are_told_apart_as_everywhere_else() {
        assert!(matches!(read(&json!({ "id": 7, "result": "0x1" })), Ok(Typed::Result(result)) if result == "0x1"));
        assert!(matches!(read(&json!({ "id": 8, "result": "0x1" })), Err(Fault::Unreadable(_))));
        assert!(matches!(read(&json!({ "result": "0x1" })), Err(Fault::Unreadable(_))));
        assert!(matches!(read(&json!({ "id": 7, "result": 1 })), Err(Fault::Unreadable(_))));
        assert!(matches!(read(&json!({ "id": 7 })), Err(Fault::Unreadable(_))));
        assert!(matches!(read(&json!([7])), Err(Fault::Unreadable(_))));
        let refused = |code: i64| read(&json!({ "id": 7, "result": null, "error": { "code": code, "message": "no" } }));
        assert!(matches!(refused(24), Ok(Typed::Refusal(Refusal { code: 24, .. }))));
        assert!(matches!(refused(-32_603), Err(Fault::Unwell(_))));
        assert!(matches!(refused(-32_005), Err(Fault::TooOften(_))));
        assert!(matches!(read(&json!({ "id": 7, "error": "broken" })), Err(Fault::Unreadable(_))));
        assert!(matches!(read(&json!({ "id": 7, "result": "0x1", "error": null })), Ok(Typed::Result(_))));
    }

    #[test]
    fn what_is_cut_short_is_no_json() {
        let body = br#"{"id":7,"result":"0x"#;
        let cut = response::<String>(7, body, &Request::new("starknet_getNonce", json!({})));
        assert!(matches!(cut, Err(Fault::Unreadable("its answer is no JSON"))));
    }
}
