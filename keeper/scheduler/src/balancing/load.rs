//! How busy and how quick a worker is.

use std::cmp::Ordering;

use keeper_types::Capabilities;
use serde::{Deserialize, Serialize};

use crate::{WorkerView, score::share};

/// What is known of a worker's load.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WorkerLoad {
    /// Whether it takes jobs now: active and connected. Only such workers count for the imbalance.
    pub is_available: bool,
    /// Jobs that it runs.
    pub running: u32,
    /// Jobs that it runs at a time.
    pub slots: u32,
    /// GPUs in use.
    pub gpus_in_use: u32,
    /// GPUs that it has.
    pub gpus: u32,
    /// What else it has.
    pub size: WorkerSize,
    /// How long its jobs took.
    pub response: ResponseTime,
}

impl WorkerLoad {
    /// The larger of the shares of slots and of GPUs that are in use: the dominant share of Ghodsi et al., "Dominant
    /// resource fairness", NSDI 2011. A worker without slots is full; one without GPUs is as full as its slots.
    pub fn share(&self) -> Share {
        let slots = if self.slots == 0 { Share::FULL } else { Share { part: self.running, whole: self.slots } };
        let gpus = if self.gpus == 0 { Share::NONE } else { Share { part: self.gpus_in_use, whole: self.gpus } };
        slots.max(gpus)
    }

    /// How little a job leaves of the worker, the least first: free GPUs, then GPUs at all, then the rest of its size, then
    /// free slots. What the job takes is the same on every worker, so that the order is also that of what would be left.
    pub fn tightness(&self) -> Tightness {
        Tightness {
            free_gpus: self.gpus.saturating_sub(self.gpus_in_use),
            gpus: self.gpus,
            size: self.size,
            free_slots: self.slots.saturating_sub(self.running),
        }
    }

    /// Takes over what a snapshot says; response times stay.
    pub(super) fn observe(&mut self, worker: &WorkerView) {
        let capabilities = &worker.capabilities;
        *self = Self {
            is_available: worker.online && worker.status == keeper_types::WorkerStatus::Active,
            running: u32::from(worker.slots.saturating_sub(worker.free_slots)),
            slots: u32::from(worker.slots),
            gpus_in_use: u32::from(capabilities.gpu_count.saturating_sub(worker.free_gpus)),
            gpus: u32::from(capabilities.gpu_count),
            size: WorkerSize::of(capabilities),
            response: self.response,
        };
    }
}

/// What a worker has besides slots and GPUs. Workers compare by one field after the other, in this order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WorkerSize {
    /// Memory of each GPU, in GiB.
    pub vram_gib: u16,
    /// The GPUs' compute capability, as 90 for 9.0.
    pub compute_capability: u8,
    /// Memory, in GiB.
    pub memory_gib: u16,
    /// CPU cores.
    pub cpu_cores: u16,
    /// How many features.
    pub features: u32,
}

impl WorkerSize {
    fn of(capabilities: &Capabilities) -> Self {
        Self {
            vram_gib: capabilities.vram_gib,
            compute_capability: capabilities.compute_capability,
            memory_gib: capabilities.memory_gib,
            cpu_cores: capabilities.cpu_cores,
            features: capabilities.features.0.count_ones(),
        }
    }
}

/// How much of a worker a job would leave unused, compared by one field after the other, in this order: best fit on GPUs,
/// which are what is scarce, as in M. R. Garey, R. L. Graham and J. D. Ullman, "Worst-case analysis of memory allocation
/// algorithms", STOC 1972; then the smaller worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Tightness {
    free_gpus: u32,
    gpus: u32,
    size: WorkerSize,
    free_slots: u32,
}

/// A part of a whole, compared without rounding. The whole is not zero.
#[derive(Clone, Copy, Debug)]
pub struct Share {
    part: u32,
    whole: u32,
}

impl Share {
    const NONE: Self = Self { part: 0, whole: 1 };
    const FULL: Self = Self { part: 1, whole: 1 };

    /// In basis points, rounded down; at most 10,000.
    pub fn bps(self) -> u16 {
        share(u64::from(self.part), u64::from(self.whole))
    }
}

