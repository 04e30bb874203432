//! What the driver asks of the node: to take a transaction, and what became of one.

use std::time::Duration;

use keeper_store::{Fence, IntentId, Purpose};
use keeper_types::TxHash;
use starknet::core::types::BroadcastedInvokeTransactionV3;

use super::{Done, Driver};
use crate::{
    RpcError,
    lane::{
        LaneError,
        node::Node,
        signing::request_of,
        state::{Answer, Observation},
    },
};

/// How long after a request that was not answered the same bytes go out again.
const SEND_AGAIN: Duration = Duration::from_millis(500);

/// Sends the same bytes until the node says what it makes of them; [`Answer::Unknown`] once that takes longer than `limit`.
///
/// Until then nothing above it is sent. What cannot land before it would wait at a node for as long as it takes to miss it, and
/// a chain without a mempool may take it in its place.
async fn answer_within(limit: Duration, node: Node<'_>, request: &BroadcastedInvokeTransactionV3) -> Answer {
    let answered = async {
        loop {
            match node.send(request).await {
                Answer::Unknown => tokio::time::sleep(SEND_AGAIN).await,
                answer => return answer,
            }
        }
    };
    tokio::time::timeout(limit, answered).await.unwrap_or(Answer::Unknown)
}

impl Driver {
    /// Sends what is next in the outbox, as the log has it.
    pub(super) async fn pump(&mut self) -> Result<(), LaneError> {
        while !self.is_sending && !self.is_withheld && !self.is_held() {
            let Some((nonce, hash)) = self.outbox.pop_front() else { return Ok(()) };
            if !self.state.can_land(nonce) {
                continue;
            }
            let inner = &self.lane.inner;
            let intent = inner.store.intent_by_tx(hash).await?;
            let recorded = intent
                .as_ref()
                .and_then(|intent| intent.transactions.iter().find(|transaction| transaction.tx_hash == hash));
            let Some(request) = recorded.and_then(request_of) else {
                return Err(LaneError::Bytes(format!("transaction {hash} is not in the log")));
            };
            self.is_sending = true;
            let (sender, limit) = (inner.sender.clone(), inner.settings.send_timeout);
            let recorded = inner.recorded.clone();
            let (log, duty) = (self.log.clone(), self.duty_of(nonce, hash));
            let is_doubtful = self.is_doubtful(nonce, hash);
            self.work.spawn(async move {
                let mut is_begun = false;
                let sending = async {
                    let is_there =
                        async { tokio::time::timeout(limit, recorded?.is_there()).await.ok().or(Some(false)) };
                    if is_there.await == Some(false) {
                        return Done::Withheld { nonce, hash };
                    }
                    let node = Node { sender: &sender };
                    if is_doubtful && tokio::time::timeout(limit, node.refuses(&request)).await == Ok(true) {
                        return Done::Overtaken { nonce, hash, is_begun: false };
                    }
                    is_begun = true;
                    let answer = answer_within(limit, node, &request).await;
                    Done::Observed(vec![Observation::Answered { nonce, hash, answer }])
                };
                tokio::select! {
                    // A node that is cut off may be reached again when others have decided anew.
                    biased;
                    () = log.over(&duty) => Done::Overtaken { nonce, hash, is_begun },
                    done = sending => done,
                }
            });
        }
        Ok(())
    }

    /// The grants without which a transaction may not be sent, beside that of the account. A no-op needs none.
    fn duty_of(&self, nonce: u64, hash: TxHash) -> Vec<Fence> {
        let intent = self.action_of(nonce, hash);
        intent.and_then(|intent| self.duties.get(&intent)).cloned().unwrap_or_default()
    }

    /// Whether others may have done meanwhile what a transaction is for: it was recorded before this keeper was last granted
    /// the account.
    fn is_doubtful(&self, nonce: u64, hash: TxHash) -> bool {
        let intent = self.action_of(nonce, hash);
        self.log.granted.is_some() && intent.is_some_and(|intent| self.restored.contains_key(&intent))
    }

    /// The intent that a transaction is the action of.
    fn action_of(&self, nonce: u64, hash: TxHash) -> Option<IntentId> {
        let slot = self.state.slot(nonce)?;
        let is_action = slot.signed.iter().any(|signed| signed.hash == hash && signed.purpose == Purpose::Action);
        is_action.then_some(slot.intent)
    }

    /// Wants a transaction no more: others decide what it was for, or have done it. `sent` is its hash where it may have been
    /// sent.
    pub(super) async fn overtaken(&mut self, nonce: u64, sent: Option<TxHash>) -> Result<(), LaneError> {
        (self.is_sending, self.is_elsewhere) = (false, false);
        let Some(intent) = self.state.slot(nonce).map(|slot| slot.intent) else { return Ok(()) };
        tracing::debug!(%intent, nonce, is_sent = sent.is_some(), "a transaction is left: it is another keeper's to decide");
        self.step(&Observation::Abandoned { intent }).await?;
        let ended = match sent {
            Some(hash) => Observation::Answered { nonce, hash, answer: Answer::Unknown },
            None => Observation::NotSigned { nonce },
        };
        self.step(&ended).await
    }

    /// Keeps what was to be sent until it is known that the node is on the chain that it is for; asked with the next tick.
    pub(super) fn withhold(&mut self, nonce: u64, hash: TxHash) {
        if !self.is_elsewhere {
            tracing::warn!(
                account = %self.lane.address(), nonce,
                "the node is not known to be on the recorded chain; nothing is sent to it until it is"
            );
        }
        (self.is_sending, self.is_withheld, self.is_elsewhere) = (false, true, true);
        self.outbox.push_front((nonce, hash));
    }

    pub(super) fn look(&mut self, nonce: u64, opening: u32) {
        let hashes = self.state.slot(nonce).map(|slot| slot.signed.iter().map(|signed| signed.hash).collect());
        let hashes: Vec<TxHash> = hashes.unwrap_or_default();
        let (sender, head) = (self.lane.inner.sender.clone(), self.head);
        self.work.spawn(async move {
            let looked = match head {
                Some(head) => Node { sender: &sender }.look(nonce, &hashes, head.block.number).await,
                None => Err(RpcError::Malformed { request: "the newest block", reason: "not yet".to_owned() }),
            };
            let observation = match looked {
                Ok(look) => Observation::Looked { nonce, opening, look },
                // That no answer came says nothing.
                Err(error) => {
                    tracing::debug!(nonce, %error, "what used a nonce cannot be found out yet");
                    Observation::NotSigned { nonce }
                }
            };
            Done::Observed(vec![observation])
        });
    }
}
