//! A chain, three endpoints before it, and what is true.

use std::collections::BTreeMap;

use e2e::{LocalnetOptions, LyingProxy, Market, job_spec};
use keeper_chain::{Follower, Step};
use keeper_types::{BlockHeader, BlockNumber, BlockRef, EventPosition, Felt, Fri, JobSpec, MarketEvent};
use serde_json::json;

/// Blocks after which the chain is replaced: it keeps every state.
const MOST_BLOCKS: u64 = 500;
/// What each account holds: a million STRK.
const BALANCE: u128 = 1_000_000_000_000_000_000_000_000;
/// What a job may cost, in fri.
const PRICE: u128 = 1_000_000_000_000;

/// What the contracts said, in the chain's order.
pub(super) type Events = Vec<(EventPosition, MarketEvent)>;

/// A chain and what is before it.
pub(super) struct Stage {
    /// The chain, asked directly.
    pub(super) market: Market,
    pub(super) proxies: Vec<LyingProxy>,
    began: u64,
}

impl Stage {
    pub(super) async fn start(seed: u64) -> Self {
        let options =
            LocalnetOptions { archive: true, accounts: Some(4), balance: Some(BALANCE), ..Default::default() };
        let market = Market::start_with(options).await;
        let mut proxies = Vec::new();
        for place in 0..3 {
            proxies.push(LyingProxy::before(market.chain.rpc_url(), seed.wrapping_add(place)).await);
        }
        let mut stage = Self { market, proxies, began: 0 };
        stage.began = stage.head().await.number.0;
        stage
    }

    /// Whether the chain has become long.
    pub(super) async fn is_worn(&self) -> bool {
        self.head().await.number.0 > self.began + MOST_BLOCKS
    }

    /// Follows the chain itself.
    pub(super) fn truth(&self) -> Follower {
        Follower::new(self.market.contracts.rpc(), self.market.deployment())
    }

    /// The chain's newest block.
    pub(super) async fn head(&self) -> BlockRef {
        self.truth().head().await.expect("the chain answers").reference()
    }

    /// Everything that the contracts said after a block.
    pub(super) async fn events_after(&self, mut cursor: Option<BlockHeader>) -> Events {
        let truth = self.truth();
        let mut events = Vec::new();
        loop {
            match truth.step(cursor).await.expect("the chain answers") {
                Step::UpToDate => return events,
                Step::Extended { blocks, .. } => {
                    cursor = blocks.last().map(|block| block.header);
                    events.extend(blocks.into_iter().flat_map(|block| block.events));
                }
                Step::Reorganised => unreachable!("nobody reorganises the chain meanwhile"),
            }
        }
    }

    /// How often each manifest was submitted.
    pub(super) async fn submitted(&self) -> BTreeMap<Felt, u64> {
        let mut counts = BTreeMap::new();
        for (_, event) in self.events_after(None).await {
            if let MarketEvent::JobSubmitted { spec, .. } = event {
                *counts.entry(spec.manifest_hash).or_insert(0) += 1;
            }
        }
        counts
    }

    /// A job of its own.
    pub(super) async fn job(&self, manifest: Felt) -> JobSpec {
        JobSpec { manifest_hash: manifest, max_price: Fri(PRICE), ..job_spec(self.market.now().await) }
    }

    /// Takes the last blocks back; returns the first of them, and how many transactions each had.
    pub(super) async fn abort(&self, blocks: u64) -> (BlockNumber, Vec<u64>) {
        let (chain, head) = (&self.market.chain, self.head().await.number.0);
        let from = head - blocks + 1;
        let mut counts = Vec::new();
        for number in from..=head {
            let id = json!({ "block_id": { "block_number": number } });
            let count = chain.ask("starknet_getBlockTransactionCount", id).await;
            counts.push(count.as_u64().expect("a number"));
        }
        chain.ask("devnet_abortBlocks", json!({ "starting_block_id": { "block_number": from } })).await;
        (BlockNumber(from), counts)
    }
}
