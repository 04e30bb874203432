//! Fragmentation gradient descent.

use super::{Demand, Fit, Fragmentation, GPU_MILLI, NodeState, PlacementPolicy, Score, Workload, policy::best_gpu};

/// Natural logarithms of s / (100 - s) in millionths, for s from 50 to 99: where the rounded-down sigmoid of a
/// gradient, in percent, reaches s.
#[rustfmt::skip]
const LOGITS: [i64; 50] = [
    0, 40_005, 80_043, 120_144, 160_343, 200_671, 241_162, 281_851, 322_773, 363_965, 405_465, 447_312,
    489_548, 532_217, 575_364, 619_039, 663_294, 708_185, 753_772, 800_119, 847_298, 895_384, 944_462, 994_623,
    1_045_969, 1_098_612, 1_152_680, 1_208_311, 1_265_666, 1_324_925, 1_386_294, 1_450_010, 1_516_347,
    1_585_627, 1_658_228, 1_734_601, 1_815_290, 1_900_959, 1_992_430, 2_090_741, 2_197_225, 2_313_635,
    2_442_347, 2_586_689, 2_751_535, 2_944_439, 3_178_054, 3_476_099, 3_891_820, 4_595_120,
];

/// Places every job where the expected fragmentation grows least (Weng et al., "Beware of Fragmentation", USENIX
/// ATC'23).
///
/// The score is that of the authors' simulator: what fragmentation shrinks by, in GPUs, through a sigmoid to whole
/// points from 0 to 99, so that small differences are ties.
#[derive(Clone, Debug)]
pub struct Fgd {
    fragmentation: Fragmentation,
    /// What fragmentation must shrink by for a score of at least 50, 51, and so on.
    thresholds: Vec<i64>,
}

impl Fgd {
    /// Descends the expected fragmentation under a workload.
    pub fn new(workload: &Workload) -> Self {
        let fragmentation = Fragmentation::new(workload);
        // One GPU for all jobs; at most 2^42, and a logit is below 2^23, so the product needs more than 64 bits.
        let whole = i128::from(fragmentation.jobs()) * i128::from(GPU_MILLI);
        let threshold =
            |logit: &i64| i64::try_from((i128::from(*logit) * whole).div_euclid(1_000_000)).unwrap_or(i64::MAX);
        Self { thresholds: LOGITS.iter().map(threshold).collect(), fragmentation }
    }

    /// Points for a decrease.
    fn points(&self, decrease: i64) -> Score {
        let reached = |amount: i64| self.thresholds.partition_point(|threshold| *threshold <= amount);
        let points = if decrease >= 0 {
            49 + reached(decrease)
        } else {
            // The sigmoid is symmetric; rounding down is not.
            50 - self.thresholds.partition_point(|threshold| *threshold < -decrease)
        };
        Score::try_from(points).unwrap_or_default()
    }
}

impl PlacementPolicy for Fgd {
    fn potential(&self, node: &NodeState) -> i64 {
        self.fragmentation.of(node)
    }

    fn fit(&self, node: &NodeState, potential: i64, demand: &Demand) -> Fit {
        best_gpu(node, demand, |after| self.points(potential - self.fragmentation.of(after)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sharing::{GpuModel, GpuModels};

    fn share(gpu_milli: u16) -> Demand {
        Demand { cpu_milli: 1_000, memory_mib: 0, gpus: 1, gpu_milli, models: GpuModels::ANY }
    }

    #[test]
    fn points_are_the_sigmoid_rounded_down() {
        let fgd = Fgd::new(&Workload::of(&[share(500)]));
        // GPUs less fragmented, and 100 / (1 + e^-x) by hand.
        for (gpus_milli, points) in [
            (0, 50),
            (1, 50),
            (-1, 49),
            (1_000, 73),
            (-1_000, 26),
            (4_000, 98),
            (-4_000, 1),
            (16_000, 99),
            (-16_000, 0),
        ] {
            assert_eq!(fgd.points(gpus_milli), points, "{gpus_milli}");
        }
    }

    #[test]
    fn a_share_goes_where_the_rest_stays_of_use() {
        let fgd = Fgd::new(&Workload::of(&[share(500), share(500), share(300)]));
        let node = NodeState::idle(GpuModel::new(0).unwrap(), 2, 64_000, 0).unwrap();
        // 700 and 1000 free: taking 300 from the first leaves 400, of which 500 could use nothing.
        let node = node.after(&share(300), 0);
        assert_eq!(fgd.fit(&node, fgd.potential(&node), &share(500)).gpu, 1);
        assert_eq!(fgd.fit(&node, fgd.potential(&node), &share(300)).gpu, 1);
    }
}
