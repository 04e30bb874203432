//! Blocks as the keeper has processed them, and the rule by which one follows another.

use keeper_types::{BlockNumber, BlockRef, EventPosition, Felt, MarketEvent};
use serde::{Deserialize, Serialize};

use crate::StoreError;

/// A processed block.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BlockHeader {
    /// The height.
    pub number: BlockNumber,
    /// The hash.
    pub hash: Felt,
    /// The hash of the block below.
    pub parent_hash: Felt,
    /// When it was made, in seconds since the epoch.
    pub timestamp: u64,
}

impl BlockHeader {
    /// The block by its height and hash.
    pub fn reference(&self) -> BlockRef {
        BlockRef { number: self.number, hash: self.hash }
    }

    /// Blocks on top of this one where `tip` is the chain's highest: what it takes to undo it.
    pub fn confirmations(&self, tip: BlockNumber) -> u64 {
        tip.0.saturating_sub(self.number.0)
    }

    /// Checks that the block can come after `cursor`: it is higher, and where it is the very next one, it
    /// builds on it. A gap is not an error, since blocks without events may be left out.
    pub(crate) fn check_follows(&self, cursor: &Self) -> Result<(), StoreError> {
        if self.number <= cursor.number {
            return Err(StoreError::NotAfterCursor { block: self.number, cursor: cursor.number });
        }
        let is_next = cursor.number.0.checked_add(1) == Some(self.number.0);
        if is_next && self.parent_hash != cursor.hash {
            return Err(StoreError::Fork { block: *self, below: cursor.reference() });
        }
        Ok(())
    }
}

/// A block with the market's events in it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BlockEvents {
    /// The block.
    pub header: BlockHeader,
    /// Its events, in order.
    pub events: Vec<(EventPosition, MarketEvent)>,
}

impl BlockEvents {
    /// Checks that the events say that they are this block's, and come in order.
    pub(crate) fn check_events(&self) -> Result<(), StoreError> {
        let mut expected_from = 0;
        for (position, _) in &self.events {
            let is_here = position.block == self.header.number && position.timestamp == self.header.timestamp;
            if !is_here || u64::from(position.index) < expected_from {
                return Err(StoreError::MisplacedEvent { block: self.header.number, position: Box::new(*position) });
            }
            expected_from = u64::from(position.index) + 1;
        }
        Ok(())
    }
}
