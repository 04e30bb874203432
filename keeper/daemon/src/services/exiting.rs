//! Ends what is due: queued jobs past their deadline, attempts past theirs, results past their challenge
//! window or decided by their group, disputes past their end. Anyone may; a keeper that does it spares everyone the
//! wait. What its workers have earned by it is paid out to them.
//!
//! Nothing of this is recorded, and nothing needs to be: an exit that is no longer due, and a payment of nothing, are
//! refused before they are sent. Started again, the service has forgotten which exits failed by themselves, and tries each
//! once more. Told to stop, it finishes the transaction that it sends and begins no other.

use std::{collections::BTreeSet, sync::Arc};

use keeper_chain::{Contracts, DueExit, SendError, Sender};
use keeper_dispatch::Sessions;
use keeper_failpoints::{Failpoint, reach};
use keeper_follow::Latch;
use keeper_types::{Address, BlockNumber, Fri, Job, JobState, Market};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::{Believed, BelievedReceiver, Failure, finish};

/// Exits in one transaction: well below what fits, so that one is never refused for its size.
const MOST_PER_TRANSACTION: usize = 30;

/// The service.
#[derive(Clone)]
pub(crate) struct Exiting {
    pub(crate) contracts: Contracts,
    pub(crate) sender: Arc<Sender>,
    pub(crate) believed: BelievedReceiver,
    /// The workers whose owners are paid out.
    pub(crate) sessions: watch::Receiver<Sessions>,
    /// Closed where nothing may be sent.
    pub(crate) latch: Arc<Latch>,
}

impl Exiting {
    /// Ends what is due until cancelled.
    ///
    /// # Errors
    /// None: what fails is tried again.
    pub(crate) async fn run(mut self, cancel: CancellationToken) -> Result<(), Failure> {
        // What failed by itself is left alone until its job changes.
        let mut refused: BTreeSet<(DueExit, u8)> = BTreeSet::new();
        let mut paid_until = BlockNumber(0);
        loop {
            tokio::select! {
                () = cancel.cancelled() => return Ok(()),
                changed = self.believed.changed() => if changed.is_err() { return Ok(()) },
            }
            let Some(believed) = self.believed.borrow_and_update().clone() else { continue };
            if !self.latch.is_open() {
                continue;
            }
            let key = |exit: DueExit| (exit, believed.market.jobs.get(&exit.job_id()).map_or(0, |job| job.attempt.0));
            let mut due = due_exits(&believed);
            let open: BTreeSet<_> = due.iter().copied().map(key).collect();
            refused.retain(|exit| open.contains(exit));
            due.retain(|exit| !refused.contains(&key(*exit)));
            for group in due.chunks(MOST_PER_TRANSACTION) {
                let Some(ended) = finish(&cancel, self.end(group, &cancel)).await else { return Ok(()) };
                refused.extend(ended.into_iter().map(key));
            }
            self.wait_for_effect(&due, &cancel).await;
            let Some(paid) = finish(&cancel, self.pay_out(paid_until, &cancel)).await else { return Ok(()) };
            paid_until = paid.unwrap_or(paid_until);
        }
    }

    /// Ends a group at once, or one by one where the group is refused; returns those that were. Begins nothing once it is
    /// cancelled.
    async fn end(&self, group: &[DueExit], cancel: &CancellationToken) -> Vec<DueExit> {
        if cancel.is_cancelled() {
            return Vec::new();
        }
        reach(Failpoint::ExitsBeforeSend);
        match self.contracts.exit_due(&self.sender, group).await {
            Ok(receipt) => {
                reach(Failpoint::ExitsAfterReceipt);
                tracing::info!(jobs = group.len(), block = %receipt.block.number, tx = %receipt.hash, "ended what was due");
                return Vec::new();
            }
            Err(SendError::WouldRevert { .. } | SendError::Reverted { .. }) if group.len() > 1 => {}
            Err(error @ (SendError::WouldRevert { .. } | SendError::Reverted { .. })) => {
                // Somebody else was faster, or the next block decides.
                tracing::debug!(exit = ?group, %error, "not due after all");
                return Vec::new();
            }
            Err(error) => {
                tracing::warn!(%error, "what is due could not be ended; trying again");
                return Vec::new();
            }
        }
        let mut refused = Vec::new();
        for exit in group {
            if cancel.is_cancelled() {
                break;
            }
            if let Err(error) = self.contracts.exit_due(&self.sender, &[*exit]).await {
                tracing::debug!(?exit, %error, "not ended");
                if matches!(error, SendError::Reverted { .. }) {
                    refused.push(*exit);
                }
            }
        }
        refused
    }

