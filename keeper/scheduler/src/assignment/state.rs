//! What the method works on: prices of columns, values of rows, and who holds a slot of whom.
//!
//! Between two steps this always holds: `value[row] + price[column] >= score` for every pair that fits (rows that
//! were just put in excepted), nothing is negative, and once [`State::free_loose_rows`] ran, it holds with equality
//! for every pair that is assigned.

use super::{
    MAX_PRICE,
    blocks::{BLOCK, each_place, within},
    buckets::Buckets,
    candidates::{AT_HAND, Candidates},
    instance::{Edge, Instance, NONE, Row},
    meet::FromSlots,
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
    pub(super) candidates: Vec<Candidates>,
    pub(super) bound: Vec<i16>,
    /// By how much less than the best a column may gain and still become a candidate; follows the batch.
    pub(super) width: i16,
    /// Where the row gains less, too, as far as it was ever looked through for more candidates; everywhere else it
    /// gains at most `pool_bound`. More candidates are looked for here first, not among all scores.
    pub(super) pool: Vec<Vec<Edge>>,
    pub(super) pool_bound: Vec<i16>,
    /// As `width`, for the pool.
    pool_width: i16,

    /// Rows with a value above 0 that hold nothing.
    pub(super) free: Vec<u32>,

    pub(super) search: Search,
    pub(super) from_slots: FromSlots,
    block_best: Vec<i16>,
    /// What was just listed; as long as there are columns, and one more.
    found: Vec<Edge>,
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
    /// The row from which a column was reached, and where the search ended: in a column with an open slot, or else
    /// in a row that can be without one.
    pub(super) parent: Vec<u32>,
    pub(super) goal_column: u32,
    pub(super) goal_row: u32,
    pub(super) column_cursor: Vec<u32>,
    pub(super) path: Vec<(u32, u32)>,
}

