//! Follows the chain: records every block with its events and the cursor in one transaction, and tells the
//! other services what the keeper now believes.

use std::{sync::Arc, time::Duration};

use anyhow::{Context as _, Result, bail};
use keeper_chain::{BlockHeader, FollowedBlock, Follower, Step};
use keeper_store::{BlockEvents, Observation, Stage, Store, rebuild_market};
use keeper_types::{Attempt, BlockNumber, Market, MarketEvent};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::{Believed, now_ms};

/// Blocks that are looked back through for the last one that a reorganisation left standing.
const LOOK_BACK: u32 = 8_192;
const LONGEST_BACKOFF: Duration = Duration::from_secs(30);

/// The service.
#[derive(Debug)]
pub(crate) struct Following {
    follower: Follower,
    store: Arc<dyn Store>,
    poll: Duration,
    believed: watch::Sender<Option<Arc<Believed>>>,
    market: Market,
    /// Counts reorganisations.
    fork: u64,
    /// Set once the stored events were thrown away and read again because they did not fit together.
    reindexed: bool,
}

impl Following {
    /// Takes up where the store left off.
    ///
    /// # Errors
    /// Fails where the store cannot be read.
    pub(crate) async fn resume(
        follower: Follower,
        store: Arc<dyn Store>,
        poll: Duration,
        believed: watch::Sender<Option<Arc<Believed>>>,
    ) -> Result<Self> {
        let market = rebuild_market(&*store).await.context("reading the stored events")?;
        Ok(Self { follower, store, poll, believed, market, fork: 0, reindexed: false })
    }

    /// Follows until cancelled.
    ///
    /// # Errors
    /// Fails where the store does, or the chain's events do not fit together even when read anew.
    pub(crate) async fn run(mut self, cancel: CancellationToken) -> Result<()> {
        let mut backoff = self.poll;
        loop {
            let cursor = self.store.cursor().await?;
            let pause = match self.follower.step(cursor.map(|cursor| cursor.reference())).await {
                Ok(Step::UpToDate) => {
                    backoff = self.poll;
                    if self.believed.borrow().is_none()
                        && let Some(cursor) = cursor
                    {
                        self.publish(header_of(cursor));
                    }
                    self.poll
                }
                Ok(Step::Extended { blocks, head }) => {
                    backoff = self.poll;
                    self.extend(&blocks, head).await?;
                    Duration::ZERO
                }
                Ok(Step::Reorganised) => {
                    self.roll_back().await?;
                    Duration::ZERO
                }
                Err(error) => {
                    tracing::warn!(%error, retry_in = ?backoff, "the chain cannot be read");
                    let pause = backoff;
                    backoff = (backoff * 2).min(LONGEST_BACKOFF);
                    pause
                }
            };
            tokio::select! {
                () = cancel.cancelled() => return Ok(()),
                () = tokio::time::sleep(pause) => {}
            }
        }
    }

    async fn extend(&mut self, blocks: &[FollowedBlock], head: BlockNumber) -> Result<()> {
        let mut market = self.market.clone();
        for (position, event) in blocks.iter().flat_map(|block| &block.events) {
            if let Err(error) = market.apply(event, position) {
                return self.reindex(&error.to_string()).await;
            }
        }
        let records: Vec<BlockEvents> = blocks.iter().map(record).collect();
        self.store.append_blocks(&records).await?;
        self.store.observe(&observations(blocks, &market)).await?;
        self.market = market;
        for (position, event) in blocks.iter().flat_map(|block| &block.events) {
            tracing::debug!(block = %position.block, event = event.name(), job_id = ?event.job_id(), "event");
        }
        if let Some(last) = blocks.last()
            && last.header.block.number >= head
        {
            self.publish(last.header);
        }
        Ok(())
    }

    fn publish(&self, head: BlockHeader) {
        self.believed.send_replace(Some(Arc::new(Believed { market: self.market.clone(), head, fork: self.fork })));
    }

    /// Goes back to the newest recorded block that is still part of the chain.
    async fn roll_back(&mut self) -> Result<()> {
        let mut standing = None;
        for header in self.store.recent_blocks(LOOK_BACK).await? {
            if self.follower.contains(header.reference()).await? {
                standing = Some(header.number);
                break;
            }
        }
        tracing::warn!(?standing, "the chain was reorganised");
        self.fork += 1;
        match standing {
            Some(number) => self.store.revert_to(number).await?,
            None => self.forget().await?,
        }
        self.market = rebuild_market(&*self.store).await.context("reading the stored events")?;
        Ok(())
    }

    /// What is believed does not fit what the chain says: read everything again, once.
    async fn reindex(&mut self, reason: &str) -> Result<()> {
        if self.reindexed {
            bail!("the chain's events do not fit together, also when read anew: {reason}");
        }
        tracing::error!(reason, "the recorded events do not fit the chain's: reading everything again");
        self.reindexed = true;
        self.fork += 1;
        self.forget().await?;
        self.market = Market::default();
        Ok(())
    }

    async fn forget(&self) -> Result<()> {
        let before = self.store.identity().deployment_block.0.checked_sub(1);
        match before {
            Some(before) => self.store.revert_to(BlockNumber(before)).await?,
            None => self.store.revert_to(BlockNumber(0)).await?,
        }
        Ok(())
    }
}

fn record(block: &FollowedBlock) -> BlockEvents {
    BlockEvents {
        header: keeper_store::BlockHeader {
            number: block.header.block.number,
            hash: block.header.block.hash,
            parent_hash: block.header.parent_hash,
            timestamp: block.header.timestamp,
        },
        events: block.events.clone(),
    }
}

fn header_of(header: keeper_store::BlockHeader) -> BlockHeader {
    BlockHeader { block: header.reference(), parent_hash: header.parent_hash, timestamp: header.timestamp }
}

/// When this keeper saw jobs move; the first time counts.
fn observations(blocks: &[FollowedBlock], market: &Market) -> Vec<Observation> {
    let observed_ms = now_ms();
    let attempt_of = |job_id| market.jobs.get(&job_id).map_or(Attempt(1), |job| job.attempt);
    let events = blocks.iter().flat_map(|block| &block.events);
    let stages = events.filter_map(|(position, event)| {
        let (job_id, attempt, stage) = match event {
            MarketEvent::JobSubmitted { job_id, .. } => (*job_id, Attempt(1), Stage::Submitted),
            MarketEvent::JobAllocated { job_id, attempt, .. } => (*job_id, *attempt, Stage::Allocated),
            MarketEvent::ResultSubmitted { job_id, attempt, .. } => (*job_id, *attempt, Stage::Revealed),
            MarketEvent::JobSettled { job_id, .. } => (*job_id, attempt_of(*job_id), Stage::Settled),
            _ => return None,
        };
        Some(Observation { job_id, attempt, stage, block: position.block, observed_ms })
    });
    stages.collect()
}
