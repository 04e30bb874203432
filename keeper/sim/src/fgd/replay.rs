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
/// 95 % of them have, and how many have each. They know nothing of what comes when.
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

/// What was allocated while arrived demand was a given percentage, in whole percent; where no job brings it there, just
/// before it was passed.
#[derive(Clone, Copy, Debug, Default)]
struct Reading {
    percent: u64,
    sum: u64,
    count: u64,
    before: u64,
}

impl Reading {
    fn take(&mut self, percent: u64, allocated: u64) {
        if percent == self.percent {
            self.sum += allocated;
            self.count += 1;
        } else if percent < self.percent {
            self.before = allocated;
        }
    }

    #[allow(clippy::cast_precision_loss, reason = "sums of thousandths of GPUs stay far below 2^52")]
    fn mean(self, capacity: u64) -> f64 {
        let (sum, count) = if self.count > 0 { (self.sum, self.count) } else { (self.before, 1) };
        100.0 * sum as f64 / count as f64 / capacity.max(1) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::openb::sample;

    #[test]
    fn a_reading_is_the_mean_over_its_percentage() {
        let reading = |at: &[(u64, u64)]| {
            let mut reading = Reading { percent: 100, ..Reading::default() };
            at.iter().for_each(|(percent, allocated)| reading.take(*percent, *allocated));
            reading.mean(1_000)
        };
        assert!((reading(&[(99, 600), (100, 700), (100, 720), (101, 900)]) - 71.0).abs() < 1e-9);
        assert!((reading(&[(90, 500), (98, 600), (103, 900)]) - 60.0).abs() < 1e-9);
    }

    #[test]
    fn what_is_allocated_is_what_the_nodes_miss() {
        let trace = sample();
        let mix = &trace.mixes[0];
        let policies = Policies::new(&trace, mix);
        let arrivals = Arrivals::draw(&trace, mix, 42);
        let (_, nodes) = replay(&arrivals, policies.waste_descent);
        let free: u64 = nodes.iter().map(|node| u64::from(node.total_free())).sum();
        let asked: u64 = arrivals.demands.iter().map(|demand| u64::from(demand.total_gpu_milli())).sum();
        assert!(free < trace.capacity() && trace.capacity() - free <= asked);
        assert_eq!(nodes.len(), trace.nodes.len());
    }

    #[test]
    fn figures_are_the_same_today_as_ever() {
        // One decision that changes, on any machine, changes these.
        let trace = sample();
        let policies = Policies::new(&trace, &trace.mixes[0]);
        let arrivals = Arrivals::draw(&trace, &trace.mixes[0], 42);
        let found = PolicyName::ALL.map(|policy| {
            let run = policies.run(policy, &arrivals, 42);
            format!("{policy} {:.3} {:.3}", run.alloc_100, run.alloc_130)
        });
        let expected = [
            "Random 87.184 88.605",
            "DotProd 87.184 87.763",
            "GpuClustering 92.447 94.579",
            "GpuPacking 94.158 94.737",
            "BestFit 94.158 95.974",
            "FGD 89.816 90.395",
            "WasteDescent 96.789 97.368",
        ];
        assert_eq!(found, expected);
    }
}
