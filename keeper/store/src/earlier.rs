//! What earlier versions left in databases, and what has to come of it.
//!
//! The rows are kept as text, in the words of the versions that wrote them: a run of the demo, an intent in every state,
//! queues with items in every state. What this version must read of them is written down here.

use std::time::Duration;

use keeper_types::{Fri, JobId};

use crate::{
    Claim, ClaimTerms, ClaimToken, IntentState, ItemId, Leases, NewItem, QueueStats, Store, WorkQueue, rebuild_market,
};

const MARKET: &str = include_str!("earlier/market.sql");
const INTENTS: &str = include_str!("earlier/intents.sql");
const FINALITY: &str = include_str!("earlier/finality.sql");
const QUEUES: &str = include_str!("earlier/queues.sql");

/// The account of all intents.
const ACCOUNT: &str = "0x02939f2dc3f80cc7d620e8a86f2e69c1e187b7ff44b74056647368b5c49dc370";

/// The tables that no later layout has changed.
pub(crate) const UNCHANGED: [&str; 10] = [
    "identity",
    "blocks",
    "events",
    "explanations",
    "observations",
    "intents",
    "intent_transactions",
    "intent_keys",
    "leases",
    "dead_letters",
];

/// Rows of SQLite's layout 2, 3 or 4.
pub(crate) fn rows_of_sqlite(layout: i64) -> Vec<&'static str> {
    [(2, MARKET), (2, INTENTS), (3, FINALITY), (4, QUEUES)]
        .into_iter()
        .filter_map(|(since, rows)| (since <= layout).then_some(rows))
        .collect()
}

/// Rows of PostgreSQL's layout 1 or 2. Its sequences do not see numbers that are given.
pub(crate) fn rows_of_postgres(layout: i64) -> Vec<String> {
    let mut rows: Vec<String> = [MARKET, INTENTS, FINALITY].map(ToOwned::to_owned).into();
    rows.push("SELECT setval(pg_get_serial_sequence('intents', 'intent_id'), 10)".to_owned());
    if layout >= 2 {
        rows.push(QUEUES.replace(" X'", " '\\x"));
        rows.push("SELECT setval(pg_get_serial_sequence('queue_items', 'item_id'), 9)".to_owned());
    }
    rows
}

/// Reads all of it with this version, and goes on where the earlier one stopped.
///
/// # Panics
/// Panics where anything is missing or different.
pub(crate) async fn reads_back(store: &(impl Store + Leases + WorkQueue), had_final: bool, had_queues: bool) {
    let market = rebuild_market(store).await.unwrap();
    assert_eq!(market.jobs.len(), 20);
    assert_eq!(crate::conformance::events_from(store, 0).await.len(), 118);
    assert_eq!(store.recent_blocks(1_000).await.unwrap().len(), 19);
    let timings = store.all_timings().await.unwrap();
    assert!(timings.len() == 20 && timings.iter().all(|job| job.observed_settled_ms.is_some()));
    for job_id in 1..=20 {
        let explained = store.explanation(JobId(job_id)).await.unwrap().unwrap();
        assert_eq!(explained.explanation.job_id, JobId(job_id));
    }
    assert_eq!(store.final_block().await.unwrap().map(|block| block.number.0), had_final.then_some(10));
    intents(store).await;
    if had_queues {
        leases(store).await;
        queues(store).await;
    }
}

async fn intents(store: &impl Store) {
    use IntentState::*;
    let account = ACCOUNT.parse().unwrap();
    let found = store.intents_since(account, 0).await.unwrap();
    let states: Vec<_> = found.iter().map(|intent| intent.state).collect();
    let expected =
        [AcceptedL1, AcceptedL2, Reverted, Replaced, Lost, Planned, Signed, MaybeSent, NonceConsumed, Reorged];
    assert_eq!(states, expected);
    for (position, intent) in (1..).zip(&found) {
        assert_eq!(intent.intent_id.0, position);
        assert_eq!(intent.nonce, (intent.state != Planned).then_some(position));
        assert_eq!(intent.is_final, matches!(intent.state, AcceptedL1 | Lost));
        let transactions = match intent.state {
            Planned => 0,
            Replaced | Reorged => 2,
            _ => 1,
        };
        assert_eq!(intent.transactions.len(), transactions);
        assert_eq!(intent.landed.is_some(), matches!(intent.state, AcceptedL1 | AcceptedL2 | Reverted | Replaced));
        assert_eq!(intent.created_ms, 1_795_248_318_999 + position);
        let sent = intent.transactions.iter().all(|transaction| transaction.sent_ms.is_some());
        assert_eq!(sent, intent.state != Signed);
    }
    assert_eq!(found[0].landed.unwrap().fee, Some(Fri(u128::MAX)), "more than 63 bits");
    assert_eq!(found[1].transactions[0].request, None);
    assert!(found[2].transactions[0].request.as_ref().unwrap().contains("\"nonce\":\"0x3\""));
    let replaced = found[3].landed.unwrap().tx_hash;
    assert_eq!(replaced, found[3].transactions[1].tx_hash, "what did nothing is in the block");
    assert_eq!(store.intent_by_tx(replaced).await.unwrap().as_ref(), Some(&found[3]));
    assert_eq!(store.last_round(account).await.unwrap(), Some(10));
    let open: Vec<_> = store.open_intents().await.unwrap().iter().map(|intent| intent.intent_id.0).collect();
    assert_eq!(open, [6, 7, 8, 9, 10]);
}

