//! Which of the blocks that something landed in are still part of the chain: which to ask for, and what follows.
//!
//! A block is confirmed once it was seen to be part of the chain after something was found to have landed in it. As long
//! as the block stands that the account's nonce is known as of, so do all confirmed ones below it, and only the others are
//! asked for. Where it does not, confirmed blocks are gone through from the highest down to the first that stands.

use std::collections::VecDeque;

use keeper_types::BlockRef;

/// What is known of the blocks that were asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Checked {
    /// Part of the chain.
    pub standing: Vec<BlockRef>,
    /// Others stand at their heights.
    pub gone: Vec<BlockRef>,
    /// The chain does not reach so far, as the node has it.
    pub unknown: Vec<BlockRef>,
}

/// The blocks to ask for, one after the other.
#[derive(Clone, Debug)]
pub struct Sweep {
    pin: Option<BlockRef>,
    first: VecDeque<BlockRef>,
    confirmed: VecDeque<BlockRef>,
    is_descending: bool,
    checked: Checked,
}

impl Sweep {
    /// A sweep where the nonce was known as of `pin`, with the confirmed blocks highest first.
    pub(super) fn new(pin: Option<BlockRef>, unconfirmed: Vec<BlockRef>, confirmed: Vec<BlockRef>) -> Self {
        let first = pin.into_iter().chain(unconfirmed).collect();
        // Without a pin nothing vouches for those that were confirmed.
        let is_descending = pin.is_none();
        Self { pin, first, confirmed: confirmed.into(), is_descending, checked: Checked::default() }
    }

    /// Whether there is nothing to ask for as long as `head` is the newest block.
    pub fn is_idle(&self, head: BlockRef) -> bool {
        self.pin == Some(head) && self.first.len() == 1
    }

    /// The next block to ask for.
    pub fn next(&self) -> Option<BlockRef> {
        let below = self.confirmed.front().filter(|_| self.is_descending);
        self.first.front().or(below).copied()
    }

    /// What stands at the height of the next one.
    pub fn found(&mut self, found: Option<BlockRef>) {
        let (asked, is_first) = match self.first.pop_front() {
            Some(asked) => (Some(asked), true),
            None => (self.confirmed.pop_front(), false),
        };
        let Some(asked) = asked else { return };
        let stands = found == Some(asked);
        let list = match found {
            Some(_) if stands => &mut self.checked.standing,
            Some(_) => &mut self.checked.gone,
            None => &mut self.checked.unknown,
        };
        list.push(asked);
        if is_first && self.pin == Some(asked) && !stands {
            self.is_descending = true;
        }
        if !is_first && stands {
            self.is_descending = false;
        }
    }

    /// What was found.
    pub fn into_checked(self) -> Checked {
        self.checked
    }
}

#[cfg(test)]
mod tests {
    use keeper_types::{BlockNumber, Felt};

    use super::*;

    fn block(number: u64, fork: u64) -> BlockRef {
        BlockRef { number: BlockNumber(number), hash: Felt::from(1_000 * fork + number) }
    }

    /// Sweeps a chain of `fork` that reaches to `head`; what was asked for, and what was found.
    fn sweep(mut sweep: Sweep, fork: u64, head: u64) -> (Vec<u64>, Checked) {
        let mut asked = Vec::new();
        while let Some(next) = sweep.next() {
            asked.push(next.number.0);
            sweep.found((next.number.0 <= head).then(|| block(next.number.0, fork)));
        }
        (asked, sweep.into_checked())
    }

    #[test]
    fn while_the_pin_stands_only_what_is_not_confirmed_is_asked_for() {
        let confirmed = vec![block(8, 1), block(5, 1)];
        let (asked, checked) = sweep(Sweep::new(Some(block(9, 1)), vec![block(7, 2), block(6, 1)], confirmed), 1, 20);
        assert_eq!(asked, [9, 7, 6]);
        assert_eq!((checked.standing, checked.gone), (vec![block(9, 1), block(6, 1)], vec![block(7, 2)]));
    }

    #[test]
    fn where_the_pin_is_gone_the_confirmed_are_gone_through_down_to_one_that_stands() {
        let confirmed = vec![block(9, 1), block(8, 1), block(5, 2), block(3, 2)];
        let (asked, checked) = sweep(Sweep::new(Some(block(10, 1)), Vec::new(), confirmed), 2, 8);
        assert_eq!(asked, [10, 9, 8, 5]);
        assert_eq!(checked.unknown, [block(10, 1), block(9, 1)]);
        assert_eq!((checked.gone, checked.standing), (vec![block(8, 1)], vec![block(5, 2)]));
    }
}
