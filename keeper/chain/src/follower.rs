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

mod answers;
mod reading;
mod receipts;
mod source;

use async_trait::async_trait;
use keeper_types::{BlockEvents, BlockHeader, BlockNumber, BlockRef, Felt, JobId};
use serde_json::{Value, json};
use starknet::core::types::BlockId;
use tokio::task::JoinSet;

use self::answers::{Block, Header, Page};
pub use self::{
    reading::{BLOCKS_PER_STEP, Reading, read},
    source::{ChainSource, Index, Indexed, JobStanding},
};
use crate::{Contracts, Deployment, Rpc, RpcError};

/// Events asked for at a time; nodes serve at most 1,024.
const EVENTS_PER_PAGE: u64 = 1_000;
/// Pieces in which the rest of a long index is read at the same time.
const PIECES: u64 = 4;
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
        let header = self.header_of(json!("latest")).await?;
        header.ok_or(RpcError::Malformed { request: "the newest block", reason: "there is none".to_owned() })
    }

    /// A block of the chain, or `None` where there is none of that number.
    ///
    /// # Errors
    /// Fails where the node does not answer.
    pub async fn header(&self, number: BlockNumber) -> Result<Option<BlockHeader>, RpcError> {
        self.header_of(at(number)).await
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

    async fn header_of(&self, block: Value) -> Result<Option<BlockHeader>, RpcError> {
        let params = json!({ "block_id": block });
        let answer = self.rpc().of_block("a block's header", "starknet_getBlockWithTxHashes", params).await?;
        Ok(answer.and_then(|header: Header| header.placed()))
    }

    /// The blocks in which one contract spoke, or `None` where not all of the blocks are there. Where one page does not hold
    /// it all, the rest is read in several pieces at the same time: each page says where the next begins, so those of one
    /// piece come one after the other.
    async fn index_of(&self, contract: Felt, first: BlockNumber, last: BlockNumber) -> Result<Option<Index>, RpcError> {
        let Some(page) = self.page(contract, first, last, None).await? else { return Ok(None) };
        let mut index = Index::new();
        note(&mut index, &page);
        if page.continuation_token.is_none() {
            return Ok(Some(index));
        }
        let numbers: Vec<u64> = page.events.iter().filter_map(|event| event.block_number).collect();
        let reached =
            numbers.last().map(|number| BlockNumber(*number)).filter(|reached| (first..=last).contains(reached));
        let (Some(reached), true) = (reached, numbers.is_sorted()) else {
            // Not by height, as far as can be told: then only the tokens say what is left.
            return self.pages(contract, first, last).await;
        };
        // The page may end within a block, which is then read whole.
        index.remove(&reached);
        let length = (last.0.saturating_sub(reached.0) + 1).div_ceil(PIECES).max(1);
        let pieces = (reached.0..=last.0).step_by(usize::try_from(length).unwrap_or(usize::MAX)).map(|from| {
            let to = last.0.min(from + length - 1);
            self.pages(contract, BlockNumber(from), BlockNumber(to))
        });
        for piece in futures::future::try_join_all(pieces).await? {
            let Some(piece) = piece else { return Ok(None) };
            index.extend(piece);
        }
        Ok(Some(index))
    }

    /// The blocks in which one contract spoke, page by page.
    async fn pages(&self, contract: Felt, first: BlockNumber, last: BlockNumber) -> Result<Option<Index>, RpcError> {
        let (mut index, mut token) = (Index::new(), None::<String>);
        loop {
            let Some(page) = self.page(contract, first, last, token.as_deref()).await? else { return Ok(None) };
            note(&mut index, &page);
            if page.continuation_token.is_some() && page.continuation_token == token {
                let reason = "its continuation token does not move on".to_owned();
                return Err(RpcError::Malformed { request: "events", reason });
            }
            token = page.continuation_token;
            if token.is_none() {
                return Ok(Some(index));
            }
        }
    }

    async fn page(
        &self,
        contract: Felt,
        first: BlockNumber,
        last: BlockNumber,
        token: Option<&str>,
    ) -> Result<Option<Page>, RpcError> {
        let mut filter = json!({
            "from_block": at(first), "to_block": at(last), "address": contract, "chunk_size": EVENTS_PER_PAGE,
        });
        if let Some(token) = token {
            filter["continuation_token"] = token.into();
        }
        self.rpc().of_block("events", "starknet_getEvents", json!({ "filter": filter })).await
    }
}

/// Counts a page's events.
fn note(index: &mut Index, page: &Page) {
    for event in &page.events {
        let Some(number) = event.block_number else { continue };
        let none = Indexed { hash: event.block_hash, events: 0 };
        index.entry(BlockNumber(number)).or_insert(none).events += 1;
    }
}

/// A block by its number, as requests name it.
fn at(number: BlockNumber) -> Value {
    json!({ "block_number": number.0 })
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
        self.header_of(json!("l1_accepted")).await
    }

    async fn index(&self, first: BlockNumber, last: BlockNumber) -> Result<Option<Index>, RpcError> {
        let contracts = self.contracts.deployment().addresses().map(|contract| self.index_of(contract, first, last));
        let mut whole = Index::new();
        for index in futures::future::try_join_all(contracts).await? {
            let Some(index) = index else { return Ok(None) };
            for (number, indexed) in index {
                let entry = whole.entry(number).or_insert(Indexed { events: 0, ..indexed });
                if entry.hash != indexed.hash {
                    // The chain changed between the two contracts.
                    return Ok(None);
                }
                entry.events += indexed.events;
            }
        }
        Ok(Some(whole))
    }

    async fn block(&self, number: BlockNumber) -> Result<Option<BlockEvents>, RpcError> {
        // A task of its own: reading receipts is work, and several blocks are asked for at the same time.
        let (rpc, contracts) = (self.rpc().clone(), self.contracts.deployment().addresses());
        let mut task = JoinSet::new();
        task.spawn(async move {
            let params = json!({ "block_id": at(number) });
            let answer = rpc.of_block("a block's receipts", "starknet_getBlockWithReceipts", params).await?;
            let Some(block): Option<Block> = answer else { return Ok(None) };
            receipts::block(&block, &contracts)
        });
        // It is not ended from elsewhere, so what it does not return is a panic.
        let read = task.join_next().await.expect("one task was begun");
        read.unwrap_or_else(|panicked| std::panic::resume_unwind(panicked.into_panic()))
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
