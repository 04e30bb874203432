//! What our contracts said in a block, by its receipts.

use keeper_types::{BlockEvents, BlockHeader, BlockNumber, EventPosition, Felt, TxHash};
use starknet::core::types::{BlockWithReceipts, TransactionReceipt};

use crate::{RpcError, decode::decode_event};

/// A block with the events of `contracts` in it.
///
/// # Errors
/// Fails where an event of theirs cannot be read.
pub(super) fn block(block: BlockWithReceipts, contracts: &[Felt; 3]) -> Result<BlockEvents, RpcError> {
    let header = BlockHeader {
        number: BlockNumber(block.block_number),
        hash: block.block_hash,
        parent_hash: block.parent_hash,
        timestamp: block.timestamp,
    };
    let mut events = Vec::new();
    let mut index = 0_u32;
    for transaction in block.transactions {
        let (hash, emitted) = events_of(transaction.receipt);
        for event in emitted {
            let position = EventPosition { block: header.number, timestamp: header.timestamp, index, tx_hash: hash };
            index += 1;
            if !contracts.contains(&event.from_address) {
                continue;
            }
            match decode_event(&event, contracts) {
                Ok(event) => events.push((position, event)),
                Err(error) => {
                    let reason = format!("event {index} of transaction {hash}: {error}");
                    return Err(RpcError::Malformed { request: "a block's receipts", reason });
                }
            }
        }
    }
    Ok(BlockEvents { header, events })
}

fn events_of(receipt: TransactionReceipt) -> (TxHash, Vec<starknet::core::types::Event>) {
    match receipt {
        TransactionReceipt::Invoke(receipt) => (TxHash(receipt.transaction_hash), receipt.events),
        TransactionReceipt::Declare(receipt) => (TxHash(receipt.transaction_hash), receipt.events),
        TransactionReceipt::Deploy(receipt) => (TxHash(receipt.transaction_hash), receipt.events),
        TransactionReceipt::DeployAccount(receipt) => (TxHash(receipt.transaction_hash), receipt.events),
        TransactionReceipt::L1Handler(receipt) => (TxHash(receipt.transaction_hash), receipt.events),
    }
}
