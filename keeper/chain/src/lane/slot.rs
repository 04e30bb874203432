//! One nonce of an account: which intent holds it, what was signed for it, and how far that is.

use keeper_store::{IntentId, IntentState, Landed, Purpose};
use keeper_types::{BlockRef, TxHash};

use super::state::Pin;

/// Blocks that may pass without a transaction that a node says it has, before more is offered for it.
const LONGEST_WAIT_BLOCKS: u64 = 3;
/// More than this times the price of a block is offered only once a transaction's life is over.
const MOST_PREMIUM: u128 = 4;

/// A signed transaction, as far as the lane's decisions need it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Signed {
    /// Its hash.
    pub hash: TxHash,
    /// What it is for.
    pub purpose: Purpose,
    /// The tip.
    pub tip: u64,
    /// The most that it pays for a unit of L2 gas, in fri.
    pub l2_gas_price: u128,
    /// When it was signed.
    pub signed_ms: u64,
    /// Whether its bytes are there to be sent again.
    pub has_bytes: bool,
}

/// What the lane does with one nonce.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Slot {
    /// The intent that holds the nonce.
    pub intent: IntentId,
    /// Every transaction that was signed for it, in the order of signing.
    pub signed: Vec<Signed>,
    /// Whether its action means the same after a reorganisation.
    pub is_repeatable: bool,
    /// Whether its action is still wanted; if not, a no-op is to use the nonce. Never again once one was signed.
    pub is_wanted: bool,
    /// Whether a block that it was in is gone, and it landed in no other since.
    pub(super) is_reorged: bool,
    /// How far it is.
    pub stage: Stage,
    /// Since when nothing was done about it: it was signed, sent, or found missing.
    pub(super) idle_since_ms: u64,
    /// How often it was opened again: what was looked up before says nothing of the chain after.
    pub(super) openings: u32,
    /// Since when the nonce is used, and how often its transaction was looked for.
    pub(super) looks: (u64, u32),
    /// It was found to be lost, to whom if that is known: so it is if the next sight of the chain has its nonce used still.
    pub(super) verdict: Option<Option<TxHash>>,
    /// Refusals of it as it is.
    pub(super) refusals: u32,
    /// A node said that the fee is too low, or the chain's price rose above it.
    pub(super) is_underpriced: bool,
    /// A node said that nonces below it are missing: it holds nothing of it.
    pub(super) is_too_early: bool,
    /// Something is being done about it.
    pub(super) is_busy: bool,
    /// The newest block when a node first took it.
    pub(super) held_since: Option<u64>,
    /// It was sent again already.
    pub(super) is_repeated: bool,
    /// A node said, when it was sent again, that it has it.
    pub(super) is_held: bool,
    /// The block that it landed in was seen to be part of the chain since.
    pub(super) is_confirmed: bool,
}

/// How far a nonce's transaction is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Signed, and not sent by this process; an earlier one may have.
    Signed,
    /// Sent, whatever the answer was.
    MaybeSent,
    /// The nonce is used.
    Consumed,
    /// In a block.
    Landed {
        /// How it ended there.
        state: IntentState,
        /// Where.
        landed: Landed,
    },
}

impl Slot {
    /// A slot for what was found in the log.
    pub fn restored(
        intent: IntentId,
        signed: Vec<Signed>,
        is_repeatable: bool,
        (state, landed): (IntentState, Option<Landed>),
        now_ms: u64,
    ) -> Self {
        let stage = match landed {
            Some(landed) if state.is_landed() => Stage::Landed { state, landed },
            _ => Stage::Signed,
        };
        let mut slot = Self::new(intent, signed, is_repeatable, stage, now_ms);
        slot.is_reorged = state == IntentState::Reorged;
        slot.is_wanted &= is_repeatable || !slot.is_reorged;
        slot
    }

    /// A slot for what was just recorded.
    pub fn new(intent: IntentId, signed: Vec<Signed>, is_repeatable: bool, stage: Stage, now_ms: u64) -> Self {
        // Whoever was told that a no-op took the nonce has asked for the same elsewhere.
        let is_wanted = !signed.iter().any(|signed| signed.purpose == Purpose::NoOp);
        Self {
            intent,
            signed,
            is_repeatable,
            is_wanted,
            is_reorged: false,
            stage,
            idle_since_ms: now_ms,
            openings: 0,
            looks: (now_ms, 0),
            verdict: None,
            refusals: 0,
            is_underpriced: false,
            is_too_early: false,
            is_busy: false,
            held_since: None,
            is_repeated: false,
            is_held: false,
            is_confirmed: false,
        }
    }

    /// Whether a node has it, it comes next, and blocks are made without it: then it is the price. Where no blocks are
    /// made, no price helps.
    pub(super) fn is_passed_over(&self, nonce: u64, pin: &Pin) -> bool {
        let is_waiting = |block: u64| pin.block.number.0 >= block.saturating_add(LONGEST_WAIT_BLOCKS);
        let most = pin.l2_gas_price.saturating_mul(MOST_PREMIUM);
        self.is_held
            && nonce == pin.nonce
            && self.held_since.is_some_and(is_waiting)
            && self.latest().is_some_and(|latest| latest.l2_gas_price < most)
    }

    /// Whether what it is for is wanted no more, and nothing else was signed in its place.
    pub(super) fn gives_way(&self) -> bool {
        !self.is_wanted && self.latest().is_some_and(|latest| latest.has_bytes && latest.purpose == Purpose::Action)
    }

    /// How long it may be missing before it is sent again. What was lost once is in a bad place: from then on it is sent
    /// three times as often. The same bytes do no harm.
    pub(super) fn patience_ms(&self, gap_after_ms: u64) -> u64 {
        if self.is_repeated { gap_after_ms / 3 } else { gap_after_ms }
    }

    /// What is sent, if anything is: the transaction that was signed last.
    pub(super) fn latest(&self) -> Option<&Signed> {
        self.signed.last()
    }

    /// The block that it landed in, as far as that is known.
    pub(super) fn landed_block(&self) -> Option<BlockRef> {
        match self.stage {
            Stage::Landed { landed, .. } => landed.block,
            _ => None,
        }
    }

    pub(super) fn is_landed(&self) -> bool {
        matches!(self.stage, Stage::Landed { .. })
    }
}
