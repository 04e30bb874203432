//! Which workers stand together: those with the same capabilities, then those near in rate and reputation.
//!
//! What is found does not depend on it, only how soon: a node's bound is close where its workers are alike.

use std::ops::Range;

use super::node::{Points, Slot};

/// Workers of a leaf at most, and nodes of a node.
pub(super) const LEAF: usize = 16;
pub(super) const FANOUT: usize = 8;

/// Puts the slots in order and cuts them into leaves.
pub(super) fn arrange(slots: &mut [Slot], weights: &Points) -> Vec<Range<usize>> {
    // The region is left out: few jobs ask for one, and workers that fit a job alike are better kept together.
    let kind = |slot: &Slot| {
        (slot.is_online, slot.lanes.model(), slot.lanes.gpus(), slot.class, slot.lanes.without_reputation())
    };
    slots.sort_by_key(|slot| (kind(slot), slot.id));
    let mut leaves = Vec::new();
    let (mut start, mut first_alone) = (0, 0);
    while start < slots.len() {
        let alike = slots[start..].iter().take_while(|slot| kind(slot) == kind(&slots[start])).count();
        // Few of a kind share a leaf with the next kind.
        let is_apart = alike >= LEAF / 2;
        if first_alone < start && (is_apart || start + alike - first_alone > LEAF) {
            leaves.push(first_alone..start);
            first_alone = start;
        }
        if is_apart {
            split(slots, start..start + alike, weights, &mut leaves);
            first_alone = start + alike;
        }
        start += alike;
    }
    if first_alone < slots.len() {
        leaves.push(first_alone..slots.len());
    }
    leaves
}

/// Halves workers of one kind by whichever of rate and reputation tells them apart more, until they fit a leaf.
fn split(slots: &mut [Slot], range: Range<usize>, weights: &Points, leaves: &mut Vec<Range<usize>>) {
    if range.len() <= LEAF {
        leaves.push(range);
        return;
    }
    let own = &mut slots[range.clone()];
    let (lowest, highest) =
        own.iter().fold((u64::MAX, 0), |(low, high), slot| (low.min(slot.rate), high.max(slot.rate)));
    let by_rate = u128::from(highest - lowest) * 10_000 / u128::from(highest.max(1)) * u128::from(weights.price);
    let reputations = own.iter().map(Slot::reputation);
    let (least, most) = reputations.fold((u32::MAX, 0), |(low, high), value| (low.min(value), high.max(value)));
    if by_rate >= u128::from(most - least) * u128::from(weights.reputation) {
        own.sort_by_key(|slot| (slot.rate, slot.id));
    } else {
        own.sort_by_key(|slot| (slot.reputation(), slot.id));
    }
    let middle = range.start + (range.len() / 2).div_ceil(LEAF) * LEAF;
    split(slots, range.start..middle, weights, leaves);
    split(slots, middle..range.end, weights, leaves);
}
