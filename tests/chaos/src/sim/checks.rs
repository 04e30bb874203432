//! What must be when everything has come to its end, and whether it has.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, PoisonError},
};

use futures::executor::block_on;
use keeper_store::{Intent, IntentState, conformance::identity, rebuild_market};
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

/// Checks everything.
pub(super) fn check(world: &World) {
    if let Some(waiting) = waiting(world) {
        world.sim.violate(Violation::Stuck, || format!("not at its end: {waiting}"));
    }
    let blocks = world.chain().blocks.clone();
    effects(world, &blocks);
    markets(world, &blocks);
    intents(world, &blocks);
    // Two worlds that end alike have the same last block.
    let hash = blocks.last().map_or(0, |block| word(block.header.hash));
    world.sim.note("end", [hash, blocks.len() as u64, 0], || format!("{} blocks", blocks.len()));
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
    for (job_id, job) in &fresh.jobs {
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
fn intents(world: &World, blocks: &[Arc<Block>]) {
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
        let mut nonces: BTreeMap<u64, &Intent> = BTreeMap::new();
        for intent in disk.log.all().filter(|intent| intent.account == account(owner)) {
            for transaction in &intent.transactions {
                unrecorded.remove(&transaction.tx_hash);
            }
            if let Some(nonce) = intent.nonce.filter(|_| intent.state.holds_nonce())
                && let Some(other) = nonces.insert(nonce, intent)
            {
                let tell = || format!("nonce {nonce} is of intents {} and {}", other.intent_id, intent.intent_id);
                world.sim.violate(Violation::Doubled, tell);
            }
            outcome(world, intent, &landed);
        }
    }
    for (hash, nonce) in unrecorded {
        let tell = || format!("transaction {:x} with nonce {nonce} was sent and not written down", word(hash.0));
        world.sim.violate(Violation::Lost, tell);
    }
}

/// Whether an intent is said to have ended as it did.
fn outcome(world: &World, intent: &Intent, landed: &BTreeMap<TxHash, bool>) {
    let mut own = intent.transactions.iter().map(|transaction| transaction.tx_hash);
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
    if !is_right {
        let violation = if found.is_some() { Violation::Lost } else { Violation::Doubled };
        let found = found.map(|(hash, is_reverted)| (word(hash.0), is_reverted));
        let tell = || format!("intent {} is {}, and on chain {found:?}", intent.intent_id, intent.state);
        world.sim.violate(violation, tell);
    }
}
