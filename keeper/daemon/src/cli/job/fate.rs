//! What became of a decision that placed a job: a plan is one thing, what the contracts made of it another.

use std::fmt;

use anyhow::Result;
use futures::TryStreamExt as _;
use keeper_store::{ExplanationRecord, Intent, IntentState, Store};
use keeper_types::{
    Address, Attempt, BlockNumber, EventPosition, JobId, MarketContract, MarketEvent, SkipReason, TxHash, WorkerId,
};
use serde::Serialize;

/// What became of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub(super) enum Fate {
    /// A round gave the job to a worker: this keeper's or another's.
    Applied { round: Option<u64>, keeper: Option<Address>, block: BlockNumber, tx_hash: TxHash },
    /// A worker took the job by itself.
    Claimed { worker_id: WorkerId, block: BlockNumber, tx_hash: TxHash },
    /// The round was applied without this item.
    Skipped { round: u64, reason: SkipReason, block: BlockNumber, tx_hash: TxHash },
    /// The round's transaction was included and failed.
    Reverted { round: u64, tx_hash: Option<TxHash> },
    /// The round's transaction will not happen: it was refused, or another took its nonce.
    Refused { round: u64, tx_hash: Option<TxHash> },
    /// The round is on its way, or in a block that this keeper has not read.
    Pending { round: u64, tx_hash: Option<TxHash> },
    /// The round was not signed: the keeper is about to, or the contracts refused it already then.
    NotSent { round: u64, paused: Vec<MarketContract> },
}

impl Fate {
    /// Whether the job has a worker by it.
    pub(super) fn is_applied(&self) -> bool {
        matches!(self, Self::Applied { .. })
    }
}

impl fmt::Display for Fate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let transaction = |hash: &Option<TxHash>| {
            hash.map_or_else(|| "its transaction".to_owned(), |hash| format!("transaction {hash}"))
        };
        match self {
            Self::Applied { round, keeper, block, tx_hash } => {
                let round = round.map_or_else(|| "applied".to_owned(), |round| format!("{round}, applied"));
                let keeper = keeper.map(|keeper| format!(" by keeper {keeper}")).unwrap_or_default();
                write!(f, "{round}{keeper} in block {block}, transaction {tx_hash}")
            }
            Self::Claimed { worker_id, block, tx_hash } => {
                write!(f, "none: worker {worker_id} took the job itself in block {block}, transaction {tx_hash}")
            }
            Self::Skipped { round, reason, block, tx_hash } => {
                write!(f, "{round}, skipped by the contracts in block {block}, transaction {tx_hash}: {reason}")
            }
            Self::Reverted { round, tx_hash } => {
                write!(f, "{round}, failed on chain: {} was reverted", transaction(tx_hash))
            }
            Self::Refused { round, tx_hash } => {
                write!(f, "{round}, refused: {} will never be in a block", transaction(tx_hash))
            }
            Self::Pending { round, tx_hash } => {
                write!(f, "{round}, not known yet: {} is on its way", transaction(tx_hash))
            }
            Self::NotSent { round, paused } if paused.is_empty() => {
                write!(
                    f,
                    "{round}, not sent: the keeper is about to, or the contracts refuse it; the keeper's log says why"
                )
            }
            Self::NotSent { round, paused } => {
                let names: Vec<String> = paused.iter().map(ToString::to_string).collect();
                let are = if names.len() == 1 { "is" } else { "are" };
                write!(f, "{round}, refused before it was sent: {} {are} paused", names.join(" and "))
            }
        }
    }
}

/// Looks it up: what the chain said since the decision, and what the keeper set out to send.
///
/// # Errors
/// Fails where the store does.
pub(super) async fn of(
    store: &dyn Store,
    record: &ExplanationRecord,
    paused: impl Iterator<Item = MarketContract>,
) -> Result<Option<Fate>> {
    let Some(round) = record.round else { return Ok(None) };
    let (job_id, attempt) = (record.explanation.job_id, record.explanation.attempt);
    let events = store.load_events(record.snapshot_block).try_collect::<Vec<_>>().await?;
    let intent = store.latest_allocation(job_id, attempt).await?;
    // An older round's is about an older decision.
    let intent = intent.filter(|intent| intent.action.round() >= Some(round));
    let fate = by_events(&events, (job_id, attempt), intent.as_ref());
    Ok(Some(fate.unwrap_or_else(|| by_intent(intent.as_ref(), round, paused))))
}

