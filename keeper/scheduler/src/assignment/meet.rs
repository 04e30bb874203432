//! The search from both ends: the row looks for an empty slot while the empty slots look for the row.
//!
//! Pairs without slack tie most rows of a large batch together. A search that gets into that crowd goes through all
//! of it at once, and so does one that comes from the slots; but the way out is short on either side. From both ends
//! each side goes as far as the crowd, and they meet a little way into it.
//!
//! Let everything nearer than `from_rows` to the row be reached from there, and everything nearer than `from_slots` to a
//! slot from here. Once a way is found that is no longer than both together, none is shorter (Pohl 1971). Then what
//! was reached from the row pays more, as in a search from one end, and what was reached from the slots pays less: its
//! columns cost less, its rows gain more.

use super::{
    MAX_PRICE,
    blocks::{Fall, each_within},
    buckets::Buckets,
    by_column::ByColumn,
    instance::{Edge, Instance, NONE},
    search::{self, Pause, UNREACHED, WIDEN},
    state::State,
};

/// What the search from the slots needs; kept to save allocations.
#[derive(Clone, Debug, Default)]
pub(super) struct FromSlots {
    /// Columns with an empty slot.
    pub(super) open: Vec<u32>,
    row_distance: Vec<i16>,
    column_distance: Vec<i16>,
    /// The column that a row would go to, and the row that would leave a column for that.
    next_column: Vec<u32>,
    leaver: Vec<u32>,
    rows: Vec<u32>,
    columns: Vec<u32>,
    buckets: Buckets,
    /// Pairs that their rows may have to look at now.
    lifted: Vec<(u32, Edge)>,
    moves: Vec<(u32, u32)>,
}

/// Marks an entry of the queue that means: look this column through once more, further out.
const AGAIN: u32 = 1 << 31;
/// How far out a column is looked through at first.
const NEAR: i16 = 8;
/// How many rows are left in the time that a column is looked through.
const ROWS_PER_COLUMN: usize = 12;
/// Further than any way is long.
const NO_WAY: i16 = 3 * MAX_PRICE;

/// A search from both ends on its way.
struct Ends<'a> {
    state: &'a mut State,
    instance: &'a Instance,
    by_column: &'a mut ByColumn,
    /// Everything nearer than this is reached, from the row and from the slots.
    from_rows: i16,
    from_slots: i16,
    /// The side of the slots comes no further: a price would fall below 0, or a row that is left out gain something.
    end: i16,
    is_at_end: bool,
    /// What the row gains: it can be without a slot itself, so no way is longer.
    longest: i16,
    /// The shortest way found to a slot, and the pair where it goes from one side to the other.
    shortest: i16,
    pair: (u32, u32),
    /// How far the nearest row is that can be without a slot; it is the search's goal row.
    leaving: i16,
    /// What was spent on either side, in rows.
    rows_work: usize,
    slots_work: usize,
}

/// Goes on with the search from the only free row, from both ends, and places the row.
pub(super) fn place_row(state: &mut State, instance: &Instance, by_column: &mut ByColumn, pause: Pause) {
    by_column.prepare(instance);
    let longest = state.free.iter().map(|&row| state.value[row as usize]).max().unwrap_or(0);
    let goal = state.search.goal_column;
    let is_open = goal != NONE;
    let mut ends = Ends {
        from_rows: pause.distance,
        from_slots: 0,
        end: longest,
        is_at_end: false,
        longest,
        shortest: if is_open { pause.limit } else { NO_WAY },
        pair: if is_open { (state.search.parent[goal as usize], goal) } else { (NONE, NONE) },
        leaving: if is_open { NO_WAY } else { pause.limit },
        rows_work: state.search.rows.len(),
        slots_work: 0,
        state,
        instance,
        by_column,
    };
    ends.start();
    while ends.from_rows + ends.from_slots < ends.limit() {
        if !ends.is_at_end && ends.slots_work <= ends.rows_work {
            ends.step_from_slots();
        } else {
            ends.step_from_rows();
        }
    }
    let is_left_out = ends.leaving < ends.shortest;
    if is_left_out {
        // No slot is as near. The row that gives its own up has to pay all of the way.
        ends.from_slots = 0;
        while ends.from_rows < ends.leaving {
            ends.step_from_rows();
        }
    } else {
        ends.list_lifted();
        ends.settle_distances();
    }
    ends.raise();
    ends.lower();
    ends.admit_lifted();
    ends.augment(is_left_out);
}

