//! Workers in groups, and what the best of a group could be.

use std::ops::Range;

use super::{
    lanes::Lanes,
    reciprocal::{Ceiling, Whole, share_of_few},
};
use crate::{FULL_BPS, Weights};

/// A worker that takes jobs, with what is left of it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Slot {
    pub(super) lanes: Lanes,
    pub(super) rate: u64,
    pub(super) id: u32,
    /// Its number among the regions; 0 where it has none.
    pub(super) region: u32,
    /// Which [`Sizes`] it has.
    pub(super) class: u32,
    /// What reputation and load add to its weighted sum.
    pub(super) points: u32,
    pub(super) leaf: u32,
    pub(super) slots: u8,
    pub(super) free_slots: u8,
    pub(super) free_gpus: u8,
    pub(super) is_online: bool,
}

/// What a tight fit is measured against, as [`Lanes::sizes`].
pub(super) type Sizes = [Whole; 6];

/// The weights of a policy, as wide as sums of points.
#[derive(Clone, Copy, Debug)]
pub(super) struct Points {
    pub(super) fit: u32,
    pub(super) load: u32,
    pub(super) reputation: u32,
    pub(super) price: u32,
    pub(super) fragmentation: u32,
    pub(super) age: u32,
}

impl Points {
    pub(super) fn of(weights: &Weights) -> Self {
        Self {
            fit: weights.fit.into(),
            load: weights.load.into(),
            reputation: weights.reputation.into(),
            price: weights.price.into(),
            fragmentation: weights.fragmentation.into(),
            age: weights.age.into(),
        }
    }
}

impl Slot {
    pub(super) fn is_open(&self) -> bool {
        self.is_online && self.free_slots > 0
    }

    pub(super) fn load(&self) -> u32 {
        share_of_few(self.free_slots, self.slots)
    }

    pub(super) fn reputation(&self) -> u32 {
        (u32::from(self.lanes.reputation()) * REPUTATION_BPS).min(u32::from(FULL_BPS))
    }

    pub(super) fn set_points(&mut self, weights: &Points) {
        self.points = weights.reputation * self.reputation() + weights.load * self.load();
    }

    /// The share of its GPUs in use after a job on `gpus` of them.
    pub(super) fn fragmentation(&self, gpus: u8) -> u32 {
        let left = self.free_gpus.saturating_sub(gpus);
        if left > 0 && self.free_slots <= 1 {
            return 0;
        }
        packed_to(left, self.lanes.gpus())
    }
}

/// A thousandth of reputation in basis points.
const REPUTATION_BPS: u32 = FULL_BPS as u32 / keeper_types::MAX_REPUTATION as u32;

fn packed_to(left: u8, gpus: u8) -> u32 {
    u32::from(FULL_BPS) - share_of_few(left, gpus.max(left).max(1))
}

/// How closely jobs fit: neighbours are mostly of the same class, so the last answer is kept.
#[derive(Clone, Copy, Debug)]
pub(super) struct Fit {
    class: u32,
    term: u32,
}

impl Fit {
    pub(super) const NONE: Self = Self { class: MIXED, term: 0 };

    /// The term of a job of sizes `needs` on workers of the class, or at least of these sizes where it is mixed.
    pub(super) fn of(&mut self, class: u32, needs: &[u16; 6], has: &Sizes) -> u32 {
        if self.class != class || class == MIXED {
            *self = Self { class, term: fit(needs, has) };
        }
        self.term
    }
}

/// Not one class.
const MIXED: u32 = u32::MAX;

/// How closely a job of sizes `needs` fits a worker that has more.
pub(super) fn fit(needs: &[u16; 6], has: &Sizes) -> u32 {
    let sum: u32 = has.iter().zip(needs).map(|(has, need)| has.share_of_one_more_than(*need)).sum();
    sum / 6
}

/// Workers that stand together in the index, or nodes that do.
#[derive(Clone, Copy, Debug)]
pub(super) struct Node {
    /// The first of its slots or nodes, and how many there are.
    first: u32,
    count: u32,
    pub(super) parent: u32,
    pub(super) lowest_id: u32,
    /// The most that any of its workers has, lane by lane.
    most: Lanes,
    /// A bit for each region modulo 64.
    regions: u64,
    lowest_rate: u64,
    pub(super) is_online: bool,
    /// The class of all its workers, if it is one.
    class: u32,
    /// The least that any of its workers has.
    least: [u16; 6],
    sizes: Sizes,
    open: Open,
}

/// The same for workers that could start a job now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Open {
    /// A bit for each number of free GPUs up to 62, and one for more.
    gpus: u64,
    lowest_rate: u64,
    points: u32,
}

const NONE_OPEN: Open = Open { gpus: 0, lowest_rate: u64::MAX, points: 0 };
const MANY_GPUS: u8 = 63;

pub(super) fn region_bit(region: u32) -> u64 {
    1 << (region % 64)
}

