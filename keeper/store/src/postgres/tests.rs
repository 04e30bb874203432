use std::{
    error::Error as _,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use keeper_types::Felt;
use proptest::prelude::*;

use super::{layout::known_layout, *};
use crate::conformance::{self, Server, block, events_from, identity, submitted};

async fn opened(url: &DatabaseUrl) -> PostgresStore {
    PostgresStore::open(url, identity()).await.unwrap()
}

async fn new_store() -> PostgresStore {
    opened(&Server::shared().create_database().await).await
}

async fn execute(url: &DatabaseUrl, statement: &str) {
    Server::shared().execute(url.options().get_database().unwrap(), statement).await;
}

#[tokio::test]
async fn it_passes_the_suite() {
    conformance::exercise(new_store).await;
}

#[tokio::test]
async fn its_leases_and_queues_conform() {
    conformance::exercise_leases(new_store).await;
    conformance::exercise_queue(new_store).await;
}

#[tokio::test]
async fn keepers_on_one_database_share_a_lease_and_fence_each_other() {
    let url = Server::shared().create_database().await;
    let stores = [opened(&url).await, opened(&url).await, opened(&url).await];
    let contenders: Vec<&dyn crate::Leases> = stores.iter().map(|store| store as &dyn crate::Leases).collect();
    conformance::holders_never_overlap(&contenders, 20).await;
    conformance::a_zombie_is_fenced(&stores[0], &stores[1]).await;
}

fn forks() -> impl Strategy<Value = Vec<(usize, Vec<usize>)>> {
    proptest::collection::vec((0_usize..6, proptest::collection::vec(0_usize..3, 0..5)), 1..6)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(8))]

    #[test]
    fn reverting_and_appending_another_fork_equals_a_fresh_index(forks in forks()) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let (store, fresh) = (new_store().await, new_store().await);
            conformance::forks_leave_what_a_fresh_index_has(&store, &fresh, &forks).await;
        });
    }
}

#[tokio::test]
async fn a_server_that_loses_commits_is_refused_with_the_setting_named() {
    for (setting, value) in [("fsync", "off"), ("full_page_writes", "off"), ("synchronous_commit", "off")] {
        let server = Server::start(&[(setting, value)]).unwrap();
        let error = PostgresStore::open(&server.url("postgres"), identity()).await.unwrap_err();
        assert_eq!(error.to_string(), format!("the database is not durable: {setting} is off, not on"));
        assert!(!error.is_transient());
    }
    let url = Server::shared().create_database().await;
    let name = url.options().get_database().unwrap();
    execute(&url, &format!("ALTER DATABASE {name} SET synchronous_commit = local")).await;
    let error = PostgresStore::open(&url, identity()).await.unwrap_err();
    assert!(matches!(error, StoreError::NotDurable { setting: "synchronous_commit", .. }), "{error}");
    execute(&url, &format!("ALTER DATABASE {name} SET synchronous_commit = remote_apply")).await;
    let store = opened(&url).await;
    execute(&url, &format!("ALTER DATABASE {name} SET synchronous_commit = off")).await;
    let mut held = Vec::new();
    for _ in 0..3 {
        let mut transaction = store.begin().await.unwrap();
        assert_eq!(durability::check(&mut transaction).await.unwrap(), "remote_apply", "also in later connections");
        held.push(transaction);
    }
}

#[tokio::test]
async fn two_keepers_that_append_the_same_block_append_it_once() {
    let url = Server::shared().create_database().await;
    let (first, second) = tokio::join!(opened(&url), opened(&url));
    for number in 11..40 {
        let next = block(number, 0, 0, vec![submitted(number)]);
        let blocks = std::slice::from_ref(&next);
        let results = tokio::join!(first.append_blocks(blocks), second.append_blocks(blocks));
        let refused = match results {
            (Ok(()), Err(refused)) | (Err(refused), Ok(())) => refused,
            both => panic!("one of the two is first: {both:?}"),
        };
        assert!(matches!(refused, StoreError::NotAfterCursor { .. }), "{refused}");
    }
    assert_eq!(events_from(&first, 0).await.len(), 29);
}

#[tokio::test]
async fn of_two_forks_that_are_appended_at_once_one_stands() {
    let url = Server::shared().create_database().await;
    let (first, second) = tokio::join!(opened(&url), opened(&url));
    let chain = |fork| (11..20).map(|number| block(number, fork, fork, vec![submitted(number)])).collect::<Vec<_>>();
    let (one, other) = (chain(1), chain(2));
    for upto in 1..=one.len() {
        let (one, other) = (&one[upto - 1..upto], &other[upto - 1..upto]);
        let results = tokio::join!(first.append_blocks(one), second.append_blocks(other));
        assert!(results.0.is_ok() != results.1.is_ok(), "{results:?}");
        if upto > 1 {
            let stored = first.recent_blocks(2).await.unwrap();
            assert_eq!(stored[0].parent_hash, stored[1].hash);
        }
    }
}

