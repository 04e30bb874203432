//! What of two endpoints' answers must be the same, and what an error's code means. Never its text: nodes change that.

use serde_json::{Map, Value};

/// What an endpoint's error says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Meaning {
    /// It answers the question: another endpoint must say the same.
    Answer,
    /// The endpoint is unwell; another may do better.
    Fault,
    /// It is asked too often.
    TooOften,
    /// It has not seen a block that exists.
    Behind,
}

/// The code of a nonce that is taken or not due.
pub(super) const INVALID_NONCE: i64 = 52;
/// The code of a transaction that is known.
pub(super) const DUPLICATE: i64 = 59;
/// The code of a transaction that is not known.
pub(super) const NO_TRANSACTION: i64 = 29;

/// What a code of the specification means, or of JSON-RPC 2.0, or of those that hosts use beside it.
pub(super) fn meaning(code: i64, is_pinned: bool) -> Meaning {
    match code {
        // BLOCK_NOT_FOUND, NO_BLOCKS; -1 is how a local chain says that it keeps no state of a block.
        24 | 32 | -1 if is_pinned => Meaning::Behind,
        32 => Meaning::Fault,
        // FAILED_TO_RECEIVE_TXN, INVALID_CONTINUATION_TOKEN, UNEXPECTED_ERROR
        1 | 33 | 63 => Meaning::Fault,
        // "Limit exceeded" by EIP-1474, as many hosts say it, and one host's own.
        -32_005 | -32_029 => Meaning::TooOften,
        // What JSON-RPC 2.0 reserves for errors of its own and of servers.
        -32_768..=-32_000 => Meaning::Fault,
        _ => Meaning::Answer,
    }
}

/// What of a result must be the same whoever gives it: what the keeper reads. The rest may differ between nodes'
/// programs, as how a number is written, and in time, as whether a block is accepted on L1 yet ([`is_on_l1`]).
pub(super) fn essence(method: &str, result: &Value) -> Value {
    match method {
        "starknet_getBlockWithTxHashes" | "starknet_getBlockWithTxs" => block(result),
        "starknet_getBlockWithReceipts" => {
            let mut essence = block(result);
            let transactions = result.get("transactions").and_then(Value::as_array).into_iter().flatten();
            let receipts = transactions.map(|transaction| receipt(transaction.get("receipt").unwrap_or(&Value::Null)));
            essence["receipts"] = receipts.collect();
            essence
        }
        "starknet_getTransactionReceipt" => receipt(result),
        // Its price is that of the moment; that it can be executed is not.
        "starknet_estimateFee" => Value::Bool(true),
        // Of any size, and named by its hash.
        "starknet_getClass" | "starknet_getClassAt" => Value::Bool(true),
        "starknet_specVersion" => Value::Bool(true),
        _ => canonical(result),
    }
}

/// Whether a result is a block that is accepted on L1.
pub(super) fn is_on_l1(result: &Value) -> bool {
    result.get("status").and_then(Value::as_str) == Some("ACCEPTED_ON_L1")
}

fn block(block: &Value) -> Value {
    picked(block, &["block_number", "block_hash", "parent_hash", "timestamp"])
}

fn receipt(receipt: &Value) -> Value {
    picked(receipt, &["transaction_hash", "block_number", "block_hash", "execution_status", "actual_fee", "events"])
}

/// What of an event must be the same.
pub(super) fn event(event: &Value) -> Value {
    picked(event, &["from_address", "keys", "data", "block_number", "block_hash", "transaction_hash"])
}

fn picked(value: &Value, fields: &[&str]) -> Value {
    let field = |name: &&str| value.get(*name).map(|field| ((*name).to_owned(), canonical(field)));
    Value::Object(fields.iter().filter_map(field).collect())
}

/// The same value however it was written: without leading zeros and capitals in hexadecimal numbers, without fields that
/// are null.
fn canonical(value: &Value) -> Value {
    match value {
        Value::String(text) => Value::String(number(text).unwrap_or_else(|| text.clone())),
        Value::Array(values) => values.iter().map(canonical).collect(),
        Value::Object(fields) => {
            let kept = fields.iter().filter(|(_, value)| !value.is_null());
            Value::Object(kept.map(|(name, value)| (name.clone(), canonical(value))).collect::<Map<_, _>>())
        }
        other => other.clone(),
    }
}

fn number(text: &str) -> Option<String> {
    let digits = text.strip_prefix("0x")?;
    if digits.is_empty() || !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
        return None;
    }
    Some(format!("0x{}", digits.trim_start_matches('0').to_ascii_lowercase()))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn how_a_number_is_written_does_not_matter_and_what_it_is_does() {
        let same = |method, left: Value, right: Value| essence(method, &left) == essence(method, &right);
        assert!(same("starknet_getNonce", json!("0x0"), json!("0x00")));
        assert!(same("starknet_call", json!(["0x0aB", "0x1"]), json!(["0xab", "0x01"])));
        assert!(!same("starknet_call", json!(["0xab"]), json!(["0xac"])));
        assert!(!same("starknet_call", json!(["0xab"]), json!(["0xab", "0x0"])));
        let receipt = |status: &str, block: u64| json!({ "transaction_hash": "0x1", "finality_status": status, "block_number": block, "block_hash": "0x2", "events": [] });
        let method = "starknet_getTransactionReceipt";
        assert!(same(method, receipt("ACCEPTED_ON_L1", 3), receipt("ACCEPTED_ON_L2", 3)));
        assert!(!same(method, receipt("ACCEPTED_ON_L2", 3), receipt("ACCEPTED_ON_L2", 4)));
        let block = |hash: &str, data: &str| {
            let event = json!({ "from_address": "0x1", "keys": ["0x2"], "data": [data] });
            json!({ "block_hash": hash, "transactions": [{ "receipt": { "events": [event] } }] })
        };
        let method = "starknet_getBlockWithReceipts";
        assert!(same(method, block("0x01", "0x5"), block("0x1", "0x05")));
        assert!(!same(method, block("0x1", "0x5"), block("0x2", "0x5")));
        assert!(!same(method, block("0x1", "0x5"), block("0x1", "0x6")));
    }

    #[test]
    fn codes_say_whether_another_endpoint_may_do_better() {
        assert_eq!(meaning(20, false), Meaning::Answer);
        assert_eq!(meaning(24, false), Meaning::Answer);
        assert_eq!((meaning(24, true), meaning(-1, true)), (Meaning::Behind, Meaning::Behind));
        for internal in [-32_603, -32_000, -32_700, 63] {
            assert_eq!(meaning(internal, false), Meaning::Fault, "{internal}");
        }
        assert_eq!(meaning(-32_005, false), Meaning::TooOften);
    }
}
