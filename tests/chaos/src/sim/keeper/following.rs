//! As the daemon's service that follows the chain.

use std::sync::{Arc, PoisonError};

use keeper_follow::{Fold, FollowError, Reconciled, Turn};
use keeper_types::BlockHeader;

use super::{Believed, Process};
use crate::sim::{chain::word, executor::clock_ms, history::Violation};

const POLL_MS: u64 = 1_000;
const LONGEST_BACKOFF_MS: u64 = 30_000;
/// How often what is believed is compared with what the contracts hold.
const RECONCILE_EVERY_MS: u64 = 60_000;
/// The pause before a service that failed is started again.
const RESTART_MS: u64 = 500;

pub(super) async fn run(process: Process) {
    loop {
        let fork = process.believed().map_or(0, |believed| believed.fork + 1);
        let (chain, store, latch) = (Arc::new(process.node.clone()), process.store.clone(), process.latch.clone());
        let fold = Fold::new(chain, store, latch, process.reread.clone(), fork, clock_ms);
        let mut follow = Follow { process: &process, fold, backoff_ms: POLL_MS, reconcile_at: Some(0) };
        let error = follow.run().await;
        process.sim.note("follower", [process.owner as u64, 0, 0], || error.to_string());
        if let FollowError::Inconsistent(reason) = &error {
            process.sim.violate(Violation::Stuck, || format!("keeper {} stops: {reason}", process.owner));
        }
        process.sim.sleep(RESTART_MS).await;
    }
}

struct Follow<'a> {
    process: &'a Process,
    fold: Fold,
    backoff_ms: u64,
    /// When the next comparison with the contracts begins; none where it is under way.
    reconcile_at: Option<u64>,
}

impl Follow<'_> {
    /// Follows until something fails that is not the node.
    async fn run(&mut self) -> FollowError {
        loop {
            let pause_ms = match self.turn().await {
                Ok(pause_ms) => {
                    self.backoff_ms = POLL_MS;
                    pause_ms
                }
                Err(FollowError::Chain(_)) => {
                    let pause_ms = self.backoff_ms;
                    self.backoff_ms = (pause_ms * 2).min(LONGEST_BACKOFF_MS);
                    pause_ms
                }
                Err(error) => return error,
            };
            self.process.sim.sleep(pause_ms).await;
        }
    }

    async fn turn(&mut self) -> Result<u64, FollowError> {
        let owner = self.process.owner;
        let turn = self.fold.turn().await?;
        match turn {
            Turn::CaughtUp(Some(head)) => {
                self.publish(head);
                self.reconcile().await
            }
            Turn::Extended { last, head } => {
                let tell = || format!("keeper {owner} to {} {:x}", last.number, word(last.hash));
                self.process.sim.note("followed", [owner as u64, last.number.0, word(last.hash)], tell);
                if last.number >= head {
                    self.publish(last);
                }
                Ok(0)
            }
            Turn::Reverted { standing } => {
                let standing = standing.map_or(0, |block| block.0);
                let tell = || format!("keeper {owner} to {standing}");
                self.process.sim.note("reverted", [owner as u64, standing, 0], tell);
                Ok(0)
            }
            Turn::Latched(_) => {
                self.process.sim.note("latched", [owner as u64, 0, 0], || format!("keeper {owner}"));
                Ok(POLL_MS)
            }
            Turn::Behind { .. } | Turn::CaughtUp(None) | Turn::Again => Ok(POLL_MS),
        }
    }

    fn publish(&self, head: BlockHeader) {
        let fork = self.fold.fork();
        let mut told = self.process.belief.lock().unwrap_or_else(PoisonError::into_inner);
        if told.as_ref().is_none_or(|believed| (believed.head, believed.fork) != (head, fork)) {
            *told = Some(Arc::new(Believed { market: self.fold.market().clone(), head, fork }));
        }
    }

    async fn reconcile(&mut self) -> Result<u64, FollowError> {
        let now_ms = self.process.sim.now_ms();
        if self.reconcile_at.is_some_and(|at| at > now_ms) {
            return Ok(POLL_MS);
        }
        let reconciled = self.fold.reconcile().await?;
        match reconciled {
            Reconciled::Continues => {
                self.reconcile_at = None;
                Ok(0)
            }
            Reconciled::Unavailable => Ok(POLL_MS),
            Reconciled::Agreed { .. } => {
                self.reconcile_at = Some(now_ms + RECONCILE_EVERY_MS);
                Ok(POLL_MS)
            }
            Reconciled::Differs { differences, .. } => {
                let owner = self.process.owner;
                self.process
                    .sim
                    .violate(Violation::Lost, || format!("keeper {owner} believes otherwise: {differences:?}"));
                self.reconcile_at = Some(now_ms + POLL_MS);
                Ok(0)
            }
        }
    }
}
