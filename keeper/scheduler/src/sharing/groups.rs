//! Nodes by state: those in the same state are evaluated once.

use std::collections::{BTreeMap, BTreeSet};

use super::NodeState;

/// A group's number. Numbers of groups that ran empty are used again.
pub(super) type GroupId = usize;

/// Nodes that are in the same state.
#[derive(Clone, Debug)]
pub(super) struct Group {
    pub(super) state: NodeState,
    /// What the policy makes of the state.
    pub(super) potential: i64,
    /// By position in the cluster. Empty where the number waits to be used again.
    pub(super) nodes: BTreeSet<usize>,
    /// The change that gave the number its present state, or took its last node.
    changed: usize,
}

/// All nodes, by state.
#[derive(Clone, Debug, Default)]
pub(super) struct Groups {
    groups: Vec<Group>,
    by_state: BTreeMap<NodeState, GroupId>,
    unused: Vec<GroupId>,
    of_node: Vec<GroupId>,
    /// Groups whose state changed, oldest first: scores given before are void.
    changes: Vec<GroupId>,
}

impl Groups {
    pub(super) fn new(nodes: &[NodeState], potential: impl Fn(&NodeState) -> i64) -> Self {
        let mut groups = Self::default();
        for (node, state) in nodes.iter().enumerate() {
            let group = groups.join(node, *state, &potential);
            groups.of_node.push(group);
        }
        groups
    }

    /// One more than the highest number of a group.
    pub(super) fn len(&self) -> usize {
        self.groups.len()
    }

    pub(super) fn group(&self, id: GroupId) -> &Group {
        &self.groups[id]
    }

    pub(super) fn of_node(&self, node: usize) -> &Group {
        &self.groups[self.of_node[node]]
    }

    /// How many changes there were.
    pub(super) fn changes(&self) -> usize {
        self.changes.len()
    }

    /// The groups that changed after the first `seen` changes, each once.
    pub(super) fn changed_since(&self, seen: usize) -> impl Iterator<Item = GroupId> + '_ {
        let later = self.changes[seen..].iter().enumerate();
        later.filter(move |(place, id)| self.groups[**id].changed == seen + place).map(|(_, id)| *id)
    }

    /// Starts to count changes anew: once every score is forgotten, it only matters that each group is there.
    pub(super) fn forget_changes(&mut self) {
        self.changes.clear();
        for id in 0..self.groups.len() {
            self.note_change(id);
        }
    }

    /// Puts a node in another state.
    pub(super) fn change(&mut self, node: usize, state: NodeState, potential: impl Fn(&NodeState) -> i64) {
        let old = self.of_node[node];
        let group = &mut self.groups[old];
        group.nodes.remove(&node);
        if group.nodes.is_empty() {
            self.by_state.remove(&group.state);
            self.unused.push(old);
            self.note_change(old);
        }
        self.of_node[node] = self.join(node, state, potential);
    }

    fn join(&mut self, node: usize, state: NodeState, potential: impl Fn(&NodeState) -> i64) -> GroupId {
        if let Some(id) = self.by_state.get(&state) {
            self.groups[*id].nodes.insert(node);
            return *id;
        }
        let group = Group { state, potential: potential(&state), nodes: BTreeSet::from([node]), changed: 0 };
        let id = if let Some(id) = self.unused.pop() {
            self.groups[id] = group;
            id
        } else {
            self.groups.push(group);
            self.groups.len() - 1
        };
        self.by_state.insert(state, id);
        self.note_change(id);
        id
    }

    fn note_change(&mut self, id: GroupId) {
        self.groups[id].changed = self.changes.len();
        self.changes.push(id);
    }
}
