// SPDX-License-Identifier: MIT

//! What a fault costs a worker's stake, and who gets it. Money is `u128` fri.

use core::cmp::{max, min};
use crate::cdc_pool::types::WorkerFault;

/// What is taken of a stake, and the three parts of it.
#[derive(Copy, Drop, PartialEq, Debug)]
pub struct Slash {
    pub amount: u128,
    pub burned: u128,
    pub to_challenger: u128,
    pub to_client: u128,
}

/// A wrong result costs the penalty, at least the least stake of one slot; not to reveal costs half
/// of that; neither more than the stake. Where it is shared, the challenger and the client get a
/// quarter each, rounded down; the rest is burned, so that nobody gains by being at fault towards
/// itself.
pub fn slash(
    fault: WorkerFault, stake: u128, penalty: u128, min_stake_per_slot: u128, is_shared: bool,
) -> Slash {
    let full = max(penalty, min_stake_per_slot);
    let amount = match fault {
        WorkerFault::Unrevealed => min(stake, full / 2),
        WorkerFault::Wrong => min(stake, full),
    };
    let quarter = if is_shared {
        amount / 4
    } else {
        0
    };
    Slash { amount, burned: amount - 2 * quarter, to_challenger: quarter, to_client: quarter }
}
