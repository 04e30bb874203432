//! Ends what is due: queued jobs past their deadline, attempts past theirs, results past their challenge
//! window or decided by their group, disputes past their end. Anyone may; a keeper that does it spares everyone the
//! wait. What its workers have earned by it is paid out to them. Where the market is dealt out, a keeper does so for the
//! jobs and the owners' accounts of the shards that it leads.
//!
//! Each transaction goes through the lane of an account, which records it with the jobs and attempts that it ends, so that
//! none is sent twice while it is on its way, by whichever keeper of the same database. Started again, the service has
//! forgotten which exits failed by themselves, and tries each once more. Told to stop, it waits for what is on its way and
//! begins nothing else.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use futures::future::join_all;
use keeper_chain::{
    Calls, Contracts, DueExit, SendError,
    lane::{Lane, LaneError, Outcome},
};
use keeper_dispatch::Sessions;
use keeper_failpoints::{Failpoint, reach};
use keeper_follow::Latch;
use keeper_store::{IntentAction, IntentState, JobAttempt, Landed, MaintenanceCall, StoreError};
use keeper_types::{Address, Attempt, BlockNumber, Fri, Job, JobState, Market};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::{Believed, BelievedReceiver, Duty, Failure, Leadership, finish};

/// Exits in one transaction: well below what fits, so that one is never refused for its size.
const MOST_PER_TRANSACTION: usize = 30;
/// Blocks after which an exit that failed on chain by itself is tried again.
const AGAIN_AFTER_BLOCKS: u64 = 30;

/// The service.
#[derive(Clone)]
pub(crate) struct Exiting {
    pub(crate) contracts: Contracts,
    /// The accounts that send it, by turns; there is one at least.
    pub(crate) lanes: Vec<Lane>,
    pub(crate) believed: BelievedReceiver,
    /// The workers whose owners are paid out.
    pub(crate) sessions: watch::Receiver<Sessions>,
    /// Closed where nothing may be sent.
    pub(crate) latch: Arc<Latch>,
    /// Whether this keeper does it.
    pub(crate) leadership: Leadership,
}

/// What it is done under: what this keeper leads, where there are several, and the keeper's patience.
struct Work {
    duty: Duty,
    cancel: CancellationToken,
}

impl Exiting {
    /// Ends what is due until cancelled, whenever this keeper leads.
    ///
    /// # Errors
    /// None: what fails is tried again.
    pub(crate) async fn run(self, cancel: CancellationToken) -> Result<(), Failure> {
        let leadership = self.leadership.clone();
        leadership.while_leading(cancel, |duty, cancel| self.clone().lead(Work { duty, cancel })).await
    }

