//! Workers, so arranged that the best one for a job is found without looking at all of them.

use std::{collections::BTreeMap, ops::Range};

use keeper_types::{Rate, Region, WorkerId, WorkerStatus};

use super::{
    arrange::{FANOUT, arrange},
    columns::Columns,
    counts::Counts,
    lanes::Lanes,
    need::Need,
    node::{Node, Points, Query, Sizes, Slot, region_bit},
    reciprocal::{Ceiling, Whole},
    search::Decision,
};
use crate::{Policy, Rejection, ScoreBreakdown, Weights, WorkerView, feasibility::RejectionCounts};

/// The workers of a round, with what its decisions have left of them.
///
/// A decision is exact: the worker with the highest score of all that can take the job, the lowest id on a tie.
#[derive(Clone, Debug)]
pub struct WorkerIndex {
    pub(super) weights: Weights,
    pub(super) points: Points,
    /// Workers that take jobs, leaf by leaf.
    pub(super) slots: Vec<Slot>,
    /// The same by leaf, as far as requirements go.
    pub(super) columns: Vec<Columns>,
    pub(super) classes: Vec<Sizes>,
    /// Leaves first, then the levels above them, the topmost last.
    pub(super) nodes: Vec<Node>,
    pub(super) leaves: u32,
    pub(super) roots: Range<u32>,
    /// All workers by ascending id, each with its slot if it has one.
    places: Vec<(WorkerId, Option<u32>)>,
    /// Regions that workers stand in, ascending; they are numbered from 1.
    regions: Vec<Region>,
    counts: Counts,
}

