//! As the daemon's service that ends what is due, and pays out.

use std::collections::{BTreeMap, BTreeSet};

use keeper_store::{IntentAction, IntentState, JobAttempt, MaintenanceCall};
use keeper_types::{Address, BlockHeader, BlockNumber, Fri, Job, JobState, Market};

use super::{
    Process,
    lane::{Lane, NotSent},
};

/// Exits in one transaction.
const MOST_PER_TRANSACTION: usize = 30;
/// Blocks after which an exit that failed on chain by itself is tried again.
const AGAIN_AFTER_BLOCKS: u64 = 30;
/// Beliefs after which what was ended is tried again where it did not end.
const PATIENCE: usize = 3;

enum Ended {
    /// In this block, where that is known.
    Done(Option<BlockNumber>),
    Refused,
    Reverted,
    NotNow,
}

pub(super) async fn run(process: Process, lane: Lane) {
    // What failed by itself is left alone until its job changes, or for a while.
    let mut refused: BTreeMap<MaintenanceCall, BlockNumber> = BTreeMap::new();
    let mut paid_until = BlockNumber(0);
    let mut believed = process.news(None).await;
    loop {
        if process.latch.is_open() {
            let mut due = due_exits(&believed.market, &believed.head);
            let head = believed.head.number;
            refused.retain(|exit, at| due.contains(exit) && head.0 < at.0 + AGAIN_AFTER_BLOCKS);
            due.retain(|exit| !refused.contains_key(exit));
            for group in due.chunks(MOST_PER_TRANSACTION) {
                refused.extend(end(&lane, group).await.into_iter().map(|exit| (exit, head)));
            }
            for _ in 0..if due.is_empty() { 0 } else { PATIENCE } {
                let now = due_exits(&believed.market, &believed.head);
                if !now.iter().any(|exit| due.contains(exit)) {
                    break;
                }
                believed = process.news(Some(&believed)).await;
            }
            if believed.head.number > paid_until {
                paid_until = pay_out(&process, &lane, &believed.market).await.unwrap_or(paid_until);
            }
        }
        believed = process.news(Some(&believed)).await;
    }
}

/// Ends a group at once, or one by one where the group is refused; returns those that failed on chain.
async fn end(lane: &Lane, group: &[MaintenanceCall]) -> Vec<MaintenanceCall> {
    match send(lane, group).await {
        Ended::Done(_) | Ended::NotNow => return Vec::new(),
        Ended::Refused if group.len() == 1 => return Vec::new(),
        Ended::Reverted if group.len() == 1 => return group.to_vec(),
        Ended::Refused | Ended::Reverted => {}
    }
    let mut refused = Vec::new();
    for exit in group {
        if matches!(send(lane, &[*exit]).await, Ended::Reverted) {
            refused.push(*exit);
        }
    }
    refused
}

async fn send(lane: &Lane, calls: &[MaintenanceCall]) -> Ended {
    let submitted = match lane.submit(IntentAction::Maintenance { calls: calls.to_vec() }).await {
        Ok(submitted) => submitted,
        Err(NotSent::WouldRevert) => return Ended::Refused,
        Err(_) => return Ended::NotNow,
    };
    let Ok(outcome) = submitted.outcome.await else { return Ended::NotNow };
    match outcome.state {
        IntentState::AcceptedL2 | IntentState::AcceptedL1 => {
            Ended::Done(outcome.landed.and_then(|landed| landed.block).map(|block| block.number))
        }
        IntentState::Reverted => Ended::Reverted,
        _ => Ended::NotNow,
    }
}

async fn pay_out(process: &Process, lane: &Lane, market: &Market) -> Option<BlockNumber> {
    let online = market.workers.values().filter(|worker| process.is_online(worker.worker_id));
    let owed = online.map(|worker| worker.owner).filter(|owner| market.credit_of(*owner) > Fri::ZERO);
    let owed: BTreeSet<Address> = owed.collect();
    if owed.is_empty() {
        return None;
    }
    let calls: Vec<_> = owed.into_iter().map(|account| MaintenanceCall::PayOut { account }).collect();
    match send(lane, &calls).await {
        Ended::Done(block) => block,
        _ => None,
    }
}

fn due_exits(market: &Market, head: &BlockHeader) -> Vec<MaintenanceCall> {
    market.open_jobs().filter_map(|job| due_exit(job, head)).collect()
}

fn due_exit(job: &Job, head: &BlockHeader) -> Option<MaintenanceCall> {
    // As in the contract: both must lie behind.
    let passed = |(at, at_block): (u64, BlockNumber)| head.timestamp > at && head.number > at_block;
    let of = JobAttempt { job_id: job.job_id, attempt: job.attempt };
    match job.state {
        JobState::Queued => passed((job.spec.deadline, job.deadline_block)).then_some(MaintenanceCall::ExpireJob(of)),
        JobState::Allocated | JobState::Committed => {
            job.attempt_deadline.is_some_and(passed).then_some(MaintenanceCall::ExpireAttempt(of))
        }
        JobState::Revealed => job.challenge_ends.is_some_and(passed).then_some(MaintenanceCall::Settle(of)),
        _ => None,
    }
}
