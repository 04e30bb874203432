//! A database in memory: what was committed stays whatever becomes of the process, and nothing else does.
//!
//! It is a [`Store`] like those on disk and passes their suite. Before and after each commit its process can die.

#![expect(clippy::result_large_err, reason = "the trait's own error")]

mod intents;

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use async_trait::async_trait;
use futures::{StreamExt as _, stream, stream::BoxStream};
use keeper_store::{
    ExplanationRecord, Identity, Intent, IntentId, IntentTransaction, IntentUpdate, JobTimings, NewIntent, Observation,
    Stage, Store, StoreError,
};
use keeper_types::{
    Address, Attempt, BlockEvents, BlockHeader, BlockNumber, BlockRef, EventPosition, JobId, MarketEvent, TxHash,
};

use self::intents::Log;
use super::{
    executor::{Owner, Sim},
    setting::Sabotage,
};

/// What is committed. It outlives every process.
#[derive(Debug, Default)]
pub(super) struct Disk {
    blocks: BTreeMap<BlockNumber, BlockHeader>,
    events: BTreeMap<(BlockNumber, u32), (EventPosition, MarketEvent)>,
    accepted: Option<BlockRef>,
    pub(super) log: Log,
    explanations: BTreeMap<JobId, ExplanationRecord>,
    observations: BTreeMap<(JobId, Attempt, Stage), (BlockNumber, u64)>,
}

/// A process's connection to a database.
#[derive(Debug)]
pub(super) struct MemoryStore {
    identity: Identity,
    /// Guards the database; nothing waits while it is held, and one thread uses it.
    disk: Arc<Mutex<Disk>>,
    /// Where the process can die; none where it cannot.
    process: Option<(Sim, Owner)>,
    sabotage: Option<Sabotage>,
}

impl MemoryStore {
    pub(super) fn new(
        identity: Identity,
        disk: Arc<Mutex<Disk>>,
        process: Option<(Sim, Owner)>,
        sabotage: Option<Sabotage>,
    ) -> Self {
        Self { identity, disk, process, sabotage }
    }

    fn disk(&self) -> MutexGuard<'_, Disk> {
        self.disk.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn step(&self) {
        if let Some((sim, owner)) = &self.process {
            sim.step(*owner).await;
        }
    }

    /// A call may take a while, in which others of the same database are made.
    async fn wait(&self) {
        if let Some((sim, _)) = &self.process
            && sim.chance(sim.faults().slow_store)
        {
            let ms = sim.draw(1..40);
            sim.sleep(ms).await;
        }
    }

    /// One transaction: all of it, or nothing.
    async fn commit<R>(&self, write: impl FnOnce(&mut Disk) -> Result<R, StoreError>) -> Result<R, StoreError> {
        self.wait().await;
        self.step().await;
        let written = write(&mut self.disk());
        self.step().await;
        self.wait().await;
        written
    }
}

impl Disk {
    fn cursor(&self) -> Option<BlockHeader> {
        self.blocks.last_key_value().map(|(_, header)| *header)
    }

    fn append(&mut self, blocks: &[BlockEvents]) -> Result<(), StoreError> {
        let mut below = self.cursor();
        for block in blocks {
            self.check(block, below)?;
            below = Some(block.header);
        }
        for block in blocks {
            self.blocks.insert(block.header.number, block.header);
            for (position, event) in &block.events {
                self.events.insert((position.block, position.index), (*position, event.clone()));
            }
        }
        Ok(())
    }

    /// Whether a block may follow.
    fn check(&self, block: &BlockEvents, below: Option<BlockHeader>) -> Result<(), StoreError> {
        let header = block.header;
        if let Some(below) = below {
            if header.number <= below.number {
                return Err(StoreError::NotAfterCursor { block: header.number, cursor: below.number });
            }
            if header.number.0 == below.number.0 + 1 && header.parent_hash != below.hash {
                return Err(StoreError::Fork { block: header, below: below.reference() });
            }
        }
        if let Some(marker) = self.accepted {
            let told = match header.number.0.checked_sub(marker.number.0) {
                Some(0) => header.hash,
                Some(1) => header.parent_hash,
                _ => marker.hash,
            };
            if told != marker.hash {
                let told = BlockRef { number: marker.number, hash: told };
                return Err(StoreError::FinalityViolation { recorded: marker, told });
            }
        }
        let mut from = 0;
        for (position, _) in &block.events {
            let is_here = position.block == header.number && position.timestamp == header.timestamp;
            if !is_here || position.index < from {
                return Err(StoreError::MisplacedEvent { block: header.number, position: Box::new(*position) });
            }
            from = position.index + 1;
        }
        Ok(())
    }

