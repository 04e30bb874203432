//! What every store must do with intents.

use keeper_types::{
    Address, AllocationItem, Attempt, BlockNumber, BlockRef, Felt, Fri, JobId, Rate, Strategy, TxHash, WorkerId,
};

use crate::{
    IntentAction, IntentId, IntentState, IntentTransaction, IntentUpdate, JobAttempt, Landed, MaintenanceCall,
    NewIntent, Purpose, Store, StoreError,
};

pub(super) const ACCOUNT: Address = Address(Felt::from_hex_unchecked("0x51"));
pub(super) const OTHER: Address = Address(Felt::from_hex_unchecked("0x52"));

/// Runs this part of the suite.
pub(super) async fn exercise<S: Store>(open: impl AsyncFn() -> S) {
    intents_are_tracked(&open().await).await;
    a_nonce_is_one_intents(&open().await).await;
    every_transaction_of_a_nonce_is_kept(&open().await).await;
    the_same_is_not_recorded_twice_while_it_is_open(&open().await).await;
    what_was_accepted_on_l1_is_final(&open().await).await;
    intents_of_a_time_have_their_fees(&open().await).await;
}

/// A signed transaction with this number as its hash.
pub fn signed(hash: u64, signed_ms: u64) -> IntentTransaction {
    IntentTransaction {
        tx_hash: TxHash(Felt::from(hash)),
        purpose: Purpose::Action,
        request: Some(format!("{{\"hash\":{hash}}}")),
        tip: hash,
        l2_gas_price: u128::MAX - u128::from(hash),
        max_fee: Fri(u128::MAX - u128::from(hash)),
        signed_ms,
        sent_ms: None,
    }
}

pub(super) fn batch(round: u64) -> IntentAction {
    let item = AllocationItem {
        job_id: JobId(1),
        worker_id: WorkerId(2),
        attempt: Attempt(1),
        strategy: Strategy::Standard,
        score: 7_000,
        rate: Rate(1 << 39),
    };
    IntentAction::ApplyBatch { round, snapshot_block: BlockNumber(12), items: vec![item] }
}

pub(super) fn exits(jobs: &[u64]) -> IntentAction {
    let settle = |job: &u64| MaintenanceCall::Settle(JobAttempt { job_id: JobId(*job), attempt: Attempt(1) });
    IntentAction::Maintenance { calls: jobs.iter().map(settle).collect() }
}

pub(super) fn new(action: IntentAction, account: Address, signed: Option<(u64, IntentTransaction)>) -> NewIntent {
    NewIntent { action, account, signed, created_ms: 100 }
}

pub(super) fn landed(hash: u64, block: u64) -> Landed {
    let block = BlockRef { number: BlockNumber(block), hash: Felt::from(block + 1_000) };
    Landed { tx_hash: TxHash(Felt::from(hash)), block: Some(block), fee: Some(Fri(u128::MAX)) }
}