impl WorkerIndex {
    /// Takes the registered workers, in any order. Ids are unique: of two workers with the same id the first
    /// counts.
    pub fn new<'a>(workers: impl IntoIterator<Item = &'a WorkerView>, policy: &Policy) -> Self {
        let workers = workers.into_iter();
        let mut registered: Vec<_> = workers.filter(|worker| worker.status != WorkerStatus::Exited).collect();
        registered.sort_by_key(|worker| worker.worker_id);
        registered.dedup_by_key(|worker| worker.worker_id);
        let mut regions: Vec<_> = registered.iter().filter_map(|worker| worker.capabilities.region).collect();
        regions.sort_unstable();
        regions.dedup();

        let points = Points::of(&policy.weights);
        let mut classes = Classes::default();
        let numbered: Vec<_> =
            registered.iter().map(|worker| (*worker, number(&regions, worker.capabilities.region))).collect();
        let active = numbered.iter().filter(|(worker, _)| worker.status == WorkerStatus::Active);
        let mut slots: Vec<_> = active.map(|(worker, region)| slot(worker, *region, &mut classes, &points)).collect();
        let leaves = arrange(&mut slots, &points);
        let mut places: Vec<_> = registered.iter().map(|worker| (worker.worker_id, None)).collect();
        for (slot, place) in slots.iter().zip(0..) {
            let own = places.binary_search_by_key(&WorkerId(slot.id), |(id, _)| *id);
            places[own.expect("every slot is of a registered worker")].1 = Some(place);
        }
        let mut index = Self {
            weights: policy.weights,
            points,
            slots,
            columns: Vec::new(),
            classes: classes.sizes,
            nodes: Vec::new(),
            leaves: 0,
            roots: 0..0,
            places,
            regions,
            counts: Counts::of(&numbered),
        };
        index.build(&leaves);
        index
    }

    /// How many workers are registered.
    pub fn worker_count(&self) -> u32 {
        self.counts.workers
    }

    /// The best worker that can take a job with this need and age term, and the next best, leaving `excluded` out, which
    /// is ascending.
    pub fn decide(&mut self, need: &Need, age: u16, excluded: &[WorkerId]) -> Option<Decision> {
        let query = self.query(need, age);
        let (first, second) = self.best_two(&query, excluded)?;
        Some(Decision {
            winner: self.breakdown(first, &query, age),
            rate: Rate(self.slots[first as usize].rate),
            runner_up: second.map(|place| self.breakdown(place, &query, age)),
        })
    }

    /// Takes a slot and GPUs from a worker; whether it is one that takes jobs.
    pub fn reserve(&mut self, worker_id: WorkerId, gpus: u8) -> bool {
        self.change(worker_id, |slot| {
            slot.free_slots = slot.free_slots.saturating_sub(1);
            slot.free_gpus = slot.free_gpus.saturating_sub(gpus);
        })
    }

    /// Gives a slot and GPUs back to a worker; whether it is one that takes jobs.
    pub fn release(&mut self, worker_id: WorkerId, gpus: u8) -> bool {
        self.change(worker_id, |slot| {
            slot.free_slots = slot.free_slots.saturating_add(1).min(slot.slots);
            slot.free_gpus = slot.free_gpus.saturating_add(gpus).min(slot.lanes.gpus());
        })
    }

    /// How many workers each rejection applies to, as things stand now. `excluded` names each worker once,
    /// ascending.
    pub fn rejections(&self, need: &Need, excluded: &[WorkerId]) -> BTreeMap<Rejection, u32> {
        self.rejection_counts(need, excluded).into_map()
    }

    pub(crate) fn rejection_counts(&self, need: &Need, excluded: &[WorkerId]) -> RejectionCounts {
        let excluded = excluded.iter().map(|worker_id| u32::from(self.place(*worker_id).is_some())).sum();
        self.counts.rejections(need, need.region.map(|region| number(&self.regions, Some(region))), excluded)
    }

    /// Whether some worker meets the need, free and connected or not, and whether one that does is connected.
    pub(crate) fn fits(&self, need: &Need, excluded: &[WorkerId]) -> (bool, bool) {
        self.fitting(&self.query(need, 0), excluded)
    }

    /// The connected workers that meet the need, free or not, ascending.
    pub(crate) fn connected_fits(&self, need: &Need) -> Vec<WorkerId> {
        let query = self.query(need, 0);
        let fitting = self.slots.iter().filter(|slot| slot.is_online && query.fits(slot));
        let mut workers: Vec<_> = fitting.map(|slot| WorkerId(slot.id)).collect();
        workers.sort_unstable();
        workers
    }

    /// The workers that can take a job with this need now, ascending.
    pub(crate) fn ready(&self, need: &Need) -> Vec<WorkerId> {
        let query = self.query(need, 0);
        let has_room = |slot: &&Slot| slot.is_open() && slot.free_gpus >= query.gpus && query.fits(slot);
        let mut workers: Vec<_> = self.slots.iter().filter(has_room).map(|slot| WorkerId(slot.id)).collect();
        workers.sort_unstable();
        workers
    }

    /// What a worker scores for a job, whether it can take it or not, with what it asks; none for a worker that takes no
    /// jobs or is not here.
    pub(crate) fn scored(&self, worker_id: WorkerId, need: &Need, age: u16) -> Option<(ScoreBreakdown, Rate)> {
        let (_, place) = self.places[self.place(worker_id)?];
        let place = place?;
        Some((self.breakdown(place, &self.query(need, age), age), Rate(self.slots[place as usize].rate)))
    }

    fn query(&self, need: &Need, age: u16) -> Query {
        let region = need.region.map(|region| number(&self.regions, Some(region)));
        Query {
            need: need.lanes,
            values: need.lanes.values(),
            sizes: need.lanes.sizes(),
            gpus: need.gpus(),
            ceiling: Ceiling::new(need.max_rate),
            region,
            regions: region.map_or(u64::MAX, |region| if region == NOWHERE { 0 } else { region_bit(region) }),
            age_points: self.points.age * u32::from(age),
        }
    }

    /// Where the worker stands among all. Ids are mostly given without gaps, so it is looked for there first.
    fn place(&self, worker_id: WorkerId) -> Option<usize> {
        let (first, _) = self.places.first()?;
        let guess = worker_id.0.wrapping_sub(first.0) as usize;
        match self.places.get(guess) {
            Some((own, _)) if *own == worker_id => Some(guess),
            _ => self.places.binary_search_by_key(&worker_id, |(own, _)| *own).ok(),
        }
    }

    fn change(&mut self, worker_id: WorkerId, change: impl FnOnce(&mut Slot)) -> bool {
        let Some((_, Some(place))) = self.place(worker_id).map(|place| self.places[place]) else { return false };
        let slot = &mut self.slots[place as usize];
        let before = *slot;
        change(slot);
        slot.set_points(&self.points);
        let gpus = slot.lanes.gpus();
        self.counts.set_busy(gpus, before.free_gpus, false);
        self.counts.set_busy(gpus, slot.free_gpus, true);
        if (before.free_slots == 0) != (slot.free_slots == 0) {
            self.counts.set_full(slot.free_slots == 0);
        }
        let leaf = slot.leaf;
        let first = self.nodes[leaf as usize].below().start;
        self.columns[leaf as usize].update((place - first) as usize, slot);
        self.refresh(leaf);
        true
    }

    /// Brings the leaf and what is above it up to date.
    fn refresh(&mut self, leaf: u32) {
        let node = &mut self.nodes[leaf as usize];
        let below = node.below();
        let mut is_changed = node.refresh_from_slots(&self.slots[below.start as usize..below.end as usize]);
        let mut parent = node.parent;
        while is_changed && parent != u32::MAX {
            // Nodes stand before the one above them.
            let (lower, upper) = self.nodes.split_at_mut(parent as usize);
            let below = upper[0].below();
            is_changed = upper[0].refresh_from_nodes(&lower[below.start as usize..below.end as usize]);
            parent = upper[0].parent;
        }
    }

    fn build(&mut self, leaves: &[Range<usize>]) {
        let index_of = |place: usize| u32::try_from(place).expect("worker ids have 32 bits");
        for range in leaves {
            let mut node = Node::empty(index_of(range.start));
            for slot in &mut self.slots[range.clone()] {
                node.add_slot(slot);
                slot.leaf = index_of(self.nodes.len());
            }
            node.refresh_from_slots(&self.slots[range.clone()]);
            self.columns.push(Columns::of(&self.slots[range.clone()]));
            self.nodes.push(node);
        }
        self.leaves = index_of(self.nodes.len());
        let mut level = 0..self.nodes.len();
        while level.len() > FANOUT {
            for first in level.clone().step_by(FANOUT) {
                let mut node = Node::empty(index_of(first));
                let below = first..level.end.min(first + FANOUT);
                for child in below.clone() {
                    node.add_node(&self.nodes[child]);
                    self.nodes[child].parent = index_of(self.nodes.len());
                }
                node.refresh_from_nodes(&self.nodes[below]);
                self.nodes.push(node);
            }
            level = level.end..self.nodes.len();
        }
        self.roots = index_of(level.start)..index_of(level.end);
    }
}

