//! What the driver sees: of the chain at each turn, and of the log at the start.

use keeper_store::{Intent, IntentAction};
use keeper_types::BlockRef;

use crate::{
    RpcError,
    lane::{
        Lane,
        node::{Head, Node},
        signing::signed,
        slot::Slot,
        state::Observation,
        sweep::Sweep,
    },
};

/// The chain as it was just seen.
pub(super) struct Seen {
    pub(super) head: Head,
    pub(super) observations: Vec<Observation>,
}

/// What is asked beside the newest block and the account's nonce after it.
pub(super) struct Questions {
    /// Which blocks were replaced.
    pub(super) sweep: Sweep,
    /// Which of these are final.
    pub(super) maybe_final: Vec<BlockRef>,
    /// How far L1 is.
    pub(super) asks_finality: bool,
}

/// Sees the newest block and the account's nonce after it, and what else is asked.
pub(super) async fn observe(lane: &Lane, questions: Questions) -> Result<Seen, RpcError> {
    let Questions { mut sweep, maybe_final, asks_finality } = questions;
    let node = Node { sender: &lane.inner.sender };
    let head = node.head().await?;
    let mut observations = Vec::new();
    if !sweep.is_idle(head.block) {
        while let Some(next) = sweep.next() {
            sweep.found(node.block_at(next.number).await?.map(|found| found.block));
        }
        observations.push(Observation::Checked(sweep.into_checked()));
    }
    if let Some(nonce) = node.nonce_at(head.block).await? {
        let (block, l2_gas_price) = (head.block, head.prices.1);
        observations.push(Observation::Pinned { block, nonce, l2_gas_price });
    }
    if asks_finality && let Ok(Some(up_to)) = node.newest_on_l1().await {
        observations.push(Observation::AcceptedOnL1 { up_to });
    }
    if !maybe_final.is_empty() {
        observations.push(finality(&node, maybe_final).await);
    }
    Ok(Seen { head, observations })
}

/// Which of these blocks are final. That a node does not say, or has forgotten them, is no reason to see nothing else: the
/// rest is asked the next time.
async fn finality(node: &Node<'_>, blocks: Vec<BlockRef>) -> Observation {
    let (mut accepted, mut replaced) = (Vec::new(), Vec::new());
    for block in blocks {
        match node.block_at(block.number).await {
            Ok(Some(found)) if found.block != block => replaced.push(block),
            Ok(Some(found)) if found.is_on_l1 => accepted.push(block),
            Ok(Some(_)) => {}
            Ok(None) | Err(_) => break,
        }
    }
    Observation::Finality { accepted, replaced }
}

/// Whether an action means the same on another fork: an exit is checked by the contract for what it finds there, while a
/// batch was decided for jobs that may now be others.
pub fn is_repeatable(action: &IntentAction) -> bool {
    !matches!(action, IntentAction::ApplyBatch { .. })
}

/// The nonce that comes after the one that an intent holds; 0 where it holds none.
pub fn above(intent: &Intent) -> u64 {
    intent.nonce.filter(|_| intent.state.holds_nonce()).map_or(0, |nonce| nonce + 1)
}

pub(super) fn restored_slot(intent: &Intent, now_ms: u64) -> Slot {
    let transactions = intent.transactions.iter().map(signed).collect();
    let stands = (intent.state, intent.landed);
    Slot::restored(intent.intent_id, transactions, is_repeatable(&intent.action), stands, now_ms)
}
