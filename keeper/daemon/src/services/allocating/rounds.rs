//! One round on its way: given to the account's lane, and waited for.

use std::{sync::Arc, time::Duration};

use keeper_chain::{
    Receipt, SendError,
    lane::{LaneError, Outcome, Submitted},
};
use keeper_failpoints::{Failpoint, reach};
use keeper_store::{IntentAction, IntentState};
use keeper_types::{BlockNumber, TxHash};
use tokio_util::sync::CancellationToken;

use super::{Allocating, Decided, LONGEST_PAUSE, Memory};
use crate::{
    rights::Rights,
    services::{Failure, Leadership, finish},
};

/// How often the receipt of a round that is in a block is asked for: it only says what the log line tells.
const RECEIPT_TRIES: u32 = 3;

impl Allocating {
    /// Waits until no round of an earlier run, or of an earlier start of the service, is open: its lane finds out what
    /// became of it, however long the node takes to say.
    pub(super) async fn wait_for_open_rounds(&self) -> Result<(), Failure> {
        let mut is_told = false;
        loop {
            let account = self.lane.address();
            let open = self.store.open_intents().await?;
            let mut rounds = open.iter().filter(|intent| intent.account == account && intent.action.round().is_some());
            let Some(intent) = rounds.next() else { return Ok(()) };
            if !std::mem::replace(&mut is_told, true) {
                tracing::info!(intent = %intent.intent_id, state = %intent.state, "a round is open; it is found out what became of it");
            }
            tokio::time::sleep(LONGEST_PAUSE / 4).await;
        }
    }

    /// As long as this keeper stands by, gives up rounds that it has sent and that are in no block: a no-op takes their
    /// nonce where they are missing. Never ends.
    pub(super) async fn give_up_rounds(&self, mut leadership: Leadership) {
        loop {
            leadership.until_standby().await;
            // Where the database does not answer, or the account is another keeper's now, there is nothing to be done.
            let open = self.store.open_intents().await.unwrap_or_default();
            let account = self.lane.address();
            for intent in open.iter().filter(|intent| intent.account == account && intent.action.round().is_some()) {
                self.lane.abandon(intent.intent_id).await;
            }
            tokio::time::sleep(LONGEST_PAUSE).await;
        }
    }

    /// Sends a round and waits for what becomes of it; returns the block that must be seen before the next.
    pub(super) async fn send(
        &self,
        Decided { header, items, snapshot, prepared }: Decided,
        memory: &mut Memory,
        cancel: &CancellationToken,
    ) -> Result<Option<BlockNumber>, Failure> {
        let (round, count) = (header.round, items.len());
        let action = IntentAction::ApplyBatch { round, snapshot_block: header.snapshot_block, items: items.clone() };
        let mut share = std::mem::take(&mut memory.share);
        reach(Failpoint::RoundBeforeRecord);
        // Once it is recorded the lane has it, whether somebody waits or not.
        let submitting = async { self.lane.submit_prepared(&memory.duty.fences, action, prepared?).await };
        let submitted = cancel.run_until_cancelled(submitting).await;
        let ended = match submitted {
            None => return Ok(None),
            Some(Ok(submitted)) => {
                reach(Failpoint::RoundAfterRecord);
                share.mark("recorded");
                let (own_us, node_us) = (micros(share.own()), micros(share.node()));
                tracing::info!(round, items = count, own_us, node_us, stages = %share, "sending the round");
                self.health.assigned(share.own(), count);
                memory.round = round;
                // Most of what the next round hashes is known as soon as this one is on its way.
                memory.hashing.begin(Arc::new(snapshot.once_applied(&items))).await;
                // Together, so that a node that does not answer holds up a stop for no longer than the one of them.
                let ending = async {
                    match self.wait_for(submitted, memory.fork).await {
                        Some(outcome) => Some(self.ended(outcome, round, memory).await),
                        None => None,
                    }
                };
                finish(cancel, ending).await
            }
            Some(Err(LaneError::Store(error))) => return Err(error.into()),
            Some(Err(error)) => {
                memory.failures += 1;
                memory.is_unsettled = !matches!(error, LaneError::Send(_));
                cancel.run_until_cancelled(self.after_failure(&error, round)).await.unwrap_or(Ok(()))?;
                return Ok(None);
            }
        };
        match ended {
            Some(Some(ended)) => ended,
            Some(None) => {
                memory.is_unsettled = true;
                Ok(None)
            }
            None => {
                tracing::warn!(round, "what became of the round is not known yet; the next start finds out");
                Ok(None)
            }
        }
    }