async fn leases(store: &impl Leases) {
    let held = store.current("allocate").await.unwrap().unwrap();
    assert_eq!((held.holder.as_str(), held.term), ("keeper-a", 7));
    assert_eq!(store.acquire("allocate", "keeper-c", Duration::from_secs(1)).await.unwrap(), None);
    let next = store.acquire("settle", "keeper-c", Duration::from_secs(1)).await.unwrap().unwrap();
    assert_eq!(next.term, 4, "terms go on");
}

async fn queues(queue: &impl WorkQueue) {
    let counted = queue.stats("intake").await.unwrap();
    let expected = QueueStats { ready: 3, delayed: 1, claimed: 1, dead: 1, oldest_ready_ms: None };
    assert_eq!(QueueStats { oldest_ready_ms: None, ..counted }, expected);
    let token = |item_id, attempt| ClaimToken { item_id: ItemId(item_id), attempt };
    let refused = queue.acknowledge(vec![token(4, 0), token(8, 2), token(9, 1)]).await.unwrap();
    assert_eq!(refused, [ItemId(4), ItemId(8), ItemId(9)], "nobody has claimed them");
    assert_eq!(queue.enqueue("intake", vec![item("claimed"), item("dead"), item("new")]).await.unwrap(), 1);

    let hour = Duration::from_hours(1);
    let terms = ClaimTerms { claimer: "keeper-c".to_owned(), limit: 2, visibility: hour, max_attempts: 9 };
    let told = |claim: &Claim| (claim.item_id.0, claim.key.clone(), claim.payload.clone(), claim.attempt);
    let first: Vec<_> = queue.claim("intake", &terms).await.unwrap().iter().map(told).collect();
    let expected = [(4, "fresh-1".to_owned(), b"a1".to_vec(), 1), (6, "ran-out".to_owned(), vec![], 3)];
    assert_eq!(first, expected, "those that have been ready longest");
    let then: Vec<_> = queue.claim("intake", &terms).await.unwrap().iter().map(told).collect();
    assert_eq!(then[0], (9, "fresh-2".to_owned(), b"a2".to_vec(), 1));
    assert!(then.len() == 2 && then[1].0 > 9 && then[1].1 == "new", "numbers are given once: {then:?}");
    assert_eq!(queue.acknowledge(vec![token(6, 2)]).await.unwrap(), [ItemId(6)], "another has it by now");
    assert_eq!(queue.acknowledge(vec![token(3, 1)]).await.unwrap(), [], "a claim of the version before stands");
    let other: Vec<_> = queue.claim("other", &terms).await.unwrap().iter().map(told).collect();
    assert_eq!(other, [(5, "fresh-1".to_owned(), b"o1".to_vec(), 1)]);

    let dead = queue.dead_letters("intake", 9).await.unwrap();
    assert_eq!((dead.len(), dead[0].item_id, dead[0].attempt, dead[0].error.as_str()), (1, ItemId(2), 5, "it broke"));
    assert_eq!(queue.requeue("intake", vec![ItemId(2)]).await.unwrap(), 1);
    assert_eq!(queue.claim("intake", &terms).await.unwrap()[0].payload, b"d");
    let expected = QueueStats { delayed: 1, claimed: 5, ..QueueStats::default() };
    assert_eq!(queue.stats("intake").await.unwrap(), expected);
}

fn item(key: &str) -> NewItem {
    NewItem { key: key.to_owned(), payload: Vec::new() }
}
