//! What every implementation of [`Leases`] must do.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use keeper_types::{Address, BlockNumber, Felt, Fri, TxHash};

use crate::{
    Fence, IntentAction, IntentId, IntentState, IntentTransaction, IntentUpdate, Lease, Leases, MaintenanceCall,
    NewIntent, Purpose, Store, StoreError, lane_lease,
};

/// Long enough for nothing to end by itself.
const HOUR: Duration = Duration::from_hours(1);

/// Runs the suite. `open` gives a new, empty store each time.
///
/// # Panics
/// Panics where the store does not do what [`Leases`] says.
pub async fn exercise_leases<S: Store + Leases>(open: impl AsyncFn() -> S) {
    a_lease_has_one_holder(&open().await).await;
    a_holder_that_comes_again_fences_its_earlier_self(&open().await).await;
    a_lease_that_has_ended_is_nobodys(&open().await).await;
    what_stands_is_listed(&open().await).await;
    what_is_written_under_a_lease_needs_its_term(&open().await).await;
    every_named_lease_is_needed(&open().await).await;
    what_a_gone_keeper_left_holds_up_nobody(&open().await).await;
    names_are_checked(&open().await).await;
}

fn intent(nonce: u64) -> NewIntent {
    let action = IntentAction::ApplyBatch { round: nonce, snapshot_block: BlockNumber(1), items: Vec::new() };
    NewIntent { action, account: Address(Felt::ONE), signed: None, created_ms: 1 }
}

/// As [`intent`], signed under the nonce.
fn signed_intent(nonce: u64) -> NewIntent {
    NewIntent { signed: Some((nonce, transaction(nonce))), ..intent(nonce) }
}

fn transaction(hash: u64) -> IntentTransaction {
    IntentTransaction {
        tx_hash: TxHash(Felt::from(hash)),
        purpose: Purpose::Action,
        request: None,
        tip: 0,
        l2_gas_price: 1,
        max_fee: Fri(1),
        signed_ms: 1,
        sent_ms: None,
    }
}

async fn acquired(leases: &dyn Leases, name: &str, holder: &str) -> Lease {
    leases.acquire(name, holder, HOUR).await.expect("writes").expect("nobody has it")
}

async fn is_fenced<T: std::fmt::Debug>(result: Result<T, StoreError>, fence: &Fence) {
    let error = result.expect_err("the grant does not stand");
    assert!(
        matches!(&error, StoreError::Fenced { name, term } if *name == fence.name && *term == fence.term),
        "{error}"
    );
    assert!(!error.is_transient());
}

async fn a_lease_has_one_holder(store: &dyn Leases) {
    assert_eq!(store.current("lane").await.expect("reads"), None);
    let first = acquired(store, "lane", "a").await;
    assert_eq!((first.name.as_str(), first.holder.as_str()), ("lane", "a"));
    assert_eq!(store.current("lane").await.expect("reads"), Some(first.clone()));
    assert_eq!(store.acquire("lane", "b", HOUR).await.expect("writes"), None);
    assert_eq!(
        store.current("lane").await.expect("reads"),
        Some(first.clone()),
        "whoever asks in vain changes nothing"
    );
    acquired(store, "another lane", "b").await;

    let renewed = store.renew(&first.fence(), 2 * HOUR).await.expect("it stands");
    assert_eq!(renewed.term, first.term, "it is the same grant");
    assert!(renewed.expires_ms > first.expires_ms);
    assert_eq!(store.current("lane").await.expect("reads"), Some(renewed));

    store.release(&first.fence()).await.expect("it stands");
    assert_eq!(store.current("lane").await.expect("reads"), None);
    is_fenced(store.release(&first.fence()).await, &first.fence()).await;
    is_fenced(store.renew(&first.fence(), HOUR).await, &first.fence()).await;
    let second = acquired(store, "lane", "b").await;
    assert!(second.term > first.term);
}

async fn a_holder_that_comes_again_fences_its_earlier_self(store: &dyn Leases) {
    let before = acquired(store, "lane", "a").await;
    let after = acquired(store, "lane", "a").await;
    assert!(after.term > before.term);
    is_fenced(store.renew(&before.fence(), HOUR).await, &before.fence()).await;
    is_fenced(store.release(&before.fence()).await, &before.fence()).await;
    assert_eq!(store.current("lane").await.expect("reads"), Some(after));
}

async fn a_lease_that_has_ended_is_nobodys(store: &dyn Leases) {
    let mut term = 0;
    for holder in ["a", "b", "a", "a"] {
        let ended = store.acquire("lane", holder, Duration::ZERO).await.expect("writes").expect("the last has ended");
        assert!(ended.term > term, "terms only grow");
        term = ended.term;
        assert_eq!(store.current("lane").await.expect("reads"), None);
        is_fenced(store.renew(&ended.fence(), HOUR).await, &ended.fence()).await;
        is_fenced(store.record_intent_under(&[ended.fence()], &intent(1)).await, &ended.fence()).await;
    }
}

