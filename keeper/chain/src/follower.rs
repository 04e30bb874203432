//! Following the chain: which blocks come next, and what the contracts said in them.
//!
//! The follower keeps no state. It is told the last block that was recorded, and answers with what comes after
//! it, or that this block is no longer part of the chain. Whoever records the blocks records the cursor with
//! them, so a crash between the two is impossible.
//!
//! Events are looked up in two ways that must agree: the event index says in which blocks our contracts spoke,
//! and those blocks' receipts say what, in the chain's own order.

use std::collections::BTreeMap;

use keeper_types::{BlockEvents, BlockHeader, BlockNumber, BlockRef, EventPosition, Felt, TxHash};
use starknet::{
    core::types::{
        BlockId, BlockTag, EventFilter, MaybePreConfirmedBlockWithReceipts, MaybePreConfirmedBlockWithTxHashes,
        StarknetError, TransactionReceipt,
    },
    providers::{Provider as _, ProviderError},
};

use crate::{Deployment, Rpc, RpcError, decode::decode_event};

/// Blocks that one step takes in at most.
const BLOCKS_PER_STEP: u64 = 500;
/// Events asked for at a time; nodes serve at most 1,024.
const EVENTS_PER_PAGE: u64 = 1_000;

/// What follows the last recorded block.
#[derive(Clone, Debug)]
pub enum Step {
    /// Nothing yet.
    UpToDate,
    /// These blocks, in order; the last is the new cursor, those between without events are left out.
    Extended {
        /// The blocks.
        blocks: Vec<BlockEvents>,
        /// The newest block of the chain when this was read.
        head: BlockNumber,
    },
    /// The last recorded block is no longer part of the chain.
    Reorganised,
}

/// Reads the chain for the events of one deployment.
#[derive(Clone, Debug)]
pub struct Follower {
    rpc: Rpc,
    contracts: [Felt; 3],
    first: BlockNumber,
}

impl Follower {
    /// A follower of the contracts of `deployment`.
    pub fn new(rpc: &Rpc, deployment: &Deployment) -> Self {
        Self { rpc: rpc.clone(), contracts: deployment.addresses(), first: deployment.block }
    }

    /// Checks anew that the node is one of the network.
    ///
    /// # Errors
    /// As [`Rpc::connect`].
    pub async fn check_node(&self) -> Result<(), RpcError> {
        self.rpc.check().await
    }

    /// The newest block.
    ///
    /// # Errors
    /// Fails where the node does not answer.
    pub async fn head(&self) -> Result<BlockHeader, RpcError> {
        let header = self.header_of(BlockId::Tag(BlockTag::Latest)).await?;
        header.ok_or(RpcError::Malformed { request: "the newest block", reason: "there is none".to_owned() })
    }

    /// A block of the chain, or `None` where there is none of that number.
    ///
    /// # Errors
    /// Fails where the node does not answer.
    pub async fn header(&self, number: BlockNumber) -> Result<Option<BlockHeader>, RpcError> {
        self.header_of(BlockId::Number(number.0)).await
    }

    /// Whether `block` is still part of the chain.
    ///
    /// # Errors
    /// Fails where the node does not answer.
    pub async fn contains(&self, block: BlockRef) -> Result<bool, RpcError> {
        let header = self.header_of(BlockId::Number(block.number.0)).await?;
        Ok(header.is_some_and(|header| header.hash == block.hash))
    }

