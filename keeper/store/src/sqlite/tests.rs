use std::{error::Error as _, path::PathBuf, time::Duration};

use proptest::prelude::*;
use tempfile::TempDir;

use super::*;
use crate::{
    Fence, IntentTransaction, IntentUpdate, Lease, Leases,
    conformance::{self, block, events_from, identity, submitted},
    rebuild_market,
};

fn database(folder: &TempDir) -> PathBuf {
    folder.path().join("data").join("keeper.sqlite")
}

async fn opened(folder: &TempDir) -> SqliteStore {
    SqliteStore::open(&database(folder), identity()).await.unwrap()
}

#[tokio::test]
async fn it_conforms() {
    let folder = tempfile::tempdir().unwrap();
    let count = std::sync::atomic::AtomicU32::new(0);
    conformance::exercise(async || {
        let number = count.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        SqliteStore::open(&folder.path().join(format!("{number}.sqlite")), identity()).await.unwrap()
    })
    .await;
}

#[tokio::test]
async fn its_leases_and_queues_conform() {
    let folders = std::sync::Mutex::new(Vec::new());
    let open = async || {
        let folder = tempfile::tempdir().unwrap();
        let store = opened(&folder).await;
        folders.lock().unwrap().push(folder);
        store
    };
    conformance::exercise_leases(open).await;
    conformance::exercise_queue(open).await;
    let store = open().await;
    conformance::holders_never_overlap(&[&store, &store, &store], 9).await;
    let store = open().await;
    conformance::a_zombie_is_fenced(&store, &store).await;
}

/// Leases of a store that does not keep to them: it grants what another has, and writes without looking at the term.
#[derive(Debug)]
struct Careless<'a>(&'a SqliteStore);

#[async_trait]
impl Leases for Careless<'_> {
    async fn acquire(&self, name: &str, holder: &str, ttl: Duration) -> Result<Option<Lease>, StoreError> {
        if let Some(found) = self.0.current(name).await? {
            self.0.release(&found.fence()).await.ok();
        }
        self.0.acquire(name, holder, ttl).await
    }

    async fn renew(&self, fence: &Fence, ttl: Duration) -> Result<Lease, StoreError> {
        self.0.renew(fence, ttl).await
    }

    async fn release(&self, fence: &Fence) -> Result<(), StoreError> {
        self.0.release(fence).await
    }

    async fn current(&self, name: &str) -> Result<Option<Lease>, StoreError> {
        self.0.current(name).await
    }

    async fn standing(&self) -> Result<Vec<Lease>, StoreError> {
        self.0.standing().await
    }

    async fn record_intent_under(&self, _fences: &[Fence], intent: &NewIntent) -> Result<IntentId, StoreError> {
        self.0.record_intent(intent).await
    }

    async fn record_transaction_under(
        &self,
        _fence: &Fence,
        intent_id: IntentId,
        nonce: u64,
        signed: &IntentTransaction,
    ) -> Result<(), StoreError> {
        self.0.record_transaction(intent_id, nonce, signed).await
    }

    async fn update_intent_under(
        &self,
        _fence: &Fence,
        intent_id: IntentId,
        update: &IntentUpdate,
    ) -> Result<(), StoreError> {
        self.0.update_intent(intent_id, update).await
    }
}

/// The tests of leases can fail.
#[tokio::test]
#[should_panic(expected = "two had it")]
async fn a_lease_that_is_granted_twice_is_noticed() {
    let folder = tempfile::tempdir().unwrap();
    let store = opened(&folder).await;
    conformance::holders_never_overlap(&[&Careless(&store), &Careless(&store)], 50).await;
}

/// The test of fences can fail.
#[tokio::test]
#[should_panic(expected = "nothing was written after the takeover")]
async fn a_zombie_that_is_not_fenced_is_noticed() {
    let folder = tempfile::tempdir().unwrap();
    let store = opened(&folder).await;
    conformance::a_zombie_is_fenced(&Careless(&store), &store).await;
}