async fn what_stands_is_listed(store: &dyn Leases) {
    assert_eq!(store.standing().await.expect("reads"), []);
    let second = acquired(store, "leader/1-of-2", "b").await;
    let first = acquired(store, "leader/0-of-2", "a").await;
    store.acquire("lane", "a", Duration::ZERO).await.expect("writes").expect("nobody has it");
    assert_eq!(store.standing().await.expect("reads"), [first, second.clone()], "by name, and none that has ended");
    store.release(&second.fence()).await.expect("it stands");
    let names: Vec<String> = store.standing().await.expect("reads").into_iter().map(|lease| lease.name).collect();
    assert_eq!(names, ["leader/0-of-2"]);
    let again = acquired(store, "leader/1-of-2", "c").await;
    assert_eq!(store.standing().await.expect("reads").last(), Some(&again), "a new grant is there at once");
}

async fn what_is_written_under_a_lease_needs_its_term<S: Store + Leases>(store: &S) {
    let never = Fence { name: "lane".to_owned(), term: 1 };
    is_fenced(store.record_intent_under(std::slice::from_ref(&never), &intent(0)).await, &never).await;
    let first = acquired(store, "lane", "a").await;
    let one = store.record_intent_under(&[first.fence()], &intent(1)).await.expect("it stands");
    store.release(&first.fence()).await.expect("it stands");
    let second = acquired(store, "lane", "b").await;
    let future = Fence { term: second.term + 1, ..second.fence() };
    for late in [first.fence(), future] {
        is_fenced(store.record_intent_under(std::slice::from_ref(&late), &intent(9)).await, &late).await;
    }
    let two = store.record_intent_under(&[second.fence()], &intent(2)).await.expect("it stands");
    let open: Vec<IntentId> = store.open_intents().await.expect("reads").iter().map(|open| open.intent_id).collect();
    assert_eq!(open, [one, two], "what was refused is not there");
}

async fn every_named_lease_is_needed<S: Store + Leases>(store: &S) {
    let (lane, duty) = (acquired(store, "lane", "a").await, acquired(store, "leader", "a").await);
    let both = [lane.fence(), duty.fence()];
    let recorded = store.record_intent_under(&both, &signed_intent(1)).await.expect("both stand");
    let update = IntentUpdate::to(IntentState::MaybeSent, 2);
    store.update_intent_under(&lane.fence(), recorded, &update).await.expect("it stands");
    store.record_transaction_under(&lane.fence(), recorded, 1, &transaction(7)).await.expect("it stands");
    store.release(&duty.fence()).await.expect("it stands");
    is_fenced(store.record_intent_under(&both, &signed_intent(2)).await, &duty.fence()).await;
    store.release(&lane.fence()).await.expect("it stands");
    is_fenced(store.update_intent_under(&lane.fence(), recorded, &update).await, &lane.fence()).await;
    let late = store.record_transaction_under(&lane.fence(), recorded, 1, &transaction(8)).await;
    is_fenced(late, &lane.fence()).await;
    let open = store.open_intents().await.expect("reads");
    assert_eq!(open.len(), 1, "what was refused is not there");
    assert_eq!((open[0].state, open[0].transactions.len()), (IntentState::MaybeSent, 2));
}

/// An exit of a keeper that is gone is for another to make; one of a keeper that is there is left to it.
async fn what_a_gone_keeper_left_holds_up_nobody<S: Store + Leases>(store: &S) {
    let exit = |account: Address| {
        let calls = vec![MaintenanceCall::PayOut { account: Address(Felt::THREE) }];
        NewIntent { action: IntentAction::Maintenance { calls }, account, signed: None, created_ms: 1 }
    };
    let (first, second) = (Address(Felt::ONE), Address(Felt::TWO));
    let gone = acquired(store, &lane_lease(first), "a").await;
    let other = acquired(store, &lane_lease(second), "b").await;
    let left = store.record_intent_under(&[gone.fence()], &exit(first)).await.expect("it stands");
    let doubled = store.record_intent_under(&[other.fence()], &exit(second)).await;
    assert!(matches!(doubled, Err(StoreError::IntentExists { intent_id, .. }) if intent_id == left), "{doubled:?}");
    store.release(&gone.fence()).await.expect("it stands");
    let taken = store.record_intent_under(&[other.fence()], &exit(second)).await.expect("nobody sends it any more");
    let doubled = store.record_intent_under(&[other.fence()], &exit(second)).await;
    assert!(matches!(doubled, Err(StoreError::IntentExists { intent_id, .. }) if intent_id == taken), "{doubled:?}");
}

