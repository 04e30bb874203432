//! Follows the chain: records every block with its events and the cursor in one transaction, and tells the
//! other services what the keeper now believes.
//!
//! Started again, the service folds the stored events anew, and goes on behind the stored cursor: what was appended is not
//! appended twice, what was not is read again. What the others believe stays until then. Since it cannot tell what changed
//! in between, it counts its start as a reorganisation, so that nobody takes what they remember for news of this chain. Of
//! the blocks that were being recorded only the times at which their jobs were seen to move may be lost.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::anyhow;
use keeper_chain::{Follower, RpcError, Step};
use keeper_store::{Observation, Stage, Store, rebuild_market};
use keeper_types::{Attempt, BlockEvents, BlockHeader, BlockNumber, Market, MarketEvent};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::{Believed, Failure, Health, failure::Cause, now_ms};

/// Blocks that are looked back through for the last one that a reorganisation left standing.
const LOOK_BACK: u32 = 8_192;
const LONGEST_BACKOFF: Duration = Duration::from_secs(30);

/// The service.
#[derive(Clone, Debug)]
pub(crate) struct Following {
    pub(crate) follower: Follower,
    pub(crate) store: Arc<dyn Store>,
    pub(crate) poll: Duration,
    pub(crate) believed: Arc<watch::Sender<Option<Arc<Believed>>>>,
    /// Set once the stored events were thrown away and read again because they did not fit together.
    pub(crate) reindexed: Arc<AtomicBool>,
    pub(crate) health: Arc<Health>,
}

impl Following {
    /// Follows until cancelled.
    ///
    /// # Errors
    /// Fails where the store does, or the chain's events do not fit together even when read anew.
    pub(crate) async fn run(self, cancel: CancellationToken) -> Result<(), Failure> {
        let follow = async {
            let market = rebuild_market(&*self.store).await?;
            let fork = self.believed.borrow().as_ref().map_or(0, |believed| believed.fork + 1);
            Fold { service: &self, market, fork, seen: Instant::now() }.follow().await
        };
        // Every write is a transaction, so it may stop anywhere.
        cancel.run_until_cancelled(follow).await.unwrap_or(Ok(()))
    }
}

/// What the service knows while it runs.
struct Fold<'a> {
    service: &'a Following,
    market: Market,
    /// Counts reorganisations.
    fork: u64,
    /// When the newest block was at hand.
    seen: Instant,
}

impl Fold<'_> {
    async fn follow(mut self) -> Result<(), Failure> {
        let Following { follower, store, poll, believed, health, .. } = self.service;
        let mut backoff = *poll;
        loop {
            let cursor = store.cursor().await?;
            let pause = match follower.step(cursor.map(|cursor| cursor.reference())).await {
                Ok(Step::UpToDate) => {
                    backoff = *poll;
                    if let Some(cursor) = cursor {
                        health.followed(cursor.number, cursor.number);
                        if believed.borrow().as_ref().is_none_or(|believed| believed.fork != self.fork) {
                            self.publish(cursor);
                        }
                    }
                    *poll
                }
                Ok(Step::Extended { blocks, head }) => {
                    backoff = *poll;
                    self.extend(&blocks, head).await?;
                    Duration::ZERO
                }
                Ok(Step::Reorganised) => match self.last_standing().await? {
                    Ok(standing) => {
                        self.roll_back(standing).await?;
                        Duration::ZERO
                    }
                    Err(error) => back_off(error, &mut backoff)?,
                },
                Err(error) => back_off(error, &mut backoff)?,
            };
            tokio::time::sleep(pause).await;
        }
    }

    async fn extend(&mut self, blocks: &[BlockEvents], head: BlockNumber) -> Result<(), Failure> {
        self.seen = Instant::now();
        let mut market = self.market.clone();
        for (position, event) in blocks.iter().flat_map(|block| &block.events) {
            if let Err(error) = market.apply(event, position) {
                return self.reindex(&error.to_string()).await;
            }
        }
        self.service.store.append_blocks(blocks).await?;
        self.service.store.observe(&observations(blocks, &market)).await?;
        self.market = market;
        for (position, event) in blocks.iter().flat_map(|block| &block.events) {
            tracing::debug!(block = %position.block, event = event.name(), job_ids = ?event.job_ids(), "event");
        }
        if let Some(last) = blocks.last() {
            self.service.health.followed(last.header.number, head);
            if last.header.number >= head {
                self.publish(last.header);
            }
        }
        Ok(())
    }

    fn publish(&self, head: BlockHeader) {
        let believed = Believed { market: self.market.clone(), head, fork: self.fork, seen: self.seen };
        self.service.believed.send_replace(Some(Arc::new(believed)));
    }

    /// The newest recorded block that is still part of the chain; the node may fail to answer.
    async fn last_standing(&self) -> Result<Result<Option<BlockNumber>, RpcError>, Failure> {
        // Another chain has none of these blocks, and must not have what was recorded thrown away.
        if let Err(error) = self.service.follower.check_node().await {
            return Ok(Err(error));
        }
        for header in self.service.store.recent_blocks(LOOK_BACK).await? {
            // Whole headers: a local chain that began anew gives some empty blocks the hashes that they had before.
            match self.service.follower.header(header.number).await {
                Ok(found) if found == Some(header) => return Ok(Ok(Some(header.number))),
                Ok(_) => {}
                Err(error) => return Ok(Err(error)),
            }
        }
        Ok(Ok(None))
    }

    /// Forgets every block above the one that is still standing.
    async fn roll_back(&mut self, standing: Option<BlockNumber>) -> Result<(), Failure> {
        tracing::warn!(standing = standing.map(|block| block.0), "the chain was reorganised");
        self.fork += 1;
        match standing {
            Some(number) => self.service.store.revert_to(number).await?,
            None => self.forget().await?,
        }
        self.market = rebuild_market(&*self.service.store).await?;
        Ok(())
    }

    /// What is believed does not fit what the chain says: read everything again, once.
    async fn reindex(&mut self, reason: &str) -> Result<(), Failure> {
        if self.service.reindexed.swap(true, Ordering::Relaxed) {
            let error = anyhow!("the chain's events do not fit together, also when read anew: {reason}");
            return Err(Failure::Final(Cause::Chain, error));
        }
        tracing::error!(reason, "the recorded events do not fit the chain's: reading everything again");
        self.fork += 1;
        self.forget().await?;
        self.market = Market::default();
        Ok(())
    }

    async fn forget(&self) -> Result<(), Failure> {
        // Not only from the deployment on: the contracts may have been deployed later than what is recorded.
        self.service.store.revert_to(BlockNumber(0)).await?;
        Ok(())
    }
}

/// How long to wait after a failure that may pass: longer each time. An outage of the node may last; it costs no restart.
fn back_off(error: RpcError, backoff: &mut Duration) -> Result<Duration, Failure> {
    match Failure::from(error) {
        Failure::Passing(error) => {
            tracing::warn!(%error, retry_in = ?*backoff, "the chain cannot be read");
            let pause = *backoff;
            *backoff = (pause * 2).min(LONGEST_BACKOFF);
            Ok(pause)
        }
        failure @ Failure::Final(..) => Err(failure),
    }
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
