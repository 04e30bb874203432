//! What is asked: what kind of request it is, and of which block.

use serde_json::{Value, json};

/// A block that reads are pinned to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Pin {
    pub(super) number: u64,
    pub(super) hash: keeper_types::Felt,
}

/// A JSON-RPC request.
#[derive(Clone, Debug)]
pub(super) struct Request {
    pub(super) method: String,
    pub(super) params: Value,
    /// Whether a block that is not there means that the endpoint lacks it: it is known to exist.
    pub(super) is_pinned: bool,
}

/// How a request is dealt with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Sends a transaction.
    Write,
    /// Asks for the newest block.
    Head,
    /// Asks for a page of events.
    Events,
    /// Asks for anything else, of the newest block.
    OfLatest,
    /// Asks for anything else.
    Read,
}

const LATEST: &str = "latest";

impl Request {
    pub(super) fn new(method: &str, params: Value) -> Self {
        Self { method: method.to_owned(), params, is_pinned: false }
    }

    pub(super) fn kind(&self) -> Kind {
        match self.method.as_str() {
            method if method.starts_with("starknet_add") => Kind::Write,
            "starknet_blockNumber" | "starknet_blockHashAndNumber" => Kind::Head,
            "starknet_getEvents" => Kind::Events,
            _ if self.params.get("block_id").is_some_and(|block| block == LATEST) => Kind::OfLatest,
            _ => Kind::Read,
        }
    }

    /// Whether the whole block is asked for, so that only the very newest will do.
    pub(super) fn wants_block(&self) -> bool {
        self.method.starts_with("starknet_getBlock")
    }

    /// The same of this block in place of the newest.
    pub(super) fn pinned(&self, pin: Pin) -> Self {
        let mut pinned = self.clone();
        pinned.params["block_id"] = json!({ "block_hash": pin.hash });
        pinned.is_pinned = true;
        pinned
    }

    /// The newest block, and whether it still is what it was.
    pub(super) fn head() -> Self {
        Self::new("starknet_blockHashAndNumber", json!([]))
    }

    /// A block's header, with the hashes of its transactions.
    pub(super) fn block(number: u64) -> Self {
        Self::new("starknet_getBlockWithTxHashes", json!({ "block_id": { "block_number": number } }))
    }

    /// What became of a transaction.
    pub(super) fn status(hash: &Value) -> Self {
        Self::new("starknet_getTransactionStatus", json!({ "transaction_hash": hash }))
    }
}

/// Whether events are asked for up to the newest block.
pub(super) fn is_to_latest(filter: &Value) -> bool {
    filter.get("to_block").is_some_and(|block| block == LATEST)
}

#[cfg(test)]
mod tests {
    use keeper_types::Felt;

    use super::*;

    #[test]
    fn reads_of_the_newest_block_are_pinned_to_its_hash_and_others_are_left_alone() {
        let call = Request::new("starknet_call", json!({ "request": {}, "block_id": "latest" }));
        assert_eq!(call.kind(), Kind::OfLatest);
        let pinned = call.pinned(Pin { number: 7, hash: Felt::from(0x1f_u8) });
        assert_eq!(pinned.params, json!({ "request": {}, "block_id": { "block_hash": "0x1f" } }));
        assert_eq!((pinned.kind(), pinned.is_pinned), (Kind::Read, true));
        let nonce =
            Request::new("starknet_getNonce", json!({ "block_id": "pre_confirmed", "contract_address": "0x1" }));
        assert_eq!(nonce.kind(), Kind::Read);
        assert_eq!(Request::new("starknet_addInvokeTransaction", json!({})).kind(), Kind::Write);
    }
}
