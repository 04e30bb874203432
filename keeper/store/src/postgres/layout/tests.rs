use std::sync::atomic::{AtomicU64, Ordering};

use keeper_failpoints::VARIABLE;
use keeper_types::BlockNumber;
use sqlx::{
    AssertSqlSafe, SqlSafeStr as _,
    migrate::{Migration, MigrationType},
};

use super::*;
use crate::{
    Identity, PostgresStore, Store as _, child,
    conformance::{Server, block, submitted},
    earlier, killed,
    postgres::options,
};

/// Every row of these tables, as text.
async fn rows(url: &DatabaseUrl, of: &[&str]) -> Vec<String> {
    let mut connection = connect(url, &options(url)).await.unwrap();
    let mut all = Vec::new();
    for table in of {
        let there: bool = sqlx::query_scalar("SELECT to_regclass($1) IS NOT NULL")
            .bind(table)
            .fetch_one(&mut connection)
            .await
            .unwrap();
        if there {
            let query = format!("SELECT '{table}: ' || one::text FROM {table} AS one ORDER BY 1");
            let found: Vec<String> = sqlx::query_scalar(AssertSqlSafe(query)).fetch_all(&mut connection).await.unwrap();
            all.extend(found);
        }
    }
    connection.close().await.unwrap();
    all
}

/// A database as the version with this layout left it.
async fn of_layout(layout: i64) -> DatabaseUrl {
    let url = Server::shared().create_database().await;
    let mut connection = connect(&url, &options(&url)).await.unwrap();
    MIGRATOR.run_direct(Some(layout), &mut connection, false).await.unwrap();
    for rows in earlier::rows_of_postgres(layout) {
        sqlx::raw_sql(AssertSqlSafe(rows)).execute(&mut connection).await.unwrap();
    }
    connection.close().await.unwrap();
    url
}

/// What versions up to this layout know.
fn up_to(layout: i64) -> Migrator {
    Migrator::with_migrations(MIGRATOR.iter().filter(|migration| migration.version <= layout).cloned().collect())
}

/// The statements of a migration that changes and fills tables which are in use, as a later version may have them.
const NEXT: [&str; 4] = [
    "ALTER TABLE blocks ADD COLUMN note TEXT",
    "CREATE TABLE notes (job_id BIGINT PRIMARY KEY)",
    "INSERT INTO notes SELECT job_id FROM explanations",
    "ALTER TABLE intents ALTER COLUMN round TYPE NUMERIC",
];

/// What this version knows, and a layout more with these statements.
fn next_version(statements: &[String]) -> Migrator {
    let sql = AssertSqlSafe(statements.join(";\n")).into_sql_str();
    let next = Migration::new(known_layout() + 1, "next".into(), MigrationType::Simple, sql, false);
    Migrator::with_migrations(MIGRATOR.iter().cloned().chain([next]).collect())
}

fn next() -> Migrator {
    next_version(&NEXT.map(ToOwned::to_owned))
}

async fn followed(url: &DatabaseUrl) -> Identity {
    let pool = crate::postgres::readers(url);
    let found = crate::postgres::identity::read(&pool).await.unwrap().unwrap();
    pool.close().await;
    found
}

async fn opened_by(migrator: &Migrator, url: &DatabaseUrl) -> Result<PostgresStore, StoreError> {
    PostgresStore::open_by(migrator, url, followed(url).await).await
}

/// Adds blocks above those that are there, until the database refuses; gives why. What it adds is counted.
async fn write_until_refused(store: &PostgresStore, added: &AtomicU64) -> StoreError {
    let mut below = store.cursor().await.unwrap().unwrap();
    loop {
        let mut next = block(below.number.0 + 1, 0, 0, vec![submitted(1_000 + below.number.0)]);
        (next.header.parent_hash, next.header.timestamp) = (below.hash, below.timestamp + 1);
        next.events[0].0.timestamp = next.header.timestamp;
        match store.append_blocks(std::slice::from_ref(&next)).await {
            Ok(()) => {
                below = next.header;
                added.fetch_add(1, Ordering::SeqCst);
            }
            Err(error) => return error,
        }
    }
}

