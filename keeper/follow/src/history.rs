//! The market as it was some blocks ago, so that a reorganisation does not mean to fold everything again.

use std::collections::VecDeque;

use keeper_types::{BlockEvents, BlockNumber, BlockRef, Market};

/// Blocks that can be taken back without reading the store.
const MOST_BLOCKS: usize = 4_096;
/// Events that are kept for it at most; what is older is part of the market below.
const MOST_EVENTS: usize = 262_144;

/// A market that trails behind, and the blocks between it and the newest.
#[derive(Debug, Default)]
pub(crate) struct History {
    /// As of some block; none where nothing can be taken back.
    base: Option<(Option<BlockRef>, Market)>,
    recent: VecDeque<BlockEvents>,
    events: usize,
}

impl History {
    /// Forgets everything: nothing can be taken back.
    pub(crate) fn clear(&mut self) {
        *self = Self::default();
    }

    /// Takes note of blocks that were folded into `before`, the market as of `cursor`.
    pub(crate) fn begin(&mut self, cursor: Option<BlockRef>, before: &Market) {
        if self.base.is_none() {
            self.base = Some((cursor, before.clone()));
        }
    }

    /// Takes blocks that were folded and recorded, and lets go of those that need not be taken back any more: those up
    /// to `final_block`, and the oldest where there are too many.
    pub(crate) fn push(&mut self, blocks: Vec<BlockEvents>, final_block: Option<BlockNumber>) {
        self.events += blocks.iter().map(|block| block.events.len()).sum::<usize>();
        self.recent.extend(blocks);
        while let Some(oldest) = self.recent.front() {
            let is_final = final_block.is_some_and(|number| oldest.header.number <= number);
            if !is_final && self.recent.len() <= MOST_BLOCKS && self.events <= MOST_EVENTS {
                return;
            }
            let Some((at, market)) = &mut self.base else { return self.clear() };
            let is_folded = oldest.events.iter().all(|(position, event)| market.apply(event, position).is_ok());
            if !is_folded {
                // The same events were folded before, so this does not happen; without a base the store is read.
                return self.clear();
            }
            *at = Some(oldest.header.reference());
            self.events -= oldest.events.len();
            self.recent.pop_front();
        }
    }

    /// The market as of `block`, or `None` where that is too long ago. What is above is forgotten.
    pub(crate) fn take_back(&mut self, block: BlockRef) -> Option<Market> {
        let (at, market) = self.base.as_ref()?;
        let is_base = *at == Some(block);
        if !is_base && !self.recent.iter().any(|recent| recent.header.reference() == block) {
            self.clear();
            return None;
        }
        let mut market = market.clone();
        self.recent.retain(|recent| recent.header.number <= block.number);
        self.events = self.recent.iter().map(|recent| recent.events.len()).sum();
        for (position, event) in self.recent.iter().flat_map(|recent| &recent.events) {
            if market.apply(event, position).is_err() {
                self.clear();
                return None;
            }
        }
        Some(market)
    }
}