/// A job, ready to be compared.
#[derive(Clone, Copy, Debug)]
pub(super) struct Query {
    pub(super) need: Lanes,
    /// Its lanes, one by one.
    pub(super) values: [u16; Lanes::COUNT],
    pub(super) sizes: [u16; 6],
    pub(super) gpus: u8,
    pub(super) ceiling: Ceiling,
    /// The number of the region that it must be; any where there is none.
    pub(super) region: Option<u32>,
    pub(super) regions: u64,
    /// What the age adds to every sum.
    pub(super) age_points: u32,
}

impl Node {
    /// Nothing yet: the place for slots or nodes from `first`.
    pub(super) fn empty(first: u32) -> Self {
        Self {
            first,
            count: 0,
            parent: u32::MAX,
            lowest_id: u32::MAX,
            most: Lanes::default(),
            regions: 0,
            lowest_rate: u64::MAX,
            is_online: false,
            class: MIXED,
            least: [u16::MAX; 6],
            sizes: Sizes::default(),
            open: NONE_OPEN,
        }
    }

    /// The slots of a leaf, or the nodes of another.
    pub(super) fn below(&self) -> Range<u32> {
        self.first..self.first + self.count
    }

    pub(super) fn add_slot(&mut self, slot: &Slot) {
        let bit = region_bit(slot.region);
        self.set_class(slot.class);
        self.add(slot.id, slot.lanes, bit, slot.rate, slot.is_online, slot.lanes.sizes());
    }

    pub(super) fn add_node(&mut self, node: &Self) {
        self.set_class(node.class);
        self.add(node.lowest_id, node.most, node.regions, node.lowest_rate, node.is_online, node.least);
    }

    fn set_class(&mut self, class: u32) {
        self.class = if self.count == 0 || self.class == class { class } else { MIXED };
    }

    fn add(&mut self, id: u32, most: Lanes, regions: u64, rate: u64, is_online: bool, least: [u16; 6]) {
        self.count += 1;
        self.lowest_id = self.lowest_id.min(id);
        self.most = self.most.max(most);
        self.regions |= regions;
        self.lowest_rate = self.lowest_rate.min(rate);
        self.is_online |= is_online;
        for (own, other) in self.least.iter_mut().zip(least) {
            *own = (*own).min(other);
        }
        self.sizes = self.least.map(Whole::one_more_than);
    }

    /// Looks its slots through again; whether anything that counts has changed.
    pub(super) fn refresh_from_slots(&mut self, slots: &[Slot]) -> bool {
        let mut open = NONE_OPEN;
        for slot in slots.iter().filter(|slot| slot.is_open()) {
            open.gpus |= 1 << slot.free_gpus.min(MANY_GPUS);
            open.lowest_rate = open.lowest_rate.min(slot.rate);
            open.points = open.points.max(slot.points);
        }
        std::mem::replace(&mut self.open, open) != open
    }

    /// Looks its nodes through again; whether anything that counts has changed.
    pub(super) fn refresh_from_nodes(&mut self, nodes: &[Self]) -> bool {
        let mut open = NONE_OPEN;
        for node in nodes {
            open.gpus |= node.open.gpus;
            open.lowest_rate = open.lowest_rate.min(node.open.lowest_rate);
            open.points = open.points.max(node.open.points);
        }
        std::mem::replace(&mut self.open, open) != open
    }

    /// Whether some worker here may meet the job's requirements, free or not.
    pub(super) fn may_fit(&self, query: &Query) -> bool {
        self.most.meet(query.need) && self.lowest_rate <= query.ceiling.rate && self.regions & query.regions != 0
    }

    /// The most that reputation and load add to a worker's sum here.
    pub(super) fn points(&self) -> u32 {
        self.open.points
    }

    /// A weighted sum that no worker here is above; nothing where none can take the job now.
    pub(super) fn bound(&self, query: &Query, weights: &Points, fit: &mut Fit) -> Option<u32> {
        let enough = self.open.gpus >> query.gpus.min(MANY_GPUS);
        // Without branches between them: which of these fails cannot be guessed.
        let is_hopeless = (enough == 0)
            | (self.open.lowest_rate > query.ceiling.rate)
            | (self.regions & query.regions == 0)
            | !self.most.meet(query.need);
        if is_hopeless {
            return None;
        }
        // At least so many are left; of 63 or more, at least 63 less what is needed.
        let fewest = u8::try_from(enough.trailing_zeros()).unwrap_or(u8::MAX);
        let fragmentation = packed_to(fewest, self.most.gpus());
        let price = query.ceiling.left_by(self.open.lowest_rate);
        Some(
            query.age_points
                + self.open.points
                + weights.fit * fit.of(self.class, &query.sizes, &self.sizes)
                + weights.price * price
                + weights.fragmentation * fragmentation,
        )
    }
}

impl Query {
    /// Whether the worker meets the job's requirements, free or not.
    pub(super) fn fits(&self, slot: &Slot) -> bool {
        slot.lanes.meet(self.need) && self.allows(slot)
    }

    /// Whether rate and region are the job's.
    pub(super) fn allows(&self, slot: &Slot) -> bool {
        slot.rate <= self.ceiling.rate && self.region.is_none_or(|region| region == slot.region)
    }
}
