// SPDX-License-Identifier: MIT

//! How outcomes, and their absence, move a worker's reputation, which lies in 0..=1000. Anyone can
//! recompute it from events.

pub const MAX: u16 = 1000;
/// Of a worker that has just registered; what lies above it decays.
pub const INITIAL: u16 = 500;

/// 30 days, after which a reputation without an outcome decays.
pub const DECAY_PERIOD_S: u64 = 2_592_000;
/// Periods that one decay looks at; later ones are left to the next.
const MAX_DECAY_PERIODS: u64 = 36;

/// What a worker's work came to.
#[derive(Copy, Drop, PartialEq, Debug)]
pub enum Outcome {
    Settled,
    /// The worker gave the attempt up.
    Failed,
    /// The worker let the attempt expire, or did not reveal what it had committed to.
    Expired,
    /// The result was found to be wrong.
    Wrong,
}

/// After an outcome: of a settlement a fiftieth of what is missing to the maximum is added; of a
/// failure a twentieth is lost, of an expiry a fifth, of a wrong result a third; each rounded up.
pub fn after_outcome(reputation: u16, outcome: Outcome) -> u16 {
    match outcome {
        Outcome::Settled => reputation + divide_rounding_up(MAX - reputation, 50),
        Outcome::Failed => reputation - divide_rounding_up(reputation, 20),
        Outcome::Expired => reputation - divide_rounding_up(reputation, 5),
        Outcome::Wrong => reputation - divide_rounding_up(reputation, 3),
    }
}

/// After so many periods without an outcome: in each a tenth, rounded up, of what lies above the
/// initial reputation is lost.
pub fn after_decay(reputation: u16, periods: u64) -> u16 {
    if periods == 0 {
        return reputation;
    }
    let mut reputation = reputation;
    let mut left = periods;
    while left != 0 && reputation > INITIAL {
        reputation -= divide_rounding_up(reputation - INITIAL, 10);
        left -= 1;
    };
    reputation
}

/// Full periods from `since` to `now` (s), as far as one decay looks.
pub fn decay_periods(since: u64, now: u64) -> u64 {
    let periods = (now - since) / DECAY_PERIOD_S;
    if periods > MAX_DECAY_PERIODS {
        MAX_DECAY_PERIODS
    } else {
        periods
    }
}

fn divide_rounding_up(dividend: u16, divisor: u16) -> u16 {
    (dividend + divisor - 1) / divisor
}
