//! The lies themselves. Each gives nothing where there is nothing to lie about, as a page of events without an event; then
//! the request is passed on, and does not count.

use std::time::Duration;

use rand::Rng as _;
use serde_json::{Value, json};

use super::{Deed, Fault, Liar};

/// The specification's codes of what is not there.
const BLOCK_NOT_FOUND: (i64, &str) = (24, "Block not found");
const TRANSACTION_NOT_FOUND: (i64, &str) = (29, "Transaction hash not found");

impl Liar {
    /// What a fault makes of a request.
    pub(super) async fn fail(&self, fault: Fault, request: &Value, block: u64) -> Option<Deed> {
        match fault {
            Fault::NoAnswer => {
                if self.draw(2) == 0 {
                    self.forward(request).await?;
                }
                Some(Deed::Silence)
            }
            Fault::Delay => {
                let truth = self.truth(request).await?;
                tokio::time::sleep(Duration::from_millis(200 + self.draw(1_500))).await;
                Some(answer(200, truth))
            }
            Fault::Trickle => Some(Deed::Trickle(self.truth(request).await?)),
            Fault::Cut => Some(Deed::Cut(self.truth(request).await?)),
            Fault::Garbage => Some(answer(200, self.garbage(&self.truth(request).await?))),
            Fault::WrongType => self.retyped(request).await,
            Fault::TooManyRequests => {
                Some(Deed::Answer { status: 429, headers: "Retry-After: 1\r\n".to_owned(), body: Vec::new() })
            }
            Fault::ServerError => Some(answer(self.one_of([500, 502, 503, 504]), b"<html>unavailable</html>".to_vec())),
            Fault::InternalError => {
                let code = self.one_of([-32_603, -32_000, 63]);
                Some(refusal(request, (code, "Internal error")))
            }
            Fault::OldBlocks => self.old(request, block).await,
            Fault::ForkedHead => self.forked(request, block).await,
            Fault::NonceLow | Fault::NonceHigh => self.nonce(request, fault == Fault::NonceHigh).await,
            Fault::Vanished => {
                let hash = format!("{:#x}", self.mood().rng.random::<u128>());
                Some(result(request, &json!({ "transaction_hash": hash })))
            }
            Fault::LostToken => self.lost_token(request).await,
            Fault::MissingEvents => {
                let answer = self.forward(request).await?;
                let count = answer["result"]["events"].as_array()?.len();
                (count > 0).then(|| result(request, &json!({ "events": [] })))
            }
            Fault::HiddenEvents => {
                let mut truth = self.forward(request).await?;
                truth["id"] = request["id"].clone();
                hide(truth.get_mut("result")?, block).then(|| answer(200, truth.to_string().into_bytes()))
            }
            Fault::WrongChain => Some(result(request, &json!("0x534e5f4d41494e"))),
            Fault::Duplicate => {
                let last = self.mood().last.clone();
                let truth = self.truth(request).await?;
                match last {
                    Some(last) if self.draw(2) == 0 => Some(answer(200, last)),
                    _ => Some(answer(200, truth.repeat(2))),
                }
            }
        }
    }

    fn draw(&self, below: u64) -> u64 {
        self.mood().rng.random_range(0..below)
    }

    fn one_of<T: Copy, const N: usize>(&self, choices: [T; N]) -> T {
        choices[self.mood().rng.random_range(0..N)]
    }

    /// The node's own answer.
    async fn truth(&self, request: &Value) -> Option<Vec<u8>> {
        Some(self.forward(request).await?.to_string().into_bytes())
    }

    fn garbage(&self, truth: &[u8]) -> Vec<u8> {
        match self.draw(4) {
            0 => Vec::new(),
            1 => b"<!doctype html><title>Welcome</title>".to_vec(),
            2 => truth[..truth.len() / 2].to_vec(),
            _ => truth.iter().map(|byte| byte ^ 0x55).collect(),
        }
    }

    async fn retyped(&self, request: &Value) -> Option<Deed> {
        let truth = self.forward(request).await?.get_mut("result")?.take();
        let other = match self.draw(4) {
            0 => json!({ "unexpected": truth }),
            1 => json!([[truth]]),
            2 => Value::Null,
            _ => json!(-1.5),
        };
        Some(result(request, &other))
    }

