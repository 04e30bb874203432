//! Augmentation: along pairs without slack, as many rows as find a way get a slot, each way apart from the others.
//!
//! A way goes from a row to a column where it gains most, on to a row that holds one of its slots and has to give
//! it up, and so forth, as in Hopcroft and Karp's method. No column is entered twice in a phase.

use super::{instance::NONE, search::Goal, state::State};

/// Places what free rows it can; the others stay free.
pub(super) fn place_rows(state: &mut State) {
    start(state);
    let mut free = std::mem::take(&mut state.free);
    free.retain(|&row| state.value[row as usize] > 0 && !follow(state, row, Goal::PlaceRows));
    state.free = free;
}

/// Places the only row that was searched from, back along the way that the search came.
pub(super) fn place_row(state: &mut State) {
    state.free.clear();
    let mut column = state.search.goal_column;
    if column == NONE {
        let behind = state.search.goal_row;
        column = state.column[behind as usize];
        state.unlink(behind);
    }
    while column != NONE {
        let row = state.search.parent[column as usize];
        let given_up = state.column[row as usize];
        state.unlink(row);
        state.link(row, column);
        column = given_up;
    }
}

/// Fills open slots that have a price, by rows that were left out or that hold what costs nothing.
pub(super) fn fill_slots(state: &mut State, order: &[u32]) {
    start(state);
    for &row in order {
        let column = state.column[row as usize];
        if column == NONE {
            follow(state, row, Goal::FillSlots);
        } else if state.price[column as usize] == 0 {
            // The slot that is given up costs nothing, so it may stay empty.
            state.search.is_seen[column as usize] = true;
            follow(state, row, Goal::FillSlots);
        }
    }
}

fn start(state: &mut State) {
    let search = &mut state.search;
    search.is_seen.clear();
    search.is_seen.resize(state.price.len(), false);
    search.column_cursor.resize(state.price.len(), NONE);
    search.row_cursor.clear();
    search.row_cursor.resize(state.value.len(), 0);
}

/// Looks for a way from the row, depth first, and moves every row on it.
fn follow(state: &mut State, start: u32, goal: Goal) -> bool {
    state.search.path.clear();
    let mut row = start;
    loop {
        if let Some(column) = next_tight(state, row) {
            state.search.path.push((row, column));
            let is_priced = state.price[column as usize] > 0;
            if state.has_room(column) && (goal == Goal::PlaceRows || is_priced) {
                shift(state, NONE);
                return true;
            }
            state.search.column_cursor[column as usize] = state.head[column as usize];
        } else if !step_back(state) {
            return false;
        }
        // The path ends in a column: on to the next row that holds a slot of it.
        let Some(&(parent, column)) = state.search.path.last() else { return false };
        let holder = state.search.column_cursor[column as usize];
        if holder == NONE {
            state.search.path.pop();
            row = parent;
        } else if goal == Goal::PlaceRows && state.value[holder as usize] == 0 {
            shift(state, holder);
            return true;
        } else {
            row = holder;
        }
    }
}

/// The row was in vain: its column's next holder is to be tried. False at the start of the path.
fn step_back(state: &mut State) -> bool {
    let Some(&(_, column)) = state.search.path.last() else { return false };
    let holder = state.search.column_cursor[column as usize];
    state.search.column_cursor[column as usize] = state.next[holder as usize];
    true
}

/// The row's next candidate without slack that nothing went through yet.
fn next_tight(state: &mut State, row: u32) -> Option<u32> {
    let cursor = &mut state.search.row_cursor[row as usize];
    let value = state.value[row as usize];
    while let Some(edge) = state.candidates[row as usize].as_slice().get(*cursor as usize) {
        *cursor += 1;
        let column = edge.column as usize;
        if edge.score - state.price[column] == value && !state.search.is_seen[column] {
            state.search.is_seen[column] = true;
            return Some(edge.column);
        }
    }
    None
}

/// Moves every row of the path to its column, the last first; the row behind the path is left without.
fn shift(state: &mut State, behind: u32) {
    if behind != NONE {
        state.unlink(behind);
    }
    while let Some((row, column)) = state.search.path.pop() {
        state.unlink(row);
        state.link(row, column);
    }
}
