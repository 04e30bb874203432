//! The market as it was some blocks ago, so that a reorganisation does not mean to fold everything again.

use std::collections::VecDeque;

use keeper_types::{BlockEvents, BlockNumber, BlockRef, Market};

/// Blocks that can be taken back without reading the store.
const MOST_BLOCKS: usize = 4_096;
/// Events that are kept for it, about; older versions are let go of.
const MOST_EVENTS: usize = 262_144;
/// Blocks after which a version of the market is kept. Those between are folded again where one is taken back to; a version
/// of each block would mean to copy what every block changes.
const BLOCKS_PER_VERSION: usize = 64;

/// Versions of the market, and the blocks since the oldest of them.
#[derive(Debug, Default)]
pub(crate) struct History {
    /// As of ever higher blocks; none where nothing can be taken back.
    versions: VecDeque<(Option<BlockRef>, Market)>,
    /// In their order.
    recent: VecDeque<BlockEvents>,
    events: usize,
    /// Blocks since the newest version.
    since_version: usize,
}

impl History {
    /// Forgets everything: nothing can be taken back.
    pub(crate) fn clear(&mut self) {
        *self = Self::default();
    }

    /// Takes note of the market as of `cursor`, before blocks are folded into it.
    pub(crate) fn begin(&mut self, cursor: Option<BlockRef>, before: &Market) {
        if self.versions.is_empty() || self.since_version >= BLOCKS_PER_VERSION {
            self.versions.push_back((cursor, before.clone()));
            self.since_version = 0;
        }
    }

    /// Takes blocks that were folded and recorded, and lets go of versions that need not be taken back to any more: those
    /// before the last that is not above `final_block`, and the oldest where there is too much.
    pub(crate) fn push(&mut self, blocks: Vec<BlockEvents>, final_block: Option<BlockNumber>) {
        self.events += blocks.iter().map(|block| block.events.len()).sum::<usize>();
        self.since_version += blocks.len();
        self.recent.extend(blocks);
        while let Some((Some(second), _)) = self.versions.get(1) {
            let is_final = final_block.is_some_and(|number| second.number <= number);
            if !is_final && self.recent.len() <= MOST_BLOCKS && self.events <= MOST_EVENTS {
                return;
            }
            let oldest = self.after(second.number);
            self.events -= self.recent.drain(..oldest).map(|block| block.events.len()).sum::<usize>();
            self.versions.pop_front();
        }
    }

    /// The market as of `block`, or `None` where that is too long ago. What is above is forgotten.
    pub(crate) fn take_back(&mut self, block: BlockRef) -> Option<Market> {
        let is_above = |at: &Option<BlockRef>| at.is_some_and(|at| at.number > block.number);
        self.versions.truncate(self.versions.partition_point(|(at, _)| !is_above(at)));
        self.recent.truncate(self.after(block.number));
        self.events = self.recent.iter().map(|recent| recent.events.len()).sum();
        let last = self.recent.back().map(|recent| recent.header.reference());
        let version = self.versions.back().filter(|(at, _)| *at == Some(block) || last == Some(block));
        let Some((at, market)) = version else {
            self.clear();
            return None;
        };
        let (at, mut market) = (*at, market.clone());
        let first = at.map_or(0, |at| self.after(at.number));
        self.since_version = self.recent.len() - first;
        let is_folded = (self.recent.range(first..).flat_map(|recent| &recent.events))
            .all(|(position, event)| market.apply(event, position).is_ok());
        if !is_folded {
            // The same events were folded before, so this does not happen; without versions the store is read.
            self.clear();
            return None;
        }
        Some(market)
    }

    /// How many of the blocks are not above `number`.
    fn after(&self, number: BlockNumber) -> usize {
        self.recent.partition_point(|recent| recent.header.number <= number)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::simulation::SimulatedChain;

    fn fold(blocks: &[BlockEvents]) -> Market {
        let mut market = Market::default();
        for (position, event) in blocks.iter().flat_map(|block| &block.events) {
            market.apply(event, position).unwrap();
        }
        market
    }

    /// Folds `blocks` after those that `market` is of, in pieces of `length`.
    fn extend(
        history: &mut History,
        market: &mut Market,
        below: &[BlockEvents],
        blocks: &[BlockEvents],
        length: usize,
    ) {
        let mut cursor = below.last().map(|block| block.header.reference());
        for piece in blocks.chunks(length) {
            history.begin(cursor, market);
            for (position, event) in piece.iter().flat_map(|block| &block.events) {
                market.apply(event, position).unwrap();
            }
            history.push(piece.to_vec(), None);
            cursor = piece.last().map(|block| block.header.reference());
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(40))]

        /// Blocks come in pieces of any length, and are taken back to any of them, again and again.
        #[test]
        fn a_version_is_the_market_as_it_was(
            rounds in prop::collection::vec((1..90_usize, 0..400_usize), 1..8),
        ) {
            let blocks = SimulatedChain::new(700).blocks();
            let (mut history, mut market, mut folded) = (History::default(), Market::default(), 0);
            for (length, depth) in rounds {
                let (below, above) = blocks.split_at(folded);
                extend(&mut history, &mut market, below, &above[..above.len().min(350)], length);
                folded = blocks.len().min(folded + 350).saturating_sub(depth).max(1);
                market = history.take_back(blocks[folded - 1].header.reference()).unwrap();
                prop_assert!(market == fold(&blocks[..folded]));
            }
        }
    }

    #[test]
    fn what_is_too_long_ago_is_not_taken_back() {
        let blocks = SimulatedChain::new(u64::try_from(MOST_BLOCKS).unwrap() + 1_000).blocks();
        let (mut history, mut market) = (History::default(), Market::default());
        extend(&mut history, &mut market, &[], &blocks, 1);
        assert!(history.recent.len() < MOST_BLOCKS + 2 * BLOCKS_PER_VERSION, "{}", history.recent.len());
        let oldest = blocks.len() - MOST_BLOCKS + BLOCKS_PER_VERSION;
        assert!(history.take_back(blocks[oldest].header.reference()).unwrap() == fold(&blocks[..=oldest]));
        assert!(history.take_back(blocks[100].header.reference()).is_none());
        assert!(history.versions.is_empty(), "what is not known is asked of the store");
    }

    #[test]
    fn a_block_that_was_never_folded_is_not_taken_back_to() {
        let blocks = SimulatedChain::new(20).blocks();
        let (mut history, mut market) = (History::default(), Market::default());
        extend(&mut history, &mut market, &[], &blocks, 5);
        let other = BlockRef { hash: keeper_types::Felt::TWO, ..blocks[10].header.reference() };
        assert!(history.take_back(other).is_none());
    }

    #[test]
    fn versions_of_what_is_final_are_let_go_of() {
        let blocks = SimulatedChain::new(1_000).blocks();
        let (mut history, mut market) = (History::default(), Market::default());
        extend(&mut history, &mut market, &[], &blocks[..900], 1);
        history.begin(Some(blocks[899].header.reference()), &market);
        history.push(blocks[900..].to_vec(), Some(blocks[800].header.number));
        assert!(history.take_back(blocks[700].header.reference()).is_none());
    }
}