#[tokio::test]
async fn a_keeper_that_stands_still_in_a_transaction_does_not_hold_up_another() {
    let url = Server::shared().create_database().await;
    let (paused, other) = tokio::join!(opened(&url), opened(&url));
    let mut unfinished = paused.begin_in_turn().await.unwrap();
    blocks::append(&mut unfinished, &[block(11, 1, 0, vec![])]).await.unwrap();
    let next = block(11, 0, 0, vec![submitted(1)]);
    other.append_blocks(std::slice::from_ref(&next)).await.unwrap();
    let error = commit(unfinished, APPEND).await.unwrap_err();
    assert!(error.is_transient(), "it may go on with another transaction: {error}: {:?}", error.source());
    assert_eq!(paused.cursor().await.unwrap(), Some(next.header));
}

#[tokio::test]
async fn a_second_open_finds_everything_again_and_a_reader_writes_nothing() {
    let url = Server::shared().create_database().await;
    let error = PostgresStore::open_read_only(&url).await.unwrap_err();
    assert_eq!(error.to_string(), format!("no keeper has run with this database: `{url}` does not exist or is empty"));
    let store = opened(&url).await;
    let blocks = [block(11, 0, 0, vec![submitted(1)]), block(12, 0, 0, vec![submitted(2)])];
    store.append_blocks(&blocks).await.unwrap();
    let reader = PostgresStore::open_read_only(&url).await.unwrap();
    assert_eq!(reader.cursor().await.unwrap(), Some(blocks[1].header));
    assert_eq!(reader.identity(), &identity());
    let error = reader.revert_to(BlockNumber(0)).await.unwrap_err();
    assert!(matches!(error, StoreError::ReadOnly), "{error}");
    store.close().await;
    reader.close().await;
    assert_eq!(crate::rebuild_market(&opened(&url).await).await.unwrap().jobs.len(), 2);
}

#[tokio::test]
async fn what_is_not_there_or_of_another_kind_is_refused() {
    let server = Server::shared();
    for result in [
        PostgresStore::open(&server.url("nowhere"), identity()).await,
        PostgresStore::open_read_only(&server.url("nowhere")).await,
    ] {
        let error = result.unwrap_err();
        assert!(matches!(error, StoreError::NoSuchDatabase { .. }), "{error}");
        assert!(error.to_string().contains("--database is `postgres://keeper@localhost:5432/nowhere?"), "{error}");
        assert!(error.remedy().unwrap().contains("`createdb nowhere`"));
    }
    let url = server.create_database().await;
    let store = opened(&url).await;
    let other = Identity { job_mgr: Address(Felt::from(0xdd)), ..identity() };
    let error = PostgresStore::open(&url, other).await.unwrap_err();
    assert!(matches!(error, StoreError::IdentityMismatch { .. }), "{error}");
    assert!(error.to_string().ends_with("use another --database"), "{error}");
    let future = "INSERT INTO _sqlx_migrations VALUES (999, 'future', now(), true, '', 0)";
    sqlx::query(future).execute(store.writers().unwrap()).await.unwrap();
    for result in [PostgresStore::open(&url, identity()).await, PostgresStore::open_read_only(&url).await] {
        let error = result.unwrap_err();
        assert!(matches!(error, StoreError::Layout { found: 999, .. }), "{error}: {:?}", error.source());
    }
}

#[tokio::test]
async fn another_first_block_of_the_same_contracts_is_taken_on() {
    let url = Server::shared().create_database().await;
    let first = identity().deployment_block.0;
    opened(&url).await.append_blocks(&[block(first, 0, 0, Vec::new())]).await.unwrap();
    let later = Identity { deployment_block: BlockNumber(first + 1), ..identity() };
    let store = PostgresStore::open(&url, later.clone()).await.unwrap();
    assert_eq!(store.identity(), &later);
    assert_eq!(store.cursor().await.unwrap().unwrap().number, BlockNumber(first));
    let earlier = Identity { deployment_block: BlockNumber(first - 1), ..identity() };
    let store = PostgresStore::open(&url, earlier).await.unwrap();
    assert_eq!(store.cursor().await.unwrap(), None, "what is stored begins too late");
}