/// What the chain says of it.
fn by_events(
    events: &[(EventPosition, MarketEvent)],
    (job_id, attempt): (JobId, Attempt),
    intent: Option<&Intent>,
) -> Option<Fate> {
    let is_item = |id: &JobId, number: &Attempt| (*id, *number) == (job_id, attempt);
    let allocated = events.iter().find(|(_, event)| {
        matches!(event, MarketEvent::JobsAllocated { items } if items.iter().any(|item| is_item(&item.job_id, &item.attempt)))
    });
    if let Some((EventPosition { block, tx_hash, .. }, _)) = allocated {
        let (block, tx_hash) = (*block, *tx_hash);
        let mut beside = events.iter().filter(|(position, _)| position.tx_hash == tx_hash);
        let of_transaction = beside.find_map(|(_, event)| match event {
            MarketEvent::JobClaimed { worker_id, .. } => Some(Fate::Claimed { worker_id: *worker_id, block, tx_hash }),
            MarketEvent::RoundApplied { keeper, round, .. } => {
                // Only another keeper's need be told apart.
                let is_own = intent.is_some_and(|intent| intent.account == *keeper);
                let keeper = (!is_own).then_some(*keeper);
                Some(Fate::Applied { round: Some(*round), keeper, block, tx_hash })
            }
            _ => None,
        });
        return Some(of_transaction.unwrap_or(Fate::Applied { round: None, keeper: None, block, tx_hash }));
    }
    let intent = intent?;
    events.iter().find_map(|(position, event)| match event {
        MarketEvent::AllocationSkipped { job_id, attempt, reason, .. }
            if is_item(job_id, attempt) && intent.has_transaction(position.tx_hash) =>
        {
            let (round, block, tx_hash) = (intent.action.round()?, position.block, position.tx_hash);
            Some(Fate::Skipped { round, reason: *reason, block, tx_hash })
        }
        _ => None,
    })
}

/// What the keeper knows of it, where the chain says nothing.
fn by_intent(intent: Option<&Intent>, decided: u64, paused: impl Iterator<Item = MarketContract>) -> Fate {
    let Some(intent) = intent else {
        // Either of them refuses every round; a pause of the pool stops none.
        let stops = |contract: &MarketContract| *contract != MarketContract::CdcPool;
        return Fate::NotSent { round: decided, paused: paused.filter(stops).collect() };
    };
    let (round, tx_hash) = (intent.action.round().unwrap_or(decided), intent.tx_hash());
    match intent.state {
        IntentState::Reverted => Fate::Reverted { round, tx_hash },
        IntentState::Lost | IntentState::Replaced => Fate::Refused { round, tx_hash },
        IntentState::Planned
        | IntentState::Signed
        | IntentState::MaybeSent
        | IntentState::NonceConsumed
        | IntentState::Reorged
        | IntentState::AcceptedL2
        | IntentState::AcceptedL1 => Fate::Pending { round, tx_hash },
    }
}

#[cfg(test)]
mod tests {
    use keeper_store::{IntentAction, IntentId, IntentTransaction, Purpose};
    use keeper_types::{AllocationItem, Felt, Fri, PolicyId, Rate, Strategy};
    use serde_json::json;

    use super::*;

    const OWN: Address = Address(Felt::ONE);
    const HASH: TxHash = TxHash(Felt::THREE);
    const ITEM: (JobId, Attempt) = (JobId(1), Attempt(1));

    fn item(job_id: u64) -> AllocationItem {
        AllocationItem {
            job_id: JobId(job_id),
            worker_id: WorkerId(2),
            attempt: Attempt(1),
            strategy: Strategy::Standard,
            score: 1,
            rate: Rate(1),
        }
    }

    fn intent(state: IntentState) -> Intent {
        let action = IntentAction::ApplyBatch { round: 7, snapshot_block: BlockNumber(4), items: vec![item(1)] };
        Intent {
            intent_id: IntentId(1),
            action,
            account: OWN,
            nonce: Some(0),
            state,
            is_final: false,
            transactions: vec![IntentTransaction {
                tx_hash: HASH,
                purpose: Purpose::Action,
                request: None,
                tip: 0,
                l2_gas_price: 0,
                max_fee: Fri::ZERO,
                signed_ms: 0,
                sent_ms: None,
            }],
            landed: None,
            created_ms: 0,
            updated_ms: 0,
        }
    }

    fn events(tx_hash: TxHash, events: Vec<MarketEvent>) -> Vec<(EventPosition, MarketEvent)> {
        let position = EventPosition { block: BlockNumber(5), timestamp: 1, index: 0, tx_hash };
        events.into_iter().map(|event| (position, event)).collect()
    }

