//! The search for the best worker and the next best.

use std::ops::Range;

use keeper_types::{Rate, WorkerId};

use super::{
    arrange::FANOUT,
    index::WorkerIndex,
    node::{Fit, Query, Slot, fit},
};
use crate::{FULL_BPS, ScoreBreakdown, Terms};

/// What was decided for a job that some worker can take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decision {
    /// The best worker's score; the lowest id on a tie.
    pub winner: ScoreBreakdown,
    /// What the best worker asks.
    pub rate: Rate,
    /// The next best worker's score, where another could have had the job.
    pub runner_up: Option<ScoreBreakdown>,
}

/// A total with the worker that has it, the better the larger: on a tie the lower id is better.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Rank(u64);

impl Rank {
    /// Of a weighted sum, for the worker, or for a bound for the lowest id that may have it.
    fn new(sum: u32, id: u32) -> Self {
        let total = (sum / u32::from(FULL_BPS)).min(u32::from(FULL_BPS));
        // One more, so that every rank is above the default, which stands for nobody.
        Self((u64::from(total) + 1) << 32 | u64::from(!id))
    }

    /// The least weighted sum that comes up to the total; 0 for nobody's.
    fn least_sum(self) -> u32 {
        u32::try_from(self.0 >> 32).unwrap_or(u32::MAX).saturating_sub(1).saturating_mul(u32::from(FULL_BPS))
    }
}

/// The best two so far.
#[derive(Clone, Copy, Debug, Default)]
struct BestTwo {
    first: (Rank, u32),
    second: (Rank, u32),
}

impl BestTwo {
    fn consider(&mut self, rank: Rank, place: u32) {
        if rank > self.first.0 {
            self.second = self.first;
            self.first = (rank, place);
        } else if rank > self.second.0 {
            self.second = (rank, place);
        }
    }
}

/// Most jobs exclude nobody or a few, which are looked through faster than they are searched.
const FEW: usize = 16;

/// Whether an ascending list names the worker.
fn is_among(excluded: &[WorkerId], worker_id: WorkerId) -> bool {
    if excluded.len() <= FEW { excluded.contains(&worker_id) } else { excluded.binary_search(&worker_id).is_ok() }
}

impl WorkerIndex {
    /// The best two places for the job, first the best.
    pub(super) fn best_two(&self, query: &Query, excluded: &[WorkerId]) -> Option<(u32, Option<u32>)> {
        let mut best = BestTwo::default();
        self.look_into(self.roots.clone(), query, excluded, &mut best);
        let (rank, place) = best.first;
        (rank != Rank::default()).then(|| (place, (best.second.0 != Rank::default()).then_some(best.second.1)))
    }

    /// Looks into nodes of one level, the best bound first, as long as a bound is above the second best.
    fn look_into(&self, nodes: Range<u32>, query: &Query, excluded: &[WorkerId], best: &mut BestTwo) {
        let mut ranked = [(Rank::default(), 0, 0); FANOUT];
        let mut count = 0;
        let mut fit = Fit::NONE;
        for (node, index) in self.nodes[nodes.start as usize..nodes.end as usize].iter().zip(nodes) {
            let Some(sum) = node.bound(query, &self.points, &mut fit) else { continue };
            let bound = Rank::new(sum, node.lowest_id);
            if bound > best.second.0 {
                let mut place = count;
                while place > 0 && ranked[place - 1].0 < bound {
                    ranked[place] = ranked[place - 1];
                    place -= 1;
                }
                ranked[place] = (bound, index, sum);
                count += 1;
            }
        }
        for &(bound, index, sum) in &ranked[..count] {
            if bound <= best.second.0 {
                return;
            }
            if index < self.leaves {
                self.look_through(index, sum, query, excluded, best);
            } else {
                self.look_into(self.nodes[index as usize].below(), query, excluded, best);
            }
        }
    }

    /// Looks at the workers of a leaf that could come up to the second best, where `bound` is the leaf's.
    fn look_through(&self, leaf: u32, bound: u32, query: &Query, excluded: &[WorkerId], best: &mut BestTwo) {
        let node = &self.nodes[leaf as usize];
        let first = node.below().start;
        let points = best.second.0.least_sum().saturating_sub(bound - node.points());
        let mut fit = Fit::NONE;
        for taker in self.columns[leaf as usize].takers(query, points) {
            let slot = &self.slots[(first + taker) as usize];
            if query.allows(slot) {
                let rank = Rank::new(self.sum(slot, query, &mut fit), slot.id);
                if rank > best.second.0 && !is_among(excluded, WorkerId(slot.id)) {
                    best.consider(rank, first + taker);
                }
            }
        }
    }

    fn sum(&self, slot: &Slot, query: &Query, fit: &mut Fit) -> u32 {
        query.age_points
            + slot.points
            + self.points.fit * fit.of(slot.class, &query.sizes, &self.classes[slot.class as usize])
            + self.points.price * query.ceiling.left_by(slot.rate)
            + self.points.fragmentation * slot.fragmentation(query.gpus)
    }

    /// The worker's score, term by term.
    pub(super) fn breakdown(&self, place: u32, query: &Query, age: u16) -> ScoreBreakdown {
        let slot = &self.slots[place as usize];
        let bps = |term: u32| u16::try_from(term).map_or(FULL_BPS, |term| term.min(FULL_BPS));
        let terms = Terms {
            fit: bps(fit(&query.sizes, &self.classes[slot.class as usize])),
            load: bps(slot.load()),
            reputation: bps(slot.reputation()),
            price: bps(query.ceiling.left_by(slot.rate)),
            fragmentation: bps(slot.fragmentation(query.gpus)),
            age,
        };
        ScoreBreakdown { worker_id: WorkerId(slot.id), total: terms.total(&self.weights), terms }
    }

    /// Whether some worker meets the job's requirements, free and connected or not, and whether one that does is
    /// connected.
    pub(super) fn fitting(&self, query: &Query, excluded: &[WorkerId]) -> (bool, bool) {
        let mut some_fit = false;
        let mut stack: Vec<u32> = self.roots.clone().collect();
        while let Some(index) = stack.pop() {
            let node = &self.nodes[index as usize];
            if !node.may_fit(query) || (some_fit && !node.is_online) {
                continue;
            }
            let below = node.below();
            if index >= self.leaves {
                stack.extend(below);
                continue;
            }
            for slot in &self.slots[below.start as usize..below.end as usize] {
                if query.fits(slot) && !is_among(excluded, WorkerId(slot.id)) {
                    some_fit = true;
                    if slot.is_online {
                        return (true, true);
                    }
                }
            }
        }
        (some_fit, false)
    }
}