/// Appends until the server is gone; tells the last block that was acknowledged.
async fn append_until_refused(store: &PostgresStore, first: u64, acknowledged: &AtomicU64) {
    for number in first.. {
        match store.append_blocks(&[block(number, 0, 0, vec![submitted(number)])]).await {
            Ok(()) => acknowledged.store(number, Ordering::SeqCst),
            Err(error) => {
                assert!(error.is_transient(), "{error}: {:?}", error.source());
                return;
            }
        }
    }
}

/// Crashes the server in the middle of appends, once for each of `counts` acknowledged blocks, and gives how many of
/// them were lost.
async fn lost_by_crashes(server: &Server, store: &PostgresStore, counts: &[u64]) -> u64 {
    let (mut first, mut lost) = (11, 0);
    for count in counts {
        let acknowledged = AtomicU64::new(first - 1);
        let crashing = async {
            while acknowledged.load(Ordering::SeqCst) < first - 1 + count {
                tokio::task::yield_now().await;
            }
            tokio::task::block_in_place(|| server.crash()).unwrap();
        };
        tokio::join!(append_until_refused(store, first, &acknowledged), crashing);
        tokio::task::block_in_place(|| server.start_again()).unwrap();
        let found = store.cursor().await.unwrap().map_or(10, |header| header.number.0);
        let last = acknowledged.load(Ordering::SeqCst);
        assert!(found <= last + 1, "one block was under way");
        assert_eq!(events_from(store, 0).await.len() as u64, found - 10, "whole blocks");
        lost += last.saturating_sub(found);
        first = found + 1;
    }
    lost
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_acknowledged_survives_a_crash_of_the_server() {
    let server = Server::start(&[]).unwrap();
    let store = opened(&server.create_database().await).await;
    assert_eq!(lost_by_crashes(&server, &store, &[1, 40, 90]).await, 0);
}

/// The test above can fail: a server that answers before its disk has it loses what it acknowledged.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_answers_too_early_is_seen_to_lose() {
    let server = Server::start(&[("wal_writer_delay", "10s"), ("wal_writer_flush_after", "1GB")]).unwrap();
    let url = server.create_database().await;
    let durable = opened(&url).await;
    let lax = options(&url).options([("synchronous_commit", "off")]);
    let store = PostgresStore { writers: Some(pool(1).connect_with(lax).await.unwrap()), ..durable };
    assert!(lost_by_crashes(&server, &store, &[100, 100]).await > 0);
}

#[tokio::test]
async fn a_server_that_is_gone_is_a_passing_failure() {
    let server = Server::start(&[]).unwrap();
    let url = server.create_database().await;
    let store = opened(&url).await;
    server.crash().unwrap();
    let error = PostgresStore::open(&url, identity()).await.unwrap_err();
    assert!(error.is_transient(), "{error}");
    let reading = tokio::time::timeout(Duration::from_secs(60), store.cursor()).await.unwrap();
    assert!(reading.unwrap_err().is_transient());
    server.start_again().unwrap();
    assert_eq!(store.cursor().await.unwrap(), None, "it comes back by itself");
}

#[tokio::test]
async fn a_whole_database_has_no_findings_and_a_fault_in_it_is_told() {
    let url = Server::shared().create_database().await;
    let error = PostgresStore::check(&url).await.unwrap_err();
    assert!(matches!(error, StoreError::NoDatabase { .. }), "{error}");
    let store = opened(&url).await;
    let chain = [block(11, 0, 0, vec![submitted(1)]), block(12, 0, 0, vec![]), block(13, 0, 0, vec![submitted(2)])];
    store.append_blocks(&chain).await.unwrap();
    let action = crate::IntentAction::Maintenance { calls: Vec::new() };
    let intent = NewIntent { action, account: Address(Felt::ONE), signed: None, created_ms: 5 };
    store.record_intent(&intent).await.unwrap();
    let report = PostgresStore::check(&url).await.unwrap();
    assert_eq!(report.findings, []);
    assert_eq!((report.layout, report.blocks, report.events, report.intents), (known_layout(), 3, 2, 1));
    for (statement, kind, part) in [
        ("UPDATE intents SET state = 'odd'", "intents", "is in an unknown state"),
        ("UPDATE events SET event = '{}' WHERE block = 13", "events", "event 0 of block 13 cannot be read"),
        ("UPDATE blocks SET parent_hash = '0x1' WHERE number = 12", "blocks", "the chain has forked"),
        ("UPDATE events SET event = (SELECT event FROM events WHERE block = 11) WHERE block = 13", "market", "job"),
    ] {
        execute(&url, statement).await;
        let findings = PostgresStore::check(&url).await.unwrap().findings;
        let found = findings.iter().any(|finding| finding.check == kind && finding.detail.contains(part));
        assert!(found, "{statement}: {findings:?}");
    }
}

