//! Dying before and after every commit of the store, on both databases, in a process of its own each time.
//!
//! What was not committed must not be there, what was committed must, and the database must take the same call again.
//! `cargo xtask chaos failpoints` does this with the real keeper for the places that it gets to; here it is every place
//! that the store has.

use std::{
    path::Path,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use keeper_failpoints::{Failpoint, VARIABLE, arm};
use keeper_types::{Address, Attempt, BlockNumber, Felt, JobId, TxHash};

use crate::{
    ClaimTerms, ClaimToken, DatabaseUrl, Fence, Identity, IntentAction, IntentId, IntentState, IntentUpdate, ItemId,
    Landed, Leases, NewIntent, Observation, PostgresStore, RetryPolicy, SqliteStore, Stage, Store, StoreError,
    WorkQueue, child,
    conformance::{self, Server, block, explanation, identity, items, signed, submitted},
};

/// The test that is the child's.
pub(crate) const CHILD: &str = "killed::the_child_dies";
const ACCOUNT: Address = Address(Felt::TWO);
const HOUR: Duration = Duration::from_hours(1);

/// A store with all that it has.
trait Whole: Store + Leases + WorkQueue {}
impl<S: Store + Leases + WorkQueue> Whole for S {}

/// Opens the database, a file or a server's.
async fn open(database: &str, identity: Identity) -> Result<Box<dyn Whole>, StoreError> {
    Ok(if database.starts_with("postgres://") {
        Box::new(PostgresStore::open(&database.parse::<DatabaseUrl>().unwrap(), identity).await?)
    } else {
        Box::new(SqliteStore::open(Path::new(database), identity).await?)
    })
}

fn intent(round: u64, nonce: Option<u64>) -> NewIntent {
    let action = IntentAction::ApplyBatch { round, snapshot_block: BlockNumber(11), items: Vec::new() };
    NewIntent { action, account: ACCOUNT, signed: nonce.map(|nonce| (nonce, signed(round, 5))), created_ms: 5 }
}

fn terms() -> ClaimTerms {
    ClaimTerms { claimer: "me".to_owned(), limit: 1, visibility: HOUR, max_attempts: 9 }
}

/// The lease and the claim that the prepared database has.
fn held() -> Fence {
    Fence { name: "held".to_owned(), term: 1 }
}
const CLAIMED: ClaimToken = ClaimToken { item_id: ItemId(2), attempt: 1 };
const DEAD: ItemId = ItemId(1);

/// Something for every call to work on.
async fn prepare(store: &dyn Whole) {
    let blocks: Vec<_> = (11..14).map(|number| block(number, 0, 0, vec![submitted(number)])).collect();
    store.append_blocks(&blocks).await.unwrap();
    store.record_final(blocks[0].header.reference()).await.unwrap();
    for (round, nonce) in [(1, None), (2, Some(2)), (3, Some(3))] {
        store.record_intent(&intent(round, nonce)).await.unwrap();
    }
    let landed = Landed { tx_hash: TxHash(Felt::TWO), block: Some(blocks[1].header.reference()), fee: None };
    let update = IntentUpdate::landed(IntentState::AcceptedL2, landed, 6);
    store.update_intent(IntentId(2), &update).await.unwrap();
    store.save_explanations(&[explanation(12, None, 11)]).await.unwrap();
    store.acquire("held", "me", HOUR).await.unwrap().unwrap();
    store.enqueue("work", items("dead", 1)).await.unwrap();
    let claims = store.claim("work", &terms()).await.unwrap();
    let once = RetryPolicy { max_attempts: 1, backoff: HOUR, max_backoff: HOUR };
    store.fail(claims[0].token(), "broken", &once).await.unwrap();
    store.enqueue("work", items("job", 1)).await.unwrap();
    assert_eq!(store.claim("work", &terms()).await.unwrap()[0].token(), CLAIMED);
    store.enqueue("work", items("more", 2)).await.unwrap();
}

/// Does what the call of this name does; for what opening does, that is all.
async fn call(name: &str, database: &str) -> Result<(), StoreError> {
    // `begin_at` is the earlier first block that the database is opened for.
    let first = if name == "begin_at" { BlockNumber(9) } else { identity().deployment_block };
    let store = open(database, Identity { deployment_block: first, ..identity() }).await?;
    match name {
        "migrate" | "begin_at" => Ok(()),
        "append_blocks" => store.append_blocks(&[block(14, 0, 0, vec![submitted(14)])]).await,
        "revert_to" => store.revert_to(BlockNumber(12)).await,
        "record_final" => store.record_final(block(12, 0, 0, Vec::new()).header.reference()).await,
        "forget_final" => store.forget_final().await,
        "observe" => {
            let (job_id, attempt, block) = (JobId(11), Attempt(1), BlockNumber(11));
            store.observe(&[Observation { job_id, attempt, stage: Stage::Submitted, block, observed_ms: 7 }]).await
        }
        "save_explanations" => store.save_explanations(&[explanation(11, Some(1), 11)]).await,
        "record_intent" => store.record_intent(&intent(4, Some(4))).await.map(drop),
        "record_intent_under" => store.record_intent_under(&[held()], &intent(4, Some(4))).await.map(drop),
        "record_transaction" => store.record_transaction(IntentId(1), 5, &signed(50, 6)).await,
        "update_intent" => {
            let update = IntentUpdate::maybe_sent(TxHash(Felt::THREE), 6);
            store.update_intent(IntentId(3), &update).await
        }
        "finalise_intents" => {
            let block = block(12, 0, 0, Vec::new()).header.reference();
            store.finalise_intents(ACCOUNT, &[block]).await.map(drop)
        }
        "forget_history" => store.forget_history(1_000, JobId(13), 10).await.map(drop),
        "acquire_lease" => store.acquire("new", "me", HOUR).await.map(drop),
        "renew_lease" => store.renew(&held(), 100 * HOUR).await.map(drop),
        "release_lease" => store.release(&held()).await,
        "enqueue" => store.enqueue("work", items("new", 300)).await.map(drop),
        "claim" => store.claim("work", &terms()).await.map(drop),
        "acknowledge" => store.acknowledge(vec![CLAIMED]).await.map(drop),
        "extend" => store.extend(vec![CLAIMED], Duration::ZERO).await.map(drop),
        "fail" => {
            let patient = RetryPolicy { max_attempts: 9, backoff: HOUR, max_backoff: HOUR };
            store.fail(CLAIMED, "not now", &patient).await.map(drop)
        }
        "requeue" => store.requeue("work", vec![DEAD]).await.map(drop),
        other => panic!("nothing is known of {other}: say here how it is called, and below how its effect is seen"),
    }
}

/// Whether the call of this name has had its effect, all of it.
async fn is_done(name: &str, store: &dyn Whole) -> bool {
    let intents = async || store.intents_since(ACCOUNT, 0).await.unwrap();
    let stats = store.stats("work").await.unwrap();
    match name {
        "begin_at" => store.cursor().await.unwrap().is_none(),
        "append_blocks" => conformance::events_from(store, 14).await.len() == 1,
        "revert_to" => store.cursor().await.unwrap().unwrap().number == BlockNumber(12),
        "record_final" => store.final_block().await.unwrap().unwrap().number == BlockNumber(12),
        "forget_final" => store.final_block().await.unwrap().is_none(),
        "observe" => !store.all_timings().await.unwrap().is_empty(),
        "save_explanations" => store.explanation(JobId(11)).await.unwrap().is_some(),
        "record_intent" | "record_intent_under" => intents().await.len() == 4,
        "record_transaction" => intents().await[0].nonce == Some(5) && intents().await[0].transactions.len() == 1,
        "update_intent" => intents().await[2].state == IntentState::MaybeSent,
        "finalise_intents" => intents().await[1].is_final,
        "forget_history" => store.explanation(JobId(12)).await.unwrap().is_none(),
        "acquire_lease" => store.current("new").await.unwrap().is_some(),
        "renew_lease" => {
            let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
            Duration::from_millis(store.current("held").await.unwrap().unwrap().expires_ms) > now + 50 * HOUR
        }
        "release_lease" => store.current("held").await.unwrap().is_none(),
        "enqueue" => stats.ready == 302,
        "claim" => stats.claimed == 2,
        "acknowledge" => stats.claimed == 0 && stats.ready + stats.delayed == 2,
        "extend" => stats.claimed == 0 && stats.ready == 3,
        "fail" => stats.delayed == 1 && stats.claimed == 0,
        "requeue" => stats.dead == 0 && stats.ready == 3,
        other => panic!("nothing is known of {other}"),
    }
}

/// What a child does: `CALL DATABASE`, with a place to die at in the environment.
#[tokio::test]
async fn the_child_dies() {
    let Some(task) = child::task() else { return };
    arm().unwrap();
    let (name, database) = task.split_once(' ').unwrap();
    call(name, database).await.unwrap();
}

/// The places of the store, each with its call's name and whether its commit is done there. Those of a migration are
/// in the tests of layouts, where the databases are that have something to migrate.
fn places() -> impl Iterator<Item = (Failpoint, &'static str, bool)> {
    Failpoint::ALL.iter().filter_map(|failpoint| {
        let (name, place) = failpoint.name().strip_prefix("store::")?.split_once("::")?;
        (name != "migrate").then_some((*failpoint, name, place == "after_commit"))
    })
}

/// Has a child die at a place, and looks at what it left; then does the same call without dying.
async fn die(failpoint: Failpoint, name: &str, is_committed: bool, database: &str) {
    let died = child::run(CHILD, &format!("{name} {database}"), &[(VARIABLE, failpoint.name())]);
    assert!(child::has_aborted(died.status), "{failpoint} on {database} was not reached: {died:?}");
    let first = if name == "begin_at" { BlockNumber(9) } else { identity().deployment_block };
    let expected = Identity { deployment_block: first, ..identity() };
    if name != "begin_at" || is_committed {
        let store = open(database, expected.clone()).await.unwrap();
        assert_eq!(is_done(name, &*store).await, is_committed, "{failpoint} on {database}");
        drop(store);
    }
    if !is_committed {
        call(name, database).await.unwrap();
        let store = open(database, expected).await.unwrap();
        assert!(is_done(name, &*store).await, "{failpoint} on {database}, again");
    }
}

#[tokio::test]
async fn at_each_commit_of_sqlite_it_is_all_there_or_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let prepared = folder.path().join("prepared.sqlite");
    let store = SqliteStore::open(&prepared, identity()).await.unwrap();
    prepare(&store).await;
    store.close().await;
    let mut count = 0;
    for (failpoint, name, is_committed) in places() {
        let path = folder.path().join(format!("{count}.sqlite"));
        std::fs::copy(&prepared, &path).unwrap();
        die(failpoint, name, is_committed, path.to_str().unwrap()).await;
        assert_eq!(crate::check(&path).await.unwrap().findings, [], "{failpoint}");
        count += 1;
    }
    assert!(count >= 42, "every place of the store: {count}");
}

#[tokio::test]
async fn at_each_commit_of_postgres_it_is_all_there_or_nothing() {
    let server = Server::shared();
    let prepared = server.create_database().await;
    let store = PostgresStore::open(&prepared, identity()).await.unwrap();
    prepare(&store).await;
    store.close().await;
    let template = prepared.options().get_database().unwrap();
    for (index, (failpoint, name, is_committed)) in places().enumerate() {
        let copy = format!("killed_{index}");
        server.execute("postgres", &format!("CREATE DATABASE {copy} TEMPLATE {template}")).await;
        let url = server.url(&copy);
        die(failpoint, name, is_committed, &url.to_string()).await;
        assert_eq!(PostgresStore::check(&url).await.unwrap().findings, [], "{failpoint}");
    }
}
