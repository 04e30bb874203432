//! Policies to compare with, as Weng et al., "Beware of Fragmentation" (USENIX ATC'23), set them up: a score from 0
//! to 100 in whole points, so that ties are many and go to the node that comes first.

use super::{Demand, DemandKind, Fit, GPU_MILLI, NodeState, PlacementPolicy, Score, SplitMix64, policy::tightest};

/// The best score.
const FULL: Score = 100;
/// CPU and GPUs of the largest node that scores are scaled to, in thousandths.
const MOST_CPU: Score = 128_000;
const MOST_GPU: Score = 8_000;

/// Any node that fits, each as likely; on it, any GPU that fits.
#[derive(Clone, Debug)]
pub struct Random {
    lots: SplitMix64,
}

impl Random {
    /// Draws from a seed.
    pub fn new(seed: u64) -> Self {
        Self { lots: SplitMix64::new(seed) }
    }
}

impl PlacementPolicy for Random {
    fn fit(&self, node: &NodeState, _potential: i64, demand: &Demand) -> Fit {
        Fit { score: 0, gpu: tightest(node, demand) }
    }

    fn lots(&mut self) -> Option<&mut SplitMix64> {
        Some(&mut self.lots)
    }
}

/// The node whose free CPU and GPUs have the smallest dot product with the demand (Grandl et al., "Multi-resource
/// packing", SIGCOMM'14).
#[derive(Clone, Copy, Debug, Default)]
pub struct DotProd;

impl PlacementPolicy for DotProd {
    fn fit(&self, node: &NodeState, _potential: i64, demand: &Demand) -> Fit {
        // Each product as a share of the square of its most, over the denominator of both. CPU is below 2^32 and GPUs
        // below 2^14, so the largest product is below 2^97.
        let product = |a: u32, b: u32| i128::from(a) * i128::from(b);
        let (most_cpu, most_gpu) = (i128::from(MOST_CPU).pow(2), i128::from(MOST_GPU).pow(2));
        let cpu = product(node.cpu_milli(), demand.cpu_milli) * most_gpu;
        let gpu = product(node.total_free(), demand.total_gpu_milli()) * most_cpu;
        let whole = 2 * most_cpu * most_gpu;
        let score = i128::from(FULL) * (whole - cpu - gpu) / whole;
        Fit { score: Score::try_from(score).unwrap_or(Score::MIN + 1), gpu: tightest(node, demand) }
    }
}

/// Jobs of the same kind together: a node that runs only such jobs, then one that runs such jobs too, then an idle
/// one (Xiao et al., "Gandiva", OSDI'18, and others).
#[derive(Clone, Copy, Debug, Default)]
pub struct GpuClustering;

impl PlacementPolicy for GpuClustering {
    fn fit(&self, node: &NodeState, _potential: i64, demand: &Demand) -> Fit {
        let gpu = tightest(node, demand);
        if demand.kind() == DemandKind::NoGpu {
            return Fit { score: 0, gpu };
        }
        let band = match (node.kinds().contains(demand.kind()), node.kinds().len()) {
            (true, 1) => 3,
            (true, _) => 2,
            (false, 0) => 1,
            (false, _) => 0,
        };
        let used = FULL / 4 * (MOST_GPU - Score::from(node.total_free())) / MOST_GPU;
        Fit { score: used + FULL / 4 * band, gpu }
    }
}

/// GPUs in use first, then idle GPUs of nodes in use, then idle nodes (Weng et al., "MLaaS in the Wild", NSDI'22).
#[derive(Clone, Copy, Debug, Default)]
pub struct GpuPacking;