#[tokio::test]
async fn every_writing_connection_waits_for_the_disk() {
    let folder = tempfile::tempdir().unwrap();
    let store = opened(&folder).await;
    let pool = &store.writer.as_ref().unwrap().pool;
    let synchronous: i64 = sqlx::query_scalar("PRAGMA synchronous").fetch_one(pool).await.unwrap();
    assert_eq!(synchronous, 2, "FULL");
    let journal: String = sqlx::query_scalar("PRAGMA journal_mode").fetch_one(pool).await.unwrap();
    assert_eq!(journal, "wal");
    let foreign_keys: i64 = sqlx::query_scalar("PRAGMA foreign_keys").fetch_one(pool).await.unwrap();
    assert_eq!(foreign_keys, 1);
}

#[tokio::test]
async fn what_would_not_survive_a_power_loss_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let options = options(&folder.path().join("lax.sqlite")).create_if_missing(true);
    let lax = options.clone().journal_mode(SqliteJournalMode::Wal).synchronous(SqliteSynchronous::Normal);
    let error = check_durability(&SqlitePool::connect_with(lax).await.unwrap()).await.unwrap_err();
    assert_eq!(error.to_string(), "the database is not durable: synchronous is 1, not 2 (FULL)");
    let memory = options.in_memory(true);
    let error = check_durability(&SqlitePool::connect_with(memory).await.unwrap()).await.unwrap_err();
    assert_eq!(error.to_string(), "the database is not durable: journal_mode is memory, not wal");
}

#[tokio::test]
async fn a_second_open_finds_everything_again() {
    let folder = tempfile::tempdir().unwrap();
    let store = opened(&folder).await;
    let blocks = [block(11, 0, 0, vec![submitted(1)]), block(12, 0, 0, vec![submitted(2)])];
    store.append_blocks(&blocks).await.unwrap();
    store.close().await;

    let store = opened(&folder).await;
    assert_eq!(store.cursor().await.unwrap(), Some(blocks[1].header));
    assert_eq!(rebuild_market(&store).await.unwrap().jobs.len(), 2);
}

/// A killed process leaves the file and its log as they are at that moment.
#[tokio::test]
async fn a_commit_survives_the_end_of_the_process() {
    let (folder, after) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let store = opened(&folder).await;
    store.append_blocks(&[block(11, 0, 0, vec![submitted(1)])]).await.unwrap();
    let mut unfinished = store.begin().await.unwrap();
    blocks::append(&mut unfinished, &[block(12, 0, 0, vec![submitted(2)])]).await.unwrap();
    std::fs::create_dir(database(&after).parent().unwrap()).unwrap();
    for suffix in ["", "-wal"] {
        let name = |folder: &TempDir| format!("{}{suffix}", database(folder).display());
        std::fs::copy(name(&folder), name(&after)).unwrap();
    }
    let found = opened(&after).await;
    assert_eq!(found.cursor().await.unwrap().unwrap().number, BlockNumber(11));
    assert_eq!(events_from(&found, 0).await.len(), 1);
}

#[tokio::test]
async fn a_database_of_another_deployment_is_refused_with_both_named() {
    let folder = tempfile::tempdir().unwrap();
    opened(&folder).await.close().await;
    let other = Identity { job_mgr: Address(keeper_types::Felt::from(0xdd)), ..identity() };
    let error = SqliteStore::open(&database(&folder), other.clone()).await.unwrap_err();
    let expected = format!(
        "`{}` belongs to another deployment: it follows {}, but this keeper is set up for {other}; use another --data-dir",
        database(&folder).display(),
        identity(),
    );
    assert_eq!(error.to_string(), expected);
    assert!(expected.contains("on SN_SEPOLIA from block 10"));
    assert!(!error.is_transient());
    opened(&folder).await;
}

#[tokio::test]
async fn a_second_keeper_is_kept_out_until_the_first_has_gone() {
    let folder = tempfile::tempdir().unwrap();
    let first = opened(&folder).await;
    let error = SqliteStore::open(&database(&folder), identity()).await.unwrap_err();
    assert!(matches!(error, StoreError::InUse { .. }), "{error}");
    assert!(error.remedy().unwrap().ends_with("use another --data-dir"), "{error}");
    drop(first);
    opened(&folder).await;
}

