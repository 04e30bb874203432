//! What is accepted on L1, and whether the chain keeps to it.

use keeper_store::StoreError;
use keeper_types::{BlockHeader, BlockNumber, BlockRef};

use super::{Fold, Turn};
use crate::{FollowError, Violation, fork::is_part};

/// Blocks after which it is asked again what is accepted on L1. On the public networks that moves every few hours, by
/// thousands of blocks.
const FINAL_INTERVAL: u64 = 16;

impl Fold {
    /// Opens the latch once the recorded block was seen. Returns what the turn came to where it cannot go on.
    pub(super) async fn confirm(&mut self) -> Result<Option<Turn>, FollowError> {
        self.final_block = self.store.final_block().await?;
        let Some(recorded) = self.final_block else {
            self.latch.confirm();
            return Ok(None);
        };
        if self.latch.is_open() {
            return Ok(None);
        }
        self.compare(recorded).await
    }

    /// Compares the recorded block anew, since the chain has changed.
    pub(super) async fn confirm_again(&mut self) -> Result<Option<Turn>, FollowError> {
        match self.final_block {
            // Where the chain does not reach so far, what is recorded below decides.
            Some(recorded) if self.chain.header(recorded.number).await?.is_some() => self.compare(recorded).await,
            _ => Ok(None),
        }
    }

    async fn compare(&mut self, recorded: BlockRef) -> Result<Option<Turn>, FollowError> {
        match self.chain.header(recorded.number).await? {
            Some(told) if told.hash == recorded.hash => {
                self.latch.confirm();
                Ok(None)
            }
            Some(told) => Ok(Some(self.violated(Violation { recorded, told: told.reference() }))),
            // A node that is behind proves nothing, neither way.
            None => Ok(Some(Turn::Behind { head: self.chain.head().await?.number })),
        }
    }

    pub(super) fn violated(&mut self, violation: Violation) -> Turn {
        self.latch.violate(violation);
        Turn::Latched(violation)
    }

    /// Whether the fork goes below the recorded block, on a chain that does not reach up to it.
    pub(super) async fn is_below_final(&self, standing: Option<BlockHeader>) -> Result<Option<Violation>, FollowError> {
        let Some(recorded) = self.final_block else { return Ok(None) };
        if self.chain.header(recorded.number).await?.is_some_and(|header| header.hash == recorded.hash) {
            // What is recorded below is not this chain's; it was never accepted on L1.
            return Ok(None);
        }
        let above = standing.map_or(BlockNumber(0), |standing| BlockNumber(standing.number.0 + 1));
        // The highest recorded block that both the marker and the chain reach: it has been replaced.
        let reached = self.chain.head().await?.number.min(recorded.number);
        let Some(replaced) = self.store.block_at_or_below(reached).await? else { return Ok(None) };
        if replaced.number < above || is_part(&*self.chain, &replaced).await? {
            return Ok(None);
        }
        let Some(told) = self.chain.header(replaced.number).await? else { return Ok(None) };
        Ok(Some(Violation { recorded: replaced.reference(), told: told.reference() }))
    }

    /// Asks what is accepted on L1, now and then, and records it.
    pub(super) async fn learn_final(&mut self) -> Result<Option<Turn>, FollowError> {
        let reached = self.folded.map_or(BlockNumber(0), |folded| folded.number);
        if reached < self.next_final {
            return Ok(None);
        }
        let told = match self.chain.accepted_on_l1().await {
            Ok(told) => told,
            Err(error) => {
                // Blocks count as accepted later than they are, which harms nothing.
                tracing::debug!(%error, "what is accepted on L1 cannot be read");
                None
            }
        };
        self.next_final = BlockNumber(reached.0 + FINAL_INTERVAL);
        let Some(told) = told.map(|header| header.reference()) else { return Ok(None) };
        if let Some(recorded) = self.final_block {
            if told.number < recorded.number || told == recorded {
                return Ok(None);
            }
            // It must come after what is recorded, and not only be higher.
            if let Some(turn) = self.compare(recorded).await? {
                return Ok(Some(turn));
            }
        }
        self.chain.cross_check(told).await?;
        match self.store.record_final(told).await {
            Ok(()) => {
                self.final_block = Some(told);
                Ok(None)
            }
            Err(StoreError::FinalityViolation { recorded, .. }) if Some(recorded) == self.final_block => {
                Ok(Some(self.violated(Violation { recorded, told })))
            }
            // What is recorded above what was accepted before has been replaced, as blocks may be until they are.
            Err(StoreError::FinalityViolation { .. }) => {
                let standing = BlockNumber(told.number.0.saturating_sub(1));
                self.revert_to(Some(standing)).await?;
                Ok(Some(Turn::Reverted { standing: Some(standing) }))
            }
            Err(error) => Err(error.into()),
        }
    }
}
