//! Follows the chain, and tells the other services what the keeper now believes.
//!
//! Started again, the service folds the stored events anew, and goes on behind the stored cursor: what was appended is not
//! appended twice, what was not is read again. What the others believe stays until then. Since it cannot tell what changed
//! in between, it counts its start as a reorganisation, so that nobody takes what they remember for news of this chain. Of
//! the blocks that were being recorded only the times at which their jobs were seen to move may be lost.

use std::{
    sync::{Arc, atomic::AtomicBool},
    time::Duration,
};

use keeper_chain::{ChainSource, Heads};
use keeper_follow::{Fold, FollowError, Latch, Reconciled, Turn};
use keeper_store::Store;
use keeper_types::BlockHeader;
use tokio::{
    sync::watch,
    time::{Instant, sleep, sleep_until},
};
use tokio_util::sync::CancellationToken;

use super::{Believed, Failure, Health, failure::Cause, noticing::Allowance, now_ms};

const LONGEST_BACKOFF: Duration = Duration::from_secs(30);
/// How often what is believed is compared with what the contracts hold.
const RECONCILE_EVERY: Duration = Duration::from_secs(60);

/// The service.
#[derive(Clone, Debug)]
pub(crate) struct Following {
    pub(crate) chain: Arc<dyn ChainSource>,
    pub(crate) store: Arc<dyn Store>,
    pub(crate) poll: Duration,
    /// Notices of new blocks, where a node sends any: they only end a pause before its time.
    pub(crate) heads: Option<Heads>,
    pub(crate) believed: Arc<watch::Sender<Option<Arc<Believed>>>>,
    /// Set once the stored events were thrown away and read again because they did not fit together.
    pub(crate) reindexed: Arc<AtomicBool>,
    /// Closed where nothing may be sent.
    pub(crate) latch: Arc<Latch>,
    /// Whether it is a local chain, which may be another one after a pause.
    pub(crate) is_local: bool,
    pub(crate) health: Arc<Health>,
}

impl Following {
    /// Follows until cancelled.
    ///
    /// # Errors
    /// Fails where the store does, or the chain's events do not fit together even when read anew.
    pub(crate) async fn run(self, cancel: CancellationToken) -> Result<(), Failure> {
        let fork = self.believed.borrow().as_ref().map_or(0, |believed| believed.fork + 1);
        let (chain, store, latch) = (self.chain.clone(), self.store.clone(), self.latch.clone());
        let fold = Fold::new(chain, store, latch, self.reindexed.clone(), fork, now_ms);
        let fold = if self.is_local { fold.ending_with_its_chain() } else { fold };
        let allowance = Allowance::new();
        let follow = Follow {
            service: &self,
            fold,
            backoff: self.poll.min(LONGEST_BACKOFF),
            reconcile_at: Some(Instant::now()),
            allowance,
        };
        // Every write is a transaction, so it may stop anywhere.
        cancel.run_until_cancelled(Box::pin(follow.run())).await.unwrap_or(Ok(()))
    }
}

/// What the service knows while it runs.
struct Follow<'a> {
    service: &'a Following,
    fold: Fold,
    backoff: Duration,
    /// When the next comparison with the contracts begins; none where it is under way.
    reconcile_at: Option<Instant>,
    allowance: Allowance,
}

