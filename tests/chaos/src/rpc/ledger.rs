//! What was submitted, and whether the chain has it as it was said.

use std::collections::BTreeMap;

use keeper_types::{BlockNumber, Felt};

use super::figures::Row;

/// What was submitted.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    /// By manifest: the block that holds it, or none where that could not be told.
    entries: BTreeMap<Felt, Option<BlockNumber>>,
}

impl Ledger {
    /// Something was submitted; the block is known where it was said to have gone well.
    pub(super) fn note(&mut self, manifest: Felt, block: Option<BlockNumber>) {
        self.entries.insert(manifest, block);
    }

    /// The chain took its blocks back from this one on.
    pub(super) fn aborted(&mut self, from: BlockNumber) {
        self.entries.retain(|_, block| block.is_none_or(|block| block < from));
    }

    /// Compares it with how often the chain has each.
    pub(super) fn check(&self, submitted: &BTreeMap<Felt, u64>, row: &mut Row) {
        for (manifest, block) in &self.entries {
            match (block, submitted.get(manifest).copied().unwrap_or(0)) {
                (Some(block), 0) => {
                    row.lost += 1;
                    row.tell(format!("a job that was said to be in block {block} is nowhere"));
                }
                // Where it could not be told what became of it, either is right.
                (None, 0) | (_, 1) => {}
                (_, count) => {
                    row.doubled += count - 1;
                    row.tell(format!("a job was submitted {count} times"));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_and_what_is_there_twice_is_counted() {
        let mut ledger = Ledger::default();
        for (manifest, block) in [(1_u8, Some(5)), (2, Some(6)), (3, Some(7)), (4, None), (5, None), (6, Some(9))] {
            ledger.note(Felt::from(manifest), block.map(BlockNumber));
        }
        ledger.aborted(BlockNumber(9));
        let submitted = [(1_u8, 1), (3, 2), (4, 1)].map(|(manifest, count)| (Felt::from(manifest), count));
        let mut row = Row::new("test");
        ledger.check(&submitted.into_iter().collect(), &mut row);
        assert_eq!((row.lost, row.doubled), (1, 1));
    }
}
