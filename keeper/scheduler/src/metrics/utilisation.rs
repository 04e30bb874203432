//! How much of the time slots are busy.

use crate::score::share;

/// Slot-seconds: those that were there, and those of them that were in use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct BusyTime {
    used: u64,
    offered: u64,
}

impl BusyTime {
    pub(super) fn add(&mut self, other: Self) {
        self.used = self.used.saturating_add(other.used);
        self.offered = self.offered.saturating_add(other.offered);
    }

    /// In basis points, rounded down; none where nothing was there.
    pub(super) fn share_bps(self) -> Option<u16> {
        (self.offered > 0).then(|| share(self.used, self.offered))
    }
}

/// A worker's slots now, and their time so far.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct WorkerUse {
    slots: u8,
    used_slots: u8,
    since_s: u64,
    before: BusyTime,
}

impl WorkerUse {
    /// From now on the worker has these slots, of which so many are in use; more than there are count as all.
    pub(super) fn change(&mut self, slots: u8, used_slots: u8, now_s: u64) {
        self.before = self.until(now_s);
        // A note from the past changes what is in use, but takes no time back.
        self.since_s = self.since_s.max(now_s);
        (self.slots, self.used_slots) = (slots, used_slots.min(slots));
    }

    /// The time up to now.
    pub(super) fn until(&self, now_s: u64) -> BusyTime {
        let elapsed_s = now_s.saturating_sub(self.since_s);
        let mut time = self.before;
        time.add(BusyTime {
            used: elapsed_s.saturating_mul(u64::from(self.used_slots)),
            offered: elapsed_s.saturating_mul(u64::from(self.slots)),
        });
        time
    }
}
