//! What the driver signs and records: submissions, replacements and no-ops. Nothing is sent that was not recorded before.

use keeper_store::{Fence, IntentAction, IntentId, NewIntent, Purpose, StoreError};
use keeper_types::TxHash;
use tokio::sync::oneshot;

use super::{Done, Driver, now_ms, sight::is_repeatable};
use crate::lane::{
    LaneError, Submission, Submitted,
    signing::{Draft, Prices, request_of, signed},
    state::Observation,
};

impl Driver {
    /// Signs what waits, as long as the window, the ceiling and the sight of the chain allow it.
    pub(super) async fn sign_waiting(&mut self) -> Result<(), LaneError> {
        let (window, now_ms) = (self.lane.inner.settings.window, now_ms());
        self.waiting.retain(|submission| !submission.reply.is_closed());
        while self.head.is_some() && !self.is_held() && self.state.in_flight() < window {
            let Some(submission) = self.waiting.pop_front() else { break };
            let fee = submission.bounds.max_fee(0);
            if !self.ceiling.allows(fee, None, now_ms) {
                self.pause_at_ceiling(now_ms);
                self.waiting.push_front(submission);
                break;
            }
            self.resume_from_ceiling();
            self.sign(submission, now_ms).await?;
        }
        if self.waiting.is_empty() {
            self.resume_from_ceiling();
        }
        self.pump().await?;
        self.tell();
        Ok(())
    }

    async fn sign(&mut self, submission: Submission, now_ms: u64) -> Result<(), LaneError> {
        let Submission { duty, action, calls, bounds, reply } = submission;
        let draft = Draft { calls: calls.0, purpose: Purpose::Action, tip: 0, bounds };
        match self.record(&duty, action, draft, self.state.next_nonce(), now_ms).await {
            Ok((intent_id, nonce, tx_hash)) => {
                let (tell, outcome) = oneshot::channel();
                self.outcomes.insert(intent_id, tell);
                // Whoever asked may have gone; the intent is recorded and goes its way.
                reply.send(Ok(Submitted { intent_id, nonce, tx_hash, outcome })).ok();
                Ok(())
            }
            Err(error @ LaneError::Store(StoreError::IntentExists { .. })) => {
                reply.send(Err(error)).ok();
                Ok(())
            }
            Err(error @ (LaneError::Send(_) | LaneError::Bytes(_))) => {
                reply.send(Err(error)).ok();
                Ok(())
            }
            // What it was decided under is over; the account may still be this keeper's.
            Err(LaneError::Store(error @ StoreError::Fenced { .. })) if !self.log.is_over(&error) => {
                reply.send(Err(error.into())).ok();
                Ok(())
            }
            Err(error) => Err(error),
        }
    }

    /// Signs a draft under a nonce and writes both down in one, before anything is sent.
    async fn record(
        &mut self,
        duty: &[Fence],
        action: IntentAction,
        draft: Draft,
        nonce: u64,
        now_ms: u64,
    ) -> Result<(IntentId, u64, TxHash), LaneError> {
        let (lane, max_fee) = (self.lane.clone(), draft.max_fee());
        let transaction = draft.sign(&lane.inner.sender, nonce, now_ms).await?;
        let is_repeatable = is_repeatable(&action);
        let (tx_hash, known) = (transaction.tx_hash, signed(&transaction));
        let account = lane.inner.sender.address();
        let intent = NewIntent { action, account, signed: Some((nonce, transaction)), created_ms: now_ms };
        let intent_id = self.log.record(duty, &intent).await?;
        self.ceiling.note(intent_id, max_fee, now_ms);
        if !is_repeatable {
            self.duties.insert(intent_id, duty.to_vec());
        }
        self.step(&Observation::Recorded { nonce, intent: intent_id, signed: known, is_repeatable }).await?;
        Ok((intent_id, nonce, tx_hash))
    }

    /// A replacement, or a filler of a hole, can be signed.
    pub(super) async fn drafted(&mut self, nonce: u64, draft: Result<Draft, LaneError>) -> Result<(), LaneError> {
        let now_ms = now_ms();
        let draft = match draft {
            Ok(draft) => draft,
            Err(error) => {
                tracing::warn!(nonce, %error, "what replaces a missing transaction cannot be signed; trying again");
                return self.step(&Observation::NotSigned { nonce }).await;
            }
        };
        if self.is_held() {
            return self.step(&Observation::NotSigned { nonce }).await;
        }
        let intent = self.state.slot(nonce).map(|slot| slot.intent);
        if intent.is_none() && !self.state.is_filling(nonce) {
            // It was lost meanwhile.
            return Ok(());
        }
        if !self.ceiling.allows(draft.max_fee(), intent, now_ms) {
            self.pause_at_ceiling(now_ms);
            return self.step(&Observation::NotSigned { nonce }).await;
        }
        let (purpose, max_fee) = (draft.purpose, draft.max_fee());
        let Some(intent_id) = intent else {
            tracing::warn!(nonce, "a nonce that no intent has is filled with a transaction that does nothing");
            return match self.record(&[], IntentAction::FillNonce, draft, nonce, now_ms).await {
                Ok(_) => Ok(()),
                // The log knows better than the node: it is no hole.
                Err(LaneError::Store(StoreError::NonceHeld { .. })) => {
                    self.step(&Observation::NotSigned { nonce }).await
                }
                Err(error) => Err(error),
            };
        };
        let transaction = draft.sign(&self.lane.inner.sender, nonce, now_ms).await?;
        tracing::warn!(intent = %intent_id, nonce, tx = %transaction.tx_hash, ?purpose, "a transaction is missing; another is sent in its place");
        self.log.record_transaction(intent_id, nonce, &transaction).await?;
        self.ceiling.note(intent_id, max_fee, now_ms);
        self.step(&Observation::Replaced { nonce, signed: signed(&transaction) }).await
    }

    pub(super) async fn replace(&mut self, nonce: u64, purpose: Purpose, least: (u64, u128)) -> Result<(), LaneError> {
        if purpose == Purpose::NoOp {
            self.draft_no_op(nonce, least);
            return Ok(());
        }
        let hashes = self.state.slot(nonce).map(|slot| slot.signed.clone()).unwrap_or_default();
        let Some(hash) = hashes.iter().rfind(|signed| signed.purpose == Purpose::Action && signed.has_bytes) else {
            self.draft_no_op(nonce, least);
            return Ok(());
        };
        let intent = self.lane.inner.store.intent_by_tx(hash.hash).await?;
        let transactions = intent.map(|intent| intent.transactions).unwrap_or_default();
        let before = transactions.iter().find(|transaction| transaction.tx_hash == hash.hash).and_then(request_of);
        let prices = self.prices(least);
        let draft = before.and_then(|before| Draft::again(&before, prices));
        let draft = draft.ok_or_else(|| LaneError::Bytes(format!("the log has no bytes of {}", hash.hash)));
        self.work.spawn(async move { Done::Drafted { nonce, draft } });
        Ok(())
    }

    pub(super) fn draft_no_op(&mut self, nonce: u64, least: (u64, u128)) {
        let (sender, prices) = (self.lane.inner.sender.clone(), self.prices(least));
        self.work.spawn(async move {
            let draft = Draft::no_op(&sender, prices).await.map_err(LaneError::from);
            Done::Drafted { nonce, draft }
        });
    }

    fn prices(&self, (least_tip, least_l2_gas): (u64, u128)) -> Prices {
        let prices = self.head.map(|head| Prices::above(head.prices)).unwrap_or_default();
        prices.at_least(least_tip, least_l2_gas)
    }
}