impl Ends<'_> {
    /// No shorter way than this was found.
    fn limit(&self) -> i16 {
        self.shortest.min(self.leaving)
    }

    fn start(&mut self) {
        let (state, longest) = (&mut *self.state, self.longest);
        let side = &mut state.from_slots;
        side.row_distance.clear();
        side.row_distance.resize(state.value.len(), UNREACHED);
        side.next_column.resize(state.value.len(), NONE);
        side.column_distance.clear();
        side.column_distance.resize(state.price.len(), UNREACHED);
        side.leaver.resize(state.price.len(), NONE);
        side.rows.clear();
        side.columns.clear();
        side.lifted.clear();
        side.buckets.reset(longest);
        side.open.retain(|&column| state.load[column as usize] < state.slots[column as usize]);
        for &column in &side.open {
            side.column_distance[column as usize] = 0;
            side.leaver[column as usize] = NONE;
            side.columns.push(column);
            side.buckets.push(0, column | AGAIN);
            self.end = self.end.min(state.price[column as usize]);
        }
    }

    fn step_from_slots(&mut self) {
        match self.state.from_slots.buckets.pop(self.from_slots) {
            Some(entry) if entry & AGAIN != 0 => self.look_through(entry & !AGAIN),
            Some(row) => self.reach_row(row),
            None if self.from_slots >= self.end => self.is_at_end = true,
            None => self.from_slots += 1,
        }
    }

    /// Offers a distance to the rows that would take a slot of the column with little loss.
    fn look_through(&mut self, column: u32) {
        self.slots_work += ROWS_PER_COLUMN;
        let (state, index) = (&mut *self.state, column as usize);
        let (side, search, values) = (&mut state.from_slots, &state.search, &state.value[..]);
        let distance = side.column_distance[index];
        let before = self.from_slots - distance;
        let most = self.shortest.min(self.leaving) - self.from_rows - distance - 1;
        let width = most.min(before + before / 2 + NEAR);
        let price = state.price[index];
        let scores = self.by_column.column(self.instance, column);
        each_within(values, scores, width - price, |row| {
            let place = row as usize;
            let reached = distance + price + (values[place] - scores[place]);
            if scores[place] == 0 || reached >= side.row_distance[place] {
                return;
            }
            side.row_distance[place] = reached;
            side.next_column[place] = column;
            let whole = reached.saturating_add(search.row_distance[place]);
            if whole < self.shortest {
                self.shortest = whole;
                self.pair = (row, column);
            }
            side.buckets.push(reached, row);
        });
        if width < most {
            side.buckets.push(distance + width + 1, column | AGAIN);
        }
    }

    /// The row would leave its column for the one it was reached from.
    fn reach_row(&mut self, row: u32) {
        let (state, distance) = (&mut *self.state, self.from_slots);
        let side = &mut state.from_slots;
        if side.row_distance[row as usize] != distance {
            return;
        }
        side.rows.push(row);
        let column = state.column[row as usize];
        if column == NONE {
            // A row that waits for a slot may well gain more, one that is left out may not gain anything.
            if state.value[row as usize] == 0 {
                self.end = distance;
            }
            return;
        }
        let index = column as usize;
        if side.column_distance[index] != UNREACHED {
            return;
        }
        side.column_distance[index] = distance;
        side.leaver[index] = row;
        side.columns.push(column);
        self.end = self.end.min(distance + state.price[index]);
        let from_row = state.search.ceiling[index] + state.price[index];
        if from_row < self.longest && distance + from_row < self.shortest {
            self.shortest = distance + from_row;
            self.pair = (state.search.parent[index], column);
        }
        self.look_through(column);
    }

    fn step_from_rows(&mut self) {
        if let Some(row) = self.state.search.stack.pop() {
            self.leave_row(row);
            return;
        }
        match self.state.search.buckets.pop(self.from_rows) {
            Some(entry) if entry & WIDEN != 0 => {
                let row = entry & !WIDEN;
                self.state.widen(row, &self.instance.rows()[row as usize]);
                self.state.search.stack.push(row);
            }
            Some(column) => search::enter_column(self.state, column, self.from_rows),
            None => self.from_rows += 1,
        }
    }

    /// As in a search from one end, but columns that were reached from the slots are as good as slots.
    fn leave_row(&mut self, row: u32) {
        self.rows_work += 1;
        let (state, index, now) = (&mut *self.state, row as usize, self.from_rows);
        let (search, other) = (&mut state.search, &state.from_slots.column_distance[..state.price.len()]);
        let distance = search.row_distance[index];
        let reach = distance + state.value[index];
        if reach < self.leaving {
            self.leaving = reach;
            search.goal_row = row;
        }
        if now == distance && search.rows.last() != Some(&row) {
            search.rows.push(row);
        }
        let mut limit = self.shortest.min(self.leaving);
        for edge in state.candidates[index].as_slice() {
            let column = edge.column as usize;
            let arrival = reach - edge.score;
            if arrival >= search.ceiling[column] {
                continue;
            }
            let offered = arrival + state.price[column];
            let whole = offered.saturating_add(other[column]);
            if whole < self.shortest {
                self.shortest = whole;
                self.pair = (row, edge.column);
                limit = limit.min(whole);
            }
            if offered < limit {
                search.ceiling[column] = arrival;
                search.parent[column] = row;
                search.buckets.push(offered, edge.column);
            }
        }
        let rest = reach.saturating_sub(state.bound[index]).max(now);
        if rest < limit && state.bound[index] > -MAX_PRICE {
            search.buckets.push(rest, row | WIDEN);
        }
    }

    /// Lists the pairs that gain more than their row's bounds say, once columns cost less.
    fn list_lifted(&mut self) {
        let state = &mut *self.state;
        for place in 0..state.from_slots.columns.len() {
            let column = state.from_slots.columns[place];
            let by = self.from_slots - state.from_slots.column_distance[column as usize];
            if by <= 0 {
                continue;
            }
            let fall = Fall { price: state.price[column as usize] - by, by };
            let scores = self.by_column.column(self.instance, column);
            fall.each_lifted(scores, &state.bound, &state.pool_bound, |row| {
                let score = scores[row as usize];
                if score > 0 {
                    state.from_slots.lifted.push((row, Edge { column, score }));
                }
            });
        }
    }

    /// Settles how far each side counts: together as far as the shortest way.
    ///
    /// A pair that is no candidate and that its column was not looked through for is too far for either side by itself,
    /// but the way through it may be the shortest. It would have a negative slack after the change, so the row would
    /// gain more than its bound: it is among the pairs just listed.
    fn settle_distances(&mut self) {
        let state = &*self.state;
        for &(row, edge) in &state.from_slots.lifted {
            let from_row = state.search.row_distance[row as usize];
            if from_row < self.from_rows {
                let slack = state.value[row as usize] + state.price[edge.column as usize] - edge.score;
                let whole = from_row + slack + state.from_slots.column_distance[edge.column as usize];
                if whole < self.shortest {
                    self.shortest = whole;
                    self.pair = (row, edge.column);
                }
            }
        }
        self.from_slots = self.from_slots.min(self.shortest);
        self.from_rows = self.shortest - self.from_slots;
    }

    /// What was reached from the row pays more.
    fn raise(&mut self) {
        let state = &mut *self.state;
        for &column in &state.search.columns {
            let price = &mut state.price[column as usize];
            *price = (*price).max(self.from_rows - state.search.ceiling[column as usize]);
        }
        for &row in &state.search.rows {
            let reached = std::mem::replace(&mut state.search.row_distance[row as usize], self.from_rows);
            state.value[row as usize] -= (self.from_rows - reached).max(0);
        }
    }

    /// What was reached from the slots pays less.
    fn lower(&mut self) {
        let state = &mut *self.state;
        for &column in &state.from_slots.columns {
            let reached = state.from_slots.column_distance[column as usize];
            state.price[column as usize] -= (self.from_slots - reached).max(0);
        }
        for &row in &state.from_slots.rows {
            let reached = state.from_slots.row_distance[row as usize];
            state.value[row as usize] += (self.from_slots - reached).max(0);
        }
    }

    /// Makes the pairs candidates, or lifts their row's bound.
    fn admit_lifted(&mut self) {
        let state = &mut *self.state;
        for &(row, edge) in &state.from_slots.lifted {
            let index = row as usize;
            let gain = edge.score - state.price[edge.column as usize];
            let candidates = &mut state.candidates[index];
            if gain > state.bound[index] && !candidates.as_slice().contains(&edge) && !candidates.push(edge) {
                state.bound[index] = gain;
            }
            if gain > state.pool_bound[index] && !state.pool[index].contains(&edge) {
                state.pool_bound[index] = gain;
            }
        }
    }

    /// Moves every row on the way, the one at the slot first.
    fn augment(&mut self, is_left_out: bool) {
        let state = &mut *self.state;
        state.free.clear();
        if is_left_out {
            state.search.goal_column = NONE;
            super::augment::place_row(state);
            return;
        }
        let side = &mut state.from_slots;
        let (row, column) = self.pair;
        side.moves.clear();
        side.moves.push((row, column));
        let mut column = column;
        while side.leaver[column as usize] != NONE {
            let row = side.leaver[column as usize];
            column = side.next_column[row as usize];
            side.moves.push((row, column));
        }
        let mut given_up = NONE;
        while let Some((row, column)) = state.from_slots.moves.pop() {
            given_up = state.column[row as usize];
            state.unlink(row);
            state.link(row, column);
        }
        state.search.goal_column = given_up;
        if given_up != NONE {
            super::augment::place_row(state);
        }
    }
}
