//! A keeper's node: the chain as it is shown to the keeper, with delays, lags, and answers that do not come.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use keeper_chain::{
    ChainSource, Index, Indexed, JobStanding, RpcError,
    lane::{Answer, Look},
};
use keeper_store::{IntentAction, Landed};
use keeper_types::{Address, BlockEvents, BlockHeader, BlockNumber, BlockRef, Fri, JobId, TxHash};

use super::{
    chain::{Block, Body, Chain, FIRST, Included, Refused, Request, at, by_ref, word},
    executor::{Owner, Sim},
};

/// Blocks that are searched for the transaction that used a nonce, as the lane's node does.
const MOST_SEARCHED: usize = 64;
/// How long a receipt may not be known after its block, in milliseconds.
const RECEIPT_DELAY_MS: u64 = 20_000;
/// What a transaction costs.
const FEE: Fri = Fri(1_000);

/// The newest block, and what gas costs in it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Head {
    pub(super) block: BlockRef,
    pub(super) price: u64,
}

/// One keeper's node.
#[derive(Clone, Debug)]
pub(super) struct Node {
    sim: Sim,
    /// Guards the chain; nothing waits while it is held, and one thread uses it.
    chain: Arc<Mutex<Chain>>,
    owner: Owner,
}

impl Node {
    pub(super) fn new(sim: Sim, chain: Arc<Mutex<Chain>>, owner: Owner) -> Self {
        Self { sim, chain, owner }
    }

    fn chain(&self) -> MutexGuard<'_, Chain> {
        self.chain.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A request and its answer take time, and either can be lost; `answer` is what the node does when it arrives.
    async fn ask<R>(&self, answer: impl FnOnce(&mut Chain, usize) -> R) -> Result<R, RpcError> {
        self.sim.step(self.owner).await;
        let is_lost = self.sim.fault("lost request", |faults| faults.no_request);
        let is_down = self.chain().nodes[self.owner].down_until_ms > self.sim.now_ms();
        if is_lost || is_down {
            self.sim.sleep(if is_down { 20 } else { 2_000 }).await;
            return Err(unreachable());
        }
        let delay_ms = self.sim.draw(2..25);
        self.sim.sleep(delay_ms).await;
        let answered = answer(&mut self.chain(), self.owner);
        self.sim.step(self.owner).await;
        if self.sim.fault("lost answer", |faults| faults.no_answer / 4) {
            self.sim.sleep(2_000).await;
            return Err(unreachable());
        }
        Ok(answered)
    }

    async fn view<R>(&self, read: impl FnOnce(&[Arc<Block>]) -> R) -> Result<R, RpcError> {
        self.ask(|chain, node| read(chain.shown(node))).await
    }

    /// The newest block.
    pub(super) async fn newest(&self) -> Result<Head, RpcError> {
        self.view(|blocks| {
            let newest = newest(blocks);
            Head { block: newest.header.reference(), price: newest.price }
        })
        .await
    }

    /// The block of this height, and whether it is accepted on L1.
    pub(super) async fn block_at(&self, number: BlockNumber) -> Result<Option<(BlockRef, bool)>, RpcError> {
        self.ask(|chain, node| {
            let block = at(chain.shown(node), number)?.header.reference();
            let accepted = chain.shown_accepted(node).map(|block| block.header.number);
            Some((block, accepted.is_some_and(|accepted| number <= accepted)))
        })
        .await
    }

    /// The account's nonce after this very block.
    pub(super) async fn nonce_at(&self, account: Address, block: BlockRef) -> Result<Option<u64>, RpcError> {
        self.view(|blocks| by_ref(blocks, block).map(|block| block.nonce(account))).await
    }

    /// The account's nonce, counting what waits to be included.
    pub(super) async fn pending_nonce(&self, account: Address) -> Result<u64, RpcError> {
        self.ask(|chain, node| {
            let shown = newest(chain.shown(node)).nonce(account);
            chain.pending_nonce(account, shown)
        })
        .await
    }

    /// The newest block that is accepted on L1.
    pub(super) async fn newest_on_l1(&self) -> Result<Option<BlockNumber>, RpcError> {
        Ok(self.accepted_on_l1().await?.map(|header| header.number))
    }

    /// The highest round of the account, as the contract holds it.
    pub(super) async fn last_round(&self, account: Address) -> Result<u64, RpcError> {
        self.view(|blocks| newest(blocks).contracts.last_round(account)).await
    }

    /// Whether the contracts would refuse an action at present.
    pub(super) async fn estimate(&self, account: Address, action: &IntentAction) -> Result<bool, RpcError> {
        let action = action.clone();
        self.view(move |blocks| Chain::dry_run(newest(blocks), account, &action).is_err()).await
    }

