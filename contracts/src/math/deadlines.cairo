// SPDX-License-Identifier: MIT

//! Moments that hold both a timestamp and a block number.

use core::cmp::max;
use crate::types::Deadline;

/// Assumed time between blocks (s) when seconds become blocks. Blocks come faster than that, so
/// that the number of blocks is the smaller hurdle and only a chain that stands still is held up by
/// it.
const SECONDS_PER_BLOCK: u64 = 10;

/// Time for the result's transaction on top of the execution timeout.
const ATTEMPT_GRACE_S: u64 = 60;

/// What a worker has to reveal a result that it has committed to: six hours, as others choose when
/// it begins, and a worker that misses it is slashed.
pub const REVEAL_WINDOW_S: u64 = 21_600;

/// When the result of an attempt is due.
pub fn of_attempt(allocated_at: Deadline, execution_timeout_s: u32) -> Deadline {
    after(allocated_at, execution_timeout_s.into() + ATTEMPT_GRACE_S)
}

/// The deadline `delta_s` seconds after `now`.
pub fn after(now: Deadline, delta_s: u64) -> Deadline {
    Deadline { timestamp: now.timestamp + delta_s, block: now.block + blocks_in(delta_s) }
}

/// The later of two moments, of the timestamp and of the block each for itself.
pub fn later(a: Deadline, b: Deadline) -> Deadline {
    Deadline { timestamp: max(a.timestamp, b.timestamp), block: max(a.block, b.block) }
}

/// Whether `now` lies beyond the deadline by the clock and by the block number.
pub fn has_passed(deadline: Deadline, now: Deadline) -> bool {
    now.timestamp > deadline.timestamp && now.block > deadline.block
}

/// Seconds in blocks, rounded up.
fn blocks_in(delta_s: u64) -> u64 {
    (delta_s + SECONDS_PER_BLOCK - 1) / SECONDS_PER_BLOCK
}