async fn intents_are_tracked(store: &dyn Store) {
    let first = store.record_intent(&new(batch(4), ACCOUNT, Some((1, signed(1, 100))))).await.expect("writes");
    let of = |job| JobAttempt { job_id: JobId(job), attempt: Attempt(2) };
    let calls = vec![
        MaintenanceCall::ExpireJob(of(3)),
        MaintenanceCall::ExpireAttempt(of(4)),
        MaintenanceCall::SettleDispute(of(5)),
        MaintenanceCall::PayOut { account: OTHER },
    ];
    let upkeep = IntentAction::Maintenance { calls };
    let second = store.record_intent(&new(upkeep.clone(), ACCOUNT, None)).await.expect("writes");
    let third = store.record_intent(&new(batch(9), OTHER, Some((1, signed(3, 100))))).await.expect("writes");
    let fourth = store.record_intent(&new(IntentAction::FillNonce, OTHER, Some((2, signed(4, 100))))).await;
    let fourth = fourth.expect("writes");
    assert!(first < second && second < third && third < fourth);

    let open = store.open_intents().await.expect("reads");
    assert_eq!(open.iter().map(|intent| intent.intent_id).collect::<Vec<_>>(), [first, second, third, fourth]);
    let planned = &open[1];
    assert_eq!((planned.state, planned.tx_hash(), &planned.action), (IntentState::Planned, None, &upkeep));
    assert_eq!((planned.account, planned.nonce, planned.created_ms, planned.updated_ms), (ACCOUNT, None, 100, 100));
    assert_eq!((open[0].state, open[0].nonce), (IntentState::Signed, Some(1)));
    assert_eq!(open[0].transactions, [signed(1, 100)]);

    store.record_transaction(second, 2, &signed(2, 150)).await.expect("writes");
    store.update_intent(second, &IntentUpdate::maybe_sent(TxHash(Felt::TWO), 200)).await.expect("writes");
    let update = IntentUpdate::landed(IntentState::AcceptedL2, landed(1, 7), 200);
    store.update_intent(first, &update).await.expect("writes");
    for lost in [third, fourth] {
        store.update_intent(lost, &IntentUpdate::to(IntentState::Lost, 200)).await.expect("writes");
    }
    let open = store.open_intents().await.expect("reads");
    assert_eq!(open.len(), 1);
    assert_eq!((open[0].intent_id, open[0].state, open[0].nonce), (second, IntentState::MaybeSent, Some(2)));
    assert_eq!(open[0].transactions, [IntentTransaction { sent_ms: Some(200), ..signed(2, 150) }]);

    let found = store.intent_by_tx(TxHash(Felt::ONE)).await.expect("reads").expect("the first intent");
    assert_eq!((found.intent_id, found.state, found.landed), (first, IntentState::AcceptedL2, Some(landed(1, 7))));
    assert_eq!((found.created_ms, found.updated_ms, &found.action), (100, 200, &batch(4)));
    assert_eq!(store.last_round(ACCOUNT).await.expect("reads"), Some(4));
    assert_eq!(store.last_round(OTHER).await.expect("reads"), Some(9), "a lost round is used up too");

    let of = async |job_id, attempt| store.latest_allocation(JobId(job_id), Attempt(attempt)).await.expect("reads");
    assert_eq!(of(1, 1).await.map(|intent| intent.intent_id), Some(third), "the later of the two");
    assert_eq!((of(1, 2).await, of(2, 1).await, of(u64::MAX, 1).await), (None, None, None));

    // A reorganisation opens an accepted intent again, and where it had landed is forgotten.
    store.update_intent(first, &IntentUpdate::to(IntentState::Reorged, 300)).await.expect("writes");
    let open = store.open_intents().await.expect("reads");
    assert_eq!((open.len(), open[0].landed, open[0].state), (2, None, IntentState::Reorged));
    let error = store.update_intent(IntentId(99), &IntentUpdate::to(IntentState::Lost, 300)).await;
    assert!(matches!(error, Err(StoreError::IntentUnknown(IntentId(99)))));
}

async fn a_nonce_is_one_intents(store: &dyn Store) {
    let first = store.record_intent(&new(batch(1), ACCOUNT, Some((5, signed(1, 100))))).await.expect("writes");
    let error = store.record_intent(&new(batch(2), ACCOUNT, Some((5, signed(2, 100))))).await.expect_err("is held");
    assert!(matches!(error, StoreError::NonceHeld { nonce: 5, intent_id } if intent_id == first), "{error}");
    assert!(!error.is_transient());
    assert_eq!(store.open_intents().await.expect("reads").len(), 1, "nothing of it was written");
    assert_eq!(store.intent_by_tx(TxHash(Felt::TWO)).await.expect("reads"), None);
    store.record_intent(&new(batch(1), OTHER, Some((5, signed(3, 100))))).await.expect("another account's");

    let planned = store.record_intent(&new(batch(2), ACCOUNT, None)).await.expect("writes");
    let error = store.record_transaction(planned, 5, &signed(4, 100)).await.expect_err("is held");
    assert!(matches!(error, StoreError::NonceHeld { nonce: 5, .. }), "{error}");
    store.record_transaction(planned, 6, &signed(4, 100)).await.expect("writes");
    let error = store.record_transaction(planned, 7, &signed(5, 100)).await.expect_err("it has another");
    assert!(matches!(error, StoreError::NonceChanged { nonce: 7, .. }), "{error}");
    let error = store.record_transaction(IntentId(99), 8, &signed(6, 100)).await.expect_err("there is none");
    assert!(matches!(error, StoreError::IntentUnknown(IntentId(99))), "{error}");

    // In whatever state it is, its nonce is its own, until it is lost.
    for state in [IntentState::MaybeSent, IntentState::NonceConsumed, IntentState::Reorged] {
        store.update_intent(first, &IntentUpdate::to(state, 200)).await.expect("writes");
        let error = store.record_intent(&new(batch(3), ACCOUNT, Some((5, signed(7, 100))))).await;
        assert!(matches!(error, Err(StoreError::NonceHeld { .. })), "{state}: {error:?}");
    }
    for state in [IntentState::AcceptedL2, IntentState::Reverted, IntentState::Replaced, IntentState::AcceptedL1] {
        store.update_intent(first, &IntentUpdate::landed(state, landed(1, 7), 200)).await.expect("writes");
        let error = store.record_intent(&new(batch(3), ACCOUNT, Some((5, signed(7, 100))))).await;
        assert!(matches!(error, Err(StoreError::NonceHeld { .. })), "{state}: {error:?}");
    }
    // Where the same is signed again for a nonce that came free, it is the same transaction, and the later intent's.
    let lost = IntentUpdate { sent: Some(TxHash(Felt::ONE)), ..IntentUpdate::to(IntentState::Lost, 200) };
    store.update_intent(first, &lost).await.expect("writes");
    let later = store.record_intent(&new(batch(3), ACCOUNT, Some((5, signed(1, 300))))).await.expect("it is free");
    let found = store.intent_by_tx(TxHash(Felt::ONE)).await.expect("reads").expect("is found");
    assert_eq!((found.intent_id, &found.transactions), (later, &vec![signed(1, 300)]), "it was not sent for this one");
}

