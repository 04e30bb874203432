//! What of the market a keeper's rounds are about, where several decide at once: the shards that it leads, without what
//! others have on their way.
//!
//! A worker that has just come from another shard may be about to get something that was decided there, and so may a job
//! whose shard was another keeper's until now. The intent log says so: a round of another account is recorded before it is
//! sent. It counts until its block is believed here, as long as somebody sends from that account who is able to lead;
//! what a keeper left behind that is gone, or cut off from the chain, is decided anew. What is not seen in time is skipped
//! by the contract, and costs no job.

use std::collections::BTreeSet;

use keeper_scheduler::Portion;
use keeper_store::{Intent, IntentAction, Lease, StoreError, lane_lease};
use keeper_types::{Address, BlockNumber};

use super::{Allocating, Duty, now_ms};
use crate::services::leading::is_candidate;

/// How far back others' rounds are looked for. One that is not in a block by then is decided anew.
const RECENT_MS: u64 = 30_000;

impl Allocating {
    /// What a round at this block is about; `None` where it is the whole market.
    ///
    /// # Errors
    /// Fails where the database does not answer.
    pub(super) async fn portion(&self, duty: &Duty, head: BlockNumber) -> Result<Option<Portion>, StoreError> {
        let (Some(shards), Some(leases)) = (&duty.shards, &self.leases) else { return Ok(None) };
        let mut portion = Portion::of(shards.clone());
        for account in able_senders(&leases.standing().await?, self.lane.address()) {
            for intent in self.store.intents_since(account, now_ms().saturating_sub(RECENT_MS)).await? {
                withhold(&intent, head, &mut portion);
            }
        }
        Ok(Some(portion))
    }
}

/// Other accounts from which a keeper sends that is able to lead.
fn able_senders(standing: &[Lease], own: Address) -> BTreeSet<Address> {
    let prefix = lane_lease(own);
    let prefix = prefix.trim_end_matches(&own.to_string()).to_owned();
    let lanes = standing.iter().filter(|lease| is_candidate(&lease.holder, standing));
    let accounts = lanes.filter_map(|lease| lease.name.strip_prefix(&prefix)?.parse().ok());
    accounts.filter(|account| *account != own).collect()
}

/// Leaves out what a round is about that is on its way, or in a block that is not believed yet.
fn withhold(intent: &Intent, head: BlockNumber, portion: &mut Portion) {
    let is_ahead = |block: BlockNumber| block > head;
    let is_news = intent.state.is_open()
        || intent.landed.and_then(|landed| landed.block).is_some_and(|block| is_ahead(block.number));
    let IntentAction::ApplyBatch { items, .. } = &intent.action else { return };
    if is_news {
        portion.withheld_jobs.extend(items.iter().map(|item| item.job_id));
        portion.withheld_workers.extend(items.iter().map(|item| item.worker_id));
    }
}

#[cfg(test)]
mod tests {
    use keeper_scheduler::ShardSet;
    use keeper_store::{IntentId, IntentState, Landed};
    use keeper_types::{AllocationItem, Attempt, BlockRef, Felt, JobId, Rate, Strategy, TxHash, WorkerId};

    use super::*;

    fn lease(name: impl Into<String>, holder: &str) -> Lease {
        Lease { name: name.into(), holder: holder.to_owned(), term: 1, expires_ms: 1 }
    }

    fn round(state: IntentState, block: Option<u64>) -> Intent {
        let item = AllocationItem {
            job_id: JobId(4),
            worker_id: WorkerId(2),
            attempt: Attempt(1),
            strategy: Strategy::Standard,
            score: 1,
            rate: Rate(1),
        };
        let block = block.map(|number| BlockRef { number: BlockNumber(number), hash: Felt::ONE });
        Intent {
            intent_id: IntentId(1),
            action: IntentAction::ApplyBatch { round: 1, snapshot_block: BlockNumber(8), items: vec![item] },
            account: Address(Felt::TWO),
            nonce: Some(1),
            state,
            is_final: false,
            transactions: Vec::new(),
            landed: block.map(|block| Landed { tx_hash: TxHash(Felt::ONE), block: Some(block), fee: None }),
            created_ms: 1,
            updated_ms: 1,
        }
    }

    #[test]
    fn what_others_have_on_its_way_is_left_out_until_its_block_is_believed() {
        let left_out = |intent: &Intent| {
            let mut portion = Portion::of(ShardSet::new(2, [0]).unwrap());
            withhold(intent, BlockNumber(9), &mut portion);
            let Portion { withheld_jobs, withheld_workers, .. } = portion;
            assert_eq!(withheld_jobs.is_empty(), withheld_workers.is_empty());
            !withheld_jobs.is_empty()
        };
        assert!(left_out(&round(IntentState::Signed, None)));
        assert!(left_out(&round(IntentState::MaybeSent, None)));
        assert!(left_out(&round(IntentState::AcceptedL2, Some(10))), "its block is not believed yet");
        assert!(!left_out(&round(IntentState::AcceptedL2, Some(9))));
        assert!(!left_out(&round(IntentState::Lost, None)));
        let filler = Intent { action: IntentAction::FillNonce, ..round(IntentState::Signed, None) };
        assert!(!left_out(&filler), "it gives nobody anything");
    }

    #[test]
    fn what_a_keeper_left_that_is_not_able_any_more_holds_up_nobody() {
        let account = |number: u8| Address(Felt::from(number));
        let standing = [
            lease("candidate/a", "a"),
            lease("candidate/b", "b"),
            lease(lane_lease(account(1)), "a"),
            lease(lane_lease(account(2)), "b"),
            lease(lane_lease(account(3)), "cut off"),
            lease("leader/0-of-2", "a"),
        ];
        assert_eq!(able_senders(&standing, account(1)), [account(2)].into(), "others' only");
    }
}