/// Old keepers go on writing while new ones start. What the old were told is written is there, one of the new
/// migrates, and the old are refused from then on, with what to do.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keepers_of_two_versions_meet() {
    for (layout, version) in [(1, up_to(2)), (1, next()), (2, next())] {
        let url = of_layout(layout).await;
        let before = rows(&url, &earlier::UNCHANGED).await;
        let (old_version, to) = (up_to(layout), newest_layout(&version));
        let old = opened_by(&old_version, &url).await.unwrap();
        let reader = opened_by(&old_version, &url).await.unwrap();
        let written = AtomicU64::new(0);
        let starting = async {
            while written.load(Ordering::SeqCst) < 20 {
                tokio::task::yield_now().await;
            }
            tokio::join!(opened_by(&version, &url), opened_by(&version, &url), opened_by(&version, &url))
        };
        let (refused, (one, two, three)) = tokio::join!(write_until_refused(&old, &written), starting);
        let StoreError::Layout { found, known, .. } = &refused else { panic!("{refused}") };
        assert_eq!((*found, *known), (to, layout));
        assert!(refused.remedy().unwrap().starts_with("upgrade this keeper"));
        let again = reader.record_final(reader.cursor().await.unwrap().unwrap().reference()).await.unwrap_err();
        assert!(matches!(again, StoreError::Layout { .. }), "each of the old ones: {again}");
        let error = opened_by(&old_version, &url).await.unwrap_err();
        assert!(matches!(error, StoreError::Layout { found, .. } if found == to), "and those that start: {error}");

        let stores = [one.unwrap(), two.unwrap(), three.unwrap()];
        let written = written.into_inner();
        assert!(written >= 20);
        let is_real = to == known_layout();
        if is_real {
            let after = rows(&url, &earlier::UNCHANGED).await;
            assert!(before.iter().all(|row| after.contains(row)), "nothing is lost");
        }
        assert_eq!(stores[0].recent_blocks(10_000).await.unwrap().len() as u64, 19 + written, "nothing acknowledged");
        let times: i64 = sqlx::query_scalar("SELECT count(*) FROM _sqlx_migrations WHERE version = $1")
            .bind(to)
            .fetch_one(&stores[1].readers)
            .await
            .unwrap();
        assert_eq!(times, 1);
        stores[1].revert_to(BlockNumber(24)).await.unwrap();
        if is_real {
            earlier::reads_back(&stores[2], true, layout >= 2).await;
            assert_eq!(PostgresStore::check(&url).await.unwrap().findings, []);
        }
    }
}

#[tokio::test]
async fn the_layout_of_today_reads_what_it_wrote() {
    let url = of_layout(2).await;
    let store = opened_by(&MIGRATOR, &url).await.unwrap();
    earlier::reads_back(&store, true, true).await;
}

/// A write that has begun when the migration comes is waited for; one that begins while it runs waits, and is refused.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_migration_waits_for_writes_and_writes_wait_for_it() {
    let url = of_layout(2).await;
    let old = opened_by(&MIGRATOR, &url).await.unwrap();
    let mut begun = old.begin().await.unwrap();
    sqlx::query("UPDATE observations SET observed_ms = 7").execute(&mut *begun).await.unwrap();
    let migrating = tokio::spawn({
        let url = url.clone();
        async move { opened_by(&next(), &url).await }
    });
    until_waiting(&url, "locktype = 'relation' AND mode = 'AccessExclusiveLock'").await;
    let late = tokio::spawn(async move {
        let account = crate::conformance::identity().job_mgr;
        (old.finalise_intents(account, &[]).await, old)
    });
    until_waiting(&url, "locktype = 'relation' AND mode = 'AccessShareLock'").await;
    crate::postgres::commit(begun, MIGRATE).await.unwrap();
    migrating.await.unwrap().unwrap();
    let (refused, _old) = late.await.unwrap();
    assert!(matches!(refused, Err(StoreError::Layout { found: 3, known: 2, .. })), "{refused:?}");
    let seen = rows(&url, &["observations"]).await;
    assert!(seen.iter().all(|row| row.ends_with(",7)")), "{seen:?}");
}

