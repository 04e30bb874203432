//! Follows the chain: records every block with its events and the cursor in one transaction, and tells the
//! other services what the keeper now believes.

use std::{sync::Arc, time::Duration};

use anyhow::{Context as _, Result, bail};
use keeper_chain::{Follower, RpcError, Step};
use keeper_store::{Observation, Stage, Store, rebuild_market};
use keeper_types::{Attempt, BlockEvents, BlockHeader, BlockNumber, Market, MarketEvent};
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
                        self.publish(cursor);
                    }
                    self.poll
                }
                Ok(Step::Extended { blocks, head }) => {
                    backoff = self.poll;
                    self.extend(&blocks, head).await?;
                    Duration::ZERO
                }
                Ok(Step::Reorganised) => match self.last_standing().await? {
                    Ok(standing) => {
                        self.roll_back(standing).await?;
                        Duration::ZERO
                    }
                    Err(error) => back_off(&error, &mut backoff),
                },
                Err(error) => back_off(&error, &mut backoff),
            };
            tokio::select! {
                () = cancel.cancelled() => return Ok(()),
                () = tokio::time::sleep(pause) => {}
            }
        }
    }

    async fn extend(&mut self, blocks: &[BlockEvents], head: BlockNumber) -> Result<()> {
        let mut market = self.market.clone();
        for (position, event) in blocks.iter().flat_map(|block| &block.events) {
            if let Err(error) = market.apply(event, position) {
                return self.reindex(&error.to_string()).await;
            }
        }
        self.store.append_blocks(blocks).await?;
        self.store.observe(&observations(blocks, &market)).await?;
        self.market = market;
        for (position, event) in blocks.iter().flat_map(|block| &block.events) {
            tracing::debug!(block = %position.block, event = event.name(), job_ids = ?event.job_ids(), "event");
        }
        if let Some(last) = blocks.last()
            && last.header.number >= head
        {
            self.publish(last.header);
        }
        Ok(())
    }

    fn publish(&self, head: BlockHeader) {
        self.believed.send_replace(Some(Arc::new(Believed { market: self.market.clone(), head, fork: self.fork })));
    }

    /// The newest recorded block that is still part of the chain; the node may fail to answer.
    async fn last_standing(&self) -> Result<Result<Option<BlockNumber>, RpcError>> {
        for header in self.store.recent_blocks(LOOK_BACK).await? {
            match self.follower.contains(header.reference()).await {
                Ok(true) => return Ok(Ok(Some(header.number))),
                Ok(false) => {}
                Err(error) => return Ok(Err(error)),
            }
        }
        Ok(Ok(None))
    }

    /// Forgets every block above the one that is still standing.
    async fn roll_back(&mut self, standing: Option<BlockNumber>) -> Result<()> {
        tracing::warn!(standing = standing.map(|block| block.0), "the chain was reorganised");
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

/// How long to wait after a failure: longer each time.
fn back_off(error: &RpcError, backoff: &mut Duration) -> Duration {
    tracing::warn!(%error, retry_in = ?*backoff, "the chain cannot be read");
    let pause = *backoff;
    *backoff = (pause * 2).min(LONGEST_BACKOFF);
    pause
}

/// When this keeper saw jobs move; the first time counts.
fn observations(blocks: &[BlockEvents], market: &Market) -> Vec<Observation> {
    let observed_ms = now_ms();
    let attempt_of = |job_id| market.jobs.get(&job_id).map_or(Attempt(1), |job| job.attempt);
    let events = blocks.iter().flat_map(|block| &block.events);
    let stages = events.flat_map(|(position, event)| {
        let reached = match event {
            MarketEvent::JobSubmitted { job_id, .. } => vec![(*job_id, Attempt(1), Stage::Submitted)],
            MarketEvent::JobsAllocated { items } => {
                items.iter().map(|item| (item.job_id, item.attempt, Stage::Allocated)).collect()
            }
            MarketEvent::ResultSubmitted { job_id, attempt, .. } => vec![(*job_id, *attempt, Stage::Revealed)],
            MarketEvent::JobSettled { job_id, .. } => vec![(*job_id, attempt_of(*job_id), Stage::Settled)],
            _ => Vec::new(),
        };
        let block = position.block;
        reached.into_iter().map(move |(job_id, attempt, stage)| Observation {
            job_id,
            attempt,
            stage,
            block,
            observed_ms,
        })
    });
    stages.collect()
}
