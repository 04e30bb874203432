//! How much of a node's free GPUs the expected jobs cannot use.

use super::{GPU_MILLI, GpuModel, MAX_GPUS, NodeState, TypicalDemand, Workload};

/// A fragmentation or a difference of two, in thousandths of a GPU times jobs of the workload.
///
/// At most `MAX_GPUS * GPU_MILLI * 2^32`, so 2^46 for a workload of 2^32 jobs.
pub type Fragments = i64;

/// Expected fragmentation of Weng et al., "Beware of Fragmentation" (USENIX ATC'23), section 3:
///
/// `F(node) = sum over shapes m of p(m) * F(node, m)`, where `F(node, m)` is all that is free on the node's GPUs if
/// a job of shape `m` cannot run there, and otherwise what is free on GPUs that have too little for it. A job
/// without GPUs cannot use any. Shapes count by how many jobs have them instead of by their probability `p(m)`,
/// so every sum is exact.
///
/// Sums over shapes are made once per model: evaluating a node looks up one number per GPU.
#[derive(Clone, Debug)]
pub struct Fragmentation {
    jobs: Fragments,
    /// By number of the model.
    models: Vec<ModelTable>,
}

/// Which jobs run on a node with one model of GPUs.
#[derive(Clone, Debug, Default)]
struct ModelTable {
    /// CPU that jobs with GPUs ask for, ascending.
    cpu: Vec<u32>,
    /// The level of what is free on a GPU: how many of the sizes that jobs ask for fit in it.
    level: Vec<u8>,
    /// For each number of `cpu` that the node still has, and no more: the jobs that run there.
    rows: Vec<Row>,
}

#[derive(Clone, Debug, Default)]
struct Row {
    /// By level: jobs for one GPU that fit in it.
    single: Vec<Fragments>,
    /// By number of idle GPUs: jobs for several whole GPUs that fit.
    whole: [Fragments; MAX_GPUS + 1],
    /// Jobs for parts of several GPUs.
    parts: Vec<TypicalDemand>,
}

impl Fragmentation {
    /// Counts with the shapes of a workload.
    pub fn new(workload: &Workload) -> Self {
        let models = (0..GpuModel::COUNT).filter_map(GpuModel::new);
        Self {
            jobs: Fragments::try_from(workload.jobs()).unwrap_or(Fragments::MAX),
            models: models.map(|model| ModelTable::new(workload, model)).collect(),
        }
    }

    /// Jobs that are counted with: the scale of what [`Fragmentation::of`] returns.
    pub fn jobs(&self) -> Fragments {
        self.jobs
    }

    /// A node's expected fragmentation.
    pub fn of(&self, node: &NodeState) -> Fragments {
        let free = Fragments::from(node.total_free());
        free * self.jobs - self.models[usize::from(node.model().number())].usable(node)
    }
}

impl ModelTable {
    fn new(workload: &Workload, model: GpuModel) -> Self {
        let shapes: Vec<_> = workload.shapes().iter().filter(|shape| shape.demand.runs_on(model)).collect();
        let mut cpu: Vec<u32> = shapes.iter().map(|shape| shape.demand.cpu_milli).collect();
        cpu.sort_unstable();
        cpu.dedup();
        let singles = shapes.iter().filter(|shape| shape.demand.gpus == 1);
        let mut sizes: Vec<u16> = singles.map(|shape| shape.demand.gpu_milli).collect();
        sizes.sort_unstable();
        sizes.dedup();
        // At most as many as there are sizes of a share, which is more than a byte holds only in theory.
        sizes.truncate(usize::from(u8::MAX));
        let fitting = |free: u16| sizes.partition_point(|size| *size <= free);
        let level = (0..=GPU_MILLI).map(|free| u8::try_from(fitting(free)).unwrap_or(u8::MAX)).collect();
        let rows = (0..=cpu.len()).map(|enough| {
            let runs = shapes.iter().filter(|shape| cpu[..enough].contains(&shape.demand.cpu_milli));
            Row::new(runs.copied(), &sizes)
        });
        Self { level, rows: rows.collect(), cpu }
    }

    /// What the jobs could use of the node, each counted by itself.
    fn usable(&self, node: &NodeState) -> Fragments {
        let row = &self.rows[self.cpu.partition_point(|cpu| *cpu <= node.cpu_milli())];
        let single = |free: &u16| {
            let level = usize::from(self.level[usize::from(*free)]);
            Fragments::from(*free) * row.single[level]
        };
        let idle = node.whole_free();
        let whole = Fragments::from(idle) * Fragments::from(GPU_MILLI) * row.whole[usize::from(idle)];
        let parts = row.parts.iter().map(|shape| usable_in_parts(node, shape)).sum::<Fragments>();
        node.free().iter().map(single).sum::<Fragments>() + whole + parts
    }
}

impl Row {
    fn new<'a>(shapes: impl Iterator<Item = &'a TypicalDemand>, sizes: &[u16]) -> Self {
        let mut row = Self { single: vec![0; sizes.len() + 1], ..Self::default() };
        for shape in shapes {
            let jobs = Fragments::from(shape.count);
            match (shape.demand.gpus, shape.demand.gpu_milli) {
                (1, milli) => {
                    let first = sizes.partition_point(|size| *size < milli) + 1;
                    row.single[first..].iter_mut().for_each(|sum| *sum += jobs);
                }
                (gpus, GPU_MILLI) => row.whole.iter_mut().skip(usize::from(gpus)).for_each(|sum| *sum += jobs),
                _ => row.parts.push(*shape),
            }
        }
        row
    }
}

fn usable_in_parts(node: &NodeState, shape: &TypicalDemand) -> Fragments {
    let enough = &node.free()[node.first_fit(shape.demand.gpu_milli)..];
    if enough.len() < usize::from(shape.demand.gpus) {
        return 0;
    }
    enough.iter().map(|free| Fragments::from(*free)).sum::<Fragments>() * Fragments::from(shape.count)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::sharing::tests::{demands, nodes};

    /// The definition, shape by shape.
    fn by_definition(node: &NodeState, workload: &Workload) -> Fragments {
        let lost = |shape: &TypicalDemand| {
            let demand = shape.demand;
            let enough = node.free().iter().filter(|free| **free >= demand.gpu_milli);
            let runs = demand.runs_on(node.model())
                && node.cpu_milli() >= demand.cpu_milli
                && enough.count() >= usize::from(demand.gpus);
            let unusable = node.free().iter().filter(|free| !runs || **free < demand.gpu_milli);
            unusable.map(|free| Fragments::from(*free)).sum::<Fragments>() * Fragments::from(shape.count)
        };
        workload.shapes().iter().map(lost).sum()
    }

    proptest! {
        #[test]
        fn tables_say_what_the_definition_says(node in nodes(), jobs in prop::collection::vec(demands(), 1..40)) {
            let workload = Workload::typical(&jobs, 95);
            prop_assert_eq!(Fragmentation::new(&workload).of(&node), by_definition(&node, &workload));
        }
    }
}
