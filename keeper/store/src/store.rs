//! The seam between the keeper and its database.

use std::fmt;

use async_trait::async_trait;
use futures::{TryStreamExt as _, stream::BoxStream};
use keeper_types::{
    Address, ApplyError, Attempt, BlockEvents, BlockHeader, BlockNumber, BlockRef, EventPosition, Felt, JobId, Market,
    MarketEvent, TxHash,
};

use crate::{
    ExplanationRecord, Identity, Intent, IntentId, IntentTransaction, IntentUpdate, JobTimings, NewIntent, Observation,
    StoreError,
};

/// What the keeper keeps.
///
/// Every call that writes does so in one transaction that is durable when the call returns: all of it is there
/// after a crash or power loss, or none. There is one writer at a time; readers never wait for it. Calls on a
/// store that was opened for reading fail with [`StoreError::ReadOnly`] where they write.
#[async_trait]
pub trait Store: fmt::Debug + Send + Sync {
    /// The deployment that the store follows.
    fn identity(&self) -> &Identity;

    /// The last processed block; `None` before the first.
    async fn cursor(&self) -> Result<Option<BlockHeader>, StoreError>;

    /// Appends blocks with their events and so moves the cursor to the last of them.
    ///
    /// Blocks without events should be given too, so that a fork is noticed early, but may be left out.
    ///
    /// # Errors
    /// [`StoreError::NotAfterCursor`] where a block is not above the one before it, [`StoreError::Fork`] where it
    /// is the very next and does not build on it: then find the last common block ([`Store::block_at_or_below`]) and
    /// [`Store::revert_to`] it. [`StoreError::FinalityViolation`] where it is another block than the one that is
    /// recorded as accepted on L1, or the very next and does not build on that. [`StoreError::MisplacedEvent`] where an
    /// event is not its block's.
    async fn append_blocks(&self, blocks: &[BlockEvents]) -> Result<(), StoreError>;

    /// Appends blocks that were read after `base`, the cursor at that time, as [`Store::append_blocks`] does.
    ///
    /// For several keepers on one database: what one has read after a block that another has reverted meanwhile would
    /// leave a gap, in which events are lost.
    ///
    /// # Errors
    /// [`StoreError::CursorMoved`] where the cursor is another by now, else as [`Store::append_blocks`].
    async fn append_after(&self, base: Option<BlockHeader>, blocks: &[BlockEvents]) -> Result<(), StoreError>;

    /// Appends one block, as [`Store::append_blocks`] does.
    ///
    /// # Errors
    /// As [`Store::append_blocks`].
    async fn append_block(
        &self,
        header: BlockHeader,
        events: &[(EventPosition, MarketEvent)],
    ) -> Result<(), StoreError> {
        self.append_blocks(&[BlockEvents { header, events: events.to_vec() }]).await
    }

    /// Forgets every block above `block`, with its events and what was explained or observed by them, so that
    /// the cursor stands at `block` or, where that was never given, at the next below. What is recorded as accepted on
    /// L1 stays so.
    async fn revert_to(&self, block: BlockNumber) -> Result<(), StoreError>;

    /// The block of this height, if it was given.
    async fn block(&self, number: BlockNumber) -> Result<Option<BlockHeader>, StoreError>;

    /// The hash of the block of this height, if it was given.
    async fn block_hash(&self, number: BlockNumber) -> Result<Option<Felt>, StoreError> {
        Ok(self.block(number).await?.map(|header| header.hash))
    }

    /// The highest block at or below this height, if any was given.
    async fn block_at_or_below(&self, number: BlockNumber) -> Result<Option<BlockHeader>, StoreError>;

    /// The highest block that was recorded as accepted on L1; `None` before the first.
    async fn final_block(&self) -> Result<Option<BlockRef>, StoreError>;

    /// Records that `block` is accepted on L1. A lower one than the recorded changes nothing: several keepers may be
    /// at work.
    ///
    /// # Errors
    /// [`StoreError::FinalityViolation`] where another block of this height is recorded, as accepted on L1 or at all.
    async fn record_final(&self, block: BlockRef) -> Result<(), StoreError>;

    /// Forgets which block was accepted on L1: for an operator who has decided that another chain is the right one.
    async fn forget_final(&self) -> Result<(), StoreError>;

    /// The last `limit` blocks, highest first.
    async fn recent_blocks(&self, limit: u32) -> Result<Vec<BlockHeader>, StoreError>;

    /// The events from block `from` on, in the chain's order. The stream shows the store as it is when the
    /// stream is first polled, whatever is written meanwhile.
    fn load_events(&self, from: BlockNumber) -> BoxStream<'_, Result<(EventPosition, MarketEvent), StoreError>>;