/// The number of a region that no worker stands in.
const NOWHERE: u32 = u32::MAX;

fn number(regions: &[Region], region: Option<Region>) -> u32 {
    let Some(region) = region else { return 0 };
    let place = regions.binary_search(&region).ok().and_then(|place| u32::try_from(place + 1).ok());
    place.unwrap_or(NOWHERE)
}

/// Workers of the same sizes fit a job alike.
#[derive(Debug, Default)]
struct Classes {
    numbers: BTreeMap<[u16; 6], u32>,
    sizes: Vec<Sizes>,
}

impl Classes {
    fn number(&mut self, sizes: [u16; 6]) -> u32 {
        *self.numbers.entry(sizes).or_insert_with(|| {
            self.sizes.push(sizes.map(Whole::one_more_than));
            u32::try_from(self.sizes.len() - 1).expect("there are no more classes than workers")
        })
    }
}

fn slot(worker: &WorkerView, region: u32, classes: &mut Classes, points: &Points) -> Slot {
    let lanes = Lanes::of_capabilities(&worker.capabilities, worker.reputation);
    let mut slot = Slot {
        lanes,
        rate: worker.rate.0,
        id: worker.worker_id.0,
        region,
        class: classes.number(lanes.sizes()),
        points: 0,
        leaf: 0,
        slots: worker.slots,
        free_slots: worker.free_slots,
        free_gpus: worker.free_gpus,
        is_online: worker.online,
    };
    slot.set_points(points);
    slot
}
