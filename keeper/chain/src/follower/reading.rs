//! Reading what comes after a block, so that all of it is of one chain.
//!
//! A step begins with the header of its last block and ends by asking for it once more: what was asked in between was
//! asked of a chain that had this block. Within the step every block that is the very next builds on the one before it.

use futures::{StreamExt as _, TryStreamExt as _};
use keeper_types::{BlockEvents, BlockHeader, BlockNumber};

use super::source::{ChainSource, Index, Indexed};
use crate::RpcError;

/// Blocks that one step takes in at most.
pub const BLOCKS_PER_STEP: u64 = 500;
/// Blocks that are asked for at the same time.
const AT_ONCE: usize = 16;

/// What comes after the last recorded block.
#[derive(Clone, Debug)]
pub enum Reading {
    /// Nothing yet.
    UpToDate,
    /// The newest block is below the last recorded one. That is a node that lags, where it is the recorded chain's.
    Behind {
        /// The newest block.
        head: BlockHeader,
    },
    /// These blocks, in order; the last is the new cursor.
    Extended {
        /// The blocks.
        blocks: Vec<BlockEvents>,
        /// The newest block when this was read.
        head: BlockNumber,
    },
    /// The last recorded block is no longer part of the chain.
    Reorganised,
    /// The chain changed while it was read: what was read is not of one chain.
    Changed,
}

/// Reads what comes after `cursor`, the last recorded block; from the deployment on where there is none. Below
/// `dense_from` blocks without events are left out, save the last of the step; from there on every block is given.
///
/// Whole headers are compared: the hashes of a local chain do not cover all that they should.
///
/// # Errors
/// Fails where the chain cannot be read, or what is read makes no sense.
pub async fn read(
    source: &dyn ChainSource,
    cursor: Option<BlockHeader>,
    dense_from: BlockNumber,
) -> Result<Reading, RpcError> {
    let head = source.head().await?;
    let first = match cursor {
        Some(cursor) if head.number < cursor.number => return Ok(Reading::Behind { head }),
        Some(cursor) if head.number == cursor.number => {
            return Ok(if head == cursor { Reading::UpToDate } else { Reading::Reorganised });
        }
        Some(cursor) => match source.header(cursor.number).await? {
            Some(header) if header == cursor => BlockNumber(cursor.number.0 + 1),
            Some(_) => return Ok(Reading::Reorganised),
            // It had it a moment ago: another node answers, which is behind, or the chain became shorter.
            None => return Ok(Reading::Changed),
        },
        None => source.first(),
    };
    if head.number < first {
        return Ok(Reading::UpToDate);
    }
    let last = head.number.min(BlockNumber(first.0 + BLOCKS_PER_STEP - 1));
    let end = if last == head.number { Some(head) } else { source.header(last).await? };
    let Some(end) = end else { return Ok(Reading::Changed) };
    let Some(index) = source.index(first, last).await? else { return Ok(Reading::Changed) };
    let Some(blocks) = blocks(source, first..=end.number, &index, dense_from).await? else {
        return Ok(Reading::Changed);
    };
    let is_one_chain = blocks.last().is_some_and(|block| block.header == end) && are_linked(cursor, &blocks);
    if !is_one_chain || source.header(end.number).await? != Some(end) {
        return Ok(Reading::Changed);
    }
    source.cross_check(end.reference()).await?;
    Ok(Reading::Extended { blocks, head: head.number })
}

/// The blocks of a range that are wanted; `None` where one of them is gone.
async fn blocks(
    source: &dyn ChainSource,
    range: std::ops::RangeInclusive<BlockNumber>,
    index: &Index,
    dense_from: BlockNumber,
) -> Result<Option<Vec<BlockEvents>>, RpcError> {
    let (first, last) = (range.start().0, range.end().0);
    let dense_from = dense_from.0.clamp(first, last);
    let spoken = (first..dense_from).filter(|number| index.contains_key(&BlockNumber(*number)));
    let numbers = spoken.chain(dense_from..=last).map(BlockNumber);
    let blocks = futures::stream::iter(numbers)
        .map(|number| async move {
            match index.get(&number) {
                Some(indexed) => spoken_block(source, number, *indexed).await,
                None => {
                    let header = source.header(number).await?;
                    Ok(header.map(|header| BlockEvents { header, events: Vec::new() }))
                }
            }
        })
        .buffered(AT_ONCE)
        .try_collect::<Vec<_>>()
        .await?;
    Ok(blocks.into_iter().collect())
}

/// A block in which our contracts spoke: its receipts must tell of what the index does. `None` where the two are not of
/// one chain.
async fn spoken_block(
    source: &dyn ChainSource,
    number: BlockNumber,
    indexed: Indexed,
) -> Result<Option<BlockEvents>, RpcError> {
    let Some(block) = source.block(number).await? else { return Ok(None) };
    if indexed.hash.is_some_and(|hash| hash != block.header.hash) {
        return Ok(None);
    }
    if block.events.len() != indexed.events {
        let (indexed, found) = (indexed.events, block.events.len());
        let reason = format!("its event index has {indexed} events in block {number}, its receipts {found}");
        return Err(RpcError::Malformed { request: "events", reason });
    }
    Ok(Some(block))
}

/// Whether every block that is the very next builds on the one before it.
fn are_linked(cursor: Option<BlockHeader>, blocks: &[BlockEvents]) -> bool {
    let mut below = cursor;
    blocks.iter().all(|block| {
        let header = block.header;
        let builds =
            below.is_none_or(|below| below.number.0 + 1 != header.number.0 || below.hash == header.parent_hash);
        below = Some(header);
        builds
    })
}
