// SPDX-License-Identifier: MIT

//! What time it is.

use crate::types::Deadline;
use starknet::get_block_info;

/// The timestamp and number of the block that is being made.
pub fn now() -> Deadline {
    let block = get_block_info().unbox();
    Deadline { timestamp: block.block_timestamp, block: block.block_number }
}
