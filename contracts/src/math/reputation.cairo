// SPDX-License-Identifier: MIT

//! How outcomes move a worker's reputation, which lies in 0..=1000. Anyone can recompute it from
//! events.

pub const MAX: u16 = 1000;
/// Of a worker that has just registered.
pub const INITIAL: u16 = 500;

/// After a job that was settled: a fiftieth of what is missing to the maximum, rounded up, is
/// added.
pub fn after_settlement(reputation: u16) -> u16 {
    reputation + divide_rounding_up(MAX - reputation, 50)
}

/// After an attempt that the worker gave up: a twentieth, rounded up, is lost.
pub fn after_failure(reputation: u16) -> u16 {
    reputation - divide_rounding_up(reputation, 20)
}

/// After an attempt that the worker let expire: a fifth, rounded up, is lost.
pub fn after_expiry(reputation: u16) -> u16 {
    reputation - divide_rounding_up(reputation, 5)
}

fn divide_rounding_up(dividend: u16, divisor: u16) -> u16 {
    (dividend + divisor - 1) / divisor
}
