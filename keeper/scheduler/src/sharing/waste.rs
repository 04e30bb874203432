//! Descent of expected waste: the keeper's own policy for shared GPUs.

use std::{collections::BTreeMap, sync::Arc};

use super::{
    Demand, Fit, GpuModel, NodeState, PlacementPolicy, TypicalDemand, Workload, allotment::Allotment, fill::Fill,
    policy::best_gpu, residue::Residue, workload::CERTAIN,
};

/// How much each estimate of waste counts. Only their ratios matter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WasteWeights {
    /// What stays free on single GPUs if jobs are let in with care.
    pub residue: u16,
    /// What stays free on single GPUs that have only their part of the node's CPU.
    pub allotment: u16,
    /// What jobs of one shape, as many as fit, would leave of the node.
    pub fill: u16,
    /// What is taken from jobs that accept few models.
    pub scarcity: u16,
    /// Jobs that a GPU is expected to be offered, for residue and allotment.
    pub arrivals: u16,
}

impl Default for WasteWeights {
    /// Weights that do well on all openb mixes; `docs/design/0010-fragmentation.md` says how they were found.
    fn default() -> Self {
        Self { residue: 100, allotment: 6, fill: 3, scarcity: 3, arrivals: 75 }
    }
}

/// Places every job where the expected waste grows least.
///
/// Waste is what is free now and will not be used. No single number tells it, so four estimates are added up: what
/// stays free on a GPU by optimal stopping, the same with a part of the CPU, what jobs of one shape could fill, and
/// whether others depend on the model. As in fragmentation gradient descent, a job goes where its arrival makes
/// the least of it; unlike there, differences are never rounded.
///
/// Cloning is cheap: clones share their tables.
#[derive(Clone, Debug)]
pub struct WasteDescent {
    waste: Arc<Waste>,
}

#[derive(Debug)]
struct Waste {
    weights: WasteWeights,
    /// By number of the model; those that are not in the cluster have none.
    models: Vec<Option<Estimates>>,
}

#[derive(Debug)]
struct Estimates {
    residue: Residue,
    fill: Fill,
    allotment: Allotment,
    /// What a free thousandth of a GPU is worth to jobs that accept few models, times [`CERTAIN`].
    scarcity: i64,
}

impl WasteDescent {
    /// Expects jobs like those of a workload on a cluster, idle or not.
    pub fn new(nodes: &[NodeState], workload: &Workload, weights: WasteWeights) -> Self {
        let expected = workload.probabilities();
        let mut capacity = BTreeMap::new();
        for node in nodes {
            *capacity.entry(node.model()).or_default() += node.free().len() as u64;
        }
        let models = (0..GpuModel::COUNT).filter_map(GpuModel::new).map(|model| {
            capacity.contains_key(&model).then(|| Estimates {
                residue: Residue::new(&expected, model, weights.arrivals),
                fill: Fill::new(&expected, model),
                allotment: Allotment::new(&expected, model, weights.arrivals),
                scarcity: scarcity(&expected, model, &capacity),
            })
        });
        Self { waste: Arc::new(Waste { weights, models: models.collect() }) }
    }
}

impl PlacementPolicy for WasteDescent {
    fn potential(&self, node: &NodeState) -> i64 {
        self.waste.of(node)
    }

    fn fit(&self, node: &NodeState, potential: i64, demand: &Demand) -> Fit {
        best_gpu(node, demand, |after| potential - self.waste.of(after))
    }
}

impl Waste {
    /// A node's expected waste, up to a multiple of what is free on it.
    ///
    /// An estimate is below 2^38: at most 2^14 thousandths, 2^24 for certainty; scarcity is held below 2^44. Weights are
    /// below 2^16, so the sum stays below 2^61.
    fn of(&self, node: &NodeState) -> i64 {
        let Some(estimates) = &self.models[usize::from(node.model().number())] else { return 0 };
        let weighted = |weight: u16, estimate: i64| i64::from(weight) * estimate;
        weighted(self.weights.residue, estimates.residue.of(node))
            + weighted(self.weights.allotment, estimates.allotment.of(node))
            - weighted(self.weights.fill, estimates.fill.of(node))
            - weighted(self.weights.scarcity, estimates.scarcity * i64::from(node.total_free()))
    }
}

