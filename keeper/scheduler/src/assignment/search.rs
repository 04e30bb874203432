//! The search: how prices must change so that something tight leads to an empty slot.
//!
//! Dijkstra's method from many sources at once, over Dial's queue. The length of a step from a row to a column is
//! the slack of the pair, `value + price - score`; a step from a column to a row that holds one of its slots costs
//! nothing. Pairs that are no candidates are not looked at: they are as far away as the bound of their row says,
//! and a search that gets that far has the row's candidates widened first.

use super::{
    MAX_PRICE,
    instance::{Instance, NONE},
    state::{Search, State},
};

pub(super) const UNREACHED: i16 = i16::MAX;
/// Marks an entry of the queue that means: widen this row.
pub(super) const WIDEN: u32 = 1 << 31;

/// Where a search starts, and what it looks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Goal {
    /// From rows without a slot to a slot that is empty, or to a row that loses nothing by being without one.
    PlaceRows,
    /// From what could be had without loss (rows left out, columns at their price) to an empty slot that has a price.
    FillSlots,
}

/// Where a search stopped that had become long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Pause {
    /// Everything nearer is reached.
    pub(super) distance: i16,
    /// How far the goal is that was found, if no nearer one is.
    pub(super) limit: i16,
}

/// How a search ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// There was nothing to look for.
    Idle,
    /// Values and prices are changed: something tight leads to the goal.
    Reached,
    /// Nothing is changed yet.
    Paused(Pause),
}

/// Finds the shortest distance and changes values and prices by it, unless it goes through more than `patience` rows.
pub(super) fn reprice(state: &mut State, instance: &Instance, order: &[u32], goal: Goal, patience: usize) -> Outcome {
    let limit = start(state, order, goal);
    let Some(limit) = limit else { return Outcome::Idle };
    let distance = match run(state, instance, goal, limit, patience) {
        Ok(distance) => distance,
        Err(pause) => return Outcome::Paused(pause),
    };
    match goal {
        Goal::PlaceRows => raise(state, distance),
        Goal::FillSlots => lower(state, order, distance),
    }
    Outcome::Reached
}

fn start(state: &mut State, order: &[u32], goal: Goal) -> Option<i16> {
    let search = &mut state.search;
    search.row_distance.clear();
    search.row_distance.resize(state.value.len(), UNREACHED);
    search.is_seen.clear();
    search.is_seen.resize(state.price.len(), false);
    search.rows.clear();
    search.columns.clear();
    search.stack.clear();
    search.parent.resize(state.price.len(), NONE);
    (search.goal_column, search.goal_row) = (NONE, NONE);
    match goal {
        Goal::PlaceRows => {
            let (limit, row) = state.free.iter().map(|&row| (state.value[row as usize], row)).min()?;
            search.goal_row = row;
            search.reset_columns(&state.price, limit);
            search.stack.extend(state.free.iter().rev());
            Some(limit)
        }
        Goal::FillSlots => {
            let open = |column: &usize| state.load[*column] < state.slots[*column] && state.price[*column] > 0;
            let limit = (0..state.price.len()).filter(open).map(|column| state.price[column]).min()?;
            search.reset_columns(&state.price, limit);
            for (column, &price) in (0..).zip(&state.price) {
                if price < limit {
                    search.ceiling[column as usize] = 0;
                    search.buckets.push(price, column);
                }
            }
            search.stack.extend(order.iter().rev().filter(|&&row| state.column[row as usize] == NONE));
            Some(limit)
        }
    }
    .inspect(|_| {
        for &row in &state.search.stack {
            state.search.row_distance[row as usize] = 0;
        }
    })
}

impl Search {
    /// Nothing is reached, and nothing from `limit` on will be.
    fn reset_columns(&mut self, prices: &[i16], limit: i16) {
        self.ceiling.clear();
        self.ceiling.extend(prices.iter().map(|price| limit - price));
        self.buckets.reset(limit);
    }
}