    /// Records what is about to be sent: with its nonce and the signed transaction where it has them, all of it or
    /// nothing.
    ///
    /// # Errors
    /// [`StoreError::IntentExists`] where an open intent does the same already, [`StoreError::NonceHeld`] where the
    /// nonce is another intent's.
    async fn record_intent(&self, intent: &NewIntent) -> Result<IntentId, StoreError>;

    /// Records a signed transaction of an intent, before it is sent: the first, which gives a planned intent its nonce,
    /// or one that is to replace those before it under the same nonce.
    ///
    /// # Errors
    /// [`StoreError::IntentUnknown`] where there is no such intent, [`StoreError::NonceHeld`] where the nonce is another
    /// intent's, [`StoreError::NonceChanged`] where the intent has another.
    async fn record_transaction(
        &self,
        intent_id: IntentId,
        nonce: u64,
        transaction: &IntentTransaction,
    ) -> Result<(), StoreError>;

    /// Records what became of an intent. Which states may follow which is up to the caller.
    ///
    /// # Errors
    /// [`StoreError::IntentUnknown`] where there is no such intent.
    async fn update_intent(&self, intent_id: IntentId, update: &IntentUpdate) -> Result<(), StoreError>;

    /// Records that these blocks were accepted on L1: what landed in them is final, and in no others at their heights.
    /// Returns how many of the account's intents became so.
    async fn finalise_intents(&self, account: Address, blocks: &[BlockRef]) -> Result<u64, StoreError>;

    /// Forgets what is over and older than `before_ms`, in milliseconds since the epoch: intents that nothing changes any
    /// more, but each account's newest round, and of jobs below `below` explanations and observations. At most `most` of
    /// each, so that nobody waits long; returns how many altogether, none once there is nothing left.
    async fn forget_history(&self, before_ms: u64, below: JobId, most: u32) -> Result<u64, StoreError>;

    /// The open intents of every account, oldest first.
    async fn open_intents(&self) -> Result<Vec<Intent>, StoreError>;

    /// The intents of an account that a reorganisation can still change, and those that are open, oldest first.
    async fn live_intents(&self, account: Address) -> Result<Vec<Intent>, StoreError>;

    /// The intents of an account that were made at this time or later, in milliseconds since the epoch, oldest first.
    async fn intents_since(&self, account: Address, created_ms: u64) -> Result<Vec<Intent>, StoreError>;

    /// The highest round that `account` ever recorded an intent for, whatever became of it.
    async fn last_round(&self, account: Address) -> Result<Option<u64>, StoreError>;

    /// The latest intent one of whose transactions has this hash.
    async fn intent_by_tx(&self, tx_hash: TxHash) -> Result<Option<Intent>, StoreError>;

    /// The latest intent of a batch that gives this attempt at a job to a worker.
    async fn latest_allocation(&self, job_id: JobId, attempt: Attempt) -> Result<Option<Intent>, StoreError>;

    /// Records explanations; each replaces the one that its job had.
    async fn save_explanations(&self, explanations: &[ExplanationRecord]) -> Result<(), StoreError>;

    /// The latest explanation of a job.
    async fn explanation(&self, job_id: JobId) -> Result<Option<ExplanationRecord>, StoreError>;

    /// Records when attempts were seen to reach stages. The first observation of each stands.
    async fn observe(&self, observations: &[Observation]) -> Result<(), StoreError>;

    /// When the attempts at a job were seen to reach their stages, in the order of the attempts.
    async fn timings(&self, job_id: JobId) -> Result<Vec<JobTimings>, StoreError>;

    /// The timings of every job, by job and attempt.
    async fn all_timings(&self) -> Result<Vec<JobTimings>, StoreError>;
}

/// Folds the stored events into the market.
///
/// # Errors
/// Fails where the store does, or where an event does not follow from the ones before: then events were lost,
/// and the chain has to be read again.
pub async fn rebuild_market(store: &dyn Store) -> Result<Market, RebuildError> {
    let mut market = Market::default();
    let mut events = store.load_events(BlockNumber(0));
    while let Some((position, event)) = events.try_next().await? {
        market.apply(&event, &position)?;
    }
    Ok(market)
}

/// The market could not be rebuilt from the store.
#[derive(Debug, thiserror::Error)]
pub enum RebuildError {
    /// The store failed.
    #[error("reading the stored events")]
    Store(#[from] StoreError),
    /// The events do not follow from each other.
    #[error("the stored events are not the chain's")]
    Apply(#[from] ApplyError),
}
