//! Whether anything may be sent.
//!
//! A block that is accepted on L1 does not change. Where the chain shows another in its place, either the network has
//! broken its strongest promise or the node is not on the network that it says it is on; to send then is to act on
//! whatever it makes up. So senders ask the latch. It is closed from the start until the recorded block was seen to be
//! there, closed again by another block in its place, and opened by nothing but that block itself: not by time, not by a
//! node that does not answer, not by one that is behind.

use std::sync::{
    Arc, Mutex, MutexGuard, PoisonError,
    atomic::{AtomicBool, Ordering},
};

use keeper_types::BlockRef;
use serde::Serialize;

/// The chain has another block where one was accepted on L1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Violation {
    /// The block that was recorded.
    pub recorded: BlockRef,
    /// What is there.
    pub told: BlockRef,
}

/// Why the latch is open or closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum LatchState {
    /// It is not known yet whether the recorded block is part of the chain.
    Unconfirmed,
    /// The recorded block was seen to be part of the chain, or none is recorded.
    Open,
    /// Another block was seen in its place.
    Violated(Violation),
}

/// Closed where nothing may be sent. Shared by the one that follows the chain and those that send.
#[derive(Debug)]
pub struct Latch {
    /// Guards one value; every change is one assignment.
    state: Mutex<LatchState>,
    /// Follows the state, for those that only ask whether.
    closed: Arc<AtomicBool>,
}

impl Latch {
    /// A closed latch: nothing is known yet.
    pub fn new() -> Self {
        Self { state: Mutex::new(LatchState::Unconfirmed), closed: Arc::new(AtomicBool::new(true)) }
    }

    /// Whether something may be sent.
    pub fn is_open(&self) -> bool {
        self.state() == LatchState::Open
    }

    /// Set as long as nothing may be sent, for those that do not know of latches.
    pub fn closed(&self) -> Arc<AtomicBool> {
        self.closed.clone()
    }

    /// Why it is open or closed.
    pub fn state(&self) -> LatchState {
        *self.guard()
    }

    /// The recorded block was seen, or none is recorded.
    pub(crate) fn confirm(&self) {
        let before = self.replace(LatchState::Open);
        if let LatchState::Violated(violation) = before {
            let block = violation.recorded.number;
            tracing::warn!(%block, "the block accepted on L1 is part of the chain again; sending goes on");
        }
    }

    /// Another block was seen in its place.
    pub(crate) fn violate(&self, violation: Violation) {
        let before = self.replace(LatchState::Violated(violation));
        if before != LatchState::Violated(violation) {
            let Violation { recorded, told } = violation;
            let (recorded_hash, told_hash) = (format!("{:#x}", recorded.hash), format!("{:#x}", told.hash));
            tracing::error!(
                block = %recorded.number, recorded = recorded_hash, told = told_hash,
                "finality violation: a block accepted on L1 was replaced; nothing is sent until it is back"
            );
        }
    }

    fn replace(&self, state: LatchState) -> LatchState {
        let mut guard = self.guard();
        self.closed.store(state != LatchState::Open, Ordering::Relaxed);
        std::mem::replace(&mut *guard, state)
    }

    fn guard(&self) -> MutexGuard<'_, LatchState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for Latch {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use keeper_types::{BlockNumber, Felt};

    use super::*;

    #[test]
    fn the_flag_is_set_as_long_as_it_is_closed() {
        let latch = Latch::new();
        let (closed, block) = (latch.closed(), |hash| BlockRef { number: BlockNumber(7), hash });
        let is_closed = || closed.load(Ordering::Relaxed);
        assert!(is_closed() && !latch.is_open());
        latch.confirm();
        assert!(!is_closed() && latch.is_open());
        latch.violate(Violation { recorded: block(Felt::ONE), told: block(Felt::TWO) });
        assert!(is_closed() && !latch.is_open());
        latch.confirm();
        assert!(!is_closed() && latch.is_open());
    }
}