    async fn lead(mut self, work: Work) -> Result<(), Failure> {
        let cancel = &work.cancel;
        // What failed by itself is left alone until its job changes, or for a while: what it failed of may have passed.
        let mut refused: BTreeMap<(DueExit, u8), BlockNumber> = BTreeMap::new();
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
            let mut due = due_exits(&believed, &work.duty);
            let open: BTreeSet<_> = due.iter().copied().map(key).collect();
            let head = believed.head.number;
            refused.retain(|exit, at| open.contains(exit) && head.0 < at.0.saturating_add(AGAIN_AFTER_BLOCKS));
            due.retain(|exit| !refused.contains_key(&key(*exit)));
            let groups = (0..).zip(due.chunks(MOST_PER_TRANSACTION));
            let ending = groups.map(|(number, group)| self.end(number, group, &believed.market, &work));
            let Some(ended) = finish(cancel, join_all(ending)).await else { return Ok(()) };
            refused.extend(ended.into_iter().flatten().map(|exit| (key(exit), head)));
            self.wait_for_effect(&due, &work).await;
            // What was finished may have used up the time that there is for it.
            if cancel.is_cancelled() {
                return Ok(());
            }
            let Some(paid) = finish(cancel, self.pay_out(paid_until, &work)).await else { return Ok(()) };
            paid_until = paid.unwrap_or(paid_until);
        }
    }

    /// Ends a group at once, or one by one where the group is refused; returns those that failed on chain. Begins nothing
    /// once it is cancelled.
    async fn end(&self, number: usize, group: &[DueExit], market: &Market, work: &Work) -> Vec<DueExit> {
        let lane = self.lane(number);
        match self.try_to_end(lane, group, market, work).await {
            Ended::Done(_) | Ended::NotNow => return Vec::new(),
            // Somebody else was faster, or the next block decides.
            Ended::Refused if group.len() == 1 => return Vec::new(),
            Ended::Reverted if group.len() == 1 => return group.to_vec(),
            Ended::Refused | Ended::Reverted => {}
        }
        let mut refused = Vec::new();
        for exit in group {
            if matches!(self.try_to_end(lane, &[*exit], market, work).await, Ended::Reverted) {
                refused.push(*exit);
            }
        }
        refused
    }

    async fn try_to_end(&self, lane: &Lane, group: &[DueExit], market: &Market, work: &Work) -> Ended {
        let calls = group.iter().map(|exit| recorded(market, *exit)).collect();
        reach(Failpoint::ExitsBeforeSend);
        let ended = self.send(lane, calls, self.contracts.exit_calls(lane.sender(), group), work).await;
        match &ended {
            Ended::Done(Landed { block, tx_hash, .. }) => {
                reach(Failpoint::ExitsAfterReceipt);
                let block = block.map(|block| tracing::field::display(block.number));
                tracing::info!(jobs = group.len(), block, tx = %tx_hash, "ended what was due");
            }
            Ended::NotNow => {}
            Ended::Refused | Ended::Reverted => tracing::debug!(exits = ?group, "not due after all"),
        }
        ended
    }

    /// Sends calls through a lane, and waits for what becomes of them.
    async fn send(
        &self,
        lane: &Lane,
        recorded: Vec<MaintenanceCall>,
        calls: Calls,
        Work { duty, cancel }: &Work,
    ) -> Ended {
        if cancel.is_cancelled() {
            return Ended::NotNow;
        }
        let action = IntentAction::Maintenance { calls: recorded };
        let submitted = match cancel.run_until_cancelled(lane.submit_for(&duty.fences, action, calls)).await {
            Some(Ok(submitted)) => submitted,
            Some(Err(LaneError::Send(SendError::WouldRevert { reason }))) => {
                tracing::debug!(reason, "refused before it was sent");
                return Ended::Refused;
            }
            Some(Err(LaneError::Store(StoreError::IntentExists { key, intent_id }))) => {
                tracing::debug!(key, intent = %intent_id, "it is on its way already");
                return Ended::NotNow;
            }
            Some(Err(error)) => {
                tracing::warn!(%error, "what is due could not be sent; trying again");
                return Ended::NotNow;
            }
            None => return Ended::NotNow,
        };
        match submitted.outcome.await {
            Ok(Outcome { state: IntentState::Reverted, .. }) => Ended::Reverted,
            Ok(Outcome { state: IntentState::AcceptedL2, landed: Some(landed) }) => Ended::Done(landed),
            // A no-op or somebody else's transaction took its nonce, or the lane goes on without us.
            Ok(_) | Err(_) => Ended::NotNow,
        }
    }

    /// The lanes take turns.
    fn lane(&self, number: usize) -> &Lane {
        &self.lanes[number % self.lanes.len()]
    }

    /// Pays the owners of connected workers what they are owed as of a block after `paid_until`; returns the block
    /// that did. Begins nothing once it is cancelled.
    async fn pay_out(&self, paid_until: BlockNumber, work: &Work) -> Option<BlockNumber> {
        let believed = self.believed.borrow().clone().filter(|believed| believed.head.number > paid_until)?;
        let owed = self.owed(&believed.market, &work.duty);
        let mut paid = None;
        for (number, group) in (0..).zip(owed.chunks(MOST_PER_TRANSACTION)) {
            let lane = self.lane(number);
            let recorded = group.iter().map(|account| MaintenanceCall::PayOut { account: *account }).collect();
            let calls = self.contracts.withdraw_calls(lane.sender(), group);
            reach(Failpoint::PayoutBeforeSend);
            // Where it is refused, somebody else paid one of them out; the next belief tells whom.
            if let Ended::Done(landed) = self.send(lane, recorded, calls, work).await {
                reach(Failpoint::PayoutAfterReceipt);
                let block = landed.block.map(|block| block.number);
                let shown = block.map(tracing::field::display);
                tracing::info!(accounts = group.len(), block = shown, tx = %landed.tx_hash, "paid out");
                paid = paid.max(block);
            }
        }
        paid
    }

    fn owed(&self, market: &Market, duty: &Duty) -> Vec<Address> {
        let sessions = self.sessions.borrow();
        let owners = sessions.keys().filter_map(|worker_id| Some(market.workers.get(worker_id)?.owner));
        let is_owed = |owner: &Address| duty.has_account(*owner) && market.credit_of(*owner) > Fri::ZERO;
        let owners: BTreeSet<Address> = owners.filter(is_owed).collect();
        owners.into_iter().collect()
    }

    /// Waits until what was ended is believed, so that it is not ended twice.
    async fn wait_for_effect(&mut self, due: &[DueExit], Work { duty, cancel }: &Work) {
        const BLOCKS: usize = 3;
        for _ in 0..BLOCKS {
            let still_due = match self.believed.borrow().as_ref() {
                Some(believed) => due_exits(believed, duty).iter().any(|exit| due.contains(exit)),
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

/// What became of an attempt to end something.
enum Ended {
    /// It is done, in this block.
    Done(Landed),
    /// It was refused before it was sent.
    Refused,
    /// It failed on chain.
    Reverted,
    /// It was not sent, or it is not known what became of it; the next belief tells.
    NotNow,
}

/// An exit as it is recorded: with the attempt that it is about.
fn recorded(market: &Market, exit: DueExit) -> MaintenanceCall {
    let job_id = exit.job_id();
    let attempt = market.jobs.get(&job_id).map_or(Attempt(0), |job| job.attempt);
    let of = JobAttempt { job_id, attempt };
    match exit {
        DueExit::ExpireJob(_) => MaintenanceCall::ExpireJob(of),
        DueExit::ExpireAttempt(_) => MaintenanceCall::ExpireAttempt(of),
        DueExit::Settle(_) => MaintenanceCall::Settle(of),
        DueExit::SettleDispute(_) => MaintenanceCall::SettleDispute(of),
    }
}

/// What anyone may end as of the newest block, of what is this keeper's to see to.
fn due_exits(believed: &Believed, duty: &Duty) -> Vec<DueExit> {
    let now = (believed.head.timestamp, believed.head.number);
    let market = &believed.market;
    let jobs = market.open_jobs().filter(|job| duty.has_job(job.job_id));
    jobs.filter_map(|job| due_exit(market, job, now)).collect()
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