    /// Sends a transaction; no answer is one of the answers.
    pub(super) async fn send(&self, text: &str) -> Answer {
        let Ok(request) = serde_json::from_str::<Request>(text) else { return Answer::Refused };
        let (hash, nonce) = (Request::hash(text), request.nonce);
        let owner = self.owner;
        let answered = self
            .ask(|chain, _| {
                if chain.sim.fault("vanished", |faults| faults.vanish) {
                    return Ok(());
                }
                chain.send(hash, request)
            })
            .await;
        let is_lost = self.sim.fault("no answer to a transaction", |faults| faults.no_answer);
        let answer = match answered {
            _ if is_lost => Answer::Unknown,
            Ok(Ok(())) => Answer::Accepted,
            Ok(Err(Refused::Duplicate)) => Answer::Duplicate,
            Ok(Err(Refused::WrongNonce)) => Answer::WrongNonce,
            Ok(Err(Refused::Underpriced)) => Answer::Underpriced,
            Err(_) => Answer::Unknown,
        };
        self.sim.note("sent", [owner as u64, nonce, word(hash.0)], || {
            format!("keeper {owner} nonce {nonce} tx {:x}: {answer:?}", word(hash.0))
        });
        answer
    }

    /// Finds out which transaction used a nonce: one of `hashes`, or another.
    pub(super) async fn look(&self, account: Address, nonce: u64, hashes: &[TxHash]) -> Result<Look, RpcError> {
        let is_late = self.sim.fault("late receipt", |faults| faults.late_receipt);
        let now_ms = self.sim.now_ms();
        self.view(|blocks| {
            let of_nonce = |included: &&Included| {
                matches!(&included.tx.body, Body::Keeper(request) if (request.sender, request.nonce) == (account, nonce))
            };
            // Receipts are found by their hashes however old they are, another's transaction only in the latest blocks.
            let is_own = |included: &&Included| hashes.contains(&included.tx.hash);
            let own = blocks.iter().rev().find_map(|block| Some((block, block.txs.iter().find(is_own)?)));
            if let Some((block, Included { tx, is_reverted })) = own {
                let landed = Landed { tx_hash: tx.hash, block: Some(block.header.reference()), fee: Some(FEE) };
                let is_known = !is_late || now_ms >= block.at_ms + RECEIPT_DELAY_MS;
                return if is_known { Look::Landed { landed, is_reverted: *is_reverted } } else { Look::Nothing };
            }
            let latest = blocks.iter().rev().take(MOST_SEARCHED);
            let foreign = latest.flat_map(|block| &block.txs).find(of_nonce);
            foreign.map_or(Look::Nothing, |included| Look::Foreign(included.tx.hash))
        })
        .await
    }
}

fn newest(blocks: &[Arc<Block>]) -> &Block {
    blocks.last().expect("a view has the first block at least")
}

fn unreachable() -> RpcError {
    RpcError::Unreachable { url: "simulation".to_owned(), reason: "no answer".to_owned() }
}

#[async_trait]
impl ChainSource for Node {
    fn first(&self) -> BlockNumber {
        BlockNumber(FIRST)
    }

    async fn check(&self) -> Result<(), RpcError> {
        self.view(|_| ()).await
    }

    async fn head(&self) -> Result<BlockHeader, RpcError> {
        self.view(|blocks| newest(blocks).header).await
    }

    async fn header(&self, number: BlockNumber) -> Result<Option<BlockHeader>, RpcError> {
        self.view(|blocks| at(blocks, number).map(|block| block.header)).await
    }

    async fn accepted_on_l1(&self) -> Result<Option<BlockHeader>, RpcError> {
        self.ask(|chain, node| chain.shown_accepted(node).map(|block| block.header)).await
    }

    async fn index(&self, first: BlockNumber, last: BlockNumber) -> Result<Option<Index>, RpcError> {
        self.view(|blocks| {
            at(blocks, last)?;
            let range = blocks.iter().filter(|block| (first..=last).contains(&block.header.number));
            let spoken = range.filter(|block| !block.events.is_empty());
            let entry = |block: &Arc<Block>| {
                (block.header.number, Indexed { hash: Some(block.header.hash), events: block.events.len() })
            };
            Some(spoken.map(entry).collect())
        })
        .await
    }

    async fn block(&self, number: BlockNumber) -> Result<Option<BlockEvents>, RpcError> {
        self.view(|blocks| at(blocks, number).map(|block| block.events())).await
    }

    async fn cross_check(&self, _block: BlockRef) -> Result<(), RpcError> {
        Ok(())
    }

    async fn jobs_at(&self, block: BlockRef, first: JobId, count: u8) -> Result<Vec<JobStanding>, RpcError> {
        let held =
            self.view(|blocks| by_ref(blocks, block).map(|block| block.contracts.standings(first, count))).await?;
        held.ok_or(RpcError::Refused { request: "jobs", reason: "Block not found".to_owned() })
    }
}
