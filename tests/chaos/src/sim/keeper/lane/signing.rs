//! What the lane signs. Nothing is sent that was not recorded before.

use keeper_chain::{
    RpcError,
    lane::{Observation, Signed, is_repeatable},
};
use keeper_store::{IntentAction, IntentId, IntentTransaction, NewIntent, Purpose, Store as _, StoreError};
use keeper_types::Fri;

use futures::channel::oneshot;

use super::{Driver, Message, NotSent, Submission, Submitted, WINDOW};
use crate::sim::chain::{Request, word};

/// What a transaction costs at most.
const MAX_FEE: Fri = Fri(2_000);

/// What is about to be signed.
#[derive(Clone, Debug)]
pub(super) struct Draft {
    action: Option<IntentAction>,
    tip: u64,
    l2_gas_price: u64,
}

/// What the lane's decisions need of a recorded transaction.
pub(super) fn signed(transaction: &IntentTransaction) -> Signed {
    Signed {
        hash: transaction.tx_hash,
        purpose: transaction.purpose,
        tip: transaction.tip,
        l2_gas_price: transaction.l2_gas_price,
        signed_ms: transaction.signed_ms,
        has_bytes: transaction.request.is_some(),
    }
}

impl Driver {
    /// Signs what waits, as long as the window and the sight of the chain allow it.
    pub(super) async fn sign_waiting(&mut self) -> Result<(), StoreError> {
        self.waiting.retain(|submission| !submission.reply.is_canceled());
        while self.head.is_some() && !self.is_held() && self.state.in_flight() < WINDOW {
            let Some(Submission { action, reply }) = self.waiting.pop_front() else { break };
            let draft = Draft { action: Some(action.clone()), tip: 0, l2_gas_price: self.price(0) };
            let nonce = self.state.next_nonce();
            match self.record(action, draft, nonce).await {
                Ok(intent_id) => {
                    let (tell, outcome) = oneshot::channel();
                    self.outcomes.insert(intent_id, tell);
                    reply.send(Ok(Submitted { intent_id, outcome })).ok();
                }
                Err(StoreError::IntentExists { .. }) => _ = reply.send(Err(NotSent::Exists)),
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// The price of the newest block with the margin of every transaction, and at least so much.
    fn price(&self, least: u128) -> u64 {
        let now = self.head.map_or(0, |head| head.price.saturating_mul(3) / 2);
        u64::try_from(least).unwrap_or(u64::MAX).max(now)
    }

    fn sign(&self, nonce: u64, draft: &Draft) -> IntentTransaction {
        let Draft { action, tip, l2_gas_price } = draft.clone();
        let purpose = if action.is_some() { Purpose::Action } else { Purpose::NoOp };
        let sender = self.lane.process.account;
        let request = Request { sender, nonce, tip, l2_gas_price, action, outsider: 0 };
        let text = serde_json::to_string(&request).expect("it holds nothing that JSON does not");
        IntentTransaction {
            tx_hash: Request::hash(&text),
            purpose,
            request: Some(text),
            tip,
            l2_gas_price: u128::from(l2_gas_price),
            max_fee: MAX_FEE,
            signed_ms: self.lane.process.sim.now_ms(),
            sent_ms: None,
        }
    }

    /// Signs a draft under a nonce and writes both down in one, before anything is sent.
    async fn record(&mut self, action: IntentAction, draft: Draft, nonce: u64) -> Result<IntentId, StoreError> {
        let transaction = self.sign(nonce, &draft);
        let (known, is_repeatable) = (signed(&transaction), is_repeatable(&action));
        let (account, created_ms) = (self.lane.process.account, known.signed_ms);
        let owner = self.lane.process.owner;
        self.lane.process.sim.note("signed", [owner as u64, nonce, word(known.hash.0)], || {
            format!("keeper {owner} nonce {nonce} tx {:x} {action:?}", word(known.hash.0))
        });
        let intent = NewIntent { action, account, signed: Some((nonce, transaction)), created_ms };
        let intent_id = self.lane.process.store.record_intent(&intent).await?;
        self.step(&Observation::Recorded { nonce, intent: intent_id, signed: known, is_repeatable }).await?;
        Ok(intent_id)
    }

    pub(super) async fn replace(
        &mut self,
        nonce: u64,
        purpose: Purpose,
        (least_tip, least_price): (u64, u128),
    ) -> Result<(), StoreError> {
        let transactions = self.state.slot(nonce).map(|slot| slot.signed.clone()).unwrap_or_default();
        let before = transactions.iter().rfind(|signed| signed.purpose == Purpose::Action && signed.has_bytes);
        let Some(before) = before.filter(|_| purpose == Purpose::Action) else {
            self.draft_no_op(nonce, (least_tip, least_price));
            return Ok(());
        };
        let intent = self.lane.process.store.intent_by_tx(before.hash).await?;
        let action = intent.map(|intent| intent.action);
        let draft = Ok(Draft { action, tip: least_tip, l2_gas_price: self.price(least_price) });
        self.lane.tell(Message::Drafted { nonce, draft });
        Ok(())
    }

    pub(super) fn draft_no_op(&self, nonce: u64, (least_tip, least_price): (u64, u128)) {
        let (lane, l2_gas_price) = (self.lane.clone(), self.price(least_price));
        self.spawn(async move {
            let asked: Result<u64, RpcError> = lane.process.node.pending_nonce(lane.process.account).await;
            let draft = asked.map(|_| Draft { action: None, tip: least_tip, l2_gas_price });
            lane.tell(Message::Drafted { nonce, draft });
        });
    }

    /// A replacement, or a filler of a hole, can be signed.
    pub(super) async fn drafted(&mut self, nonce: u64, draft: Result<Draft, RpcError>) -> Result<(), StoreError> {
        let not_signed = Observation::NotSigned { nonce };
        let Some(draft) = draft.ok().filter(|_| !self.is_held()) else { return self.step(&not_signed).await };
        let Some(intent_id) = self.state.slot(nonce).map(|slot| slot.intent) else {
            // Otherwise it was lost meanwhile.
            if !self.state.is_filling(nonce) {
                return Ok(());
            }
            return match self.record(IntentAction::FillNonce, draft, nonce).await {
                Ok(_) => Ok(()),
                Err(StoreError::NonceHeld { .. }) => self.step(&not_signed).await,
                Err(error) => Err(error),
            };
        };
        let transaction = self.sign(nonce, &draft);
        let owner = self.lane.process.owner as u64;
        self.lane.process.sim.note("replaced", [owner, nonce, word(transaction.tx_hash.0)], || {
            format!("keeper {owner} nonce {nonce} tx {:x} {:?}", word(transaction.tx_hash.0), transaction.purpose)
        });
        self.lane.process.store.record_transaction(intent_id, nonce, &transaction).await?;
        self.step(&Observation::Replaced { nonce, signed: signed(&transaction) }).await
    }
}