    async fn nonce(&self, request: &Value, is_high: bool) -> Option<Deed> {
        let answer = self.forward(request).await?;
        let nonce = u64::from_str_radix(answer["result"].as_str()?.strip_prefix("0x")?, 16).ok()?;
        let by = 1 + self.draw(5);
        let told = if is_high { nonce + by } else { nonce.saturating_sub(by) };
        (told != nonce).then(|| result(request, &json!(format!("{told:#x}"))))
    }

    async fn lost_token(&self, request: &Value) -> Option<Deed> {
        const STUCK: &str = "stuck";
        let mut asked = request.clone();
        let filter = asked["params"]["filter"].as_object_mut()?;
        if filter.get("continuation_token").is_some_and(|token| token == STUCK) {
            filter.remove("continuation_token");
        }
        let mut page = self.forward(&asked).await?.get_mut("result")?.take();
        let events = page["events"].as_array_mut()?;
        if events.is_empty() {
            return None;
        }
        if self.draw(2) == 0 {
            events.truncate(events.len() / 2);
            page.as_object_mut()?.remove("continuation_token");
        } else {
            page["continuation_token"] = json!(STUCK);
        }
        Some(result(request, &page))
    }

    /// The node as it was when `newest` was its newest block.
    async fn old(&self, request: &Value, newest: u64) -> Option<Deed> {
        let then = json!({ "block_number": newest });
        let mut asked = request.clone();
        let of = |name: &str| request["params"].get(name).cloned();
        match request["method"].as_str()? {
            "starknet_blockNumber" => return Some(result(request, &json!(newest))),
            "starknet_blockHashAndNumber" => {
                let block = self.ask("starknet_getBlockWithTxHashes", json!({ "block_id": then })).await?;
                return Some(result(request, &json!({ "block_hash": block["block_hash"], "block_number": newest })));
            }
            "starknet_getEvents" => {
                let to = &request["params"]["filter"]["to_block"];
                if to["block_number"].as_u64().is_some_and(|to| to <= newest) {
                    return None;
                }
                asked["params"]["filter"]["to_block"] = then;
            }
            "starknet_getTransactionReceipt" | "starknet_getTransactionStatus" => {
                let hash = json!({ "transaction_hash": of("transaction_hash")? });
                let receipt = self.ask("starknet_getTransactionReceipt", hash).await?;
                let is_new = receipt["block_number"].as_u64().is_none_or(|block| block > newest);
                return is_new.then(|| refusal(request, TRANSACTION_NOT_FOUND));
            }
            _ => {
                let id = of("block_id")?;
                let number = if id.is_string() { None } else { Some(self.number_of(&id).await?) };
                match number {
                    None => asked["params"]["block_id"] = then,
                    Some(number) if number > newest => return Some(refusal(request, BLOCK_NOT_FOUND)),
                    Some(_) => return None,
                }
            }
        }
        Some(answer(200, self.truth(&asked).await?))
    }

    /// The number of the block that a request names.
    async fn number_of(&self, id: &Value) -> Option<u64> {
        match id["block_number"].as_u64() {
            Some(number) => Some(number),
            None => {
                let block = self.ask("starknet_getBlockWithTxHashes", json!({ "block_id": id })).await?;
                block["block_number"].as_u64()
            }
        }
    }

    /// The node with other blocks from `first` on.
    async fn forked(&self, request: &Value, first: u64) -> Option<Deed> {
        let mut asked = request.clone();
        let id = request["params"].get("block_id").cloned().unwrap_or(Value::Null);
        if let Some(hash) = id["block_hash"].as_str() {
            if self.number_of(&id).await.is_some_and(|number| number >= first) {
                return Some(refusal(request, BLOCK_NOT_FOUND));
            }
            asked["params"]["block_id"]["block_hash"] = json!(other_hash(hash));
            self.number_of(&asked["params"]["block_id"]).await?;
        }
        let mut truth = self.forward(&asked).await?;
        truth["id"] = request["id"].clone();
        fork(truth.get_mut("result")?, first).then(|| answer(200, truth.to_string().into_bytes()))
    }
}