    fn accept(&mut self, block: BlockRef) -> Result<(), StoreError> {
        let recorded = self.blocks.get(&block.number).map(BlockHeader::reference);
        let known = self.accepted.into_iter().chain(recorded);
        let other = known.filter(|known| known.number == block.number).find(|known| known.hash != block.hash);
        if let Some(recorded) = other {
            return Err(StoreError::FinalityViolation { recorded, told: block });
        }
        if self.accepted.is_none_or(|marker| marker.number < block.number) {
            self.accepted = Some(block);
        }
        Ok(())
    }

    fn forget(&mut self, before_ms: u64, below: JobId, most: usize) -> u64 {
        let explained =
            self.explanations.iter().filter(|(job_id, record)| **job_id < below && record.time_ms < before_ms);
        let explained: Vec<_> = explained.map(|(job_id, _)| *job_id).take(most).collect();
        let seen = self.observations.iter().filter(|((job_id, ..), (_, at))| *job_id < below && *at < before_ms);
        let seen: Vec<_> = seen.map(|(key, _)| *key).take(most).collect();
        self.explanations.retain(|job_id, _| !explained.contains(job_id));
        self.observations.retain(|key, _| !seen.contains(key));
        self.log.forget(before_ms, most) + (explained.len() + seen.len()) as u64
    }

    fn timings(&self, of: impl Fn(JobId) -> bool) -> Vec<JobTimings> {
        let mut timings: BTreeMap<(JobId, Attempt), JobTimings> = BTreeMap::new();
        for ((job_id, attempt, stage), (_, observed_ms)) in self.observations.iter().filter(|((job, ..), _)| of(*job)) {
            let entry = timings.entry((*job_id, *attempt)).or_insert(JobTimings {
                job_id: *job_id,
                attempt: *attempt,
                observed_submitted_ms: None,
                observed_allocated_ms: None,
                observed_revealed_ms: None,
                observed_settled_ms: None,
            });
            let place = match stage {
                Stage::Submitted => &mut entry.observed_submitted_ms,
                Stage::Allocated => &mut entry.observed_allocated_ms,
                Stage::Revealed => &mut entry.observed_revealed_ms,
                Stage::Settled => &mut entry.observed_settled_ms,
            };
            *place = Some(*observed_ms);
        }
        timings.into_values().collect()
    }
}

#[async_trait]
impl Store for MemoryStore {
    fn identity(&self) -> &Identity {
        &self.identity
    }

    async fn cursor(&self) -> Result<Option<BlockHeader>, StoreError> {
        self.wait().await;
        Ok(self.disk().cursor())
    }

    async fn append_blocks(&self, blocks: &[BlockEvents]) -> Result<(), StoreError> {
        self.commit(|disk| disk.append(blocks)).await
    }

    async fn append_after(&self, base: Option<BlockHeader>, blocks: &[BlockEvents]) -> Result<(), StoreError> {
        self.commit(|disk| {
            let (expected, found) = (base.map(|header| header.number), disk.cursor().map(|header| header.number));
            if base != disk.cursor() {
                return Err(StoreError::CursorMoved { expected, found });
            }
            disk.append(blocks)
        })
        .await
    }

    async fn revert_to(&self, block: BlockNumber) -> Result<(), StoreError> {
        let keeps_events = self.sabotage == Some(Sabotage::NoRollback);
        self.commit(|disk| {
            disk.blocks.retain(|number, _| *number <= block);
            disk.events.retain(|(number, _), _| keeps_events || *number <= block);
            disk.observations.retain(|_, (at, _)| *at <= block);
            disk.explanations.retain(|_, record| record.snapshot_block <= block);
            Ok(())
        })
        .await
    }

    async fn block(&self, number: BlockNumber) -> Result<Option<BlockHeader>, StoreError> {
        self.wait().await;
        Ok(self.disk().blocks.get(&number).copied())
    }

    async fn block_at_or_below(&self, number: BlockNumber) -> Result<Option<BlockHeader>, StoreError> {
        self.wait().await;
        Ok(self.disk().blocks.range(..=number).next_back().map(|(_, header)| *header))
    }

    async fn final_block(&self) -> Result<Option<BlockRef>, StoreError> {
        self.wait().await;
        Ok(self.disk().accepted)
    }

    async fn record_final(&self, block: BlockRef) -> Result<(), StoreError> {
        self.commit(|disk| disk.accept(block)).await
    }

    async fn forget_final(&self) -> Result<(), StoreError> {
        self.commit(|disk| {
            disk.accepted = None;
            Ok(())
        })
        .await
    }

