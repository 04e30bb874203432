//! Finding where the recorded blocks and the chain part.
//!
//! A block's hash is of its parent's as well, so a recorded block that is part of the chain has only such blocks below
//! it, and one that is not has none above. The fork is found by halving: ever longer strides down from the newest until
//! one stands, then the middle of what is left. A fork of depth d costs about 2 log2(d) requests.

use keeper_chain::ChainSource;
use keeper_store::Store;
use keeper_types::{BlockHeader, BlockNumber};

use crate::FollowError;

/// What is left of the recorded blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Fork {
    /// The highest recorded block that is part of the chain, if any is.
    pub(crate) standing: Option<BlockHeader>,
    /// Whether the chain was seen to have another block in the place of a recorded one. A chain that only ends below the
    /// recorded blocks may be a node that is behind.
    pub(crate) is_replaced: bool,
}

/// Finds what is left of the recorded blocks.
///
/// # Errors
/// Fails where the chain or the store cannot be read.
pub(crate) async fn find(chain: &dyn ChainSource, store: &dyn Store) -> Result<Fork, FollowError> {
    let mut fork = Fork { standing: None, is_replaced: false };
    // The lowest block that is known to be gone.
    let mut gone = None;
    let (mut candidate, mut stride) = (store.cursor().await?, 1_u64);
    while let Some(block) = candidate {
        if fork.look_at(chain, block).await? {
            break;
        }
        gone = Some(block.number.0);
        candidate = match block.number.0.checked_sub(stride) {
            Some(below) => store.block_at_or_below(BlockNumber(below)).await?,
            None => None,
        };
        stride = stride.saturating_mul(2);
    }
    let Some(mut gone) = gone else { return Ok(fork) };
    // What is recorded from `low` on and below `gone` is not known yet.
    let mut low = fork.standing.map_or(0, |block| block.number.0 + 1);
    while low < gone {
        let middle = low + (gone - low) / 2;
        match store.block_at_or_below(BlockNumber(middle)).await? {
            Some(block) if block.number.0 >= low => {
                if fork.look_at(chain, block).await? {
                    low = middle + 1;
                } else {
                    gone = block.number.0;
                }
            }
            _ => low = middle + 1,
        }
    }
    Ok(fork)
}

impl Fork {
    /// Whether a recorded block stands; takes note of it.
    async fn look_at(&mut self, chain: &dyn ChainSource, block: BlockHeader) -> Result<bool, FollowError> {
        let found = chain.header(block.number).await?;
        let stands = found == Some(block);
        if stands {
            self.standing = Some(block);
        }
        self.is_replaced |= found.is_some() && !stands;
        Ok(stands)
    }
}

/// Whether a recorded block is part of the chain. Whole headers: a local chain that began anew gives some empty blocks
/// the hashes that they had before.
pub(crate) async fn is_part(chain: &dyn ChainSource, block: &BlockHeader) -> Result<bool, FollowError> {
    Ok(chain.header(block.number).await? == Some(*block))
}
