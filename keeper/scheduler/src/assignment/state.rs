//! What the method works on: prices of columns, values of rows, and who holds a slot of whom.
//!
//! Between two steps this always holds: `value[row] + price[column] >= score` for every pair that fits (rows that
//! were just put in excepted), nothing is negative, and once [`State::free_loose_rows`] ran, it holds with equality
//! for every pair that is assigned.

use super::{
    MAX_PRICE,
    buckets::Buckets,
    instance::{Edge, Instance, NONE, Row},
};

/// Rows and columns, by index.
#[derive(Clone, Debug, Default)]
pub(super) struct State {
    /// What a slot of the column costs.
    pub(super) price: Vec<i16>,
    pub(super) slots: Vec<u32>,
    /// How many rows hold a slot of the column.
    pub(super) load: Vec<u32>,
    /// A column's holders are a list through `next` and `previous`; during the auction, lowest bid first.
    pub(super) head: Vec<u32>,
    pub(super) tail: Vec<u32>,
    pub(super) next: Vec<u32>,
    pub(super) previous: Vec<u32>,

    /// The column whose slot the row holds.
    pub(super) column: Vec<u32>,
    /// What the row gains at these prices where it gains most.
    pub(super) value: Vec<i16>,
    /// Where the row gains about as much; everywhere else it gains at most `bound`.
    pub(super) candidates: Vec<Vec<Edge>>,
    pub(super) bound: Vec<i16>,
    /// By how much less than the best a column may gain and still become a candidate; follows the batch.
    pub(super) width: i16,

    /// Rows with a value above 0 that hold nothing.
    pub(super) free: Vec<u32>,

    pub(super) search: Search,
    block_best: Vec<i16>,
}

/// What one search needs; kept to save allocations.
#[derive(Clone, Debug, Default)]
pub(super) struct Search {
    pub(super) row_distance: Vec<i16>,
    /// A column's distance less its price: a row comes closer with a distance and value that, less the score, is
    /// below this. One look settles most candidates.
    pub(super) ceiling: Vec<i16>,
    pub(super) rows: Vec<u32>,
    pub(super) columns: Vec<u32>,
    pub(super) stack: Vec<u32>,
    pub(super) buckets: Buckets,
    /// Which columns this phase has been through, and where in a row or a column's holders it stopped.
    pub(super) is_seen: Vec<bool>,
    pub(super) row_cursor: Vec<u32>,
    pub(super) column_cursor: Vec<u32>,
    pub(super) path: Vec<(u32, u32)>,
}

/// Columns whose best is found together, in a loop that compilers turn into vector instructions.
const BLOCK: usize = 32;
/// How many candidates a row should have. Fewer are looked up again sooner, more cost more at every look.
const FEW: usize = 2;
const MANY: usize = 4;
const FIRST_WIDTH: i16 = 64;
/// No difference of gains is larger.
const MAX_WIDTH: i16 = 20_001;

impl State {
    /// Nothing assigned, every price 0.
    pub(super) fn new(instance: &Instance) -> Self {
        let columns = instance.slots().len();
        let mut state = Self {
            price: vec![0; columns],
            slots: instance.slots().to_vec(),
            load: vec![0; columns],
            head: vec![NONE; columns],
            tail: vec![NONE; columns],
            width: FIRST_WIDTH,
            ..Self::default()
        };
        state.grow_to(instance.rows().len());
        state
    }

    /// Makes room for rows up to `rows`.
    pub(super) fn grow_to(&mut self, rows: usize) {
        self.next.resize(rows, NONE);
        self.previous.resize(rows, NONE);
        self.column.resize(rows, NONE);
        self.value.resize(rows, 0);
        self.candidates.resize(rows, Vec::new());
        self.bound.resize(rows, MAX_PRICE);
    }

    pub(super) fn has_room(&self, column: u32) -> bool {
        self.load[column as usize] < self.slots[column as usize]
    }

    /// Gives the row a slot of the column, at the end of its list.
    pub(super) fn link(&mut self, row: u32, column: u32) {
        self.link_after(row, column, self.tail[column as usize]);
    }

    /// Gives the row a slot of the column, in its list behind the row `place` or in front of all.
    pub(super) fn link_after(&mut self, row: u32, column: u32, place: u32) {
        let after = match self.next.get(place as usize) {
            Some(&after) => after,
            None => self.head[column as usize],
        };
        self.previous[row as usize] = place;
        self.next[row as usize] = after;
        *self.next.get_mut(place as usize).unwrap_or(&mut self.head[column as usize]) = row;
        *self.previous.get_mut(after as usize).unwrap_or(&mut self.tail[column as usize]) = row;
        self.column[row as usize] = column;
        self.load[column as usize] += 1;
    }

