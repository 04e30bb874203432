//! What jobs of one shape could fill of a node.

use super::{GPU_MILLI, GpuModel, NodeState, Workload};

/// Sizes that are told apart; of more, the smallest are counted.
const MAX_SIZES: usize = 128;

/// Expected fill: over the shapes of a workload, the mean of what jobs of that one shape would take of a node's
/// GPUs, if as many of them came as fit by GPUs, CPU and host memory.
///
/// Where fragmentation asks whether one more job runs, this asks how many: a node whose CPU is enough for one job
/// but not for one on each of its idle GPUs is told apart from one where it is.
///
/// A shape that wants parts of several GPUs counts as if parts of one GPU were as good, which is too much by less than
/// one job.
#[derive(Clone, Debug, Default)]
pub(super) struct Fill {
    /// Shapes by what they want of GPUs.
    sizes: Vec<Size>,
    /// For each number of thousandths free on a GPU, the parts of each size that fit in it.
    parts: Vec<u16>,
    members: Vec<Member>,
}

#[derive(Clone, Copy, Debug)]
struct Size {
    gpus: u32,
    /// One past the size's last member.
    end: usize,
}

#[derive(Clone, Copy, Debug)]
struct Member {
    cpu_milli: u32,
    memory_mib: u32,
    /// Thousandths of all its GPUs, times jobs.
    weight: i64,
}

impl Fill {
    /// Counts with the shapes that run on a model.
    pub(super) fn new(workload: &Workload, model: GpuModel) -> Self {
        let runs = workload.shapes().iter().filter(|shape| shape.demand.runs_on(model));
        let mut shapes: Vec<_> = runs.collect();
        shapes.sort_by_key(|shape| (shape.demand.gpus, shape.demand.gpu_milli, shape.demand));
        let mut fill = Self::default();
        let mut millis = Vec::new();
        for size in shapes.chunk_by(|a, b| (a.demand.gpus, a.demand.gpu_milli) == (b.demand.gpus, b.demand.gpu_milli)) {
            fill.members.extend(size.iter().map(|shape| Member {
                cpu_milli: shape.demand.cpu_milli,
                memory_mib: shape.demand.memory_mib,
                weight: i64::from(shape.demand.total_gpu_milli()) * i64::from(shape.count),
            }));
            fill.sizes.push(Size { gpus: u32::from(size[0].demand.gpus), end: fill.members.len() });
            millis.push(size[0].demand.gpu_milli);
        }
        let parts = |free: u16| millis.iter().map(move |milli| free / milli);
        fill.parts = (0..=GPU_MILLI).flat_map(parts).collect();
        fill
    }

    /// The expected fill, in thousandths of a GPU times jobs.
    pub(super) fn of(&self, node: &NodeState) -> i64 {
        let mut parts = [0_u16; MAX_SIZES];
        let parts = &mut parts[..self.sizes.len()];
        for free in node.free().iter().filter(|free| **free > 0) {
            let from = usize::from(*free) * self.sizes.len();
            for (sum, more) in parts.iter_mut().zip(&self.parts[from..]) {
                *sum += *more;
            }
        }
        let mut start = 0;
        let mut filled = 0;
        for (size, parts) in self.sizes.iter().zip(parts) {
            let members = &self.members[start..size.end];
            start = size.end;
            let most = u32::from(*parts) / size.gpus;
            if most > 0 {
                filled +=
                    members.iter().map(|member| member.weight * i64::from(member.copies(node, most))).sum::<i64>();
            }
        }
        filled
    }
}

impl Member {
    /// How many run at once where `most` do by their GPUs.
    fn copies(&self, node: &NodeState, most: u32) -> u32 {
        let within = |have: u32, each: u32| {
            if u64::from(each) * u64::from(most) <= u64::from(have) { most } else { have / each }
        };
        within(node.cpu_milli(), self.cpu_milli).min(within(node.memory_mib(), self.memory_mib))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::sharing::{
        Demand, GpuModels,
        tests::{demands, nodes},
    };

    /// Puts jobs of one shape on a node until no more fits.
    fn by_filling(node: &NodeState, demand: &Demand) -> i64 {
        let (mut node, mut filled) = (*node, 0);
        while demand.runs_on(node.model()) && node.fits(demand) {
            node = node.after(demand, node.first_fit(demand.gpu_milli));
            filled += i64::from(demand.total_gpu_milli());
        }
        filled
    }

    proptest! {
        #[test]
        fn tables_say_what_filling_says(node in nodes(), jobs in prop::collection::vec(demands(), 1..20)) {
            let one_or_whole = |demand: &&Demand| demand.gpus <= 1 || demand.gpu_milli == GPU_MILLI;
            let jobs: Vec<Demand> = jobs.iter().filter(one_or_whole).copied().collect();
            let workload = Workload::of(&jobs);
            let expected: i64 = jobs.iter().map(|demand| by_filling(&node, demand)).sum();
            prop_assert_eq!(Fill::new(&workload, node.model()).of(&node), expected);
        }
    }

    #[test]
    fn cpu_for_one_job_is_told_apart_from_cpu_for_all() {
        let job = Demand { cpu_milli: 12_000, memory_mib: 0, gpus: 1, gpu_milli: 1_000, models: GpuModels::ANY };
        let model = GpuModel::new(0).unwrap();
        let fill = Fill::new(&Workload::of(&[job]), model);
        let of = |cores: u32| fill.of(&NodeState::idle(model, 8, cores * 1_000, 0).unwrap());
        assert_eq!([of(11), of(12), of(50), of(96), of(500)], [0, 1_000, 4_000, 8_000, 8_000]);
    }

    #[test]
    fn jobs_of_a_thousandth_fill_eight_gpus() {
        let job = Demand { cpu_milli: 0, memory_mib: 0, gpus: 1, gpu_milli: 1, models: GpuModels::ANY };
        let model = GpuModel::new(0).unwrap();
        let fill = Fill::new(&Workload::of(&[job]), model);
        assert_eq!(fill.of(&NodeState::idle(model, 8, 0, 0).unwrap()), 8_000);
    }
}
