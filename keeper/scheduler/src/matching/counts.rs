//! How many workers fail each requirement, without looking at them.
//!
//! Every rejection but one depends on a single number of the worker, so that how many workers a requirement rejects
//! is how many have less, or ask more, and can be looked up.

use keeper_types::{Features, Rate, WorkerStatus};

use super::{lanes::Lanes, need::Need};
use crate::{Rejection, WorkerView, feasibility::RejectionCounts};

/// What speaks against workers for being below a requirement, in the order of the lanes.
const BY_LANE: [Rejection; 8] = [
    Rejection::GpuCount,
    Rejection::Vram,
    Rejection::ComputeCapability,
    Rejection::CudaVersion,
    Rejection::DriverVersion,
    Rejection::CpuCores,
    Rejection::Memory,
    Rejection::Reputation,
];

/// Counts over all workers.
#[derive(Clone, Debug)]
pub(super) struct Counts {
    pub(super) workers: u32,
    offline: u32,
    unavailable: u32,
    full: u32,
    /// By number of GPUs: workers that have so many, but fewer free.
    busy: [u32; 256],
    lanes: [Below; 8],
    features: Vec<(Features, u32)>,
    /// By number of the region; 0 is none.
    regions: Vec<u32>,
    rates: Vec<u64>,
}

/// Distinct values, ascending, each with how many workers have it or less.
#[derive(Clone, Debug, Default)]
struct Below(Vec<(u16, u32)>);

impl Below {
    fn new(mut values: Vec<u16>) -> Self {
        values.sort_unstable();
        let mut up_to: Vec<(u16, u32)> = Vec::new();
        for (value, count) in values.into_iter().zip(1..) {
            match up_to.last_mut() {
                Some(last) if last.0 == value => last.1 = count,
                _ => up_to.push((value, count)),
            }
        }
        Self(up_to)
    }

    fn count(&self, value: u16) -> u32 {
        let below = self.0.partition_point(|(own, _)| *own < value);
        below.checked_sub(1).map_or(0, |last| self.0[last].1)
    }
}

impl Counts {
    /// Counts workers, each with its region's number.
    pub(super) fn of(workers: &[(&WorkerView, u32)]) -> Self {
        let lanes: Vec<_> = workers
            .iter()
            .map(|(worker, _)| Lanes::of_capabilities(&worker.capabilities, worker.reputation).values())
            .collect();
        let count = |is: fn(&WorkerView) -> bool| workers.iter().map(|(worker, _)| u32::from(is(worker))).sum();
        let mut counts = Self {
            workers: workers.iter().map(|_| 1).sum(),
            offline: count(|worker| !worker.online),
            unavailable: count(|worker| worker.status != WorkerStatus::Active),
            full: count(|worker| worker.free_slots == 0),
            busy: [0; 256],
            lanes: std::array::from_fn(|lane| Below::new(lanes.iter().map(|values| values[lane]).collect())),
            features: Vec::new(),
            regions: Vec::new(),
            rates: workers.iter().map(|(worker, _)| worker.rate.0).collect(),
        };
        counts.rates.sort_unstable();
        for &(worker, region) in workers {
            counts.set_busy(worker.capabilities.gpu_count, worker.free_gpus, true);
            let features = worker.capabilities.features;
            match counts.features.binary_search_by_key(&features.0, |(own, _)| own.0) {
                Ok(place) => counts.features[place].1 += 1,
                Err(place) => counts.features.insert(place, (features, 1)),
            }
            let region = region as usize;
            counts.regions.resize(counts.regions.len().max(region + 1), 0);
            counts.regions[region] += 1;
        }
        counts
    }

    /// Counts a worker in or out among those with `gpus` of which `free` are free.
    pub(super) fn set_busy(&mut self, gpus: u8, free: u8, is_in: bool) {
        for count in self.busy.iter_mut().take(usize::from(gpus) + 1).skip(usize::from(free) + 1) {
            *count = if is_in { *count + 1 } else { *count - 1 };
        }
    }

    /// A worker took its last slot, or got one back.
    pub(super) fn set_full(&mut self, is_full: bool) {
        self.full = if is_full { self.full + 1 } else { self.full - 1 };
    }

    /// How many workers each rejection applies to, for a job that must stand in `region` if anywhere, and that
    /// `excluded` workers do not get.
    pub(super) fn rejections(&self, need: &Need, region: Option<u32>, excluded: u32) -> RejectionCounts {
        let mut counts = RejectionCounts::default();
        counts.set(Rejection::Offline, self.offline);
        counts.set(Rejection::Unavailable, self.unavailable);
        counts.set(Rejection::NoFreeSlot, self.full);
        counts.set(Rejection::NoFreeGpu, self.busy[usize::from(need.gpus())]);
        for ((rejection, lane), value) in BY_LANE.into_iter().zip(&self.lanes).zip(need.lanes.values()) {
            counts.set(rejection, lane.count(value));
        }
        let lacking = self.features.iter().filter(|(features, _)| !features.contains(need.lanes.features()));
        counts.set(Rejection::Features, lacking.map(|(_, count)| count).sum());
        if let Some(region) = region {
            let there = self.regions.get(region as usize).copied().unwrap_or(0);
            counts.set(Rejection::Region, self.workers - there);
        }
        counts.set(Rejection::Rate, self.asking_more_than(Rate(need.max_rate)));
        counts.set(Rejection::Excluded, excluded);
        counts
    }

    fn asking_more_than(&self, rate: Rate) -> u32 {
        let dearer = self.rates.len() - self.rates.partition_point(|own| *own <= rate.0);
        u32::try_from(dearer).unwrap_or(u32::MAX)
    }
}