/// How many candidates a row should have. Fewer are looked up again sooner, more cost more at every look.
const FEW: usize = 2;
const MANY: usize = 4;
const FIRST_WIDTH: i16 = 64;
/// By how much the bound is lowered at least where more candidates are looked for, and how far below the value it is
/// set where a row gives some up.
const STEP: i16 = 16;
/// As `FEW` and `MANY`, for the pool.
const POOL_FEW: usize = 24;
const POOL_MANY: usize = 64;
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
            pool_width: FIRST_WIDTH,
            found: vec![Edge { column: NONE, score: 0 }; columns + 1],
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
        self.candidates.resize(rows, Candidates::NONE);
        self.bound.resize(rows, MAX_PRICE);
        self.pool.resize(rows, Vec::new());
        self.pool_bound.resize(rows, MAX_PRICE);
    }

    /// Takes up the scores of a row that is new.
    pub(super) fn read(&mut self, row: u32, scores: &Row) {
        self.pool[row as usize].clear();
        self.pool_bound[row as usize] = MAX_PRICE;
        self.survey(row, scores);
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

    /// Lists the columns with an empty slot, for searches that come from there.
    pub(super) fn list_open(&mut self) {
        let is_open = |column: &u32| self.load[*column as usize] < self.slots[*column as usize];
        self.from_slots.open.clear();
        self.from_slots.open.extend((0..).take(self.price.len()).filter(is_open));
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
        for bound in self.bound.iter_mut().chain(&mut self.pool_bound) {
            // Where a price is at its highest already nothing is gained, but not less than before either.
            *bound = bound.saturating_sub(by).max(0.min(*bound));
        }
    }

    /// Looks the row's scores through: sets its value, its candidates and their bound to the prices of now.
    pub(super) fn survey(&mut self, row: u32, scores: &Row) {
        let best = self.best(scores);
        self.value[row as usize] = best.max(0);
        if best <= 0 {
            self.candidates[row as usize].set(&[]);
            self.bound[row as usize] = best;
            return;
        }
        loop {
            let least = best - self.width;
            let found = self.collect(scores, least);
            self.candidates[row as usize].set(&self.found[..found]);
            self.bound[row as usize] = least - 1;
            match found {
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
        let best = self.candidates[row as usize].as_slice().iter().map(|&edge| self.gain(edge)).fold(0, i16::max);
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
        let gap = self.value[index] - before;
        let width = gap.saturating_add(STEP.max(gap / 2)).min(MAX_WIDTH);
        if self.pool_bound[index] >= before {
            self.fill_pool(row, scores, width);
        }
        let least = (self.value[index] - width).max(self.pool_bound[index] + 1);
        // What is there stays: the search may already have come by it. Everything above the bound is there.
        let known = self.candidates[index].as_slice();
        let mut found = known.len();
        self.found[..found].copy_from_slice(known);
        for &edge in &self.pool[index] {
            let gain = edge.score - self.price[edge.column as usize];
            self.found[found] = edge;
            found += usize::from((least..=before).contains(&gain) && !known.contains(&edge));
        }
        self.candidates[index].set(&self.found[..found]);
        self.bound[index] = least - 1;
        debug_assert!(self.bound[index] < before, "the bound of row {row} stayed at {before}");
    }

    /// Gives up most candidates of rows that a search far out left with too many to be at hand.
    pub(super) fn narrow(&mut self, order: &[u32]) {
        for index in order.iter().map(|&row| row as usize) {
            let least = self.value[index] - STEP;
            let candidates = self.candidates[index].as_slice();
            if candidates.len() > AT_HAND && least > self.bound[index] {
                let found = list(&mut self.found, candidates, &self.price, least);
                self.candidates[index].set(&self.found[..found]);
                self.bound[index] = least - 1;
            }
        }
    }

    /// Looks the row's scores through for whatever gains at most `width` less than its value, or somewhat more.
    fn fill_pool(&mut self, row: u32, scores: &Row, width: i16) {
        let index = row as usize;
        let width = width.max(self.pool_width);
        let least = self.value[index] - width;
        self.best(scores);
        let found = self.collect(scores, least);
        self.pool[index].clear();
        self.pool[index].extend_from_slice(&self.found[..found]);
        match found {
            found if found > POOL_MANY => self.pool_width = (self.pool_width - self.pool_width / 4 - 1).max(1),
            found if found < POOL_FEW => self.pool_width = self.pool_width.saturating_mul(2).min(MAX_WIDTH),
            _ => {}
        }
        self.pool_bound[index] = least - 1;
    }

    /// The most that the row gains; remembers the best of every block.
    fn best(&mut self, scores: &Row) -> i16 {
        match scores {
            Row::Dense(scores) => {
                let (scores, last_scores) = scores.as_chunks();
                let (prices, last_prices) = self.price.as_chunks();
                self.block_best.clear();
                self.block_best.extend(scores.iter().zip(prices).map(|(scores, prices)| best_of_block(scores, prices)));
                let last = last_scores.iter().zip(last_prices).map(|(score, price)| score - price);
                self.block_best.push(last.fold(i16::MIN, i16::max));
                self.block_best.iter().copied().fold(-1, i16::max)
            }
            Row::Sparse(edges) => edges.iter().map(|edge| self.gain(*edge)).fold(-1, i16::max),
        }
    }

    /// Lists the columns where a row gains at least so much, by the best of every block; returns how many.
    fn collect(&mut self, scores: &Row, least: i16) -> usize {
        let scores = match scores {
            Row::Dense(scores) => scores,
            Row::Sparse(edges) => return list(&mut self.found, edges, &self.price, least),
        };
        let mut count = 0;
        let (blocks, last_scores) = scores.as_chunks();
        let (price_blocks, last_prices) = self.price.as_chunks();
        let all = self.block_best.iter().zip(blocks.iter().zip(price_blocks));
        for (first, (best, (scores, prices))) in (0..).step_by(BLOCK).zip(all) {
            if *best >= least {
                each_place(within(prices, scores, -least), first, |column| {
                    let score = scores[(column - first) as usize];
                    self.found[count] = Edge { column, score };
                    count += usize::from(score > 0);
                });
            }
        }
        for (column, (&score, price)) in (0..).skip(blocks.len() * BLOCK).zip(last_scores.iter().zip(last_prices)) {
            self.found[count] = Edge { column, score };
            count += usize::from(score - price >= least && score > 0);
        }
        count
    }

    pub(super) fn gain(&self, edge: Edge) -> i16 {
        edge.score - self.price[edge.column as usize]
    }
}

fn best_of_block(scores: &[i16; BLOCK], prices: &[i16; BLOCK]) -> i16 {
    scores.iter().zip(prices).map(|(score, price)| score - price).fold(i16::MIN, i16::max)
}

/// Lists those of the edges that gain at least so much; returns how many. Without a branch for each, since nobody
/// could foretell it.
fn list(found: &mut [Edge], edges: &[Edge], prices: &[i16], least: i16) -> usize {
    let mut count = 0;
    for &edge in edges {
        found[count] = edge;
        count += usize::from(edge.score - prices[edge.column as usize] >= least);
    }
    count
}