    fn applied_by(keeper: Address) -> MarketEvent {
        MarketEvent::RoundApplied {
            keeper,
            round: 7,
            snapshot_block: BlockNumber(4),
            snapshot_root: Felt::ONE,
            policy_id: PolicyId(Felt::ONE),
            plan_root: Felt::ONE,
            allocated: 1,
            skipped: 0,
        }
    }

    fn skipped() -> MarketEvent {
        let (job_id, attempt) = ITEM;
        MarketEvent::AllocationSkipped { job_id, worker_id: WorkerId(2), attempt, reason: SkipReason::RateChanged }
    }

    #[test]
    fn what_the_chain_says_counts() {
        let made = vec![MarketEvent::JobsAllocated { items: vec![item(1)] }, applied_by(OWN)];
        // Whatever the keeper believes of its transaction.
        let fate = by_events(&events(HASH, made), ITEM, Some(&intent(IntentState::Lost))).unwrap();
        assert_eq!(fate, Fate::Applied { round: Some(7), keeper: None, block: BlockNumber(5), tx_hash: HASH });
        assert!(fate.to_string().starts_with("7, applied in block 5, transaction 0x0"), "{fate}");
        let others = vec![MarketEvent::JobsAllocated { items: vec![item(1)] }, applied_by(Address(Felt::TWO))];
        let fate = by_events(&events(HASH, others), ITEM, Some(&intent(IntentState::Lost))).unwrap();
        assert!(fate.to_string().starts_with("7, applied by keeper 0x0"), "{fate}");
        let other_job = vec![MarketEvent::JobsAllocated { items: vec![item(9)] }, applied_by(OWN)];
        assert_eq!(by_events(&events(HASH, other_job), ITEM, Some(&intent(IntentState::MaybeSent))), None);
    }

    #[test]
    fn a_claim_is_no_round() {
        let claimed = MarketEvent::JobClaimed { job_id: JobId(1), worker_id: WorkerId(2) };
        let made = vec![MarketEvent::JobsAllocated { items: vec![item(1)] }, claimed];
        let fate = by_events(&events(HASH, made), ITEM, None).unwrap();
        assert!(fate.to_string().starts_with("none: worker 2 took the job itself in block 5"), "{fate}");
    }

    #[test]
    fn a_skipped_item_has_its_reason() {
        let fate = by_events(&events(HASH, vec![skipped()]), ITEM, Some(&intent(IntentState::AcceptedL2))).unwrap();
        let text = fate.to_string();
        assert!(text.starts_with("7, skipped by the contracts in block 5, transaction 0x0"), "{text}");
        assert!(text.ends_with(": the worker changed its rate"), "{text}");
        let value = serde_json::to_value(&fate).unwrap();
        assert_eq!((&value["state"], &value["reason"]), (&json!("skipped"), &json!("rate_changed")));
        // An older round's skip says nothing of the round that is on its way.
        let older = events(TxHash(Felt::TWO), vec![skipped()]);
        assert_eq!(by_events(&older, ITEM, Some(&intent(IntentState::MaybeSent))), None);
    }

    #[test]
    fn where_the_chain_says_nothing_the_keepers_own_record_does() {
        let fate = |state| by_intent(Some(&intent(state)), 7, std::iter::empty()).to_string();
        assert!(fate(IntentState::Reverted).starts_with("7, failed on chain: transaction 0x0"));
        assert!(fate(IntentState::Lost).starts_with("7, refused: transaction 0x0"));
        for state in [IntentState::Planned, IntentState::MaybeSent, IntentState::AcceptedL2] {
            assert!(fate(state).starts_with("7, not known yet: transaction 0x0"));
        }
    }

    #[test]
    fn a_round_that_was_not_sent_names_the_pause_that_stops_it() {
        let fate = |paused: &[MarketContract]| by_intent(None, 7, paused.iter().copied()).to_string();
        assert!(fate(&[]).starts_with("7, not sent: "));
        assert!(fate(&[MarketContract::CdcPool]).starts_with("7, not sent: "));
        assert_eq!(fate(&[MarketContract::JobMgr]), "7, refused before it was sent: JobMgr is paused");
        assert_eq!(
            fate(&[MarketContract::JobMgr, MarketContract::TaskAllocator]),
            "7, refused before it was sent: JobMgr and TaskAllocator are paused"
        );
    }
}
