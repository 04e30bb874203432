//! A tree over numbered leaves whose shape follows from the numbers alone.
//!
//! The tree over one leaf is the leaf. Over more it is the pair of the trees over those whose numbers have a 0, and over those
//! whose numbers have a 1, at the highest bit in which not all of them are the same. So a leaf that comes or goes changes the
//! way up from it and nothing beside it, which a list cut into pairs cannot say: there everything behind it moves. A leaf has
//! its number in it, so two sets of leaves never make the same tree.

use keeper_types::{Felt, poseidon_pair};

/// Leaves by their numbers, with the hashes on the way up from them as far as they are known.
#[derive(Clone, Debug, Default)]
pub(super) struct Tree(Option<Box<Node>>);

#[derive(Clone, Debug)]
enum Node {
    Leaf {
        number: u64,
        hash: Felt,
    },
    Pair {
        /// The highest bit in which the numbers below differ.
        bit: u32,
        /// One of the numbers below.
        number: u64,
        /// Those whose numbers have a 0 there, and those that have a 1.
        sides: [Box<Self>; 2],
        /// None where something below has changed.
        hash: Option<Felt>,
    },
}

impl Tree {
    /// Puts a leaf in the place of that with the same number, if there is one.
    pub(super) fn set(&mut self, number: u64, hash: Felt) {
        let leaf = Box::new(Node::Leaf { number, hash });
        self.0 = Some(match self.0.take() {
            Some(node) => node.with(leaf),
            None => leaf,
        });
    }

    /// Takes a leaf out.
    pub(super) fn remove(&mut self, number: u64) {
        self.0 = self.0.take().and_then(|node| node.without(number));
    }

    /// The hash of it all; 0 where there is nothing.
    pub(super) fn root(&mut self) -> Felt {
        self.0.as_mut().map_or(Felt::ZERO, |node| node.hash())
    }
}

impl Node {
    fn number(&self) -> u64 {
        match self {
            Self::Leaf { number, .. } | Self::Pair { number, .. } => *number,
        }
    }

    fn with(mut self: Box<Self>, leaf: Box<Self>) -> Box<Self> {
        let number = leaf.number();
        let differing = self.number() ^ number;
        match &mut *self {
            Self::Leaf { .. } if differing == 0 => leaf,
            Self::Pair { bit, sides, hash, .. } if differing >> *bit >> 1 == 0 => {
                *hash = None;
                let side = &mut sides[usize::from(is_set(number, *bit))];
                let below = std::mem::replace(side, Box::new(Self::Leaf { number, hash: Felt::ZERO }));
                *side = below.with(leaf);
                self
            }
            _ => {
                let bit = differing.ilog2();
                let sides = if is_set(number, bit) { [self, leaf] } else { [leaf, self] };
                Box::new(Self::Pair { bit, number, sides, hash: None })
            }
        }
    }

    fn without(self, gone: u64) -> Option<Box<Self>> {
        match self {
            Self::Leaf { number, .. } if number == gone => None,
            Self::Pair { bit, number, sides, .. } if (number ^ gone) >> bit >> 1 == 0 => {
                let [zeros, ones] = sides;
                let (zeros, ones) = match is_set(gone, bit) {
                    false => (zeros.without(gone), Some(ones)),
                    true => (Some(zeros), ones.without(gone)),
                };
                match (zeros, ones) {
                    (Some(zeros), Some(ones)) => {
                        let number = zeros.number();
                        Some(Box::new(Self::Pair { bit, number, sides: [zeros, ones], hash: None }))
                    }
                    (left, right) => left.or(right),
                }
            }
            other => Some(Box::new(other)),
        }
    }

    fn hash(&mut self) -> Felt {
        match self {
            Self::Leaf { hash, .. } => *hash,
            Self::Pair { hash: Some(hash), .. } => *hash,
            Self::Pair { sides: [zeros, ones], hash, .. } => {
                let known = poseidon_pair(zeros.hash(), ones.hash());
                *hash = Some(known);
                known
            }
        }
    }
}

fn is_set(number: u64, bit: u32) -> bool {
    number >> bit & 1 == 1
}

#[cfg(test)]
pub(super) mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    /// As it is stated, of everything anew.
    pub(in super::super) fn stated(leaves: &[(u64, Felt)]) -> Felt {
        let ([(first, hash), ..], [.., (last, _)]) = (leaves, leaves) else { return Felt::ZERO };
        if first == last {
            return *hash;
        }
        let bit = (first ^ last).ilog2();
        let (zeros, ones) = leaves.split_at(leaves.partition_point(|(number, _)| !is_set(*number, bit)));
        poseidon_pair(stated(zeros), stated(ones))
    }

    fn any_number() -> impl Strategy<Value = u64> {
        prop_oneof![4 => 0..24_u64, 1 => any::<u64>(), 1 => Just(u64::MAX)]
    }

    proptest! {
        #[test]
        fn a_tree_is_what_is_stated_whatever_came_and_went(
            steps in prop::collection::vec((any_number(), prop::option::weighted(0.7, 1..1_000_u64)), 1..120),
        ) {
            let (mut tree, mut leaves) = (Tree::default(), BTreeMap::new());
            for (number, value) in steps {
                match value.map(Felt::from) {
                    Some(hash) => {
                        tree.set(number, hash);
                        leaves.insert(number, hash);
                    }
                    None => {
                        tree.remove(number);
                        leaves.remove(&number);
                    }
                }
                prop_assert_eq!(tree.root(), stated(&leaves.iter().map(|(number, hash)| (*number, *hash)).collect::<Vec<_>>()));
            }
        }
    }

    #[test]
    fn an_empty_tree_is_nothing() {
        let mut tree = Tree::default();
        assert_eq!(tree.root(), Felt::ZERO);
        tree.set(7, Felt::TWO);
        assert_eq!(tree.root(), Felt::TWO);
        tree.remove(8);
        assert_eq!(tree.root(), Felt::TWO);
        tree.remove(7);
        assert_eq!(tree.root(), Felt::ZERO);
    }
}