async fn every_transaction_of_a_nonce_is_kept(store: &dyn Store) {
    let intent_id = store.record_intent(&new(batch(1), ACCOUNT, Some((5, signed(1, 100))))).await.expect("writes");
    store.update_intent(intent_id, &IntentUpdate::maybe_sent(TxHash(Felt::ONE), 110)).await.expect("writes");
    let no_op = IntentTransaction { purpose: Purpose::NoOp, ..signed(9, 300) };
    for transaction in [&signed(2, 200), &no_op] {
        store.record_transaction(intent_id, 5, transaction).await.expect("writes");
    }
    let live = store.live_intents(ACCOUNT).await.expect("reads");
    assert_eq!(live.len(), 1);
    assert_eq!(live[0].state, IntentState::MaybeSent, "a replacement changes no state");
    let first = IntentTransaction { sent_ms: Some(110), ..signed(1, 100) };
    assert_eq!(live[0].transactions, [first, signed(2, 200), no_op]);
    for hash in [1_u64, 2, 9] {
        let found = store.intent_by_tx(TxHash(Felt::from(hash))).await.expect("reads").expect("is found by any");
        assert_eq!(found.intent_id, intent_id);
        assert!(found.has_transaction(TxHash(Felt::from(hash))));
    }
    assert_eq!(live[0].tx_hash(), Some(TxHash(Felt::from(9))), "the latest");
    let update = IntentUpdate::landed(IntentState::AcceptedL2, landed(2, 8), 400);
    store.update_intent(intent_id, &update).await.expect("writes");
    let found = store.live_intents(ACCOUNT).await.expect("reads");
    assert_eq!(found[0].tx_hash(), Some(TxHash(Felt::TWO)), "the one that landed");
}

async fn the_same_is_not_recorded_twice_while_it_is_open(store: &dyn Store) {
    let first = store.record_intent(&new(exits(&[3, 4]), ACCOUNT, Some((0, signed(1, 100))))).await.expect("writes");
    let again = new(exits(&[5, 4]), OTHER, Some((0, signed(2, 100))));
    let error = store.record_intent(&again).await.expect_err("job 4 is being settled");
    assert!(matches!(&error, StoreError::IntentExists { intent_id, .. } if *intent_id == first), "{error}");
    assert!(error.to_string().contains("settle:4:1"), "{error}");
    assert!(!error.is_transient());
    store.record_intent(&new(exits(&[5]), OTHER, Some((0, signed(3, 100))))).await.expect("job 5 is not");

    let reverted = IntentUpdate::landed(IntentState::Reverted, landed(1, 7), 200);
    store.update_intent(first, &reverted).await.expect("writes");
    let second = store.record_intent(&new(exits(&[4]), OTHER, Some((1, signed(4, 100))))).await.expect("tried again");
    // Looked up again, the first takes what it did before, save what another does meanwhile.
    store.update_intent(first, &IntentUpdate::to(IntentState::Reorged, 300)).await.expect("writes");
    for (job, holder) in [(3, first), (4, second)] {
        let error = store.record_intent(&new(exits(&[job]), OTHER, Some((2, signed(5, 100))))).await;
        assert!(matches!(error, Err(StoreError::IntentExists { intent_id, .. }) if intent_id == holder), "{error:?}");
    }

    let round = store.record_intent(&new(batch(7), ACCOUNT, Some((1, signed(6, 100))))).await.expect("writes");
    store.update_intent(round, &IntentUpdate::to(IntentState::Lost, 300)).await.expect("writes");
    let error = store.record_intent(&new(batch(7), ACCOUNT, Some((2, signed(7, 100))))).await;
    assert!(matches!(error, Err(StoreError::IntentExists { .. })), "a round has its number once: {error:?}");
    store.record_intent(&new(batch(7), OTHER, Some((2, signed(7, 100))))).await.expect("another account's");
}

