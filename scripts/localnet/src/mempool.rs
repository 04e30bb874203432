//! The wait of a transaction whose nonce does not come next.
//!
//! Public networks keep it until those before it are there. The library does not: where blocks are made by time or on
//! demand it executes the transaction at once, and counts the account's nonce up by one, so that the one before it finds its
//! nonce used, and is nowhere. A client that lost a request would be shown a chain on which somebody else has its key.
//!
//! What is not kept: anything that comes by WebSocket, and whatever comes in its turn, which is executed when it arrives.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

use axum::extract::ws::WebSocket;
use serde_json::{Value, json};
use starknet_devnet_server::{
    api::{
        JsonRpcHandler,
        models::{BroadcastedInvokeTransactionEnumWrapper, BroadcastedInvokeTransactionInput, JsonRpcRequest},
    },
    rpc_core::{
        error::{ErrorCode, RpcError},
        request::{RequestParams, RpcMethodCall},
        response::{ResponseResult, RpcResponse},
    },
    rpc_handler::RpcHandler,
};
use tokio::sync::Mutex;

/// How far a nonce may be ahead of the account's, as on the public networks.
const MOST_AHEAD: u64 = 200;
/// How long a transaction is kept, as on the public networks.
const KEPT: Duration = Duration::from_secs(300);
/// The part of its tip and of its price by which a transaction has to be outbid, each, as on the public networks: a tenth.
const RAISE: u128 = 10;

/// What the specification calls an invalid transaction nonce, a duplicate, and an underpriced replacement.
const WRONG_NONCE: (i64, &str) = (52, "Invalid transaction nonce");
const DUPLICATE: (i64, &str) = (59, "A transaction with the same hash already exists in the mempool");
const UNDERPRICED: (i64, &str) = (64, "Replacement transaction is underpriced");

/// A chain that keeps what comes too early.
#[derive(Clone)]
pub struct Mempool {
    chain: JsonRpcHandler,
    kept: Arc<Mutex<Kept>>,
}

/// What waits, by account and nonce.
type Kept = BTreeMap<(String, u64), Transaction>;

#[derive(Clone, Debug)]
struct Transaction {
    sender: String,
    nonce: u64,
    hash: String,
    tip: u128,
    price: u128,
    call: RpcMethodCall,
    since: Instant,
}

#[async_trait::async_trait]
impl RpcHandler for Mempool {
    type Request = JsonRpcRequest;

    async fn on_request(&self, request: Self::Request, original_call: RpcMethodCall) -> ResponseResult {
        self.chain.on_request(request, original_call).await
    }

    async fn on_call(&self, call: RpcMethodCall) -> RpcResponse {
        match call.method.as_str() {
            "starknet_addInvokeTransaction" => {
                // Whoever sends and goes away takes nothing back, and leaves what waits behind it to be executed.
                let (pool, id) = (self.clone(), call.id());
                let taken = tokio::spawn(async move { pool.take(call).await }).await;
                taken.unwrap_or_else(|_| RpcResponse::new(id, RpcError::new(ErrorCode::InternalError)))
            }
            "starknet_getTransactionStatus" => self.status(call).await,
            _ => self.chain.on_call(call).await,
        }
    }

    async fn on_websocket(&self, socket: WebSocket) {
        self.chain.on_websocket(socket).await;
    }
}

impl Mempool {
    /// A mempool before a chain.
    pub fn before(chain: JsonRpcHandler) -> Self {
        Self { chain, kept: Arc::default() }
    }

    /// Executes a transaction and those that waited for it, or keeps it.
    async fn take(&self, call: RpcMethodCall) -> RpcResponse {
        let mut kept = self.kept.lock().await;
        // What cannot be read, or is of no account, the chain refuses with better words.
        let Some(arrived) = self.read(&call).await else { return self.chain.on_call(call).await };
        let Some(next) = self.nonce(&arrived.sender).await else { return self.chain.on_call(call).await };
        if arrived.nonce > next {
            let (id, hash) = (call.id(), json!({ "transaction_hash": arrived.hash }));
            let data = format!("Account nonce: {next}; got: {}.", arrived.nonce);
            return match keep(&mut kept, arrived, next) {
                None => RpcResponse::new(id, ResponseResult::Success(hash)),
                Some(refusal) => RpcResponse::new(id, refused(refusal, data)),
            };
        }
        let answer = self.chain.on_call(call).await;
        self.release(&mut kept, &arrived.sender).await;
        answer
    }

    /// Executes what waited and comes next now, as long as there is something.
    async fn release(&self, kept: &mut Kept, sender: &str) {
        while let Some(next) = self.nonce(sender).await {
            kept.retain(|(of, nonce), one| (of != sender || *nonce >= next) && one.is_kept());
            let Some(due) = kept.remove(&(sender.to_owned(), next)) else { return };
            // A refusal is told nobody: on the public networks too such a transaction is gone.
            let answer = self.chain.on_call(due.call).await;
            tracing::debug!(?answer, hash = due.hash, "executed a transaction that came before its turn");
        }
    }

    async fn status(&self, call: RpcMethodCall) -> RpcResponse {
        let asked = parameter(&call.params, "transaction_hash").and_then(|hash| number(&hash));
        let is_kept = self.kept.lock().await.values().any(|one| one.is_kept() && Some(&one.hash) == asked.as_ref());
        if is_kept {
            return RpcResponse::new(call.id(), ResponseResult::Success(json!({ "finality_status": "RECEIVED" })));
        }
        self.chain.on_call(call).await
    }

