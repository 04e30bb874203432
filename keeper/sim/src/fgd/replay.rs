//! One run: a policy places jobs one after the other.

use std::fmt;

use keeper_scheduler::sharing::{
    BestFit, Demand, DotProd, Fgd, GpuClustering, GpuPacking, NodeState, PlacementPolicy, Placer, Random, WasteDescent,
    WasteWeights, Workload,
};

use super::Arrivals;
use crate::openb::{Mix, Trace};

/// Percent of all jobs that the shapes given to a policy stand for: the authors' setting.
const TYPICAL_PERCENT: u32 = 95;
/// Arrived demand, in percent of the cluster's GPUs, at which the allocation is read.
const READ_AT: [u64; 2] = [100, 130];

/// A policy of the comparison.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum PolicyName {
    /// Any node that fits.
    Random,
    /// Smallest dot product of demand and what is free.
    DotProd,
    /// Jobs of a kind together.
    GpuClustering,
    /// GPUs in use first.
    GpuPacking,
    /// Least left over.
    BestFit,
    /// Fragmentation gradient descent.
    Fgd,
    /// The keeper's own: descent of expected waste.
    WasteDescent,
}

impl PolicyName {
    /// All of them, in the order of the authors' table, the keeper's own last.
    pub const ALL: [Self; 7] = [
        Self::Random,
        Self::DotProd,
        Self::GpuClustering,
        Self::GpuPacking,
        Self::BestFit,
        Self::Fgd,
        Self::WasteDescent,
    ];
}

impl fmt::Display for PolicyName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Random => "Random",
            Self::DotProd => "DotProd",
            Self::GpuClustering => "GpuClustering",
            Self::GpuPacking => "GpuPacking",
            Self::BestFit => "BestFit",
            Self::Fgd => "FGD",
            Self::WasteDescent => "WasteDescent",
        })
    }
}

/// The policies that are made for a mix. Both are given the same: the shapes of its jobs, without host memory, that
/// [`TYPICAL_PERCENT`] of them have, and how many have each. They know nothing of what comes when.
#[derive(Clone, Debug)]
pub struct Policies {
    fgd: Fgd,
    waste_descent: WasteDescent,
}

impl Policies {
    /// Makes them.
    pub fn new(trace: &Trace, mix: &Mix) -> Self {
        let workload = Workload::typical(&mix.demands, TYPICAL_PERCENT);
        Self {
            waste_descent: WasteDescent::new(&trace.nodes, &workload, WasteWeights::default()),
            fgd: Fgd::new(&workload),
        }
    }

    /// Runs one of them, or one that needs to know nothing. The seed is for `Random`'s lots.
    pub fn run(&self, policy: PolicyName, arrivals: &Arrivals, seed: u64) -> Run {
        match policy {
            PolicyName::Random => replay(arrivals, Random::new(seed)).0,
            PolicyName::DotProd => replay(arrivals, DotProd).0,
            PolicyName::GpuClustering => replay(arrivals, GpuClustering).0,
            PolicyName::GpuPacking => replay(arrivals, GpuPacking).0,
            PolicyName::BestFit => replay(arrivals, BestFit).0,
            PolicyName::Fgd => replay(arrivals, self.fgd.clone()).0,
            PolicyName::WasteDescent => replay(arrivals, self.waste_descent.clone()).0,
        }
    }
}

/// What came of a run, in percent of the cluster's GPUs.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Run {
    /// Allocated when 100 % had been asked for: the mean over all jobs after whose arrival demand, in percent, rounds
    /// to 100.
    pub alloc_100: f64,
    /// The same for 130 %.
    pub alloc_130: f64,
}

/// Places all jobs, and returns the nodes as they end.
pub fn replay(arrivals: &Arrivals, policy: impl PlacementPolicy) -> (Run, Vec<NodeState>) {
    let milli = |demand: &Demand| u64::from(demand.total_gpu_milli());
    let capacity: u64 = arrivals.nodes.iter().map(|node| u64::from(node.total_free())).sum();
    let mut placer = Placer::new(&arrivals.nodes, policy);
    let (mut arrived, mut allocated) = (0, 0);
    let mut readings = READ_AT.map(|percent| Reading { percent, ..Reading::default() });
    for demand in &arrivals.demands {
        arrived += milli(demand);
        if placer.place(demand).is_some() {
            allocated += milli(demand);
        }
        let percent = (arrived * 200 + capacity) / (capacity * 2).max(1);
        readings.iter_mut().for_each(|reading| reading.take(percent, allocated));
    }
    let [alloc_100, alloc_130] = readings.map(|reading| reading.mean(capacity));
    let nodes = (0..arrivals.nodes.len()).map(|node| *placer.node(node)).collect();
    (Run { alloc_100, alloc_130 }, nodes)
}

/// What was allocated while arrived demand was a given percentage; where it never was, while it was one off.
#[derive(Clone, Copy, Debug, Default)]
struct Reading {
    percent: u64,
    exact: (u64, u64),
    near: (u64, u64),
}

impl Reading {
    fn take(&mut self, percent: u64, allocated: u64) {
        let add = |(sum, count): &mut (u64, u64)| {
            *sum += allocated;
            *count += 1;
        };
        if percent == self.percent {
            add(&mut self.exact);
        } else if percent.abs_diff(self.percent) == 1 {
            add(&mut self.near);
        }
    }

    #[allow(clippy::cast_precision_loss, reason = "sums of thousandths of GPUs stay far below 2^52")]
    fn mean(self, capacity: u64) -> f64 {
        let (sum, count) = if self.exact.1 > 0 { self.exact } else { self.near };
        if count == 0 { 0.0 } else { 100.0 * sum as f64 / count as f64 / capacity as f64 }
    }
}
