//! Blocks, and what our contracts said in them.

use serde::{Deserialize, Serialize};
use starknet_types_core::felt::Felt;

use crate::{BlockNumber, EventPosition, MarketEvent};

/// A block, by its height and hash. Two blocks of the same height on different forks differ in the hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BlockRef {
    /// The height.
    pub number: BlockNumber,
    /// The hash.
    pub hash: Felt,
}

/// A block's identity, what it builds on, and when it was made.
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
}

/// A block with the market's events in it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BlockEvents {
    /// The block.
    pub header: BlockHeader,
    /// Its events, in order.
    pub events: Vec<(EventPosition, MarketEvent)>,
}
