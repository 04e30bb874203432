//! What the driver sees: of the chain at each turn, and of the log at the start.

use keeper_store::{Intent, IntentAction};
use keeper_types::BlockRef;

use crate::{
    RpcError,
    lane::{
        Lane,
        node::{Head, Node},
        signing::signed,
        state::{Observation, Slot},
    },
};

/// The chain as it was just seen.
pub(super) struct Seen {
    pub(super) head: Head,
    pub(super) observations: Vec<Observation>,
}

/// Sees the newest block and the account's nonce after it; where blocks were replaced, says from which on. `before` is the
/// block that the nonce was last believed as of.
pub(super) async fn observe(
    lane: &Lane,
    before: Option<BlockRef>,
    landed: Vec<BlockRef>,
    asks_finality: bool,
) -> Result<Seen, RpcError> {
    let node = Node { sender: &lane.inner.sender };
    let head = node.head().await?;
    let mut observations = Vec::new();
    // After a start nothing is known of what happened meanwhile.
    if before.is_none_or(|before| before.hash != head.block.hash) {
        let (mut is_gone, mut standing) = (false, None);
        // The block that the nonce is known as of comes first: what landed may be older, and what is looked up depends on it.
        for block in before.into_iter().chain(landed) {
            // Where the chain does not reach so far, the account's nonce will tell.
            match node.block_at(block.number).await? {
                Some(found) if found.hash == block.hash => {
                    standing = standing.max(Some(block.number));
                    if Some(block) != before {
                        break;
                    }
                }
                Some(_) => is_gone = true,
                None => {}
            }
        }
        if is_gone {
            observations.push(Observation::BlocksGone { above: standing.unwrap_or_default() });
        }
    }
    if let Some(nonce) = node.nonce_at(head.block).await? {
        let (block, l2_gas_price) = (head.block, head.prices.1);
        observations.push(Observation::Pinned { block, nonce, l2_gas_price });
    }
    if asks_finality && let Some(up_to) = node.newest_on_l1().await? {
        observations.push(Observation::AcceptedOnL1 { up_to });
    }
    Ok(Seen { head, observations })
}

/// Whether an action means the same on another fork: an exit is checked by the contract for what it finds there, while a
/// batch was decided for jobs that may now be others.
pub(super) fn is_repeatable(action: &IntentAction) -> bool {
    !matches!(action, IntentAction::ApplyBatch { .. })
}

pub(super) fn restored_slot(intent: &Intent, now_ms: u64) -> Slot {
    let transactions = intent.transactions.iter().map(signed).collect();
    let stands = (intent.state, intent.landed);
    Slot::restored(intent.intent_id, transactions, is_repeatable(&intent.action), stands, now_ms)
}
