//! A batch that is solved, changed a little, and solved again from where it was.

use keeper_types::{JobId, WorkerId};

use super::{
    MAX_PRICE, Solution,
    auction::auction,
    augment,
    by_column::ByColumn,
    instance::{Instance, InstanceError, JobScores, NONE},
    meet,
    search::{self, Goal, Outcome},
    state::State,
};

/// Holds a batch with its prices. Every solution is optimal, whatever was solved before it.
///
/// The same batch solved from nothing gives the same solution, bit for bit. A solution that starts from the last
/// one has the same score, but where several assignments are optimal it may be another of them; it is the same
/// whenever the same changes are made in the same order.
#[derive(Clone, Debug)]
pub struct Matcher {
    instance: Instance,
    state: State,
    /// Rows by ascending job id: who comes first on a tie.
    order: Vec<u32>,
    by_column: ByColumn,
    pace: Pace,
}

/// When a batch that was changed is searched in another way.
#[derive(Clone, Copy, Debug)]
struct Pace {
    /// Where fewer than one row in so many is free, each looks for its way alone: searched from together, every phase
    /// would go through the surroundings of all of them again.
    few_free: usize,
    /// Rows that such a search goes through until it goes on from both ends.
    patience: usize,
}

const PACE: Pace = Pace { few_free: 16, patience: 100 };

/// The auction's steps. Prices are guessed well enough that larger ones only spoil them.
const STEPS: [i16; 4] = [64, 16, 4, 1];

/// By how many steps prices are lowered at most where slots are scarce.
const SHIFT_STEPS: i16 = 32;
/// How many of the largest steps below the price that leaves the right number of jobs out the auction starts.
const STEPS_BELOW: i16 = 4;

impl Matcher {
    /// Takes a batch; nothing is assigned yet.
    pub fn new(instance: Instance) -> Self {
        let (state, by_column) = (State::new(&instance), ByColumn::default());
        let mut matcher = Self { state, instance, order: Vec::new(), by_column, pace: PACE };
        matcher.forget();
        matcher
    }

    /// The batch as it is now.
    pub fn instance(&self) -> &Instance {
        &self.instance
    }

    /// Solves the batch from nothing.
    pub fn solve(&mut self) -> Solution {
        self.forget();
        self.sort_rows();
        self.guess_prices();
        for step in STEPS {
            self.lower_prices(step);
            auction(&mut self.state, &self.instance, &self.order, step);
        }
        self.free_loose_rows();
        self.settle(usize::MAX);
        Solution::of(&self.instance, &self.state)
    }

    /// Solves the batch from the last prices and assignment.
    pub fn resolve(&mut self) -> Solution {
        self.sort_rows();
        self.level_prices();
        self.state.narrow(&self.order);
        self.settle(if ByColumn::is_worth_it(&self.instance) { self.pace.patience } else { usize::MAX });
        Solution::of(&self.instance, &self.state)
    }

    /// Takes jobs out and puts others in.
    ///
    /// # Errors
    /// Names the first job that is not in the batch, or whose scores are malformed. What came before it is done.
    pub fn replace(&mut self, gone: &[JobId], new: &[JobScores]) -> Result<(), InstanceError> {
        for &job_id in gone {
            let row = self.instance.remove(job_id)?;
            self.by_column.change(row);
            self.state.unlink(row);
        }
        for job in new {
            let row = self.instance.insert(job)?;
            self.by_column.change(row);
            self.state.grow_to(self.instance.rows().len());
            self.state.read(row, &self.instance.rows()[row as usize]);
        }
        Ok(())
    }

    /// Changes how many slots a worker has. Whoever has to go is placed again by the next solution.
    ///
    /// # Errors
    /// The batch does not have the worker.
    pub fn set_slots(&mut self, worker_id: WorkerId, slots: u32) -> Result<(), InstanceError> {
        let column = self.instance.set_slots(worker_id, slots).ok_or(InstanceError::NoSuchWorker { worker_id })?;
        self.state.slots[column as usize] = slots;
        while self.state.load[column as usize] > slots {
            let row = self.state.tail[column as usize];
            self.state.unlink(row);
        }
        Ok(())
    }

    /// Each row that is free when the batch is solved again looks for its way alone, from both ends after `patience` rows.
    #[cfg(test)]
    pub(super) fn meet_after(&mut self, patience: usize) {
        self.pace = Pace { few_free: 0, patience };
    }

    fn forget(&mut self) {
        self.state = State::new(&self.instance);
        for (price, &slots) in self.state.price.iter_mut().zip(self.instance.slots()) {
            if slots == 0 {
                *price = MAX_PRICE;
            }
        }
    }

