//! What must be when everything has come to its end, and whether it has.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, PoisonError},
};

use futures::executor::block_on;
use keeper_store::{Intent, IntentState, IntentTransaction, conformance::identity, rebuild_market};
use keeper_types::{Attempt, JobId, Market, MarketEvent, TxHash};

use super::{
    chain::{Block, Body, word},
    history::Violation,
    store::MemoryStore,
    world::{World, account},
};

/// What is not at its end yet; none where everything is.
pub(super) fn waiting(world: &World) -> Option<String> {
    let chain = world.chain();
    let head = chain.head();
    let missing = world.people().missing(&head.contracts);
    if missing > 0 {
        return Some(format!("{missing} submissions are not on chain"));
    }
    if let Some((job_id, job)) = head.contracts.jobs.iter().find(|(_, job)| !job.state.is_final()) {
        return Some(format!("job {job_id} is {} at attempt {}", job.state, job.attempt));
    }
    for (owner, belief) in world.beliefs.iter().enumerate() {
        let believed = belief.lock().unwrap_or_else(PoisonError::into_inner).as_ref().map(|believed| believed.head);
        if believed != Some(head.header) {
            let believed = believed.map(|header| header.number.0);
            return Some(format!("keeper {owner} believes block {believed:?} of {}", head.header.number));
        }
    }
    for disk in &world.disks {
        let disk = disk.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(intent) = disk.log.all().find(|intent| !intent.is_final) {
            return Some(format!("intent {} of {:x} is {}", intent.intent_id, intent.account.0, intent.state));
        }
    }
    None
}

/// Checks everything. Counts the lost intents of which a transaction landed as that of a later one.
pub(super) fn check(world: &World) -> u64 {
    if let Some(waiting) = waiting(world) {
        world.sim.violate(Violation::Stuck, || format!("not at its end: {waiting}"));
    }
    let blocks = world.chain().blocks.clone();
    effects(world, &blocks);
    markets(world, &blocks);
    let signed_again = intents(world, &blocks);
    // Two worlds that end alike have the same last block.
    let hash = blocks.last().map_or(0, |block| word(block.header.hash));
    world.sim.note("end", [hash, blocks.len() as u64, 0], || format!("{} blocks", blocks.len()));
    signed_again
}

/// Nothing happened twice on chain, and no money came or went.
fn effects(world: &World, blocks: &[Arc<Block>]) {
    let mut counts: BTreeMap<(&str, JobId, Attempt), u32> = BTreeMap::new();
    for (_, event) in blocks.iter().flat_map(|block| &block.events) {
        let effects: Vec<_> = match event {
            MarketEvent::JobsAllocated { items } => {
                items.iter().map(|item| ("allocated", item.job_id, item.attempt)).collect()
            }
            MarketEvent::ResultSubmitted { job_id, attempt, .. } => vec![("answered", *job_id, *attempt)],
            MarketEvent::JobSettled { job_id, .. } => vec![("paid", *job_id, Attempt(0))],
            _ => Vec::new(),
        };
        for effect in effects {
            *counts.entry(effect).or_default() += 1;
        }
    }
    for ((what, job_id, attempt), count) in counts.into_iter().filter(|(_, count)| *count > 1) {
        world.sim.violate(Violation::Doubled, || format!("job {job_id} at attempt {attempt} was {what} {count} times"));
    }
    if let Some(block) = blocks.iter().find(|block| !block.contracts.is_conserved()) {
        world.sim.violate(Violation::Lost, || format!("escrow is not conserved at block {}", block.header.number));
    }
}

