//! The workers of a leaf side by side, number by number, so that one pass of vector instructions per requirement
//! says which of them meet it.

use super::{
    arrange::LEAF,
    lanes::Lanes,
    node::{Query, Slot},
};

type Column = [u16; LEAF];

/// What the workers of a leaf have. Places beyond the last worker have no room.
#[derive(Clone, Debug)]
pub(super) struct Columns {
    lanes: [Column; Lanes::COUNT],
    features: Column,
    /// The low bits of the region's number.
    region: Column,
    /// Free GPUs and one, of a worker that could start a job now.
    room: Column,
    /// What reputation and load add to the worker's sum, as [`coarse`].
    points: Column,
    /// Whether the workers differ in reputation, region and room only.
    is_alike: bool,
}

impl Columns {
    pub(super) fn of(slots: &[Slot]) -> Self {
        let mut columns = Self {
            lanes: [[0; LEAF]; Lanes::COUNT],
            features: [0; LEAF],
            region: [0; LEAF],
            room: [0; LEAF],
            points: [0; LEAF],
            is_alike: slots
                .windows(2)
                .all(|pair| pair[0].lanes.without_reputation() == pair[1].lanes.without_reputation()),
        };
        for (place, slot) in slots.iter().enumerate() {
            for (column, value) in columns.lanes.iter_mut().zip(slot.lanes.values()) {
                column[place] = value;
            }
            columns.features[place] = slot.lanes.features().0;
            columns.region[place] = low_16(slot.region);
            columns.update(place, slot);
        }
        columns
    }

    /// The worker's room and points have changed.
    pub(super) fn update(&mut self, place: usize, slot: &Slot) {
        self.points[place] = coarse(slot.points);
        self.room[place] = if slot.is_open() { u16::from(slot.free_gpus) + 1 } else { 0 };
    }

    /// The places of workers with at least `points` that could start the job now, if rate and region allow it: of
    /// the region only the low bits are compared, and some of the places may have somewhat less points. The leaf's node
    /// meets the job's requirements, so where workers are alike each of them does, up to the reputation.
    pub(super) fn takers(&self, query: &Query, points: u32) -> Takers {
        let (room, points) = (u16::from(query.gpus) + 1, coarse(points));
        let (region, is_any) = query.region.map_or((0, 0), |region| (low_16(region), u16::MAX));
        let (reputation, reputations) = (query.values[Lanes::REPUTATION], &self.lanes[Lanes::REPUTATION]);
        // What is missing, of whatever: nothing is missing where this stays 0.
        let mut missing: Column = std::array::from_fn(|place| {
            reputation.saturating_sub(reputations[place])
                | room.saturating_sub(self.room[place])
                | points.saturating_sub(self.points[place])
                | (region ^ self.region[place]) & is_any
        });
        if !self.is_alike {
            let features = query.need.features().0;
            for (missing, has) in missing.iter_mut().zip(self.features) {
                *missing |= features & !has;
            }
            for (need, lane) in query.values.into_iter().zip(&self.lanes) {
                for (missing, has) in missing.iter_mut().zip(lane) {
                    *missing |= need.saturating_sub(*has);
                }
            }
        }
        Takers(u128::from_le_bytes(missing.map(|missing| u8::from(missing == 0))))
    }
}

/// Points in 16 bits, rounded down: of two sums of points the lower never becomes the higher.
fn coarse(points: u32) -> u16 {
    u16::try_from(points >> COARSE).unwrap_or(u16::MAX)
}

/// Shares of 10,000 times weights of 10,000 are below 2^27, and a point of a score is 10,000 of these.
const COARSE: u32 = 11;

fn low_16(number: u32) -> u16 {
    let [low, high, ..] = number.to_le_bytes();
    u16::from_le_bytes([low, high])
}

/// Places of a leaf, a byte each.
#[derive(Clone, Copy, Debug)]
pub(super) struct Takers(u128);

impl Iterator for Takers {
    type Item = u32;

    fn next(&mut self) -> Option<u32> {
        (self.0 != 0).then(|| {
            let place = self.0.trailing_zeros() / u8::BITS;
            self.0 &= self.0 - 1;
            place
        })
    }
}