/// How many GPUs the jobs that accept a model, but not every model, want for each GPU that they accept, times
/// [`CERTAIN`]: over those shapes, the sum of the shape's part of all GPUs wanted, over the accepted models' part of all
/// GPUs there are. At most 2^30.
fn scarcity(expected: &Workload, model: GpuModel, capacity: &BTreeMap<GpuModel, u64>) -> i64 {
    let wanted = |shape: &TypicalDemand| u128::from(shape.demand.total_gpu_milli()) * u128::from(shape.count);
    let all_wanted = expected.shapes().iter().map(wanted).sum::<u128>().max(1);
    let all = u128::from(capacity.values().sum::<u64>());
    let choosy = expected.shapes().iter().filter(|shape| shape.demand.runs_on(model)).filter_map(|shape| {
        let accepted = capacity.iter().filter(|(model, _)| shape.demand.models.accepts(**model));
        let accepted = u128::from(accepted.map(|(_, gpus)| *gpus).sum::<u64>());
        (accepted < all)
            .then(|| wanted(shape) * all * u128::from(CERTAIN.unsigned_abs()) / (all_wanted * accepted.max(1)))
    });
    i64::try_from(choosy.sum::<u128>().min(1 << 30)).unwrap_or(1 << 30)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sharing::{GpuModels, Placer};

    fn model(number: u8) -> GpuModel {
        GpuModel::new(number).unwrap()
    }

    fn node(number: u8, gpus: u8, cores: u32) -> NodeState {
        NodeState::idle(model(number), gpus, cores * 1_000, 1 << 20).unwrap()
    }

    fn job(cores: u32, gpu_milli: u16) -> Demand {
        Demand { cpu_milli: cores * 1_000, memory_mib: 0, gpus: 1, gpu_milli, models: GpuModels::ANY }
    }

    fn placed(nodes: &[NodeState], jobs: &[Demand], demand: &Demand) -> usize {
        let policy = WasteDescent::new(nodes, &Workload::of(jobs), WasteWeights::default());
        Placer::new(nodes, policy).place(demand).unwrap().node
    }

    #[test]
    fn a_job_that_may_run_anywhere_leaves_a_wanted_model_to_others() {
        let only_first = Demand { models: GpuModels::from_iter([model(0)]), ..job(4, 1_000) };
        let nodes = [node(0, 2, 32), node(1, 2, 32)];
        assert_eq!(placed(&nodes, &[only_first, job(4, 1_000)], &job(4, 1_000)), 1);
        assert_eq!(placed(&nodes, &[only_first, job(4, 1_000)], &only_first), 0);
    }

    #[test]
    fn a_job_that_wants_much_cpu_goes_where_there_is_much() {
        let jobs = [job(30, 500), job(4, 500)];
        let nodes = [node(0, 4, 32), node(1, 4, 256)];
        assert_eq!(placed(&nodes, &jobs, &job(30, 500)), 1);
    }

    #[test]
    fn a_share_goes_beside_the_one_that_it_makes_whole() {
        let jobs = [job(1, 700), job(1, 300), job(1, 500)];
        let with = |milli| node(0, 1, 32).after(&job(1, milli), 0);
        let nodes = [with(500), with(700)];
        assert_eq!(placed(&nodes, &jobs, &job(1, 300)), 1);
        assert_eq!(placed(&nodes, &jobs, &job(1, 500)), 0);
    }

    #[test]
    fn a_workload_of_nothing_places_all_the_same() {
        assert_eq!(placed(&[node(0, 1, 8)], &[], &job(1, 10)), 0);
    }
}