#[tokio::test]
async fn a_reader_follows_a_running_keeper_and_writes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let store = opened(&folder).await;
    let reader = SqliteStore::open_read_only(&database(&folder)).await.unwrap();
    assert_eq!(reader.identity(), &identity());
    let first = block(11, 0, 0, vec![submitted(1)]);
    store.append_blocks(std::slice::from_ref(&first)).await.unwrap();
    assert_eq!(reader.cursor().await.unwrap(), Some(first.header));
    let error = reader.revert_to(BlockNumber(0)).await.unwrap_err();
    assert!(matches!(error, StoreError::ReadOnly), "{error}");

    store.close().await;
    reader.close().await;
    let reader = SqliteStore::open_read_only(&database(&folder)).await.unwrap();
    assert_eq!(reader.cursor().await.unwrap(), Some(first.header), "it can be read after the keeper has stopped");
}

#[tokio::test]
async fn a_reader_says_that_no_keeper_has_run() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("keeper.sqlite");
    let text = format!("no keeper has run with this data directory: `{}` does not exist or is empty", path.display());
    assert_eq!(SqliteStore::open_read_only(&path).await.unwrap_err().to_string(), text);
    std::fs::write(&path, b"").unwrap();
    assert_eq!(SqliteStore::open_read_only(&path).await.unwrap_err().to_string(), text);
}

#[tokio::test]
async fn a_database_of_another_version_is_not_touched() {
    let folder = tempfile::tempdir().unwrap();
    let store = opened(&folder).await;
    let insert = "INSERT INTO _sqlx_migrations VALUES (999, 'future', 0, 1, x'00', 0)";
    sqlx::query(insert).execute(&store.writer.as_ref().unwrap().pool).await.unwrap();
    store.close().await;
    let writing = SqliteStore::open(&database(&folder), identity()).await.unwrap_err();
    let reading = SqliteStore::open_read_only(&database(&folder)).await.unwrap_err();
    for error in [writing, reading] {
        assert!(matches!(error, StoreError::Layout { found: 999, .. }), "{error}: {:?}", error.source());
    }
}

#[tokio::test]
async fn what_cannot_be_read_back_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let store = opened(&folder).await;
    store.append_blocks(&[block(11, 0, 0, vec![submitted(1)])]).await.unwrap();
    let pool = &store.writer.as_ref().unwrap().pool;
    sqlx::query("UPDATE events SET event = '{}'").execute(pool).await.unwrap();
    let error = rebuild_market(&store).await.unwrap_err();
    assert_eq!(error.source().unwrap().to_string(), "the database holds `{}`, which is no event");
    sqlx::query("UPDATE blocks SET hash = 'abc'").execute(pool).await.unwrap();
    assert_eq!(store.cursor().await.unwrap_err().to_string(), "the database holds `abc`, which is no block hash");
}

/// A fork: how many of the latest blocks it replaces, and how many events each of its own blocks has.
fn forks() -> impl Strategy<Value = Vec<(usize, Vec<usize>)>> {
    proptest::collection::vec((0_usize..6, proptest::collection::vec(0_usize..3, 0..5)), 1..6)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn reverting_and_appending_another_fork_equals_a_fresh_index(forks in forks()) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let (folder, fresh_folder) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
            let store = opened(&folder).await;
            let fresh = opened(&fresh_folder).await;
            conformance::forks_leave_what_a_fresh_index_has(&store, &fresh, &forks).await;
        });
    }
}

#[tokio::test]
async fn another_first_block_of_the_same_contracts_is_taken_on() {
    let folder = tempfile::tempdir().unwrap();
    let first = identity().deployment_block.0;
    let store = opened(&folder).await;
    store.append_blocks(&[block(first, 0, 0, Vec::new())]).await.unwrap();
    store.close().await;

    let later = Identity { deployment_block: BlockNumber(first + 1), ..identity() };
    let store = SqliteStore::open(&database(&folder), later.clone()).await.unwrap();
    assert_eq!(store.identity(), &later);
    assert_eq!(store.cursor().await.unwrap().unwrap().number, BlockNumber(first));
    store.close().await;

    let earlier = Identity { deployment_block: BlockNumber(first - 1), ..identity() };
    let store = SqliteStore::open(&database(&folder), earlier).await.unwrap();
    assert_eq!(store.cursor().await.unwrap(), None, "what is stored begins too late");
}