/// Waits until somebody in this database waits for such a lock; gives the process that does.
async fn until_waiting(url: &DatabaseUrl, condition: &str) -> i32 {
    let query = format!(
        "SELECT locks.pid FROM pg_locks AS locks JOIN pg_stat_activity USING (pid) \
         WHERE NOT granted AND datname = current_database() AND {condition}"
    );
    let mut connection = connect(url, &options(url)).await.unwrap();
    loop {
        let found: Option<i32> =
            sqlx::query_scalar(AssertSqlSafe(query.clone())).fetch_optional(&mut connection).await.unwrap();
        if let Some(found) = found {
            return found;
        }
        tokio::task::yield_now().await;
    }
}

/// Names the lock at which the test holds a migration up.
const HELD: i64 = 4_711;

/// Held up after each of its statements, then its server process is ended there; and last the whole server crashes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_migration_that_is_killed_leaves_the_layout_from_before_and_is_done_again() {
    let tables = [&earlier::UNCHANGED[..], &["queue_items", "_sqlx_migrations", "notes"]].concat();
    for layout in [1, 2] {
        for step in 0..=NEXT.len() {
            let url = of_layout(layout).await;
            let before = rows(&url, &tables).await;
            let mut connection = connect(&url, &options(&url)).await.unwrap();
            sqlx::query("SELECT pg_advisory_lock($1)").bind(HELD).execute(&mut connection).await.unwrap();
            let mut statements = NEXT.map(ToOwned::to_owned).to_vec();
            statements.insert(step, format!("SELECT pg_advisory_lock({HELD})"));
            let version = next_version(&statements);
            let identity = followed(&url).await;
            let migrating = tokio::spawn({
                let url = url.clone();
                async move { PostgresStore::open_by(&version, &url, identity).await }
            });
            let waiting = until_waiting(&url, "locktype = 'advisory' AND objid = 4711").await;
            let ended: bool = sqlx::query_scalar("SELECT pg_terminate_backend($1, 10000)")
                .bind(waiting)
                .fetch_one(&mut connection)
                .await
                .unwrap();
            assert!(ended);
            let error = migrating.await.unwrap().unwrap_err();
            assert!(error.is_transient(), "it may be tried again: {error:?}");
            assert_eq!(rows(&url, &tables).await, before, "after {step} statements");
            let store = opened_by(&next(), &url).await.unwrap();
            assert_eq!(rows(&url, &["notes"]).await.len(), 20);
            assert_eq!(store.recent_blocks(100).await.unwrap().len(), 19);
        }
    }
}

#[tokio::test]
async fn a_migration_that_dies_at_its_commit_is_done_or_not() {
    for (place, found) in [(MIGRATE.0, 1), (MIGRATE.1, known_layout())] {
        let url = of_layout(1).await;
        let before = rows(&url, &earlier::UNCHANGED).await;
        let died = child::run(killed::CHILD, &format!("migrate {url}"), &[(VARIABLE, place.name())]);
        assert!(child::has_aborted(died.status), "{place}: {died:?}");
        assert_eq!(PostgresStore::migrate(&url).await.unwrap().from, found, "{place}");
        assert_eq!(rows(&url, &earlier::UNCHANGED).await, before);
        earlier::reads_back(&opened_by(&MIGRATOR, &url).await.unwrap(), true, false).await;
    }
}

/// What reads for long stands in the way, which is said; nothing is changed, and afterwards it goes.
#[tokio::test]
async fn a_migration_that_others_hold_up_says_so() {
    let url = of_layout(2).await;
    let mut reader = connect(&url, &options(&url)).await.unwrap();
    let mut open = reader.begin().await.unwrap();
    sqlx::query("SELECT count(*) FROM blocks").execute(&mut *open).await.unwrap();
    let error = opened_by(&next(), &url).await.unwrap_err();
    assert!(matches!(error, StoreError::MigrationBlocked { .. }), "{error:?}");
    assert!(error.is_transient() && error.remedy().unwrap().contains("pg_stat_activity"));
    assert!(rows(&url, &["notes"]).await.is_empty());
    open.rollback().await.unwrap();
    opened_by(&next(), &url).await.unwrap();
}
