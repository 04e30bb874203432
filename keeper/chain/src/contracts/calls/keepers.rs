//! What keepers do.

use std::collections::BTreeMap;

use keeper_types::{AllocationItem, Felt, Fri, MarketEvent, RoundHeader, TxHash, WorkerId};

use crate::{Calls, Contracts, Receipt, RoundReceipt, SendError, Sender, convert};

impl Contracts {
    /// The call that applies a round, with the items in this order: `plan_root` is over it. It costs least by worker, since
    /// neighbouring workers share storage on chain.
    pub fn round_calls(&self, sender: &Sender, header: &RoundHeader, items: &[AllocationItem]) -> Calls {
        let packed: Vec<Felt> = items.iter().map(AllocationItem::pack).collect();
        let call = self.task_allocator(sender).apply_batch_getcall(&convert::round_header(header), &packed);
        Calls(vec![call])
    }

    /// Signs and sends a round; does not wait for a block, and writes nothing down.
    ///
    /// # Errors
    /// Fails where the contract refuses the round.
    pub async fn send_round(
        &self,
        sender: &Sender,
        header: &RoundHeader,
        items: &[AllocationItem],
    ) -> Result<TxHash, SendError> {
        sender.execute_soon(self.round_calls(sender, header, items).0).await
    }

    /// Adds to the sender's bond as a keeper: the approval and the payment, in one transaction.
    ///
    /// # Errors
    /// Fails where the sender is not admitted, or cannot pay.
    pub async fn post_bond(&self, sender: &Sender, amount: Fri) -> Result<Receipt, SendError> {
        let approve = self.approve(self.deployment.task_allocator.address, amount);
        sender.execute(vec![approve, self.task_allocator(sender).post_bond_getcall(&amount.0)]).await
    }

    /// Stops being a keeper; the bond can be taken back after a while. Until it has been, the account cannot be added
    /// again.
    ///
    /// # Errors
    /// Fails where the sender is not admitted.
    pub async fn leave(&self, sender: &Sender) -> Result<Receipt, SendError> {
        sender.execute(vec![self.task_allocator(sender).leave_getcall()]).await
    }

    /// Takes the bond back.
    ///
    /// # Errors
    /// Fails where there is none, or it is bound still.
    pub async fn withdraw_bond(&self, sender: &Sender) -> Result<Receipt, SendError> {
        sender.execute(vec![self.task_allocator(sender).withdraw_bond_getcall()]).await
    }

    /// Says of many workers that they are alive.
    ///
    /// # Errors
    /// Fails where the sender is no keeper, or a worker does not exist.
    pub async fn heartbeat_batch(&self, sender: &Sender, workers: &[WorkerId]) -> Result<Receipt, SendError> {
        sender.execute(vec![self.cdc_pool(sender).heartbeat_batch_getcall(&heartbeat_groups(workers))]).await
    }

    /// What a sent round did, from its receipt.
    pub fn round_receipt(&self, receipt: Receipt) -> RoundReceipt {
        // The round was applied whatever its receipt reads like; the follower is the one to complain.
        let events = self.events(&receipt).unwrap_or_default();
        let applied = events.into_iter().find_map(|event| match event {
            MarketEvent::RoundApplied { allocated, skipped, .. } => Some((allocated, skipped)),
            _ => None,
        });
        let (allocated, skipped) = applied.unwrap_or_default();
        RoundReceipt { receipt, allocated, skipped }
    }
}

/// Workers in one group of heartbeats.
const WORKERS_PER_GROUP: u32 = 100;

/// The workers as the pool takes them: a bit for each of a hundred, with the group's number above.
fn heartbeat_groups(workers: &[WorkerId]) -> Vec<Felt> {
    let mut groups: BTreeMap<u32, u128> = BTreeMap::new();
    for worker_id in workers.iter().filter(|worker_id| worker_id.0 > 0) {
        let index = worker_id.0 - 1;
        *groups.entry(index / WORKERS_PER_GROUP).or_default() |= 1 << (index % WORKERS_PER_GROUP);
    }
    let group = |(number, bits)| Felt::from(bits) + Felt::TWO.pow(WORKERS_PER_GROUP) * Felt::from(number);
    groups.into_iter().map(group).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_heartbeat_is_a_bit_of_its_group() {
        let groups = heartbeat_groups(&[WorkerId(1), WorkerId(100), WorkerId(101), WorkerId(1)]);
        let second = Felt::ONE + Felt::TWO.pow(100_u32);
        assert_eq!(groups, [Felt::from(1 | 1_u128 << 99), second]);
        assert!(heartbeat_groups(&[]).is_empty());
    }
}
