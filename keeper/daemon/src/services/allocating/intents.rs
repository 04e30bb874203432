//! The intent log: what is about to be sent, and what became of what an earlier run was sending.

use keeper_chain::SendError;
use keeper_store::{
    Intent, IntentAction, IntentId, IntentState, IntentTransaction, IntentUpdate, Landed, NewIntent, Purpose, Store,
    StoreError,
};
use keeper_types::{Address, Fri, TxHash};

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
            let mut update = IntentUpdate::to(state, now_ms());
            update.landed = landed(&intent, state);
            self.store.update_intent(intent.intent_id, &update).await?;
        }
        Ok(())
    }

    async fn find_out(&self, intent: &Intent) -> IntentState {
        let Some((hash, own)) = intent.tx_hash().zip(intent.nonce) else { return IntentState::Lost };
        let mut tries = 0;
        while tries < RECEIPT_TRIES {
            match self.sender.receipt_now(hash).await {
                Ok(Some(_)) => return IntentState::AcceptedL2,
                Err(SendError::Reverted { .. }) => return IntentState::Reverted,
                Ok(None) | Err(_) => {}
            }
            // While the nonce is open the transaction may never have been sent: the next round takes the
            // nonce, and the contract takes each job's attempt once whichever of the two arrives.
            match self.sender.nonce().await {
                Ok(nonce) if nonce <= own => return IntentState::Lost,
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

/// Where it landed, as far as a state tells.
fn landed(intent: &Intent, state: IntentState) -> Option<Landed> {
    let tx_hash = intent.tx_hash().filter(|_| state.is_landed())?;
    Some(Landed { tx_hash, block: None, fee: None })
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
        _ => IntentState::MaybeSent,
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
        let signed_ms = now_ms();
        let signed = IntentTransaction {
            tx_hash: hash,
            purpose: Purpose::Action,
            request: None,
            tip: 0,
            l2_gas_price: 0,
            max_fee: Fri::ZERO,
            signed_ms,
            sent_ms: None,
        };
        let signed = Some((nonce, signed));
        let intent = NewIntent { action, account: self.account, signed, created_ms: signed_ms };
        self.store.record_intent(&intent).await
    }

    /// Records what became of it.
    ///
    /// # Errors
    /// Fails where the store does.
    pub(super) async fn update(&self, intent: Option<IntentId>, state: IntentState) -> Result<(), StoreError> {
        let Some(intent) = intent else { return Ok(()) };
        let mut update = IntentUpdate::to(state, now_ms());
        if state.is_landed() {
            update.landed = self
                .store
                .open_intents()
                .await?
                .iter()
                .find(|open| open.intent_id == intent)
                .and_then(|open| landed(open, state));
        }
        self.store.update_intent(intent, &update).await
    }
}
