//! The auction: a quick way to prices that are nearly right.
//!
//! Every free row bids for the column where it gains most, so much that the column where it gains second most
//! would do as well, and `step` more; it takes a slot that is empty, or the slot of the holder that bid least. A
//! column with all slots held costs what its lowest holder bid. Large steps first, to get far in few bids; then, from
//! the prices reached, smaller ones.

use super::{
    instance::{Instance, NONE},
    state::State,
};

/// So many bids for each row, and the step is doubled: many rows that want the same pay the price in large steps.
const BIDS_PER_STEP: usize = 16;
const MAX_STEP: i16 = 1_024;

/// A round with one size of step. Prices only rise.
///
/// It ends: a bid fills an empty slot, of which none empties again, or takes one from a lower bid, so that what is
/// bid for the column's slots grows by at least 1, up to the highest score for each.
pub(super) fn auction(state: &mut State, instance: &Instance, order: &[u32], mut step: i16) {
    state.unlink_all();
    let rows = instance.rows();
    // The last row of the stack bids next: rows in order, one that was outbid at once.
    let mut waiting: Vec<u32> = order.iter().rev().copied().collect();
    let mut bids = vec![0; rows.len()];
    let mut left = order.len() * BIDS_PER_STEP;
    while let Some(row) = waiting.pop() {
        if left == 0 {
            (left, step) = (order.len() * BIDS_PER_STEP, (step * 2).min(MAX_STEP));
        }
        left -= 1;
        let (mut best, mut second) = two_best(state, row);
        if second <= state.bound[row as usize] {
            state.survey(row, &rows[row as usize]);
            (best, second) = two_best(state, row);
            second = second.max(state.bound[row as usize]).max(0);
        }
        let Some((column, gain)) = best else { continue };
        let score = gain + state.price[column as usize];
        let bid = score.min(score - second + step);
        if !state.has_room(column) {
            let outbid = state.head[column as usize];
            debug_assert!(bids[outbid as usize] < bid, "row {row} bid no more than row {outbid}");
            state.unlink(outbid);
            waiting.push(outbid);
        }
        bids[row as usize] = bid;
        let mut place = state.tail[column as usize];
        while place != NONE && bids[place as usize] > bid {
            place = state.previous[place as usize];
        }
        state.link_after(row, column, place);
        if !state.has_room(column) {
            state.price[column as usize] = bids[state.head[column as usize] as usize];
        }
    }
}

/// The candidate where the row gains most, with the gain, and what it gains where it gains second most.
fn two_best(state: &State, row: u32) -> (Option<(u32, i16)>, i16) {
    let (mut column, mut best, mut second) = (NONE, 0, 0);
    for &edge in state.candidates[row as usize].as_slice() {
        let gain = state.gain(edge);
        if gain > best {
            (column, best, second) = (edge.column, gain, best);
        } else if gain > second {
            second = gain;
        }
    }
    ((column != NONE).then_some((column, best)), second)
}