    /// Waits for what becomes of an intent; `None` where the lane stops before. What was decided on another fork than that
    /// of `fork` is wanted no more.
    async fn wait_for(&self, submitted: Submitted, fork: u64) -> Option<Outcome> {
        let mut believed = self.believed.clone();
        let has_forked = async {
            let other = believed.wait_for(|believed| believed.as_ref().is_some_and(|believed| believed.fork != fork));
            if other.await.is_err() {
                std::future::pending::<()>().await;
            }
        };
        let mut outcome = submitted.outcome;
        tokio::select! {
            outcome = &mut outcome => return outcome.ok(),
            () = has_forked => {}
        }
        tracing::warn!(intent = %submitted.intent_id, "the chain was reorganised under a round that is on its way");
        self.lane.abandon(submitted.intent_id).await;
        outcome.await.ok()
    }

    async fn ended(
        &self,
        Outcome { state, landed }: Outcome,
        round: u64,
        memory: &mut Memory,
    ) -> Result<Option<BlockNumber>, Failure> {
        reach(Failpoint::RoundAfterReceipt);
        let landed_tx = landed.map(|landed| landed.tx_hash);
        let block = landed.and_then(|landed| landed.block).map(|block| block.number);
        let receipt = match landed_tx {
            Some(hash) => self.receipt(hash).await,
            None => Ok(None),
        };
        match (state, receipt) {
            (IntentState::AcceptedL2 | IntentState::AcceptedL1, Ok(Some(receipt))) => {
                memory.failures = 0;
                let done = self.contracts.round_receipt(receipt);
                let block = done.receipt.block.number;
                tracing::info!(round, allocated = done.allocated, skipped = done.skipped, %block, tx = %done.receipt.hash, "round applied");
                Ok(Some(block))
            }
            (IntentState::AcceptedL2 | IntentState::AcceptedL1, _) => {
                memory.failures = 0;
                tracing::info!(round, tx = landed_tx.map(tracing::field::display), "round applied");
                Ok(block)
            }
            (IntentState::Reverted, Err(error)) => {
                memory.failures += 1;
                self.after_failure(&error.into(), round).await?;
                Ok(None)
            }
            _ => {
                memory.failures += 1;
                tracing::warn!(round, %state, "the round was not applied; deciding anew");
                Ok(None)
            }
        }
    }

    async fn receipt(&self, hash: TxHash) -> Result<Option<Receipt>, SendError> {
        for _ in 1..RECEIPT_TRIES {
            match self.lane.sender().receipt_now(hash).await {
                Ok(None) => tokio::time::sleep(LONGEST_PAUSE / 4).await,
                known => return known,
            }
        }
        self.lane.sender().receipt_now(hash).await
    }

    /// A refused round means that the chain has moved; anything that a new round cannot mend stops the keeper.
    async fn after_failure(&self, error: &LaneError, round: u64) -> Result<(), Failure> {
        tracing::warn!(round, %error, "the round was not applied; deciding anew");
        if matches!(error, LaneError::Send(SendError::WouldRevert { .. } | SendError::Reverted { .. })) {
            // A node that does not answer says nothing about the right to apply rounds.
            if let Ok(rights) = Rights::read(&self.contracts, self.lane.address(), &self.policy).await {
                rights.check()?;
            }
        }
        Ok(())
    }
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}