    /// Takes the row's slot away, if it holds one.
    pub(super) fn unlink(&mut self, row: u32) {
        let column = self.column[row as usize];
        if column == NONE {
            return;
        }
        let (before, after) = (self.previous[row as usize], self.next[row as usize]);
        *self.next.get_mut(before as usize).unwrap_or(&mut self.head[column as usize]) = after;
        *self.previous.get_mut(after as usize).unwrap_or(&mut self.tail[column as usize]) = before;
        self.column[row as usize] = NONE;
        self.load[column as usize] -= 1;
    }

    /// Takes every slot away.
    pub(super) fn unlink_all(&mut self) {
        self.head.fill(NONE);
        self.tail.fill(NONE);
        self.load.fill(0);
        self.column.fill(NONE);
    }

    /// Whether some slot is empty although it has a price.
    pub(super) fn is_overpriced(&self) -> bool {
        (0..self.price.len()).any(|column| self.load[column] < self.slots[column] && self.price[column] > 0)
    }

    /// Changes all prices by the same. None may become negative.
    pub(super) fn shift_prices(&mut self, by: i16) {
        for (price, &slots) in self.price.iter_mut().zip(&self.slots) {
            if slots > 0 {
                *price = (*price + by).min(MAX_PRICE);
            }
        }
        for bound in &mut self.bound {
            // Where a price is at its highest already nothing is gained, but not less than before either.
            *bound = bound.saturating_sub(by).max(0.min(*bound));
        }
    }

    /// Looks the row's scores through: sets its value, its candidates and their bound to the prices of now.
    pub(super) fn survey(&mut self, row: u32, scores: &Row) {
        let best = self.best(scores);
        self.value[row as usize] = best.max(0);
        if best <= 0 {
            self.candidates[row as usize].clear();
            self.bound[row as usize] = best;
            return;
        }
        loop {
            self.collect(row, scores, self.width);
            match self.candidates[row as usize].len() {
                found if found > MANY => self.width = (self.width - self.width / 4 - 1).max(1),
                found if found < FEW => {
                    let is_enough = found > FEW / 2 || self.width >= MAX_WIDTH || best < self.width;
                    self.width = self.width.saturating_mul(2).min(MAX_WIDTH);
                    if !is_enough {
                        continue;
                    }
                }
                _ => {}
            }
            return;
        }
    }

    /// Sets the row's value to the prices of now, from its candidates if they settle it.
    pub(super) fn refresh(&mut self, row: u32, scores: &Row) {
        let best = self.candidates[row as usize].iter().map(|&edge| self.gain(edge)).fold(0, i16::max);
        if best > self.bound[row as usize] {
            self.value[row as usize] = best;
        } else {
            self.survey(row, scores);
        }
    }

    /// Looks for more candidates, where those found do not settle the question.
    ///
    /// The bound falls by at least 1, to below any gain at the latest, so a search asks for this finitely often.
    pub(super) fn widen(&mut self, row: u32, scores: &Row) {
        let index = row as usize;
        let before = self.bound[index];
        let width = (self.value[index] - before).saturating_mul(2).clamp(self.width, MAX_WIDTH);
        self.best(scores);
        self.collect(row, scores, width);
        debug_assert!(self.bound[index] < before, "the bound of row {row} stayed at {before}");
    }

    /// The most that the row gains; remembers the best of every block.
    fn best(&mut self, scores: &Row) -> i16 {
        match scores {
            Row::Dense(scores) => {
                self.block_best.clear();
                let blocks = scores.chunks(BLOCK).zip(self.price.chunks(BLOCK));
                self.block_best.extend(blocks.map(|(scores, prices)| best_of_block(scores, prices)));
                self.block_best.iter().copied().fold(-1, i16::max)
            }
            Row::Sparse(edges) => edges.iter().map(|edge| self.gain(*edge)).fold(-1, i16::max),
        }
    }

    /// Makes candidates of the columns that gain at most `width` less than the row's value.
    fn collect(&mut self, row: u32, scores: &Row, width: i16) {
        let least = self.value[row as usize] - width;
        let mut candidates = std::mem::take(&mut self.candidates[row as usize]);
        candidates.clear();
        match scores {
            Row::Dense(scores) => {
                let blocks = scores.chunks(BLOCK).zip(self.price.chunks(BLOCK));
                for (first, (best, (scores, prices))) in (0..).step_by(BLOCK).zip(self.block_best.iter().zip(blocks)) {
                    if *best < least {
                        continue;
                    }
                    for (column, (&score, price)) in (first..).zip(scores.iter().zip(prices)) {
                        if score - price >= least && score > 0 {
                            candidates.push(Edge { column, score });
                        }
                    }
                }
            }
            Row::Sparse(edges) => candidates.extend(edges.iter().filter(|edge| self.gain(**edge) >= least)),
        }
        self.candidates[row as usize] = candidates;
        self.bound[row as usize] = least - 1;
    }

    pub(super) fn gain(&self, edge: Edge) -> i16 {
        edge.score - self.price[edge.column as usize]
    }
}

fn best_of_block(scores: &[i16], prices: &[i16]) -> i16 {
    scores.iter().zip(prices).map(|(score, price)| score - price).fold(i16::MIN, i16::max)
}
