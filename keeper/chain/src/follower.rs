//! Following the chain: which blocks come next, and what the contracts said in them.
//!
//! The follower keeps no state. It is told the last block that was recorded, and answers with what comes after
//! it, or that this block is no longer part of the chain. Whoever records the blocks records the cursor with
//! them, so a crash between the two is impossible.
//!
//! Events are looked up in two ways that must agree: the event index says in which blocks our contracts spoke,
//! and those blocks' receipts say what, in the chain's own order.
//!
//! What is asked of a chain is [`ChainSource`], so that [`read`] can be tried on a simulated one.

mod reading;
mod receipts;
mod source;

use async_trait::async_trait;
use keeper_types::{BlockEvents, BlockHeader, BlockNumber, BlockRef, JobId};
use starknet::{
    core::types::{
        BlockId, BlockTag, EventFilter, MaybePreConfirmedBlockWithReceipts, MaybePreConfirmedBlockWithTxHashes,
        StarknetError,
    },
    providers::{Provider as _, ProviderError},
};

pub use self::{
    reading::{BLOCKS_PER_STEP, Reading, read},
    source::{ChainSource, Index, Indexed, JobStanding},
};
use crate::{Contracts, Deployment, Rpc, RpcError};

/// Events asked for at a time; nodes serve at most 1,024.
const EVENTS_PER_PAGE: u64 = 1_000;
/// How often a step is read again whose chain changed meanwhile.
const MOST_CHANGES: u32 = 10;

/// What follows the last block that was read, for those who read the chain once.
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
    contracts: Contracts,
}

impl Follower {
    /// A follower of the contracts of `deployment`.
    pub fn new(rpc: &Rpc, deployment: &Deployment) -> Self {
        Self { contracts: Contracts::new(rpc, deployment) }
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

    /// What comes after `cursor`, the last block that was read; from the deployment on where there is none. Blocks
    /// without events are left out.
    ///
    /// # Errors
    /// Fails where the node does not answer, or answers what makes no sense.
    pub async fn step(&self, cursor: Option<BlockHeader>) -> Result<Step, RpcError> {
        for _ in 0..MOST_CHANGES {
            return Ok(match read(self, cursor, BlockNumber(u64::MAX)).await? {
                Reading::UpToDate => Step::UpToDate,
                Reading::Extended { blocks, head } => Step::Extended { blocks, head },
                Reading::Reorganised | Reading::Behind { .. } => Step::Reorganised,
                Reading::Changed => continue,
            });
        }
        let reason = format!("the chain changed {MOST_CHANGES} times while it was read");
        Err(RpcError::Malformed { request: "events", reason })
    }

    fn rpc(&self) -> &Rpc {
        self.contracts.rpc()
    }

    async fn header_of(&self, id: BlockId) -> Result<Option<BlockHeader>, RpcError> {
        match self.rpc().client.get_block_with_tx_hashes(id).await {
            Ok(MaybePreConfirmedBlockWithTxHashes::Block(block)) => Ok(Some(BlockHeader {
                number: BlockNumber(block.block_number),
                hash: block.block_hash,
                parent_hash: block.parent_hash,
                timestamp: block.timestamp,
            })),
            Ok(MaybePreConfirmedBlockWithTxHashes::PreConfirmedBlock(_))
            | Err(ProviderError::StarknetError(StarknetError::BlockNotFound)) => Ok(None),
            Err(error) => Err(self.rpc().error("a block's header", &error)),
        }
    }
}

#[async_trait]
impl ChainSource for Follower {
    fn first(&self) -> BlockNumber {
        self.contracts.deployment().block
    }

    async fn check(&self) -> Result<(), RpcError> {
        self.rpc().check().await
    }

    async fn head(&self) -> Result<BlockHeader, RpcError> {
        Self::head(self).await
    }

    async fn header(&self, number: BlockNumber) -> Result<Option<BlockHeader>, RpcError> {
        Self::header(self, number).await
    }

    async fn accepted_on_l1(&self) -> Result<Option<BlockHeader>, RpcError> {
        self.header_of(BlockId::Tag(BlockTag::L1Accepted)).await
    }

    async fn index(&self, first: BlockNumber, last: BlockNumber) -> Result<Option<Index>, RpcError> {
        let mut index = Index::new();
        for address in self.contracts.deployment().addresses() {
            let mut token = None;
            loop {
                let filter = EventFilter {
                    from_block: Some(BlockId::Number(first.0)),
                    to_block: Some(BlockId::Number(last.0)),
                    address: Some(address),
                    keys: None,
                };
                let page = self.rpc().client.get_events(filter, token.clone(), EVENTS_PER_PAGE).await;
                let page = match page {
                    Err(ProviderError::StarknetError(StarknetError::BlockNotFound)) => return Ok(None),
                    page => page.map_err(|error| self.rpc().error("events", &error))?,
                };
                for event in page.events {
                    let Some(number) = event.block_number else { continue };
                    let none = Indexed { hash: event.block_hash, events: 0 };
                    index.entry(BlockNumber(number)).or_insert(none).events += 1;
                }
                if page.continuation_token.is_some() && page.continuation_token == token {
                    let reason = "its continuation token does not move on".to_owned();
                    return Err(RpcError::Malformed { request: "events", reason });
                }
                token = page.continuation_token;
                if token.is_none() {
                    break;
                }
            }
        }
        Ok(Some(index))
    }

    async fn block(&self, number: BlockNumber) -> Result<Option<BlockEvents>, RpcError> {
        let answer = self.rpc().client.get_block_with_receipts(BlockId::Number(number.0)).await;
        match answer {
            Ok(MaybePreConfirmedBlockWithReceipts::Block(block)) => {
                receipts::block(block, &self.contracts.deployment().addresses()).map(Some)
            }
            Ok(MaybePreConfirmedBlockWithReceipts::PreConfirmedBlock(_))
            | Err(ProviderError::StarknetError(StarknetError::BlockNotFound)) => Ok(None),
            Err(error) => Err(self.rpc().error("a block's receipts", &error)),
        }
    }

    async fn cross_check(&self, block: BlockRef) -> Result<(), RpcError> {
        if self.rpc().endpoints().len() < 2 {
            return Ok(());
        }
        let check = self.rpc().cross_check(block.number).await;
        // Those that are behind, or do not answer, contradict nobody.
        let is_contradicted = match check.hash {
            Some(hash) => hash != block.hash,
            None => !check.agreeing.is_empty() || !check.differing.is_empty(),
        };
        if !is_contradicted {
            return Ok(());
        }
        let reason = format!("the endpoints do not agree on block {} ({:#x})", block.number, block.hash);
        Err(RpcError::Malformed { request: "a block's header", reason })
    }

    async fn jobs_at(&self, at: BlockRef, first: JobId, count: u8) -> Result<Vec<JobStanding>, RpcError> {
        let jobs = self.contracts.jobs_at(BlockId::Hash(at.hash), first, count).await?;
        Ok(jobs.into_iter().map(JobStanding::from).collect())
    }
}