    async fn recent_blocks(&self, limit: u32) -> Result<Vec<BlockHeader>, StoreError> {
        Ok(self.disk().blocks.values().rev().take(usize::try_from(limit).unwrap_or(usize::MAX)).copied().collect())
    }

    fn load_events(&self, from: BlockNumber) -> BoxStream<'_, Result<(EventPosition, MarketEvent), StoreError>> {
        // Read when it is first polled, and then as it was.
        let read = async move {
            self.wait().await;
            let events: Vec<_> = self.disk().events.range((from, 0)..).map(|(_, event)| Ok(event.clone())).collect();
            stream::iter(events)
        };
        stream::once(read).flatten().boxed()
    }

    async fn record_intent(&self, intent: &NewIntent) -> Result<IntentId, StoreError> {
        let is_unwritten = self.sabotage == Some(Sabotage::NoIntents);
        self.commit(|disk| disk.log.record(intent, is_unwritten)).await
    }

    async fn record_transaction(
        &self,
        intent_id: IntentId,
        nonce: u64,
        transaction: &IntentTransaction,
    ) -> Result<(), StoreError> {
        self.commit(|disk| disk.log.record_transaction(intent_id, nonce, transaction)).await
    }

    async fn update_intent(&self, intent_id: IntentId, update: &IntentUpdate) -> Result<(), StoreError> {
        self.commit(|disk| disk.log.update(intent_id, update)).await
    }

    async fn finalise_intents(&self, account: Address, blocks: &[BlockRef]) -> Result<u64, StoreError> {
        self.commit(|disk| Ok(disk.log.finalise(account, blocks))).await
    }

    async fn forget_history(&self, before_ms: u64, below: JobId, most: u32) -> Result<u64, StoreError> {
        self.commit(|disk| Ok(disk.forget(before_ms, below, most as usize))).await
    }

    async fn open_intents(&self) -> Result<Vec<Intent>, StoreError> {
        Ok(self.disk().log.found(|intent| intent.state.is_open()))
    }

    async fn live_intents(&self, account: Address) -> Result<Vec<Intent>, StoreError> {
        Ok(self.disk().log.found(|intent| intent.account == account && !intent.is_final))
    }

    async fn intents_since(&self, account: Address, created_ms: u64) -> Result<Vec<Intent>, StoreError> {
        Ok(self.disk().log.found(|intent| intent.account == account && intent.created_ms >= created_ms))
    }

    async fn last_round(&self, account: Address) -> Result<Option<u64>, StoreError> {
        let disk = self.disk();
        let rounds = disk.log.all().filter(|intent| intent.account == account);
        Ok(rounds.filter_map(|intent| intent.action.round()).max())
    }

    async fn intent_by_tx(&self, tx_hash: TxHash) -> Result<Option<Intent>, StoreError> {
        Ok(self.disk().log.latest(|intent| intent.has_transaction(tx_hash)))
    }

    async fn latest_allocation(&self, job_id: JobId, attempt: Attempt) -> Result<Option<Intent>, StoreError> {
        Ok(self.disk().log.latest(|intent| match &intent.action {
            keeper_store::IntentAction::ApplyBatch { items, .. } => {
                items.iter().any(|item| (item.job_id, item.attempt) == (job_id, attempt))
            }
            _ => false,
        }))
    }

    async fn save_explanations(&self, explanations: &[ExplanationRecord]) -> Result<(), StoreError> {
        let records = explanations.iter().map(|record| (record.explanation.job_id, record.clone()));
        self.commit(|disk| {
            disk.explanations.extend(records);
            Ok(())
        })
        .await
    }

    async fn explanation(&self, job_id: JobId) -> Result<Option<ExplanationRecord>, StoreError> {
        Ok(self.disk().explanations.get(&job_id).cloned())
    }

    async fn observe(&self, observations: &[Observation]) -> Result<(), StoreError> {
        self.commit(|disk| {
            for seen in observations {
                let key = (seen.job_id, seen.attempt, seen.stage);
                disk.observations.entry(key).or_insert((seen.block, seen.observed_ms));
            }
            Ok(())
        })
        .await
    }

    async fn timings(&self, job_id: JobId) -> Result<Vec<JobTimings>, StoreError> {
        Ok(self.disk().timings(|job| job == job_id))
    }

    async fn all_timings(&self) -> Result<Vec<JobTimings>, StoreError> {
        Ok(self.disk().timings(|_| true))
    }
}

#[cfg(test)]
mod tests {
    use keeper_store::conformance::{exercise, identity};

    use super::*;

    #[tokio::test]
    async fn it_is_a_store_like_those_on_disk() {
        exercise(async || MemoryStore::new(identity(), Arc::default(), None, None)).await;
    }
}