/// Gives every block from `first` on another hash; returns whether there was any.
fn fork(value: &mut Value, first: u64) -> bool {
    let mut is_changed = false;
    if let Some(number) = value.get("block_number").and_then(Value::as_u64) {
        for (field, of) in [("block_hash", Some(number)), ("parent_hash", number.checked_sub(1))] {
            if of.is_some_and(|of| of >= first)
                && let Some(hash) = value.get(field).and_then(Value::as_str).map(other_hash)
            {
                value[field] = json!(hash);
                is_changed = true;
            }
        }
    }
    if let Some(events) = value.get_mut("events").and_then(Value::as_array_mut) {
        for event in events {
            is_changed |= fork(event, first);
        }
    }
    is_changed
}

/// Takes the events from block `first` on out of a page of events or a block with receipts; returns whether there were
/// any.
fn hide(value: &mut Value, first: u64) -> bool {
    let is_hidden = |value: &Value| value["block_number"].as_u64().is_some_and(|number| number >= first);
    let mut count = 0;
    if let Some(events) = value.get_mut("events").and_then(Value::as_array_mut) {
        count += events.len();
        events.retain(|event| !is_hidden(event));
        count -= events.len();
    }
    if is_hidden(value) {
        let transactions = value.get_mut("transactions").and_then(Value::as_array_mut);
        for transaction in transactions.into_iter().flatten() {
            if let Some(events) = transaction.get_mut("receipt").and_then(|receipt| receipt["events"].as_array_mut()) {
                count += events.len();
                events.clear();
            }
        }
    }
    count > 0
}

/// Another hash for each, and the first again for that one.
fn other_hash(hash: &str) -> String {
    let Some((rest, last)) = hash.split_at_checked(hash.len().saturating_sub(1)) else { return hash.to_owned() };
    let digit = u8::from_str_radix(last, 16).unwrap_or_default() ^ 0xf;
    format!("{rest}{digit:x}")
}

fn answer(status: u16, body: Vec<u8>) -> Deed {
    Deed::Answer { status, headers: String::new(), body }
}

fn result(request: &Value, result: &Value) -> Deed {
    let body = json!({ "jsonrpc": "2.0", "id": request["id"], "result": result });
    answer(200, body.to_string().into_bytes())
}

fn refusal(request: &Value, (code, message): (i64, &str)) -> Deed {
    let error = json!({ "code": code, "message": message, "data": message });
    let body = json!({ "jsonrpc": "2.0", "id": request["id"], "error": error });
    answer(200, body.to_string().into_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fork_has_other_hashes_from_its_first_block_on_and_the_same_below() {
        let block = |number: u64| json!({ "block_number": number, "block_hash": "0xa0", "parent_hash": "0x1f" });
        let forked = |number: u64, first: u64| {
            let mut block = block(number);
            (fork(&mut block, first), block)
        };
        assert_eq!(forked(4, 5), (false, block(4)));
        assert_eq!(forked(5, 5).1, json!({ "block_number": 5, "block_hash": "0xaf", "parent_hash": "0x1f" }));
        assert_eq!(forked(6, 5).1, json!({ "block_number": 6, "block_hash": "0xaf", "parent_hash": "0x10" }));
        assert_eq!(other_hash(&other_hash("0x12")), "0x12");
    }

    #[test]
    fn events_are_hidden_from_the_index_and_from_receipts_and_older_ones_are_left() {
        let page = || json!({ "events": [{ "block_number": 4 }, { "block_number": 5 }], "continuation_token": "5-1" });
        let mut hidden = page();
        assert!(hide(&mut hidden, 5));
        assert_eq!(hidden, json!({ "events": [{ "block_number": 4 }], "continuation_token": "5-1" }));
        assert!(!hide(&mut hidden, 5));
        let block = |number: u64| json!({ "block_number": number, "transactions": [{ "receipt": { "events": [{ "keys": ["0x1"] }] } }] });
        let (mut hidden, mut older) = (block(5), block(4));
        assert!(hide(&mut hidden, 5) && !hide(&mut older, 5));
        assert_eq!(hidden["transactions"][0]["receipt"]["events"], json!([]));
        assert_eq!(older, block(4));
    }

    #[test]
    fn every_fault_has_a_name_of_its_own() {
        let mut names: Vec<&str> = Fault::ALL.map(Fault::name).into();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), Fault::ALL.len());
    }
}