/// What is stored, and what is believed, is what a fresh fold of the chain gives.
fn markets(world: &World, blocks: &[Arc<Block>]) {
    let mut fresh = Market::default();
    for (position, event) in blocks.iter().flat_map(|block| &block.events) {
        if let Err(error) = fresh.apply(event, position) {
            return world.sim.violate(Violation::Doubled, || format!("the chain contradicts itself: {error}"));
        }
    }
    let tags: BTreeSet<_> = fresh.jobs.values().map(|job| job.spec.manifest_hash).collect();
    for missing in world.people().submitted().filter(|tag| !tags.contains(tag)) {
        world.sim.violate(Violation::Lost, || format!("submission {missing:#x} is not on chain"));
    }
    for (job_id, job) in fresh.jobs.iter() {
        let held = blocks.last().and_then(|block| block.contracts.jobs.get(job_id).map(|job| job.state));
        if held != Some(job.state) {
            world.sim.violate(Violation::Lost, || format!("job {job_id} is {}, and held as {held:?}", job.state));
        }
    }
    for (owner, disk) in world.disks.iter().enumerate() {
        let store = MemoryStore::new(identity(), disk.clone(), None, None);
        match block_on(rebuild_market(&store)) {
            Ok(market) if market == fresh => {}
            Ok(_) => world.sim.violate(Violation::Lost, || format!("keeper {owner} has stored another market")),
            Err(error) => {
                let tell = || format!("what keeper {owner} has stored does not fit: {error}");
                world.sim.violate(Violation::Lost, tell);
            }
        }
        let believed = world.beliefs[owner].lock().unwrap_or_else(PoisonError::into_inner).clone();
        if believed.is_none_or(|believed| believed.market != fresh) {
            world.sim.violate(Violation::Lost, || format!("keeper {owner} believes another market"));
        }
    }
}

/// The log knows of everything that was sent, and says of each intent what became of it.
fn intents(world: &World, blocks: &[Arc<Block>]) -> u64 {
    let mut signed_again = 0;
    let mut landed: BTreeMap<TxHash, bool> = BTreeMap::new();
    let mut unrecorded: BTreeMap<TxHash, u64> = BTreeMap::new();
    for included in blocks.iter().flat_map(|block| &block.txs) {
        if let Body::Keeper(request) = &included.tx.body {
            landed.insert(included.tx.hash, included.is_reverted);
            if request.outsider == 0 {
                unrecorded.insert(included.tx.hash, request.nonce);
            }
        }
    }
    for owner in 0..world.disks.len() {
        let disk = world.disks[owner].lock().unwrap_or_else(PoisonError::into_inner);
        let log: Vec<&Intent> = disk.log.all().filter(|intent| intent.account == account(owner)).collect();
        let mut nonces: BTreeMap<u64, &Intent> = BTreeMap::new();
        for intent in &log {
            for transaction in &intent.transactions {
                unrecorded.remove(&transaction.tx_hash);
            }
            if let Some(nonce) = intent.nonce.filter(|_| intent.state.holds_nonce())
                && let Some(other) = nonces.insert(nonce, intent)
            {
                let tell = || format!("nonce {nonce} is of intents {} and {}", other.intent_id, intent.intent_id);
                world.sim.violate(Violation::Doubled, tell);
            }
            signed_again += u64::from(is_signed_again(intent, &log));
            if let Some((violation, text)) = outcome(intent, &log, &landed) {
                world.sim.violate(violation, || format!("keeper {owner}: {text}"));
            }
        }
    }
    for (hash, nonce) in unrecorded {
        let tell = || format!("transaction {:x} with nonce {nonce} was sent and not written down", word(hash.0));
        world.sim.violate(Violation::Lost, tell);
    }
    signed_again
}

/// Whether one of a lost intent's transactions landed as that of a later one.
fn is_signed_again(intent: &Intent, log: &[&Intent]) -> bool {
    let is_later = |transaction: &IntentTransaction| is_of_a_later_one(transaction.tx_hash, intent, log);
    intent.state == IntentState::Lost && intent.transactions.iter().any(is_later)
}

/// What is wrong about how an intent is said to have ended, if anything is.
fn outcome(intent: &Intent, log: &[&Intent], landed: &BTreeMap<TxHash, bool>) -> Option<(Violation, String)> {
    let own = intent.transactions.iter().map(|transaction| transaction.tx_hash);
    let mut own = own.filter(|hash| intent.state != IntentState::Lost || !is_of_a_later_one(*hash, intent, log));
    let found = own.find_map(|hash| landed.get(&hash).map(|is_reverted| (hash, *is_reverted)));
    let told = intent.landed.map(|landed| landed.tx_hash);
    let is_right = match (intent.state, found) {
        (IntentState::Lost, None) => true,
        (IntentState::AcceptedL1 | IntentState::AcceptedL2, Some((hash, false))) => told == Some(hash),
        (IntentState::Reverted, Some((hash, true))) => told == Some(hash),
        (IntentState::Replaced, Some((hash, _))) => told == Some(hash),
        // What is open is told as stuck.
        (state, _) => state.is_open(),
    };
    if is_right {
        return None;
    }
    let violation = if found.is_some() { Violation::Lost } else { Violation::Doubled };
    let found = match found {
        Some((hash, true)) => format!("tx {:x} reverted", word(hash.0)),
        Some((hash, false)) => format!("tx {:x} is effective", word(hash.0)),
        None => "there is nothing of it".to_owned(),
    };
    let nonce = intent.nonce.map_or("none".to_owned(), |nonce| nonce.to_string());
    Some((violation, format!("intent {}, nonce {nonce}, is {}, and on chain {found}", intent.intent_id, intent.state)))
}

