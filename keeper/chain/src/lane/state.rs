//! What a lane knows, and what it is told. No clock, no node, no database: [`LaneState::step`] decides from these alone.

use std::collections::{BTreeMap, BTreeSet};

use keeper_store::{IntentId, IntentState, Landed, Purpose};
use keeper_types::{BlockNumber, BlockRef, TxHash};

use super::{
    slot::{Signed, Slot, Stage},
    sweep::{Checked, Sweep},
};

/// When a lane does what. Times are in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LaneTimes {
    /// How long a transaction may be missing before the same bytes are sent again.
    pub gap_after_ms: u64,
    /// How long a network keeps a transaction that it does not include; then a replacement is signed.
    pub life_ms: u64,
    /// How long, at least, a used nonce's transaction is looked for before the intent counts as lost.
    pub lost_after_ms: u64,
    /// The pause between two looks for the transaction of a used nonce.
    pub look_every_ms: u64,
}

impl Default for LaneTimes {
    fn default() -> Self {
        Self { gap_after_ms: 10_000, life_ms: 300_000, lost_after_ms: 30_000, look_every_ms: 1_000 }
    }
}

/// How often a used nonce's transaction is looked for, at least, before the intent counts as lost.
pub(super) const LEAST_LOOKS: u32 = 10;
/// Blocks of which it is asked at a time whether they are final: thousands may be so at once, and none is in a hurry.
const MOST_FINAL: usize = 8;
/// Refusals after which what is refused is given up for a no-op.
pub(super) const MOST_REFUSALS: u32 = 3;

/// What a node answered to a transaction, by the code of its answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// It has it.
    Accepted,
    /// It had it before.
    Duplicate,
    /// No answer, or one that says nothing: it may have it.
    Unknown,
    /// The nonce is not the one that comes next: it is used, or others are missing below it.
    WrongNonce,
    /// The fee is too low, or too little above that of the transaction that it is to replace.
    Underpriced,
    /// The account cannot pay for it.
    Unfunded,
    /// It cannot be included.
    Refused,
}

/// What became of the transaction of a used nonce.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Look {
    /// One of the nonce's transactions is in a block.
    Landed {
        /// Where.
        landed: Landed,
        /// Whether it failed there.
        is_reverted: bool,
    },
    /// Another transaction is in a block with this nonce.
    Foreign(TxHash),
    /// Neither was found.
    Nothing,
}

/// What a lane is told.
#[derive(Clone, Debug)]
pub enum Observation {
    /// An intent was recorded under a nonce.
    Recorded {
        /// The nonce.
        nonce: u64,
        /// The intent.
        intent: IntentId,
        /// The transaction.
        signed: Signed,
        /// Whether its action means the same after a reorganisation.
        is_repeatable: bool,
    },
    /// A node answered, or did not, to a transaction.
    Answered {
        /// The transaction's nonce.
        nonce: u64,
        /// Its hash.
        hash: TxHash,
        /// What came.
        answer: Answer,
    },
    /// The account's nonce as of a block.
    Pinned {
        /// The block, the newest that was there.
        block: BlockRef,
        /// The nonce after it.
        nonce: u64,
        /// What a unit of L2 gas costs in it, in fri.
        l2_gas_price: u128,
    },
    /// The transaction of a used nonce was looked for.
    Looked {
        /// The nonce.
        nonce: u64,
        /// The action's.
        opening: u32,
        /// What was found.
        look: Look,
    },
    /// A replacement was recorded.
    Replaced {
        /// The nonce.
        nonce: u64,
        /// The replacement.
        signed: Signed,
    },
    /// What was to be signed for a nonce could not be: no node answered, or no more may be spent.
    NotSigned {
        /// The nonce.
        nonce: u64,
    },
    /// Which of the blocks that something landed in, and of that of the last sight, are part of the chain.
    Checked(Checked),
    /// Some chain is accepted on L1 up to here. Whether the block that something landed in is part of that chain only the
    /// block itself tells: it is one of [`LaneState::maybe_final`] from now on.
    AcceptedOnL1 {
        /// The height of the newest block.
        up_to: BlockNumber,
    },
    /// What was found at the heights of blocks that may be final.
    Finality {
        /// They are there, and accepted on L1.
        accepted: Vec<BlockRef>,
        /// Others are there.
        replaced: Vec<BlockRef>,
    },
    /// An intent's action is wanted no more.
    Abandoned {
        /// Which.
        intent: IntentId,
    },
    /// Time passed.
    Tick,
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Send a transaction, the same bytes as recorded.
    Send {
        /// Its nonce.
        nonce: u64,
        /// Its hash.
        hash: TxHash,
    },
    /// Find out which transaction used a nonce.
    Look {
        /// The nonce.
        nonce: u64,
        /// Told again with what is found.
        opening: u32,
    },
    /// Sign and record a transaction that replaces the latest one.
    Replace {
        /// The nonce.
        nonce: u64,
        /// What it is for.
        purpose: Purpose,
        /// The tip that it has at least.
        least_tip: u64,
        /// The price of a unit of L2 gas that it allows at least, in fri.
        least_l2_gas_price: u128,
    },
    /// Sign and record a no-op for a nonce that no intent has.
    Fill {
        /// The nonce.
        nonce: u64,
    },
    /// Record what became of an intent.
    Record {
        /// Which.
        intent: IntentId,
        /// Where it stands.
        state: IntentState,
        /// The transaction that was sent.
        sent: Option<TxHash>,
        /// Where it landed.
        landed: Option<Landed>,
    },
    /// Record that what landed in these blocks is final.
    Finalise {
        /// The blocks, which are accepted on L1.
        blocks: Vec<BlockRef>,
    },
    /// Tell people that somebody else uses the account's key.
    OutsideUse {
        /// The nonce.
        nonce: u64,
        /// The transaction that has it, where it is known.
        hash: Option<TxHash>,
    },
}