    /// Pays the owners of connected workers what they are owed as of a block after `paid_until`; returns the block
    /// that did. Begins nothing once it is cancelled.
    async fn pay_out(&self, paid_until: BlockNumber, cancel: &CancellationToken) -> Option<BlockNumber> {
        let believed = self.believed.borrow().clone().filter(|believed| believed.head.number > paid_until)?;
        let owed = self.owed(&believed.market);
        let mut paid = None;
        for group in owed.chunks(MOST_PER_TRANSACTION) {
            if cancel.is_cancelled() {
                break;
            }
            reach(Failpoint::PayoutBeforeSend);
            match self.contracts.withdraw_credit(&self.sender, group).await {
                Ok(receipt) => {
                    reach(Failpoint::PayoutAfterReceipt);
                    tracing::info!(accounts = group.len(), block = %receipt.block.number, tx = %receipt.hash, "paid out");
                    paid = paid.max(Some(receipt.block.number));
                }
                // Somebody else paid one of them out; the next belief tells whom.
                Err(error @ (SendError::WouldRevert { .. } | SendError::Reverted { .. })) => {
                    tracing::debug!(%error, "not paid out");
                }
                Err(error) => tracing::warn!(%error, "what is owed could not be paid out; trying again"),
            }
        }
        paid
    }

    fn owed(&self, market: &Market) -> Vec<Address> {
        let sessions = self.sessions.borrow();
        let owners = sessions.keys().filter_map(|worker_id| Some(market.workers.get(worker_id)?.owner));
        let owners: BTreeSet<Address> = owners.filter(|owner| market.credit_of(*owner) > Fri::ZERO).collect();
        owners.into_iter().collect()
    }

    /// Waits until what was ended is believed, so that it is not ended twice.
    async fn wait_for_effect(&mut self, due: &[DueExit], cancel: &CancellationToken) {
        const BLOCKS: usize = 3;
        for _ in 0..BLOCKS {
            let still_due = match self.believed.borrow().as_ref() {
                Some(believed) => due_exits(believed).iter().any(|exit| due.contains(exit)),
                None => false,
            };
            if !still_due {
                return;
            }
            tokio::select! {
                () = cancel.cancelled() => return,
                changed = self.believed.changed() => if changed.is_err() { return },
            }
        }
    }
}

/// What anyone may end as of the newest block.
fn due_exits(believed: &Believed) -> Vec<DueExit> {
    let now = (believed.head.timestamp, believed.head.number);
    let market = &believed.market;
    market.jobs.values().filter_map(|job| due_exit(market, job, now)).collect()
}

fn due_exit(market: &Market, job: &Job, (timestamp, block): (u64, BlockNumber)) -> Option<DueExit> {
    // As in the contract: both must lie behind.
    let passed = |(at, at_block): (u64, BlockNumber)| timestamp > at && block > at_block;
    let group = market.group_of(job);
    let is_due = match job.state {
        JobState::Queued => passed((job.spec.deadline, job.deadline_block)),
        JobState::Committed if group.is_some() => group?.is_closed(timestamp, block),
        JobState::Allocated | JobState::Committed => job.attempt_deadline.is_some_and(passed),
        JobState::Revealed if group.is_some() => group?.winner.is_some() || group?.is_closed(timestamp, block),
        JobState::Revealed => job.challenge_ends.is_some_and(passed),
        JobState::Disputed => {
            let dispute = job.dispute.as_ref()?;
            let committee = dispute.committee.and_then(|committee| market.groups.get(&committee));
            passed(dispute.ends)
                || committee.is_some_and(|group| {
                    group.winner.is_some() || group.is_decided || group.is_closed(timestamp, block)
                })
        }
        JobState::Settled | JobState::Cancelled | JobState::Expired | JobState::Failed => false,
    };
    let exit = match job.state {
        JobState::Queued => DueExit::ExpireJob(job.job_id),
        JobState::Allocated | JobState::Committed => DueExit::ExpireAttempt(job.job_id),
        JobState::Disputed => DueExit::SettleDispute(job.job_id),
        _ => DueExit::Settle(job.job_id),
    };
    is_due.then_some(exit)
}