    /// The nonce that an account's next transaction has to have; `None` where there is no such account.
    async fn nonce(&self, sender: &str) -> Option<u64> {
        let params = json!({ "block_id": "pre_confirmed", "contract_address": sender });
        let call = json!({ "jsonrpc": "2.0", "id": 0, "method": "starknet_getNonce", "params": params });
        let call = serde_json::from_value(call).ok()?;
        let answer = serde_json::to_value(self.chain.on_call(call).await).ok()?;
        u64::try_from(narrow(answer.get("result")?)?).ok()
    }

    async fn read(&self, call: &RpcMethodCall) -> Option<Transaction> {
        let sent = parameter(&call.params, "invoke_transaction")?;
        let input: BroadcastedInvokeTransactionInput =
            serde_json::from_value(json!({ "invoke_transaction": sent })).ok()?;
        let BroadcastedInvokeTransactionEnumWrapper::Invoke(invoke) = input.invoke_transaction;
        let chain_id = self.chain.api.starknet.lock().await.chain_id();
        let hash = invoke.create_sn_api_invoke(&chain_id.to_felt()).ok()?.tx_hash.0;
        Some(Transaction {
            sender: number(&sent["sender_address"])?,
            nonce: u64::try_from(narrow(&sent["nonce"])?).ok()?,
            hash: format!("{hash:#x}"),
            tip: narrow(&sent["tip"])?,
            price: narrow(&sent["resource_bounds"]["l2_gas"]["max_price_per_unit"])?,
            call: call.clone(),
            since: Instant::now(),
        })
    }
}

impl Transaction {
    fn is_kept(&self) -> bool {
        self.since.elapsed() < KEPT
    }
}

/// Keeps a transaction that comes too early, unless that is refused.
fn keep(kept: &mut Kept, arrived: Transaction, next: u64) -> Option<(i64, &'static str)> {
    kept.retain(|_, one| one.is_kept());
    if arrived.nonce - next > MOST_AHEAD {
        return Some(WRONG_NONCE);
    }
    let key = (arrived.sender.clone(), arrived.nonce);
    if let Some(before) = kept.get(&key) {
        if before.hash == arrived.hash {
            return Some(DUPLICATE);
        }
        let is_raised = |old: u128, new: u128| new >= old.saturating_add(old / RAISE);
        if !is_raised(before.tip, arrived.tip) || !is_raised(before.price, arrived.price) {
            return Some(UNDERPRICED);
        }
    }
    kept.insert(key, arrived);
    None
}

fn refused((code, message): (i64, &'static str), data: String) -> ResponseResult {
    // The specification has words of the node's own for this one alone.
    let data = (code == WRONG_NONCE.0).then(|| Value::String(data));
    ResponseResult::Error(RpcError { code: ErrorCode::ServerError(code), message: message.into(), data })
}

/// A parameter that is named, or that is the first of a list.
fn parameter(params: &RequestParams, name: &str) -> Option<Value> {
    match params {
        RequestParams::Object(named) => named.get(name).cloned(),
        RequestParams::Array(listed) => listed.first().cloned(),
        RequestParams::None => None,
    }
}

/// A number, however it was padded.
fn number(value: &Value) -> Option<String> {
    let digits = value.as_str()?.strip_prefix("0x")?.trim_start_matches('0').to_lowercase();
    Some(format!("0x{digits:0>1}"))
}

fn narrow(value: &Value) -> Option<u128> {
    u128::from_str_radix(value.as_str()?.strip_prefix("0x")?, 16).ok()
}

#[cfg(test)]
mod tests {
    use starknet_devnet_server::rpc_core::request::{Id, Version};

    use super::*;

    fn transaction(nonce: u64, hash: &str, tip: u128, price: u128) -> Transaction {
        let call = RpcMethodCall {
            jsonrpc: Version::V2,
            method: "starknet_addInvokeTransaction".to_owned(),
            params: RequestParams::None,
            id: Id::Number(1),
        };
        Transaction { sender: "0x1".to_owned(), nonce, hash: hash.to_owned(), tip, price, call, since: Instant::now() }
    }

    #[test]
    fn what_comes_too_early_is_kept_once_and_replaced_by_what_offers_more() {
        let mut kept = Kept::new();
        assert_eq!(keep(&mut kept, transaction(6, "0xa", 10, 100), 5), None);
        assert_eq!(keep(&mut kept, transaction(6, "0xa", 10, 100), 5), Some(DUPLICATE));
        assert_eq!(keep(&mut kept, transaction(6, "0xb", 11, 109), 5), Some(UNDERPRICED));
        assert_eq!(keep(&mut kept, transaction(6, "0xb", 10, 110), 5), Some(UNDERPRICED));
        assert_eq!(keep(&mut kept, transaction(6, "0xc", 11, 110), 5), None);
        assert_eq!(kept.values().map(|one| one.hash.as_str()).collect::<Vec<_>>(), ["0xc"]);
    }

    #[test]
    fn a_number_is_the_same_however_it_is_padded() {
        for padded in ["0x0ab", "0xAB", "0x000ab"] {
            assert_eq!(number(&json!(padded)).as_deref(), Some("0xab"));
        }
        assert_eq!(number(&json!("0x00")).as_deref(), Some("0x0"));
        assert_eq!(number(&json!(1)), None);
    }

    #[test]
    fn a_nonce_too_far_ahead_is_refused() {
        let mut kept = Kept::new();
        assert_eq!(keep(&mut kept, transaction(5 + MOST_AHEAD, "0xa", 0, 1), 5), None);
        assert_eq!(keep(&mut kept, transaction(6 + MOST_AHEAD, "0xb", 0, 1), 5), Some(WRONG_NONCE));
    }
}