impl PlacementPolicy for GpuPacking {
    fn fit(&self, node: &NodeState, _potential: i64, demand: &Demand) -> Fit {
        let gpu = tightest(node, demand);
        if demand.kind() == DemandKind::NoGpu {
            return Fit { score: 0, gpu };
        }
        let whole = usize::from(node.whole_free());
        if whole == node.free().len() {
            let whole = Score::from(node.whole_free());
            return Fit { score: (FULL / 3 - whole).max(whole), gpu };
        }
        let taken = &node.free()[gpu..gpu + usize::from(demand.gpus)];
        let idle = taken.iter().map(|free| Score::from(*free == GPU_MILLI)).sum::<Score>();
        let score = if idle > 0 {
            (FULL / 2 - idle).max(FULL / 3)
        } else {
            let percent = taken.iter().map(|free| Score::from(*free) * 100 / Score::from(GPU_MILLI)).sum::<Score>();
            (FULL - percent / 10).max(FULL / 2)
        };
        Fit { score, gpu }
    }
}

/// The node with the least left over, CPU and GPUs weighing the same.
#[derive(Clone, Copy, Debug, Default)]
pub struct BestFit;

impl PlacementPolicy for BestFit {
    fn fit(&self, node: &NodeState, _potential: i64, demand: &Demand) -> Fit {
        let cpu = Score::from(node.cpu_milli()) - Score::from(demand.cpu_milli);
        let gpu = Score::from(node.total_free()) - Score::from(demand.total_gpu_milli());
        let whole = 2 * MOST_CPU * MOST_GPU;
        Fit { score: FULL * (whole - cpu * MOST_GPU - gpu * MOST_CPU) / whole, gpu: tightest(node, demand) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sharing::{GpuModel, GpuModels};

    fn job(gpus: u8, gpu_milli: u16) -> Demand {
        Demand { cpu_milli: 4_000, memory_mib: 0, gpus, gpu_milli, models: GpuModels::ANY }
    }

    /// Four GPUs and 64 cores, with jobs on it.
    fn node(jobs: &[Demand]) -> NodeState {
        let idle = NodeState::idle(GpuModel::new(0).unwrap(), 4, 64_000, 0).unwrap();
        jobs.iter().fold(idle, |node, job| node.after(job, tightest(&node, job)))
    }

    fn score(policy: &impl PlacementPolicy, node: &NodeState, demand: &Demand) -> Score {
        policy.fit(node, policy.potential(node), demand).score
    }

    #[test]
    fn the_dot_product_is_small_where_little_is_free() {
        // 1 - (64 * 4 / 128^2 + 4 * 1 / 8^2) / 2 = 0.9609, and with a job on it 0.9695.
        assert_eq!(score(&DotProd, &node(&[]), &job(1, 1_000)), 96);
        assert_eq!(score(&DotProd, &node(&[job(1, 1_000)]), &job(1, 1_000)), 96);
        assert_eq!(score(&DotProd, &node(&[job(3, 1_000)]), &job(1, 1_000)), 98);
    }

    #[test]
    fn clustering_prefers_its_own_kind_then_idle_nodes() {
        let share = job(1, 500);
        let scores = [&[share][..], &[share, job(1, 1_000)], &[], &[job(1, 1_000)]]
            .map(|jobs| score(&GpuClustering, &node(jobs), &share) / 25);
        assert_eq!(scores, [3, 2, 1, 0]);
        let without = Demand { gpus: 0, gpu_milli: 0, ..share };
        assert_eq!(score(&GpuClustering, &node(&[]), &without), 0);
    }

    #[test]
    fn packing_prefers_gpus_in_use_then_nodes_in_use() {
        let share = job(1, 400);
        assert_eq!(score(&GpuPacking, &node(&[job(1, 500)]), &share), 95);
        assert_eq!(score(&GpuPacking, &node(&[job(1, 700)]), &share), 49);
        assert_eq!(score(&GpuPacking, &node(&[]), &share), 29);
        assert_eq!(score(&GpuPacking, &node(&[job(1, 500)]), &job(2, 1_000)), 48);
    }

    #[test]
    fn best_fit_prefers_the_least_left_over() {
        // 1 - (60 / 128 + 3 / 8) / 2 = 0.578, and with a job on it 1 - (56 / 128 + 2 / 8) / 2 = 0.656.
        assert_eq!(score(&BestFit, &node(&[]), &job(1, 1_000)), 57);
        assert_eq!(score(&BestFit, &node(&[job(1, 1_000)]), &job(1, 1_000)), 65);
    }
}