    /// What comes after `cursor`, the last recorded block; from the deployment on where there is none.
    ///
    /// # Errors
    /// Fails where the node does not answer, or answers what makes no sense.
    pub async fn step(&self, cursor: Option<BlockRef>) -> Result<Step, RpcError> {
        let head = self.head().await?;
        let first = match cursor {
            Some(cursor) if !self.contains(cursor).await? => return Ok(Step::Reorganised),
            Some(cursor) => cursor.number.0 + 1,
            None => self.first.0,
        };
        if head.number.0 < first {
            return Ok(Step::UpToDate);
        }
        let last = head.number.0.min(first + BLOCKS_PER_STEP - 1);
        let end = if last == head.number.0 { Some(head) } else { self.header_of(BlockId::Number(last)).await? };
        let Some(end) = end else { return Ok(Step::UpToDate) };
        let mut blocks = Vec::new();
        for (number, indexed) in self.blocks_with_events(first, last).await? {
            let block = self.block(number).await?;
            if block.events.len() != indexed {
                let found = block.events.len();
                let reason = format!("its event index has {indexed} events in block {number}, its receipts {found}");
                return Err(RpcError::Malformed { request: "events", reason });
            }
            blocks.push(block);
        }
        if blocks.last().is_none_or(|block| block.header.number != end.number) {
            blocks.push(BlockEvents { header: end, events: Vec::new() });
        }
        // What was read in several requests must belong to one chain.
        let same_end = blocks.last().is_some_and(|block| block.header == end);
        if !same_end || !self.contains(end.reference()).await? {
            return Ok(Step::UpToDate);
        }
        Ok(Step::Extended { blocks, head: head.number })
    }

    /// The blocks in which our contracts spoke, with how often, by the node's event index.
    async fn blocks_with_events(&self, first: u64, last: u64) -> Result<BTreeMap<u64, usize>, RpcError> {
        let mut counts = BTreeMap::new();
        for address in self.contracts {
            let mut token = None;
            loop {
                let filter = EventFilter {
                    from_block: Some(BlockId::Number(first)),
                    to_block: Some(BlockId::Number(last)),
                    address: Some(address),
                    keys: None,
                };
                let page = self.rpc.client.get_events(filter, token, EVENTS_PER_PAGE).await;
                let page = page.map_err(|error| self.rpc.error("events", &error))?;
                for number in page.events.iter().filter_map(|event| event.block_number) {
                    *counts.entry(number).or_insert(0) += 1;
                }
                token = page.continuation_token;
                if token.is_none() {
                    break;
                }
            }
        }
        Ok(counts)
    }

    /// A block with the events of our contracts in it.
    async fn block(&self, number: u64) -> Result<BlockEvents, RpcError> {
        let answer = self.rpc.client.get_block_with_receipts(BlockId::Number(number)).await;
        let answer = answer.map_err(|error| self.rpc.error("a block's receipts", &error))?;
        let MaybePreConfirmedBlockWithReceipts::Block(block) = answer else {
            let reason = format!("block {number} is not closed");
            return Err(RpcError::Malformed { request: "a block's receipts", reason });
        };
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
                let position =
                    EventPosition { block: header.number, timestamp: header.timestamp, index, tx_hash: hash };
                index += 1;
                if !self.contracts.contains(&event.from_address) {
                    continue;
                }
                match decode_event(&event, &self.contracts) {
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

    async fn header_of(&self, id: BlockId) -> Result<Option<BlockHeader>, RpcError> {
        match self.rpc.client.get_block_with_tx_hashes(id).await {
            Ok(MaybePreConfirmedBlockWithTxHashes::Block(block)) => Ok(Some(BlockHeader {
                number: BlockNumber(block.block_number),
                hash: block.block_hash,
                parent_hash: block.parent_hash,
                timestamp: block.timestamp,
            })),
            Ok(MaybePreConfirmedBlockWithTxHashes::PreConfirmedBlock(_))
            | Err(ProviderError::StarknetError(StarknetError::BlockNotFound)) => Ok(None),
            Err(error) => Err(self.rpc.error("a block's header", &error)),
        }
    }
}

pub(crate) fn events_of(receipt: TransactionReceipt) -> (TxHash, Vec<starknet::core::types::Event>) {
    match receipt {
        TransactionReceipt::Invoke(receipt) => (TxHash(receipt.transaction_hash), receipt.events),
        TransactionReceipt::Declare(receipt) => (TxHash(receipt.transaction_hash), receipt.events),
        TransactionReceipt::Deploy(receipt) => (TxHash(receipt.transaction_hash), receipt.events),
        TransactionReceipt::DeployAccount(receipt) => (TxHash(receipt.transaction_hash), receipt.events),
        TransactionReceipt::L1Handler(receipt) => (TxHash(receipt.transaction_hash), receipt.events),
    }
}
