//! The rules by which recorded blocks follow one another.

use keeper_types::{BlockEvents, BlockHeader, BlockRef};

use crate::StoreError;

/// Checks that `block` can come after `cursor`: it is higher, and where it is the very next one, it builds on
/// it. A gap is not an error, since blocks without events may be left out.
pub(crate) fn check_follows(block: &BlockHeader, cursor: &BlockHeader) -> Result<(), StoreError> {
    if block.number <= cursor.number {
        return Err(StoreError::NotAfterCursor { block: block.number, cursor: cursor.number });
    }
    let is_next = cursor.number.0.checked_add(1) == Some(block.number.0);
    if is_next && block.parent_hash != cursor.hash {
        return Err(StoreError::Fork { block: *block, below: cursor.reference() });
    }
    Ok(())
}

/// Checks that the cursor is still the one that it was when what is to be appended was read.
pub(crate) fn check_cursor(expected: Option<BlockHeader>, found: Option<BlockHeader>) -> Result<(), StoreError> {
    if expected == found {
        return Ok(());
    }
    let number = |header: Option<BlockHeader>| header.map(|header| header.number);
    Err(StoreError::CursorMoved { expected: number(expected), found: number(found) })
}

/// Checks that the events say that they are this block's, and come in order.
pub(crate) fn check_events(block: &BlockEvents) -> Result<(), StoreError> {
    let mut expected_from = 0;
    for (position, _) in &block.events {
        let is_here = position.block == block.header.number && position.timestamp == block.header.timestamp;
        if !is_here || u64::from(position.index) < expected_from {
            return Err(StoreError::MisplacedEvent { block: block.header.number, position: Box::new(*position) });
        }
        expected_from = u64::from(position.index) + 1;
    }
    Ok(())
}

/// Checks that `block` may be recorded as accepted on L1: neither the marker nor what is recorded of its height is
/// another block.
pub(crate) fn check_final(
    block: BlockRef,
    marker: Option<BlockRef>,
    recorded: Option<BlockRef>,
) -> Result<(), StoreError> {
    let mut other = marker.into_iter().chain(recorded).filter(|known| known.number == block.number);
    match other.find(|known| known.hash != block.hash) {
        Some(recorded) => Err(StoreError::FinalityViolation { recorded, told: block }),
        None => Ok(()),
    }
}

/// Checks that a block to be appended does not contradict the block that is known as accepted on L1.
pub(crate) fn check_above_final(block: &BlockHeader, marker: BlockRef) -> Result<(), StoreError> {
    let told = match block.number.0.checked_sub(marker.number.0) {
        Some(0) => block.hash,
        Some(1) => block.parent_hash,
        _ => return Ok(()),
    };
    if told == marker.hash {
        return Ok(());
    }
    Err(StoreError::FinalityViolation { recorded: marker, told: BlockRef { number: marker.number, hash: told } })
}
