//! What will stay free on a GPU.

use super::{GPU_MILLI, GpuModel, NodeState, TypicalDemand, Workload, workload::CERTAIN};

/// What is free on a GPU is told apart in steps of so many thousandths, rounded down.
pub(super) const STEP: u16 = 10;
pub(super) const LEVELS: usize = (GPU_MILLI / STEP) as usize + 1;

/// Expected residue: what is still free on a GPU after a number of jobs came by and each was let in only if that
/// left less to expect. By backward induction, with `p(s)` the probability of jobs of size `s` that the node's CPU
/// is enough for:
///
/// `W(0, r) = r`, `W(k, r) = W(k-1, r) - sum over s <= r of p(s) * max(0, W(k-1, r) - W(k-1, r - s))`
///
/// This is the optimal stopping value of a single GPU: it knows which sizes add up to a whole GPU, and how likely
/// they are to come.
#[derive(Clone, Debug, Default)]
pub(super) struct Residue {
    /// CPU that jobs for one GPU ask for, ascending.
    cpu: Vec<u32>,
    /// For each number of `cpu` that the node has, and no more, what is expected by level.
    rows: Vec<[i64; LEVELS]>,
}

impl Residue {
    /// Expects so many jobs of a workload whose counts are probabilities.
    pub(super) fn new(workload: &Workload, model: GpuModel, arrivals: u16) -> Self {
        let single = |shape: &&TypicalDemand| shape.demand.gpus == 1 && shape.demand.runs_on(model);
        let mut shapes: Vec<_> = workload.shapes().iter().filter(single).collect();
        shapes.sort_by_key(|shape| shape.demand.cpu_milli);
        let mut cpu = Vec::new();
        let mut probability = [0; LEVELS];
        let mut rows = vec![stopping(&probability, 0)];
        for same in shapes.chunk_by(|a, b| a.demand.cpu_milli == b.demand.cpu_milli) {
            for shape in same {
                probability[usize::from(shape.demand.gpu_milli.div_ceil(STEP))] += i64::from(shape.count);
            }
            cpu.push(same[0].demand.cpu_milli);
            rows.push(stopping(&probability, arrivals));
        }
        Self { cpu, rows }
    }

    /// The expected residue of a node's GPUs, in thousandths times [`CERTAIN`].
    pub(super) fn of(&self, node: &NodeState) -> i64 {
        let row = &self.rows[self.cpu.partition_point(|cpu| *cpu <= node.cpu_milli())];
        node.free().iter().map(|free| row[usize::from(free / STEP)]).sum()
    }
}

/// `W` after so many arrivals, in thousandths of a GPU times [`CERTAIN`]. A value is below 2^34, its product with a
/// probability below 2^58.
fn stopping(probability: &[i64; LEVELS], arrivals: u16) -> [i64; LEVELS] {
    let mut values = [0; LEVELS];
    for (value, free) in values.iter_mut().zip((0_i64..).step_by(usize::from(STEP))) {
        *value = free * CERTAIN;
    }
    let sizes: Vec<(usize, i64)> =
        probability.iter().copied().enumerate().filter(|(size, probability)| *size > 0 && *probability > 0).collect();
    for _ in 0..arrivals {
        let before = values;
        for (free, value) in values.iter_mut().enumerate() {
            let gain = |(size, probability): &(usize, i64)| (before[free] - before[free - size]).max(0) * probability;
            let gains: i64 = sizes.iter().filter(|(size, _)| *size <= free).map(|of| gain(of) / CERTAIN).sum();
            *value -= gains;
        }
    }
    values
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sharing::{Demand, GpuModels};

    fn share(cpu_milli: u32, gpu_milli: u16) -> Demand {
        Demand { cpu_milli, memory_mib: 0, gpus: 1, gpu_milli, models: GpuModels::ANY }
    }

    fn gpu(cpu_milli: u32, taken: u16) -> NodeState {
        let model = GpuModel::new(0).unwrap();
        NodeState::idle(model, 1, cpu_milli, 0).unwrap().after(&share(0, taken), 0)
    }

    fn residue(jobs: &[Demand], arrivals: u16) -> Residue {
        Residue::new(&Workload::of(jobs).probabilities(), GpuModel::new(0).unwrap(), arrivals)
    }

    #[test]
    fn without_arrivals_all_stays_free() {
        assert_eq!(residue(&[share(0, 500)], 0).of(&gpu(1_000, 300)), 700 * CERTAIN);
    }

    #[test]
    fn a_certain_job_takes_what_it_can_once_for_each_arrival() {
        let jobs = [share(0, 400)];
        let after = |arrivals| residue(&jobs, arrivals).of(&gpu(1_000, 0)) / CERTAIN;
        assert_eq!([after(1), after(2), after(3)], [600, 200, 200]);
    }

    #[test]
    fn a_job_is_let_in_only_where_that_leaves_less_to_expect() {
        // 700 and 300 make a whole GPU. 600 is as likely, and would leave 100 beside 300 for ever.
        let jobs = [share(0, 700), share(0, 300), share(0, 600)];
        let many = residue(&jobs, 200);
        assert!(many.of(&gpu(1_000, 0)) < CERTAIN, "the pair that fits comes in the end");
        let with_600 = many.of(&gpu(1_000, 600)) / CERTAIN;
        assert!((99..=101).contains(&with_600), "{with_600}");
    }

    #[test]
    fn jobs_that_want_more_cpu_than_there_is_do_not_come() {
        let residue = residue(&[share(4_000, 500)], 50);
        assert_eq!(residue.of(&gpu(3_999, 0)), 1_000 * CERTAIN);
        assert!(residue.of(&gpu(4_000, 0)) < CERTAIN);
    }
}