/// Reaches everything up to the goal's distance, and returns that, or how far it came within its patience.
fn run(state: &mut State, instance: &Instance, goal: Goal, mut limit: i16, patience: usize) -> Result<i16, Pause> {
    let mut distance = 0;
    while distance < limit {
        if state.search.rows.len() > patience {
            return Err(Pause { distance, limit });
        }
        while let Some(row) = state.search.stack.pop() {
            limit = leave_row(state, row, distance, limit, goal);
        }
        match state.search.buckets.pop(distance) {
            Some(entry) if entry & WIDEN != 0 => {
                let row = entry & !WIDEN;
                state.widen(row, &instance.rows()[row as usize]);
                state.search.stack.push(row);
            }
            Some(column) => enter_column(state, column, distance),
            None => distance += 1,
        }
    }
    Ok(limit)
}

/// Offers the row's candidates a distance; returns the goal's, which may have come closer.
fn leave_row(state: &mut State, row: u32, now: i16, mut limit: i16, goal: Goal) -> i16 {
    let index = row as usize;
    let distance = state.search.row_distance[index];
    let reach = distance + state.value[index];
    if goal == Goal::PlaceRows && reach < limit {
        limit = reach;
        (state.search.goal_column, state.search.goal_row) = (NONE, row);
    }
    if now == distance && state.search.rows.last() != Some(&row) {
        state.search.rows.push(row);
    }
    let (search, price, load, slots) = (&mut state.search, &state.price[..], &state.load[..], &state.slots[..]);
    let (ceiling, parent) = (&mut search.ceiling[..price.len()], &mut search.parent[..price.len()]);
    for edge in state.candidates[index].as_slice() {
        let column = edge.column as usize;
        let arrival = reach - edge.score;
        if arrival >= ceiling[column] {
            continue;
        }
        let offered = arrival + price[column];
        if offered >= limit {
            continue;
        }
        ceiling[column] = arrival;
        parent[column] = row;
        if load[column] < slots[column] && (goal == Goal::PlaceRows || price[column] > 0) {
            limit = offered;
            search.goal_column = edge.column;
        } else {
            search.buckets.push(offered, edge.column);
        }
    }
    // Where a row gains nothing it needs no slot, so bounds below 0 rule nothing out.
    let rest = reach.saturating_sub(state.bound[index]).max(now);
    if rest < limit && state.bound[index] > -MAX_PRICE {
        state.search.buckets.push(rest, row | WIDEN);
    }
    limit
}

/// Reaches the rows that hold the column's slots.
pub(super) fn enter_column(state: &mut State, column: u32, distance: i16) {
    let search = &mut state.search;
    let is_current = search.ceiling[column as usize] + state.price[column as usize] == distance;
    if !is_current || std::mem::replace(&mut search.is_seen[column as usize], true) {
        return;
    }
    search.columns.push(column);
    let mut row = state.head[column as usize];
    while row != NONE {
        if search.row_distance[row as usize] == UNREACHED {
            search.row_distance[row as usize] = distance;
            search.stack.push(row);
        }
        row = state.next[row as usize];
    }
}

/// What was reached before the goal pays more: its columns cost more, its rows gain less.
fn raise(state: &mut State, distance: i16) {
    let search = &mut state.search;
    for &column in &search.columns {
        // The old price and what was left of the way from here: distance - (ceiling + price).
        state.price[column as usize] = distance - search.ceiling[column as usize];
    }
    for &row in &search.rows {
        let reached = std::mem::replace(&mut search.row_distance[row as usize], distance);
        state.value[row as usize] -= distance - reached;
    }
}

/// What was reached late or never has been too dear: its columns cost less, its rows gain more.
fn lower(state: &mut State, order: &[u32], distance: i16) {
    for (price, ceiling) in state.price.iter_mut().zip(&state.search.ceiling) {
        *price -= distance.min(ceiling + *price);
    }
    for &row in order {
        state.value[row as usize] += distance.min(state.search.row_distance[row as usize]);
        for bound in [&mut state.bound, &mut state.pool_bound] {
            bound[row as usize] = bound[row as usize].saturating_add(distance);
        }
    }
}