async fn what_was_accepted_on_l1_is_final(store: &dyn Store) {
    let mut intents = Vec::new();
    for number in 0..5 {
        let new = new(batch(number), ACCOUNT, Some((number, signed(number, 100))));
        intents.push(store.record_intent(&new).await.expect("writes"));
    }
    let states = [IntentState::AcceptedL2, IntentState::Reverted, IntentState::Replaced, IntentState::AcceptedL2];
    for (number, (intent_id, state)) in (0..).zip(intents.iter().zip(states)) {
        let update = IntentUpdate::landed(state, landed(number, 10 + number), 200);
        store.update_intent(*intent_id, &update).await.expect("writes");
    }
    assert_eq!(store.live_intents(ACCOUNT).await.expect("reads").len(), 5);
    let blocks: Vec<_> = (10..13).filter_map(|number| landed(0, number).block).collect();
    let of_another_fork = BlockRef { hash: Felt::ONE, ..blocks[0] };
    assert_eq!(store.finalise_intents(OTHER, &blocks).await.expect("writes"), 0);
    assert_eq!(store.finalise_intents(ACCOUNT, &[of_another_fork]).await.expect("writes"), 0);
    assert_eq!(store.finalise_intents(ACCOUNT, &blocks).await.expect("writes"), 3);
    assert_eq!(store.finalise_intents(ACCOUNT, &blocks).await.expect("writes"), 0);
    let live = store.live_intents(ACCOUNT).await.expect("reads");
    assert_eq!(live.iter().map(|intent| intent.intent_id).collect::<Vec<_>>(), intents[3..]);
    let first = store.intent_by_tx(TxHash(Felt::ZERO)).await.expect("reads").expect("the first");
    assert_eq!((first.state, first.is_final), (IntentState::AcceptedL1, true));
    assert_eq!(first.landed, Some(landed(0, 10)));
    let second = store.intent_by_tx(TxHash(Felt::ONE)).await.expect("reads").expect("the second");
    assert_eq!((second.state, second.is_final), (IntentState::Reverted, true));
}

async fn intents_of_a_time_have_their_fees(store: &dyn Store) {
    let mut intents = Vec::new();
    for number in 0..4 {
        let signed = IntentTransaction { max_fee: Fri(50), ..signed(number, 100 * number) };
        let mut new = new(batch(number), ACCOUNT, Some((number, signed)));
        new.created_ms = 100 * number;
        intents.push(store.record_intent(&new).await.expect("writes"));
    }
    let dearer = IntentTransaction { max_fee: Fri(60), ..signed(9, 350) };
    store.record_transaction(intents[3], 3, &dearer).await.expect("writes");
    let actual = Landed { fee: Some(Fri(20)), ..landed(2, 7) };
    let update = IntentUpdate::landed(IntentState::Reverted, actual, 400);
    store.update_intent(intents[2], &update).await.expect("writes");
    store.update_intent(intents[1], &IntentUpdate::to(IntentState::Lost, 400)).await.expect("writes");
    let fees = async |since| {
        let found = store.intents_since(ACCOUNT, since).await.expect("reads");
        found.iter().map(|intent| intent.fee().0).collect::<Vec<_>>()
    };
    assert_eq!(fees(0).await, [50, 0, 20, 60]);
    assert_eq!(fees(200).await, [20, 60]);
    assert_eq!(fees(301).await, [0; 0]);
}