/// Whether a transaction that was signed for a lost intent was signed once more for a later one, and is told as that one's.
/// A nonce that was lost comes free again where a reorganisation takes the other's transaction back. The same signed for it
/// a second time, as the no-op of a hole mostly is, has the same bytes and the same hash: it is one transaction, and its
/// effect is the later intent's. So nothing is excused that the log does not tell as landed elsewhere.
fn is_of_a_later_one(hash: TxHash, lost: &Intent, log: &[&Intent]) -> bool {
    log.iter().any(|later| {
        later.intent_id > lost.intent_id
            && later.nonce == lost.nonce
            && later.state.is_landed()
            && later.has_transaction(hash)
            && later.landed.is_some_and(|landed| landed.tx_hash == hash)
    })
}

#[cfg(test)]
mod tests {
    use keeper_store::{IntentAction, IntentId, Landed, conformance::signed};
    use keeper_types::Felt;

    use super::*;

    fn hash(number: u64) -> TxHash {
        TxHash(Felt::from(number))
    }

    /// An intent with this number, for which one transaction was signed under the nonce.
    fn intent(number: u64, nonce: u64, tx: u64, state: IntentState) -> Intent {
        let landed = Landed { tx_hash: hash(tx), block: None, fee: None };
        Intent {
            intent_id: IntentId(number),
            action: IntentAction::FillNonce,
            account: account(0),
            nonce: Some(nonce),
            state,
            is_final: true,
            transactions: vec![signed(tx, number)],
            landed: state.is_landed().then_some(landed),
            created_ms: number,
            updated_ms: number,
        }
    }

    /// What is said of the first of these intents where transaction 7 is on chain.
    fn told(log: &[Intent]) -> Option<Violation> {
        let log: Vec<&Intent> = log.iter().collect();
        outcome(log[0], &log, &[(hash(7), false)].into()).map(|(violation, _)| violation)
    }

    #[test]
    fn a_lost_intent_is_wrong_where_its_transaction_is_on_chain() {
        let lost = intent(1, 5, 7, IntentState::Lost);
        assert_eq!(told(std::slice::from_ref(&lost)), Some(Violation::Lost));
        assert_eq!(told(&[intent(1, 5, 8, IntentState::Lost)]), None, "its transaction is not on chain");
        assert_eq!(told(&[intent(1, 5, 8, IntentState::Replaced)]), Some(Violation::Doubled));
        // Neither an earlier intent, nor one that landed by another transaction, or did not land, or has another nonce,
        // says whose it is.
        let others = [
            intent(0, 5, 7, IntentState::Replaced),
            intent(2, 5, 8, IntentState::Replaced),
            intent(2, 5, 7, IntentState::Lost),
            intent(2, 5, 7, IntentState::MaybeSent),
            intent(2, 6, 7, IntentState::Replaced),
        ];
        for other in others {
            assert_eq!(told(&[lost.clone(), other.clone()]), Some(Violation::Lost), "{other:?}");
        }
        let mut unsigned = intent(2, 5, 7, IntentState::Replaced);
        unsigned.transactions.clear();
        assert_eq!(told(&[lost, unsigned]), Some(Violation::Lost));
    }

    #[test]
    fn what_was_signed_again_for_the_same_nonce_is_the_later_intents() {
        let (lost, later) = (intent(1, 5, 7, IntentState::Lost), intent(2, 5, 7, IntentState::Replaced));
        assert_eq!(told(&[lost.clone(), later.clone()]), None);
        assert!(is_signed_again(&lost, &[&lost, &later]) && !is_signed_again(&later, &[&lost, &later]));
        assert_eq!(told(&[later.clone(), lost]), None, "and is told as its");
        let first = intent(1, 5, 7, IntentState::AcceptedL2);
        assert_eq!(told(&[first, later]), None, "only the nonce that both hold is wrong, which is counted as doubled");
    }
}
