//! What the driver asks of the node: to take a transaction, and what became of one.

use keeper_types::TxHash;

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
            self.work.spawn(async move {
                let is_there = async { tokio::time::timeout(limit, recorded?.is_there()).await.ok().or(Some(false)) };
                if is_there.await == Some(false) {
                    return Done::Withheld { nonce, hash };
                }
                let node = Node { sender: &sender };
                let answer = tokio::time::timeout(limit, node.send(&request)).await.unwrap_or(Answer::Unknown);
                Done::Observed(vec![Observation::Answered { nonce, hash, answer }])
            });
        }
        Ok(())
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
