//! What will stay free on a GPU that has only its part of the node's CPU.

use std::collections::BTreeMap;

use super::{
    GPU_MILLI, GpuModel, NodeState, TypicalDemand, Workload,
    residue::{LEVELS, STEP},
    workload::CERTAIN,
};

/// CPU is told apart in steps of a core, rounded down.
const CPU_STEP: u32 = 1_000;
/// Up to 48 cores for one GPU; with more, CPU is not what a GPU lacks.
const CPU_LEVELS: usize = 49;
/// Halves of the fraction bits of [`CERTAIN`], so that a product of two such numbers keeps within 64 bits.
const HALF_BITS: u32 = CERTAIN.ilog2() / 2;

/// [`super::residue::Residue`] with the CPU that jobs take, too. Each GPU is given a part of the node's free CPU, by
/// what is free on it, and may use no more:
///
/// `W(0, r, c) = r`, `W(k, r, c) = W(k-1, r, c) - sum over (s, t) with s <= r, t <= c of p(s, t) * max(0, W(k-1, r, c) -
/// W(k-1, r - s, c - t))`
///
/// The plain residue lets every GPU use all of the CPU and sees no shortage before it is there; this sees it from the
/// start, though it knows of no exchange between GPUs.
#[derive(Clone, Debug, Default)]
pub(super) struct Allotment {
    /// By level of GPU, and in it by level of CPU.
    values: Vec<i64>,
}

/// Jobs for one GPU, by levels of GPU and CPU rounded up, and their probability.
type Jobs = Vec<((usize, usize), i64)>;

impl Allotment {
    /// Expects so many jobs of a workload whose counts are probabilities.
    pub(super) fn new(workload: &Workload, model: GpuModel, arrivals: u16) -> Self {
        let single = |shape: &&TypicalDemand| shape.demand.gpus == 1 && shape.demand.runs_on(model);
        let mut jobs = BTreeMap::new();
        for shape in workload.shapes().iter().filter(single) {
            let size = usize::from(shape.demand.gpu_milli.div_ceil(STEP));
            *jobs.entry((size, cpu_level(shape.demand.cpu_milli.div_ceil(CPU_STEP)))).or_default() +=
                i64::from(shape.count);
        }
        let jobs: Jobs = jobs.into_iter().collect();
        let free = (0..=i64::from(GPU_MILLI)).step_by(usize::from(STEP));
        let mut values: Vec<i64> = free.flat_map(|free| [free * CERTAIN; CPU_LEVELS]).collect();
        let mut next = values.clone();
        for _ in 0..arrivals {
            for free in 1..LEVELS {
                offer(&jobs, free, &values, &mut next);
            }
            std::mem::swap(&mut values, &mut next);
        }
        Self { values }
    }

    /// The expected residue of a node's GPUs, in thousandths times [`CERTAIN`].
    pub(super) fn of(&self, node: &NodeState) -> i64 {
        let total = u64::from(node.total_free());
        let cpu = u64::from(node.cpu_milli());
        let residue = |free: &u16| {
            let part = u32::try_from(cpu * u64::from(*free) / total).unwrap_or(u32::MAX);
            self.values[usize::from(free / STEP) * CPU_LEVELS + cpu_level(part / CPU_STEP)]
        };
        node.free().iter().filter(|free| **free > 0).map(residue).sum()
    }
}

fn cpu_level(cores: u32) -> usize {
    usize::try_from(cores).map_or(CPU_LEVELS - 1, |cores| cores.min(CPU_LEVELS - 1))
}

/// One step of the induction for a level of GPU. A difference is below 2^34 and loses 12 bits before it meets a
/// probability of at most 2^24.
fn offer(jobs: &Jobs, free: usize, values: &[i64], next: &mut [i64]) {
    let row = &values[free * CPU_LEVELS..][..CPU_LEVELS];
    let out = &mut next[free * CPU_LEVELS..][..CPU_LEVELS];
    out.copy_from_slice(row);
    for ((size, cpu), probability) in jobs.iter().take_while(|((size, _), _)| *size <= free) {
        let with_job = &values[(free - size) * CPU_LEVELS..][..CPU_LEVELS - cpu];
        for ((value, without), with) in out[*cpu..].iter_mut().zip(&row[*cpu..]).zip(with_job) {
            *value -= (((without - with).max(0) >> HALF_BITS) * probability) >> HALF_BITS;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sharing::{Demand, GpuModels, tests::nodes};
    use proptest::prelude::*;

    fn whole(cpu_milli: u32) -> Demand {
        Demand { cpu_milli, memory_mib: 0, gpus: 1, gpu_milli: 1_000, models: GpuModels::ANY }
    }

    fn allotment(jobs: &[Demand]) -> Allotment {
        Allotment::new(&Workload::of(jobs).probabilities(), GpuModel::new(0).unwrap(), 50)
    }

    #[test]
    fn a_shortage_of_cpu_is_seen_while_every_job_still_runs() {
        let allotment = allotment(&[whole(12_000)]);
        let node = |cores: u32| NodeState::idle(GpuModel::new(0).unwrap(), 8, cores * 1_000, 0).unwrap();
        assert!(allotment.of(&node(96)) < CERTAIN);
        // Enough for seven, but no GPU's eighth part is.
        assert_eq!(allotment.of(&node(95)), 8_000 * CERTAIN);
    }

    #[test]
    fn each_arrival_takes_cpu_too() {
        let half = Demand { gpu_milli: 500, ..whole(4_000) };
        let allotment = allotment(&[half]);
        let of = |cores: u32| {
            let node = NodeState::idle(GpuModel::new(0).unwrap(), 1, cores * 1_000, 0).unwrap();
            allotment.of(&node) / CERTAIN
        };
        assert_eq!([of(3), of(4), of(7), of(8)], [1_000, 500, 500, 0]);
    }

    proptest! {
        #[test]
        fn no_more_stays_free_than_is_free(node in nodes()) {
            let jobs = [whole(12_000), Demand { gpu_milli: 470, ..whole(8_000) }, Demand { gpu_milli: 30, ..whole(1_000) }];
            let value = allotment(&jobs).of(&node);
            prop_assert!((0..=i64::from(node.total_free()) * CERTAIN).contains(&value));
        }
    }
}