    /// Starts from what a slot is worth to the average job, where the jobs are enough to fill every slot.
    ///
    /// Scores that come from a few properties are much the same for every job up to what suits the average one,
    /// so this leaves the auction little more than each job's own preferences.
    fn guess_prices(&mut self) {
        let (slots, jobs) = (self.slot_count(), self.order.len() as u64);
        if slots > jobs {
            return;
        }
        let mut sums = vec![0_u64; self.state.price.len()];
        for &row in &self.order {
            self.instance.rows()[row as usize].add_to(&mut sums);
        }
        let lowest = sums.iter().copied().min().unwrap_or_default();
        for ((price, sum), &slots) in self.state.price.iter_mut().zip(sums).zip(self.instance.slots()) {
            if slots > 0 {
                *price = i16::try_from((sum - lowest) / jobs.max(1)).expect("a mean of scores is no higher than they");
            }
        }
        for &row in &self.order {
            self.state.survey(row, &self.instance.rows()[row as usize]);
        }
        let mut values: Vec<i16> = self.order.iter().map(|&row| self.state.value[row as usize]).collect();
        let out = usize::try_from(jobs - slots).expect("no more than the jobs");
        if out > 0 {
            let (_, level, _) = values.select_nth_unstable(out - 1);
            let level = *level - STEPS_BELOW * STEPS[0];
            if level > 0 {
                self.state.shift_prices(level);
            }
        }
    }

    /// Lowers all prices together, where a slot was left empty although it has a price; only by some steps where
    /// jobs have to be left out, since that alone keeps prices up.
    fn lower_prices(&mut self, step: i16) {
        if !self.state.is_overpriced() {
            return;
        }
        let lowest = self.state.price.iter().copied().min().unwrap_or(0);
        let is_scarce = self.order.len() as u64 > self.slot_count();
        self.state.shift_prices(-if is_scarce { lowest.min(step * SHIFT_STEPS) } else { lowest });
    }

    /// Lowers all prices together as far as they go, where every job can be placed: a search would otherwise come to
    /// jobs that can do without a slot at these prices, and another would have to lower them again.
    fn level_prices(&mut self) {
        let slots = self.state.slots.iter().zip(&self.state.price);
        let lowest = slots.filter(|(slots, _)| **slots > 0).map(|(_, &price)| price).min().unwrap_or(0);
        let state = &mut self.state;
        let is_left_out = |row: &u32| state.value[*row as usize] == 0 && state.column[*row as usize] == NONE;
        if lowest == 0 || self.order.iter().any(is_left_out) {
            return;
        }
        state.shift_prices(-lowest);
        for &row in &self.order {
            state.value[row as usize] += lowest;
        }
    }

    fn slot_count(&self) -> u64 {
        self.instance.slots().iter().map(|&slots| u64::from(slots)).sum()
    }

    fn sort_rows(&mut self) {
        self.order.clear();
        self.order.extend(self.instance.jobs().map(|(_, row)| row));
    }

    /// After the auction: exact values, and no slot for a row that would gain more elsewhere.
    fn free_loose_rows(&mut self) {
        let state = &mut self.state;
        for &row in &self.order {
            state.refresh(row, &self.instance.rows()[row as usize]);
            let (value, column) = (state.value[row as usize], state.column[row as usize]);
            if column != NONE {
                let gain = self.instance.rows()[row as usize].score(column) - state.price[column as usize];
                if gain < value {
                    state.unlink(row);
                }
            }
        }
    }

    /// Until every row is placed where it gains most or gains nothing, and every slot is held or costs nothing.
    ///
    /// It ends: a phase that places rows leaves fewer of them free, and none becomes free in it; a phase that fills
    /// slots moves a row into a slot that has a price, or lowers a price to 0 for good. So there are at most twice
    /// as many phases as rows, and one more for every column.
    fn settle(&mut self, patience: usize) {
        let (state, instance, order) = (&mut self.state, &self.instance, &self.order);
        let is_free = |row: &u32| state.value[*row as usize] > 0 && state.column[*row as usize] == NONE;
        let mut waiting: Vec<u32> = order.iter().copied().filter(is_free).collect();
        let is_alone = waiting.len() * self.pace.few_free < order.len();
        let (together, patience) = if is_alone { (1, patience) } else { (waiting.len(), usize::MAX) };
        state.list_open();
        let mut phases = 0;
        while !waiting.is_empty() {
            state.free = waiting.split_off(waiting.len() - together);
            loop {
                let free = state.free.len();
                match search::reprice(state, instance, order, Goal::PlaceRows, patience) {
                    Outcome::Idle => break,
                    Outcome::Paused(pause) => meet::place_row(state, instance, &mut self.by_column, pause),
                    Outcome::Reached if is_alone => augment::place_row(state),
                    Outcome::Reached => augment::place_rows(state),
                }
                debug_assert!(state.free.len() < free, "a phase placed nobody");
                phases += 1;
            }
        }
        while search::reprice(state, instance, order, Goal::FillSlots, usize::MAX) == Outcome::Reached {
            augment::fill_slots(state, order);
            phases += 1;
            debug_assert!(phases <= 2 * order.len() + state.price.len(), "{phases} phases");
        }
    }
}
