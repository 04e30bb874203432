//! The intent log: what is about to be sent, and what became of what an earlier run was sending.

use keeper_chain::SendError;
use keeper_store::{Intent, IntentAction, IntentId, IntentState, IntentUpdate, NewIntent, Store, StoreError};
use keeper_types::{Address, TxHash};

use super::{Allocating, LONGEST_PAUSE};
use crate::services::{Failure, now_ms};

/// How often the receipt of an earlier run's transaction is asked for once its nonce is used: a node may know the
/// nonce before it knows the receipt.
const RECEIPT_TRIES: u32 = 10;

impl Allocating {
    /// Finds out what became of what was being sent when the service last stopped. Waits for the node as long as it takes:
    /// that no answer came says nothing.
    pub(super) async fn settle_open_intents(&self) -> Result<(), Failure> {
        for intent in self.store.open_intents().await? {
            let state = self.find_out(&intent).await;
            tracing::info!(intent = %intent.intent_id, kind = intent.action.kind(), %state, "settled an intent of an earlier run");
            let update = IntentUpdate { state, tx_hash: None, updated_ms: now_ms() };
            self.store.update_intent(intent.intent_id, &update).await?;
        }
        Ok(())
    }

    async fn find_out(&self, intent: &Intent) -> IntentState {
        let Some(hash) = intent.tx_hash else { return IntentState::Lost };
        let mut tries = 0;
        while tries < RECEIPT_TRIES {
            match self.sender.receipt_now(hash).await {
                Ok(Some(_)) => return IntentState::Accepted,
                Err(SendError::Reverted { .. }) => return IntentState::Reverted,
                Ok(None) | Err(_) => {}
            }
            // While the nonce is open the transaction may never have been sent: the next round takes the
            // nonce, and the contract takes each job's attempt once whichever of the two arrives.
            match self.sender.nonce().await {
                Ok(nonce) if nonce <= intent.nonce => return IntentState::Lost,
                Ok(_) => tries += 1,
                Err(error) => {
                    tracing::warn!(intent = %intent.intent_id, %error, "what became of an intent cannot be found out yet");
                }
            }
            tokio::time::sleep(LONGEST_PAUSE).await;
        }
        // Another transaction took the nonce, so this one never will be included.
        IntentState::Lost
    }
}

/// What is known of a transaction after a failure.
pub(super) fn state_after(error: &SendError) -> IntentState {
    match error {
        SendError::Reverted { .. } => IntentState::Reverted,
        SendError::NonceTaken { .. }
        | SendError::WouldRevert { .. }
        | SendError::Unfunded { .. }
        | SendError::NotRecorded => IntentState::Lost,
        // It may have been sent.
        _ => IntentState::Sent,
    }
}

/// Writes what is about to be sent.
pub(super) struct IntentLog<'a> {
    pub(super) store: &'a dyn Store,
    pub(super) account: Address,
}

impl IntentLog<'_> {
    /// Records an intent as about to be sent.
    ///
    /// # Errors
    /// Fails where the store does.
    pub(super) async fn write(&self, action: IntentAction, nonce: u64, hash: TxHash) -> Result<IntentId, StoreError> {
        let intent = NewIntent { action, account: self.account, nonce, tx_hash: Some(hash), created_ms: now_ms() };
        self.store.record_intent(&intent).await
    }

    /// Records what became of it.
    ///
    /// # Errors
    /// Fails where the store does.
    pub(super) async fn update(&self, intent: Option<IntentId>, state: IntentState) -> Result<(), StoreError> {
        let Some(intent) = intent else { return Ok(()) };
        self.store.update_intent(intent, &IntentUpdate { state, tx_hash: None, updated_ms: now_ms() }).await
    }
}
