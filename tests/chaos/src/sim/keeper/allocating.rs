//! As the daemon's service that decides rounds.

use std::{
    pin::pin,
    sync::{Arc, atomic::Ordering},
};

use futures::future::{Either, select};
use keeper_chain::lane::Outcome;
use keeper_scheduler::{ManifestStatus, Plan, Policy, Snapshot, plan, seed_of};
use keeper_store::{IntentAction, IntentState, Store as _};
use keeper_types::{AgentView, BlockNumber, ManifestView};

use super::{
    Believed, Process,
    lane::{Lane, NotSent, Submitted},
};
use crate::sim::setting::Sabotage;

/// Waiting jobs age without an event, so a round is tried this often at least.
const LONGEST_PAUSE_MS: u64 = 1_000;
const LONGEST_BACKOFF_MS: u64 = 60_000;

struct Memory {
    /// The newest round that was sent, or recorded.
    round: u64,
    failures: u32,
    fork: u64,
    /// Whether it is not known what became of a round that was sent.
    is_unsettled: bool,
}

pub(super) async fn run(process: Process, lane: Lane) {
    let policy = Policy::default();
    let mut memory = Memory { round: 0, failures: 0, fork: 0, is_unsettled: true };
    let mut until = BlockNumber(0);
    loop {
        if memory.is_unsettled {
            until = resume(&process, &mut memory).await;
        }
        let believed = process.believed();
        if let Some(believed) = &believed
            && memory.fork != believed.fork
        {
            (memory.fork, until) = (believed.fork, BlockNumber(0));
        }
        if let Some(believed) = believed.filter(|believed| believed.head.number >= until && process.latch.is_open()) {
            if let Some((round, plan)) = decide(&process, &policy, &believed, &memory).await {
                until = send(&process, &lane, &believed, (round, plan), &mut memory).await.unwrap_or(until);
            }
            let pause_ms = backoff_ms(memory.failures);
            process.sim.sleep(pause_ms).await;
        }
        process.sim.sleep(LONGEST_PAUSE_MS / 2).await;
    }
}

/// Settles what was left open, be it by an earlier run; returns the block that must be seen before the first round.
async fn resume(process: &Process, memory: &mut Memory) -> BlockNumber {
    memory.fork = process.believed().map_or(0, |believed| believed.fork);
    let looks_at_log = process.sabotage != Some(Sabotage::ForgetIntents);
    while looks_at_log && process.has_open_round().await {
        process.sim.sleep(LONGEST_PAUSE_MS / 4).await;
    }
    memory.is_unsettled = false;
    let last = process.store.last_round(process.account).await.ok().flatten();
    memory.round = last.filter(|_| looks_at_log).unwrap_or_default();
    loop {
        if let Ok(head) = process.node.newest().await {
            return head.block.number;
        }
        process.sim.sleep(LONGEST_PAUSE_MS).await;
    }
}

async fn decide(process: &Process, policy: &Policy, believed: &Arc<Believed>, memory: &Memory) -> Option<(u64, Plan)> {
    let head = believed.head;
    let snapshot = Snapshot::of_market(
        &believed.market,
        (head.number, head.timestamp),
        seed_of(head.hash),
        |_| (ManifestStatus::Available, ManifestView::default()),
        |worker_id| process.is_online(worker_id).then(AgentView::default),
    );
    let plan = plan(&snapshot.with_turn(&believed.market, policy), policy);
    if plan.items.is_empty() {
        process.works.store(true, Ordering::Relaxed);
        return None;
    }
    let last = process.node.last_round(process.account).await.ok()?;
    Some((last.max(memory.round) + 1, plan))
}

/// Sends a round and waits for what becomes of it; returns the block that must be seen before the next.
async fn send(
    process: &Process,
    lane: &Lane,
    believed: &Believed,
    (round, plan): (u64, Plan),
    memory: &mut Memory,
) -> Option<BlockNumber> {
    let action = IntentAction::ApplyBatch { round, snapshot_block: believed.head.number, items: plan.batch() };
    let outcome = match lane.submit(action).await {
        Ok(submitted) => {
            memory.round = round;
            wait_for(process, lane, submitted, memory.fork).await
        }
        Err(NotSent::Failed | NotSent::Exists) => {
            memory.is_unsettled = true;
            return None;
        }
        Err(_) => {
            memory.failures += 1;
            return None;
        }
    };
    match outcome {
        Some(Outcome { state: IntentState::AcceptedL2 | IntentState::AcceptedL1, landed }) => {
            memory.failures = 0;
            process.works.store(true, Ordering::Relaxed);
            landed.and_then(|landed| landed.block).map(|block| block.number)
        }
        Some(_) => {
            memory.failures += 1;
            None
        }
        None => {
            memory.is_unsettled = true;
            None
        }
    }
}

/// What becomes of an intent. What was decided on another fork is wanted no more.
async fn wait_for(process: &Process, lane: &Lane, submitted: Submitted, fork: u64) -> Option<Outcome> {
    let Submitted { intent_id, outcome } = submitted;
    let has_forked = pin!(async {
        while process.believed().is_none_or(|believed| believed.fork == fork) {
            process.sim.sleep(400).await;
        }
    });
    match select(outcome, has_forked).await {
        Either::Left((outcome, _)) => outcome.ok(),
        Either::Right(((), outcome)) => {
            lane.abandon(intent_id);
            outcome.await.ok()
        }
    }
}

/// The pause after so many failures in a row. One is ordinary: the chain has moved.
fn backoff_ms(failures: u32) -> u64 {
    let pause = LONGEST_PAUSE_MS.saturating_mul(2_u64.saturating_pow(failures.saturating_sub(2)));
    if failures < 2 { 0 } else { pause.min(LONGEST_BACKOFF_MS) }
}
