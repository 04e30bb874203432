//! A batch that is solved, changed a little, and solved again from where it was.

use keeper_types::{JobId, WorkerId};

use super::{
    MAX_PRICE, Solution,
    auction::auction,
    augment,
    instance::{Instance, InstanceError, JobScores, NONE},
    search::{self, Goal},
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
}

/// The auction's steps. Smaller ones would place more rows in better slots, at more bids each.
const STEPS: [i16; 5] = [512, 128, 32, 8, 2];

impl Matcher {
    /// Takes a batch; nothing is assigned yet.
    pub fn new(instance: Instance) -> Self {
        let mut matcher = Self { state: State::new(&instance), instance, order: Vec::new() };
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
        for step in STEPS {
            auction(&mut self.state, &self.instance, &self.order, step);
        }
        self.free_loose_rows();
        self.settle();
        Solution::of(&self.instance, &self.state)
    }

    /// Solves the batch from the last prices and assignment.
    pub fn resolve(&mut self) -> Solution {
        self.sort_rows();
        self.settle();
        Solution::of(&self.instance, &self.state)
    }

    /// Takes jobs out and puts others in.
    ///
    /// # Errors
    /// Names the first job that is not in the batch, or whose scores are malformed. What came before it is done.
    pub fn replace(&mut self, gone: &[JobId], new: &[JobScores]) -> Result<(), InstanceError> {
        for &job_id in gone {
            let row = self.instance.remove(job_id)?;
            self.state.unlink(row);
        }
        for job in new {
            let row = self.instance.insert(job)?;
            self.state.grow_to(self.instance.rows().len());
            self.state.survey(row, &self.instance.rows()[row as usize]);
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

    fn forget(&mut self) {
        self.state = State::new(&self.instance);
        for (price, &slots) in self.state.price.iter_mut().zip(self.instance.slots()) {
            if slots == 0 {
                *price = MAX_PRICE;
            }
        }
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
    fn settle(&mut self) {
        let (state, instance, order) = (&mut self.state, &self.instance, &self.order);
        let is_free = |row: &u32| state.value[*row as usize] > 0 && state.column[*row as usize] == NONE;
        state.free = order.iter().copied().filter(is_free).collect();
        while search::reprice(state, instance, order, Goal::PlaceRows) {
            augment::place_rows(state);
        }
        while search::reprice(state, instance, order, Goal::FillSlots) {
            augment::fill_slots(state, order);
        }
    }
}
