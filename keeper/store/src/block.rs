//! The rules by which recorded blocks follow one another.

use keeper_types::{BlockEvents, BlockHeader};

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