impl Follow<'_> {
    async fn run(mut self) -> Result<(), Failure> {
        loop {
            let turn = self.turn().await;
            self.service.health.latched(self.service.latch.state());
            match turn {
                Ok(pause) => {
                    self.backoff = self.service.poll.min(LONGEST_BACKOFF);
                    self.pause(pause).await;
                }
                // A node that cannot be asked now cannot because of a notice either.
                Err(error) => sleep(self.back_off(error)?).await,
            }
        }
    }

    /// Waits for the next turn, or for a notice of a new block.
    async fn pause(&mut self, pause: Duration) {
        let Some(heads) = self.service.heads.as_ref().filter(|_| !pause.is_zero()) else { return sleep(pause).await };
        let early = async {
            heads.noticed().await;
            sleep_until(self.allowance.next()).await;
        };
        let is_early = tokio::select! {
            () = sleep(pause) => false,
            () = early => true,
        };
        if is_early {
            self.allowance.take();
        }
    }

    /// One turn; returns how long to wait for the next.
    async fn turn(&mut self) -> Result<Duration, FollowError> {
        let Following { health, poll, .. } = self.service;
        match self.fold.turn().await? {
            Turn::CaughtUp(Some(head)) => {
                health.followed(head.number, head.number);
                self.publish(head);
                self.reconcile().await
            }
            Turn::Extended { last, head } => {
                health.followed(last.number, head);
                if last.number >= head {
                    self.publish(last);
                    self.fold.observe().await?;
                }
                Ok(Duration::ZERO)
            }
            Turn::Reverted { .. } => Ok(Duration::ZERO),
            Turn::Behind { head } => {
                tracing::debug!(%head, "the node is behind what is recorded");
                Ok(*poll)
            }
            Turn::CaughtUp(None) | Turn::Again | Turn::Latched(_) => Ok(*poll),
        }
    }

    /// Tells the others, where there is news.
    fn publish(&self, head: BlockHeader) {
        let (fork, final_block) = (self.fold.fork(), self.fold.final_block().map(|block| block.number));
        let is_news =
            self.service.believed.borrow().as_ref().is_none_or(|believed| {
                (believed.head, believed.fork, believed.final_block) != (head, fork, final_block)
            });
        if is_news {
            let seen = self.fold.read_at();
            let believed = Believed { market: self.fold.market().clone(), head, fork, final_block, seen };
            self.service.believed.send_replace(Some(Arc::new(believed)));
        }
    }

    /// Compares some of what is believed with what the contracts hold, where it is time to.
    async fn reconcile(&mut self) -> Result<Duration, FollowError> {
        let poll = self.service.poll;
        if self.reconcile_at.is_some_and(|at| at > Instant::now()) {
            return Ok(poll);
        }
        let next = Some(Instant::now() + RECONCILE_EVERY);
        match self.fold.reconcile().await? {
            // The next pages after the next turn, so that blocks do not wait for them.
            Reconciled::Continues => {
                self.reconcile_at = None;
                Ok(Duration::ZERO)
            }
            // The node keeps no state but its newest, and that is another by now: with the next turn again.
            Reconciled::Unavailable => Ok(poll),
            Reconciled::Agreed { jobs } => {
                tracing::debug!(jobs, "what is believed is what the contracts hold");
                self.service.health.reconciled(0);
                self.reconcile_at = next;
                Ok(poll)
            }
            Reconciled::Differs { count, .. } => {
                self.service.health.reconciled(count);
                // What is read again is compared at once, so that it is known whether that helped.
                self.reconcile_at = Some(Instant::now() + poll);
                Ok(Duration::ZERO)
            }
        }
    }

    /// How long to wait after a failure that may pass: longer each time. An outage of the node may last; it costs no
    /// restart.
    fn back_off(&mut self, error: FollowError) -> Result<Duration, Failure> {
        let failure = match error {
            FollowError::Chain(error) => Failure::from(error),
            FollowError::Store(error) => return Err(error.into()),
            FollowError::Rebuild(error) => return Err(error.into()),
            error @ FollowError::Inconsistent(_) => return Err(Failure::Final(Cause::Chain, error.into())),
            error @ FollowError::BeganAnew => {
                let told = format!("{error}\nhint: start the keeper again; it sets aside what is of the chain before");
                return Err(Failure::Final(Cause::Market, anyhow::Error::msg(told)));
            }
        };
        match failure {
            Failure::Passing(error) => {
                tracing::warn!(%error, retry_in = ?self.backoff, "the chain cannot be read");
                let pause = self.backoff;
                self.backoff = (pause * 2).min(LONGEST_BACKOFF);
                Ok(pause)
            }
            failure @ (Failure::Outage(_) | Failure::Final(..)) => Err(failure),
        }
    }
}

#[cfg(test)]
mod tests;
