//! How long jobs wait for their first worker, held against what is aimed at.

use serde::{Deserialize, Serialize};

use super::Spread;
use crate::{queueing::Histogram, score::share};

/// The priority from which on a job is urgent. A job in the high queue is, whatever its priority.
pub const URGENT_PRIORITY: u8 = 8;

/// What is aimed at for urgent jobs, in seconds; requirement document 003, "queue wait time".
const URGENT_TARGET_S: u32 = 5;
/// The same for all others.
const ORDINARY_TARGET_S: u32 = 30;

/// Waits of jobs that are equally urgent.
#[derive(Clone, Debug)]
pub(super) struct Waits {
    target_s: u32,
    wait_s: Histogram,
    in_time: u64,
    /// Jobs that started later than aimed at, or were given up later.
    late: u64,
}

impl Waits {
    /// None yet, of urgent jobs and of the others.
    pub(super) fn none() -> [Self; 2] {
        let none = |target_s| Self { target_s, wait_s: Histogram::default(), in_time: 0, late: 0 };
        [none(URGENT_TARGET_S), none(ORDINARY_TARGET_S)]
    }

    /// Counts a job that was given its first worker after so many seconds.
    pub(super) fn started(&mut self, waited_s: u32) {
        self.wait_s.add(waited_s);
        match waited_s <= self.target_s {
            true => self.in_time += 1,
            false => self.late += 1,
        }
    }

    /// Counts a job that was given up after so many seconds, where it should have started by then.
    pub(super) fn given_up(&mut self, waited_s: u32) {
        self.late += u64::from(waited_s > self.target_s);
    }

    pub(super) fn summary(&self) -> WaitSummary {
        WaitSummary {
            target_s: self.target_s,
            wait_s: Spread::of(&self.wait_s),
            late: self.late,
            in_time_bps: share(self.in_time, self.in_time + self.late),
            met: (self.in_time + self.late > 0).then_some(self.late == 0),
        }
    }
}

/// What [`MarketMetrics`](super::MarketMetrics) say of the waits of urgent jobs, or of the others.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WaitSummary {
    /// The wait that is aimed at, in seconds.
    pub target_s: u32,
    /// From submission to the first allocation.
    pub wait_s: Spread,
    /// Jobs that started later than that, or were given up later without a start.
    pub late: u64,
    /// Jobs that started in time, of those and the late ones, in basis points; all where there are none.
    pub in_time_bps: u16,
    /// Whether all of them started in time; none where there are none.
    pub met: Option<bool>,
}
