//! What our contracts said in a block, by its receipts.

use keeper_types::{BlockEvents, EventPosition, Felt, TxHash};

use super::answers::Block;
use crate::{RpcError, decode::decode_event};

/// A block with the events of `contracts` in it; `None` where it is not in its place yet.
///
/// # Errors
/// Fails where an event of theirs cannot be read.
pub(super) fn block(block: &Block, contracts: &[Felt; 3]) -> Result<Option<BlockEvents>, RpcError> {
    let Some(header) = block.header() else { return Ok(None) };
    let mut events = Vec::new();
    let mut index = 0_u32;
    for receipt in block.transactions.iter().map(|transaction| &transaction.receipt) {
        let tx_hash = TxHash(receipt.transaction_hash);
        for said in &receipt.events {
            let position = EventPosition { block: header.number, timestamp: header.timestamp, index, tx_hash };
            index += 1;
            if !contracts.contains(&said.from_address) {
                continue;
            }
            let event = said.event().map_err(|error| error.to_string());
            let event = event.and_then(|event| decode_event(&event, contracts).map_err(|error| error.to_string()));
            match event {
                Ok(event) => events.push((position, event)),
                Err(error) => {
                    let reason = format!("event {index} of transaction {tx_hash}: {error}");
                    return Err(RpcError::Malformed { request: "a block's receipts", reason });
                }
            }
        }
    }
    Ok(Some(BlockEvents { header, events }))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    const CONTRACTS: [u8; 3] = [1, 2, 3];

    fn read(block: &Value) -> Result<Option<BlockEvents>, RpcError> {
        self::block(&serde_json::from_value(block.clone()).unwrap(), &CONTRACTS.map(Felt::from))
    }

    fn block_saying(events: &Value) -> Value {
        json!({
            "status": "ACCEPTED_ON_L2", "block_number": 7, "block_hash": "0x77", "parent_hash": "0x66", "timestamp": 9,
            "transactions": [
                { "transaction": { "anything": [1] }, "receipt": { "transaction_hash": "0x5", "events": [], "more": 1 } },
                { "receipt": { "transaction_hash": "0x6", "events": events } },
            ],
        })
    }

    #[test]
    fn events_of_others_count_for_the_place_and_are_not_looked_into() {
        let paused = starknet::core::utils::get_selector_from_name("Paused").unwrap();
        let others = json!({ "from_address": "0x9", "keys": "anything", "data": [{}] });
        let ours = json!({ "from_address": "0x2", "keys": [paused], "data": ["0x4"] });
        let read = read(&block_saying(&json!([others, ours]))).unwrap().unwrap();
        assert_eq!((read.header.number.0, read.header.parent_hash), (7, Felt::from(0x66)));
        let [(position, event)] = &read.events[..] else { panic!("one event is ours") };
        assert_eq!((position.index, position.tx_hash, event.name()), (1, TxHash(Felt::from(6)), "Paused"));
    }

    #[test]
    fn events_of_ours_that_cannot_be_read_are_an_error_and_blocks_without_hashes_none() {
        let ours = json!([{ "from_address": "0x2", "keys": ["0x1"], "data": [7] }]);
        assert!(matches!(read(&block_saying(&ours)), Err(RpcError::Malformed { .. })));
        let mut unplaced = block_saying(&json!([]));
        unplaced.as_object_mut().unwrap().remove("block_hash");
        assert_eq!(read(&unplaced).unwrap(), None);
    }
}
