//! Places one demand after the other.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    Demand, NodeState, PlacementPolicy, Score, SplitMix64,
    groups::{GroupId, Groups},
};

/// Scores are kept for so many different demands; when there are more, all are forgotten and found again as needed.
const MAX_SHAPES: usize = 1_024;
/// And for so many changes of groups.
const MAX_CHANGES: usize = 1 << 15;
/// No node of the group can run the demand, or the group is empty.
const UNFIT: Score = Score::MIN;

/// A demand's node and GPU.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Placement {
    /// The node, by its position in the cluster.
    pub node: usize,
    /// The node's state before.
    pub before: NodeState,
    /// The first GPU taken, as a position in the state before. A demand for several takes those after it too.
    pub gpu: usize,
}

/// A cluster, and a policy that places demands on it.
///
/// Ties go to the node that comes first in the cluster's order.
///
/// A demand's scores are kept by group of nodes in the same state. To place the next one like it, only groups that
/// changed in between are scored again, and the best is found by one pass over plain numbers.
#[derive(Clone, Debug)]
pub struct Placer<P> {
    groups: Groups,
    policy: P,
    shapes: BTreeMap<Demand, Scores>,
}

/// What the policy thinks of every group for one demand.
#[derive(Clone, Debug, Default)]
struct Scores {
    /// How many of the groups' changes are in.
    seen: usize,
    by_group: Vec<Score>,
}

impl<P: PlacementPolicy> Placer<P> {
    /// A cluster with nodes in the states given, and the policy that rules it.
    pub fn new(nodes: &[NodeState], policy: P) -> Self {
        let groups = Groups::new(nodes, |state| policy.potential(state));
        Self { groups, policy, shapes: BTreeMap::new() }
    }

    /// The state of the node at a position.
    pub fn node(&self, position: usize) -> &NodeState {
        &self.groups.of_node(position).state
    }

    /// Places a demand for good; `None` where it fits nowhere.
    pub fn place(&mut self, demand: &Demand) -> Option<Placement> {
        if self.shapes.len() > MAX_SHAPES || self.groups.changes() > MAX_CHANGES {
            self.shapes.clear();
            self.groups.forget_changes();
        }
        let scores = self.shapes.entry(*demand).or_default();
        scores.update(&self.groups, &self.policy, demand);
        let (node, gpu) = match self.policy.lots() {
            None => {
                let node = scores.best(&self.groups)?;
                let group = self.groups.of_node(node);
                (node, self.policy.fit(&group.state, group.potential, demand).gpu)
            }
            Some(lots) => {
                let node = scores.drawn(&self.groups, lots)?;
                let free = self.groups.of_node(node).state.free();
                let first = free.partition_point(|free| *free < demand.gpu_milli);
                (node, if demand.is_share() { first + lots.below(free.len() - first) } else { first })
            }
        };
        let before = *self.node(node);
        let gpu = if demand.gpus == 0 { 0 } else { gpu };
        self.groups.change(node, before.after(demand, gpu), |state| self.policy.potential(state));
        Some(Placement { node, before, gpu })
    }
}

impl Scores {
    fn update(&mut self, groups: &Groups, policy: &impl PlacementPolicy, demand: &Demand) {
        let evaluate = |id: GroupId| {
            let group = groups.group(id);
            let fits = !group.nodes.is_empty() && group.state.fits(demand);
            if fits { policy.fit(&group.state, group.potential, demand).score } else { UNFIT }
        };
        self.by_group.resize(groups.len(), UNFIT);
        for id in groups.changed_since(self.seen) {
            self.by_group[id] = evaluate(id);
        }
        self.seen = groups.changes();
    }

    fn best(&self, groups: &Groups) -> Option<usize> {
        let best = self.by_group.iter().copied().max().filter(|score| *score != UNFIT)?;
        let tied = self.by_group.iter().enumerate().filter(|(_, score)| **score == best);
        tied.filter_map(|(id, _)| groups.group(id).nodes.first().copied()).min()
    }

    /// Any of the nodes that can run the demand, each as likely.
    fn drawn(&self, groups: &Groups, lots: &mut SplitMix64) -> Option<usize> {
        let fitting = || {
            let ids = self.by_group.iter().enumerate().filter(|(_, score)| **score != UNFIT);
            ids.map(|(id, _)| &groups.group(id).nodes)
        };
        let count: usize = fitting().map(BTreeSet::len).sum();
        let mut drawn = (count > 0).then(|| lots.below(count))?;
        for nodes in fitting() {
            if drawn < nodes.len() {
                return nodes.iter().nth(drawn).copied();
            }
            drawn -= nodes.len();
        }
        None
    }
}