#[tokio::test]
async fn a_database_is_migrated_once_and_a_newer_one_is_left_alone() {
    let url = Server::shared().create_database().await;
    let error = PostgresStore::migrate(&url).await.unwrap_err();
    assert!(matches!(error, StoreError::NoDatabase { .. }), "{error}");
    let mut connection = connect(&url, &options(&url)).await.unwrap();
    MIGRATOR.run_direct(Some(1), &mut connection, false).await.unwrap();
    let statement = "INSERT INTO identity VALUES (1, '0x534e5f5345504f4c4941', '0xa', '0xb', '0xc', 10)";
    execute(&url, statement).await;
    execute(&url, "INSERT INTO blocks (number, hash, parent_hash, timestamp) VALUES (11, '0xb1', '0xb0', 1011)").await;
    let error = PostgresStore::open_read_only(&url).await.unwrap_err();
    assert!(matches!(error, StoreError::Layout { found: 1, .. }), "{error}");
    let migrated = PostgresStore::migrate(&url).await.unwrap();
    assert_eq!((migrated.from, migrated.to, migrated.backup), (1, known_layout(), None));
    assert_eq!(PostgresStore::migrate(&url).await.unwrap().from, known_layout());
    assert_eq!(opened(&url).await.cursor().await.unwrap().unwrap().number, BlockNumber(11));
    execute(&url, "INSERT INTO _sqlx_migrations VALUES (999, 'future', now(), true, '', 0)").await;
    let error = PostgresStore::migrate(&url).await.unwrap_err();
    assert!(matches!(error, StoreError::Layout { found: 999, .. }), "{error}");
}

#[tokio::test]
async fn a_server_tells_its_version_where_it_is_durable() {
    let version = PostgresStore::server_version(&Server::shared().url("postgres")).await.unwrap();
    assert!(version.starts_with(|first: char| first.is_ascii_digit()), "{version}");
}

/// A server that wants a password of everybody but its superuser.
fn server_with_passwords() -> (Server, tempfile::TempDir) {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = tempfile::tempdir().unwrap();
    // The server may run as another user.
    std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    let rules = folder.path().join("pg_hba.conf");
    std::fs::write(&rules, "local all keeper trust\nlocal all all scram-sha-256\n").unwrap();
    (Server::start(&[("hba_file", &rules.display().to_string())]).unwrap(), folder)
}

#[tokio::test]
async fn a_wrong_password_is_told_with_the_remedy_and_never_shown() {
    let (server, _rules) = server_with_passwords();
    server.execute("postgres", "CREATE ROLE worker LOGIN PASSWORD 'right'").await;
    let of = |who: &str| server.url("postgres").to_string().replace("keeper@", who).parse::<DatabaseUrl>().unwrap();
    assert!(PostgresStore::server_version(&of("worker:right@")).await.is_ok());
    for who in ["worker:hunter2@", "nobody_here:hunter2@"] {
        let error = PostgresStore::open(&of(who), identity()).await.unwrap_err();
        let told = format!("{error} {error:?} {}", error.remedy().unwrap());
        assert!(matches!(error, StoreError::NotLetIn { .. }) && !error.is_transient(), "{told}");
        assert!(told.contains("does not let the keeper in: password authentication failed for user"), "{told}");
        assert!(told.contains("--database is `postgres://") && told.contains("PGPASSWORD"), "{told}");
        assert!(!told.contains("hunter2"), "{told}");
    }
}

#[tokio::test]
async fn a_server_that_is_down_is_named_and_may_come_back() {
    // Nothing listens on port 9 of this machine, and there is no socket in an empty folder.
    let folder = tempfile::tempdir().unwrap();
    let socket = format!("postgres://me:hunter2@localhost/keeper?host={}", folder.path().display());
    for url in ["postgres://me:hunter2@127.0.0.1:9/keeper", &socket] {
        let error = PostgresStore::open(&url.parse().unwrap(), identity()).await.unwrap_err();
        let told = format!("{error} {error:?} {}", error.remedy().unwrap());
        assert!(matches!(error, StoreError::Unreachable { .. }), "{told}");
        assert!(error.is_transient() && error.is_outage(), "{told}");
        assert!(told.contains("cannot be reached") && told.contains("--database is `postgres://me@"), "{told}");
        assert!(!told.contains("hunter2"), "{told}");
    }
}

#[tokio::test]
async fn the_server_is_asked_not_to_tell_what_is_no_news() {
    let url = Server::shared().create_database().await;
    let mut connection = connect(&url, &options(&url)).await.unwrap();
    let level: String = sqlx::query_scalar("SHOW client_min_messages").fetch_one(&mut connection).await.unwrap();
    assert_eq!(level, "error");
    connection.close().await.unwrap();
}