impl Ord for Share {
    fn cmp(&self, other: &Self) -> Ordering {
        let crosswise = |left: &Self, right: &Self| u64::from(left.part) * u64::from(right.whole);
        crosswise(self, other).cmp(&crosswise(other, self))
    }
}

impl PartialOrd for Share {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Share {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Share {}

/// The longest response time that is told apart, in microseconds: 2^48, almost nine years. A longer one counts as this.
pub const MAX_RESPONSE_US: u64 = 1 << 48;

/// A new measurement counts one in so many: the weight 1/8 that RFC 6298 gives round trips, after V. Jacobson,
/// "Congestion avoidance and control", SIGCOMM 1988.
const SMOOTHING: u64 = 8;

/// An exponentially weighted mean of response times: every measurement counts an eighth, all before it seven eighths.
///
/// The mean is kept in eighths of a microsecond, as TCP keeps its round trips, so that it comes to rest on a value that
/// stays the same and never leaves the range of what was measured.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ResponseTime {
    eighths: Option<u64>,
}

impl ResponseTime {
    /// The mean in microseconds, at least 1; none before the first measurement.
    pub fn mean_us(self) -> Option<u64> {
        self.eighths.map(|eighths| (eighths / SMOOTHING).max(1))
    }

    /// Takes a measurement in microseconds. The first one is the mean.
    pub fn measure(&mut self, response_us: u64) {
        let response_us = response_us.clamp(1, MAX_RESPONSE_US);
        self.eighths = Some(match self.eighths {
            // A state that was made by hand may hold anything.
            Some(eighths) => (eighths - eighths / SMOOTHING).saturating_add(response_us),
            None => response_us * SMOOTHING,
        });
    }
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*};

    use super::*;

    #[test]
    fn the_fuller_of_slots_and_gpus_is_the_load() {
        let load = |running, slots, gpus_in_use, gpus| {
            WorkerLoad { running, slots, gpus_in_use, gpus, ..WorkerLoad::default() }.share().bps()
        };
        assert_eq!(load(1, 4, 1, 8), 2_500);
        assert_eq!(load(1, 4, 6, 8), 7_500);
        assert_eq!(load(1, 4, 0, 0), 2_500);
        assert_eq!(load(0, 0, 0, 8), 10_000);
        assert_eq!(load(9, 4, 0, 0), 10_000);
    }

    #[test]
    fn a_measurement_counts_an_eighth() {
        let mut response = ResponseTime::default();
        assert_eq!(response.mean_us(), None);
        response.measure(8_000);
        assert_eq!(response.mean_us(), Some(8_000));
        response.measure(16_000);
        assert_eq!(response.mean_us(), Some(9_000));
        response.measure(u64::MAX);
        assert_eq!(response.mean_us(), Some((9_000 * 7 + MAX_RESPONSE_US) / 8));
    }

    proptest! {
        #[test]
        fn shares_compare_as_fractions(parts in [0..9_u32, 0..9_u32], wholes in [1..9_u32, 1..9_u32]) {
            let [left, right] = [0, 1].map(|at| Share { part: parts[at], whole: wholes[at] });
            // 840 is divisible by every whole here.
            let [exact_left, exact_right] = [left, right].map(|share| share.part * (840 / share.whole));
            prop_assert_eq!(left.cmp(&right), exact_left.cmp(&exact_right));
            prop_assert_eq!(left == right, exact_left == exact_right);
        }

        #[test]
        fn the_mean_stays_among_the_measurements(measured in vec(1..=MAX_RESPONSE_US, 1..100)) {
            let mut response = ResponseTime::default();
            for (count, value) in measured.iter().enumerate() {
                response.measure(*value);
                let mean = response.mean_us().unwrap();
                let so_far = &measured[..=count];
                prop_assert!(so_far.iter().min().unwrap() <= &mean && &mean <= so_far.iter().max().unwrap());
            }
        }

        #[test]
        fn what_stays_the_same_is_reached(first in 1..=10_000_000_u64, then in 1..=10_000_000_u64) {
            let mut response = ResponseTime::default();
            response.measure(first);
            // Seven eighths to the power of 120 is below one in ten million; the last steps go by at least an eighth.
            (0..200).for_each(|_| response.measure(then));
            prop_assert_eq!(response.mean_us(), Some(then));
        }
    }
}
