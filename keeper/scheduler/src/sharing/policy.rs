//! What a placement policy is.

use super::{Demand, NodeState, SplitMix64};

/// How well a node suits a demand: higher is better. Its scale is the policy's own.
pub type Score = i64;

/// The best way to run a demand on one node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fit {
    /// How good it is.
    pub score: Score,
    /// The first GPU taken, as a position in [`NodeState::free`].
    pub gpu: usize,
}

/// Decides which node runs a job.
///
/// Scores are kept for as long as a node's state stays the same, so they must depend on nothing but that state and
/// the demand.
pub trait PlacementPolicy {
    /// What the policy makes of a node before it looks at a demand. It is found once for every state.
    fn potential(&self, _node: &NodeState) -> i64 {
        0
    }

    /// Scores the best way to run a demand on a node that it fits on and that has a potential.
    fn fit(&self, node: &NodeState, potential: i64, demand: &Demand) -> Fit;

    /// Lots, where a node and a GPU are drawn from those that fit instead of the best being taken.
    fn lots(&mut self) -> Option<&mut SplitMix64> {
        None
    }
}

/// The position of the first GPU that a demand takes where the GPU with the least free is taken.
pub(super) fn tightest(node: &NodeState, demand: &Demand) -> usize {
    if demand.gpus == 0 { 0 } else { node.first_fit(demand.gpu_milli) }
}

/// The GPU after whose taking the node's state scores highest, of those with the same score the one with the least
/// free. A demand for more than a share takes the GPUs with the least free that will do.
pub(super) fn best_gpu(node: &NodeState, demand: &Demand, score: impl Fn(&NodeState) -> Score) -> Fit {
    let first = tightest(node, demand);
    let mut best = Fit { score: score(&node.after(demand, first)), gpu: first };
    if !demand.is_share() {
        return best;
    }
    let free = node.free();
    for gpu in first + 1..free.len() {
        if free[gpu] != free[gpu - 1] {
            let score = score(&node.after(demand, gpu));
            if score > best.score {
                best = Fit { score, gpu };
            }
        }
    }
    best
}