/// The chain as it was last seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Pin {
    pub(super) block: BlockRef,
    pub(super) nonce: u64,
    pub(super) l2_gas_price: u128,
    pub(super) seen_ms: u64,
}

/// One account's lane.
#[derive(Clone, Debug)]
pub struct LaneState {
    pub(super) times: LaneTimes,
    pub(super) slots: BTreeMap<u64, Slot>,
    pub(super) next: u64,
    pub(super) pin: Option<Pin>,
    /// Nonces that no intent has, and since when that is known.
    pub(super) holes: BTreeMap<u64, u64>,
    /// Holes that are being filled.
    pub(super) filling: BTreeSet<u64>,
    /// The height up to which a chain is accepted on L1.
    pub(super) on_l1: Option<BlockNumber>,
    /// Nonces below were used in blocks that are accepted on L1, whatever a node that is on another chain says.
    pub(super) final_below: u64,
    /// Where openings of what is recorded begin: above those of every intent that was lost, since its nonce may be given
    /// to another, and what was looked up for the one says nothing of the other.
    pub(super) first_opening: u32,
}

impl LaneState {
    /// A lane that goes on where the log ends. `chain_nonce` counts what is sent and in no block yet, and is above every
    /// nonce that an intent of the log holds.
    pub fn restore(times: LaneTimes, slots: BTreeMap<u64, Slot>, chain_nonce: u64) -> Self {
        let next = slots.last_key_value().map_or(0, |(nonce, _)| nonce + 1).max(chain_nonce);
        Self {
            times,
            slots,
            next,
            pin: None,
            holes: BTreeMap::new(),
            filling: BTreeSet::new(),
            on_l1: None,
            final_below: 0,
            first_opening: 0,
        }
    }

    /// The nonce of the next intent. It is that intent's as soon as it is recorded.
    pub fn next_nonce(&self) -> u64 {
        self.next
    }

    /// Intents that are not known to be in a block.
    pub fn in_flight(&self) -> usize {
        self.slots.values().filter(|slot| !slot.is_landed()).count()
    }

    /// The slot of a nonce.
    pub fn slot(&self, nonce: u64) -> Option<&Slot> {
        self.slots.get(&nonce)
    }

    /// Whether a hole is being filled at this nonce.
    pub fn is_filling(&self, nonce: u64) -> bool {
        self.filling.contains(&nonce) && !self.slots.contains_key(&nonce)
    }

    /// The block that what is known of the account's nonce is as of.
    pub fn pinned_block(&self) -> Option<BlockRef> {
        self.pin.map(|pin| pin.block)
    }

    /// Whether a transaction of this nonce can still land.
    pub fn can_land(&self, nonce: u64) -> bool {
        self.slots.get(&nonce).is_some_and(|slot| matches!(slot.stage, Stage::Signed | Stage::MaybeSent))
    }

    /// What to ask for to know which of the blocks that something landed in are still part of the chain.
    pub fn sweep(&self) -> Sweep {
        let blocks = |is_confirmed: bool| {
            let landed = self.slots.values().filter(|slot| slot.is_confirmed == is_confirmed);
            let mut blocks: Vec<_> = landed.filter_map(Slot::landed_block).collect();
            blocks.sort_by_key(|block| std::cmp::Reverse(block.number));
            blocks.dedup();
            blocks
        };
        Sweep::new(self.pinned_block(), blocks(false), blocks(true))
    }

    /// Blocks that something landed in whose heights are accepted on L1, the lowest first and not all at once.
    pub fn maybe_final(&self) -> Vec<BlockRef> {
        let Some(up_to) = self.on_l1 else { return Vec::new() };
        let landed = self.slots.values().filter(|slot| slot.is_confirmed).filter_map(Slot::landed_block);
        let mut blocks: Vec<_> = landed.filter(|block| block.number <= up_to).collect();
        blocks.sort_unstable_by_key(|block| block.number);
        blocks.dedup();
        blocks.truncate(MOST_FINAL);
        blocks
    }

    /// How long the lowest nonce that is not used has been missing, in milliseconds; `None` where none is.
    pub fn gap_age_ms(&self, now_ms: u64) -> Option<u64> {
        let pin = self.pin?;
        let slot = self.slots.get(&pin.nonce).filter(|slot| !slot.is_landed())?;
        let first = slot.signed.first().map_or(slot.idle_since_ms, |signed| signed.signed_ms);
        Some(now_ms.saturating_sub(first))
    }
}