async fn names_are_checked(store: &dyn Leases) {
    for (name, holder) in [("", "a"), ("lane", ""), (&*"n".repeat(256), "a")] {
        let error = store.acquire(name, holder, HOUR).await.expect_err("a name has a length");
        assert!(matches!(error, StoreError::Length { .. }), "{error}");
    }
    let error = store.acquire("lane", "a", Duration::MAX).await.expect_err("too long");
    assert!(matches!(error, StoreError::OutOfRange { .. }), "{error}");
}

/// A grant as its holder saw it.
struct Grant {
    holder: usize,
    lease: Lease,
    /// When it was made and when it ended unless it was released, by the database's clock.
    from_ms: u64,
    until_ms: Option<u64>,
}

/// Holders, each with a store of its own on one database, contend for a lease, renew it, release it or let it end.
/// By the database's clock no two have it at a time, and each grant's term is higher than that of the one before.
///
/// # Panics
/// Panics where one of the two does not hold.
pub async fn holders_never_overlap(stores: &[&dyn Leases], grants_each: usize) {
    let contending = stores.iter().enumerate().map(|(holder, store)| contend(*store, holder, grants_each));
    let mut grants: Vec<Grant> = futures::future::join_all(contending).await.into_iter().flatten().collect();
    grants.sort_by_key(|grant| grant.lease.term);
    for pair in grants.windows(2) {
        let [before, after] = pair else { continue };
        assert!(before.lease.term < after.lease.term, "one term is one grant's: {}", before.lease.term);
        if let Some(until_ms) = before.until_ms.filter(|_| before.holder != after.holder) {
            assert!(until_ms <= after.from_ms, "{until_ms} is after {}: two had it", after.from_ms);
        }
    }
    assert_eq!(grants.len(), stores.len() * grants_each);
}

async fn contend(store: &dyn Leases, holder: usize, count: usize) -> Vec<Grant> {
    const TTL_MS: u64 = 7;
    let (name, ttl) = (format!("holder {holder}"), Duration::from_millis(TTL_MS));
    let mut grants = Vec::new();
    while grants.len() < count {
        let Some(lease) = store.acquire("contended", &name, ttl).await.expect("writes") else {
            tokio::task::yield_now().await;
            continue;
        };
        let from_ms = lease.expires_ms - TTL_MS;
        let mut until_ms = Some(lease.expires_ms);
        match grants.len() % 3 {
            0 => {
                if let Ok(renewed) = store.renew(&lease.fence(), ttl).await {
                    until_ms = Some(renewed.expires_ms);
                }
            }
            1 => until_ms = released(store, &lease).await,
            _ => {}
        }
        grants.push(Grant { holder, lease, from_ms, until_ms });
    }
    grants
}

/// `None` where it was released in time, and so ended at a time that only the database knows.
async fn released(store: &dyn Leases, lease: &Lease) -> Option<u64> {
    let released = store.release(&lease.fence()).await;
    let is_late = matches!(released, Err(StoreError::Fenced { .. }));
    if !is_late {
        released.expect("writes");
    }
    is_late.then_some(lease.expires_ms)
}

/// One holder writes under its lease as fast as it can and never renews it; once another has it, nothing of the first
/// comes any more.
///
/// # Panics
/// Panics where something does.
pub async fn a_zombie_is_fenced<S: Store + Leases>(zombie: &dyn Leases, successor: &S) {
    /// What one that is not fenced may write after the takeover before the test is over.
    const TOO_MANY: usize = 10;
    let is_taken = AtomicBool::new(false);
    let lease = zombie.acquire("lane", "zombie", Duration::from_millis(300)).await.expect("writes").expect("granted");
    let writing = async {
        let (mut written, mut late) = (0_usize, 0);
        while late < TOO_MANY {
            late += usize::from(is_taken.load(Ordering::SeqCst));
            match zombie.record_intent_under(&[lease.fence()], &intent(written as u64)).await {
                Ok(_) => written += 1,
                Err(error) => {
                    is_fenced::<()>(Err(error), &lease.fence()).await;
                    break;
                }
            }
        }
        written
    };
    let taking_over = async {
        loop {
            if let Some(taken) = successor.acquire("lane", "successor", HOUR).await.expect("writes") {
                assert!(taken.term > lease.term);
                let found = successor.open_intents().await.expect("reads").len();
                is_taken.store(true, Ordering::SeqCst);
                return found;
            }
            tokio::task::yield_now().await;
        }
    };
    let (written, at_takeover) = futures::future::join(writing, taking_over).await;
    assert_eq!(written, at_takeover, "nothing was written after the takeover");
    assert!(written > 0, "the zombie wrote while its lease stood");
    is_fenced(zombie.record_intent_under(&[lease.fence()], &intent(0)).await, &lease.fence()).await;
    assert_eq!(successor.open_intents().await.expect("reads").len(), written);
}
