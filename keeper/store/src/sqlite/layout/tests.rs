use std::{
    path::PathBuf,
    sync::atomic::{AtomicI64, Ordering},
    time::Duration,
};

use keeper_failpoints::VARIABLE;
use sqlx::{AssertSqlSafe, Connection as _, sqlite::SqliteJournalMode, sqlite::SqliteSynchronous};
use tempfile::TempDir;

use super::*;
use crate::{
    Identity, Migrated, NewItem, SqliteStore, Store as _, WorkQueue as _, backup, check, child, earlier, killed,
    migrate,
    sqlite::{identity, options},
};

/// The layouts that the last two versions left, and the one before them.
const EARLIER: [i64; 3] = [2, 3, 4];
/// The test that is the child's.
const CHILD: &str = "sqlite::layout::tests::the_child_migrates";

fn database(folder: &TempDir) -> PathBuf {
    folder.path().join("keeper.sqlite")
}

/// A database as the version with this layout left it.
pub(crate) async fn of_layout(layout: i64, path: &Path) {
    let options = options(path).create_if_missing(true).journal_mode(SqliteJournalMode::Wal);
    let mut connection = SqliteConnection::connect_with(&options).await.unwrap();
    MIGRATOR.run_direct(Some(layout), &mut connection, false).await.unwrap();
    for rows in earlier::rows_of_sqlite(layout) {
        sqlx::raw_sql(rows).execute(&mut connection).await.unwrap();
    }
    connection.close().await.unwrap();
}

/// Every row of every table that `of` names, as text.
async fn rows(path: &Path, of: &[&str]) -> Vec<String> {
    let mut connection = SqliteConnection::connect_with(&options(path)).await.unwrap();
    let mut all = Vec::new();
    for table in of {
        let columns: Vec<String> = sqlx::query_scalar("SELECT 'quote(' || name || ')' FROM pragma_table_info(?)")
            .bind(*table)
            .fetch_all(&mut connection)
            .await
            .unwrap();
        if columns.is_empty() {
            continue;
        }
        let query = format!("SELECT '{table}: ' || {} FROM {table} ORDER BY 1", columns.join(" || ', ' || "));
        let found: Vec<String> = sqlx::query_scalar(AssertSqlSafe(query)).fetch_all(&mut connection).await.unwrap();
        all.extend(found);
    }
    connection.close().await.unwrap();
    all
}

/// Every table of a database.
async fn everything(path: &Path) -> Vec<String> {
    let mut connection = SqliteConnection::connect_with(&options(path)).await.unwrap();
    let tables: Vec<String> = sqlx::query_scalar("SELECT name FROM sqlite_schema WHERE type = 'table' ORDER BY name")
        .fetch_all(&mut connection)
        .await
        .unwrap();
    connection.close().await.unwrap();
    rows(path, &tables.iter().map(String::as_str).collect::<Vec<_>>()).await
}

async fn opened(path: &Path) -> Result<SqliteStore, StoreError> {
    SqliteStore::open(path, followed(path).await).await
}

/// The deployment that a database follows, whatever its layout.
async fn followed(path: &Path) -> Identity {
    let pool = SqlitePool::connect_with(options(path).read_only(true)).await.unwrap();
    let found = identity::read(&pool).await.unwrap().unwrap();
    pool.close().await;
    found
}

/// That it is whole, and holds what the earlier version wrote.
async fn holds_what_it_held(path: &Path, layout: i64, before: &[String]) {
    assert_eq!(rows(path, &earlier::UNCHANGED).await, before);
    let report = check(path).await.unwrap();
    assert_eq!(report.findings, []);
    assert_eq!((report.events, report.intents, report.explanations), (118, 10, 20));
    let store = opened(path).await.unwrap();
    earlier::reads_back(&store, layout >= 3, layout >= 4).await;
    store.close().await;
}

/// Readers have transactions open, and others come, while it is migrated and after.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_row_is_read_back_and_readers_see_one_layout_or_the_other() {
    for layout in EARLIER {
        let folder = tempfile::tempdir().unwrap();
        let path = database(&folder);
        of_layout(layout, &path).await;
        let before = rows(&path, &earlier::UNCHANGED).await;
        let mut reader = SqliteConnection::connect_with(&options(&path).read_only(true)).await.unwrap();
        let mut moment = reader.begin().await.unwrap();
        let query = "SELECT count(*) FROM intents JOIN intent_transactions USING (intent_id)";
        let count: i64 = sqlx::query_scalar(query).fetch_one(&mut *moment).await.unwrap();

        let migrated = migrate(&path, true).await.unwrap();
        let copy = migrated.backup.clone().unwrap();
        assert_eq!(migrated, Migrated { from: layout, to: known_layout(), backup: Some(copy.clone()) });
        assert_eq!(layout_of(&path, &mut moment).await.unwrap(), layout, "it sees the moment that it began in");
        let again: i64 = sqlx::query_scalar(query).fetch_one(&mut *moment).await.unwrap();
        assert_eq!(again, count);
        moment.rollback().await.unwrap();
        assert_eq!(layout_of(&path, &mut reader).await.unwrap(), known_layout());
        reader.close().await.unwrap();
        holds_what_it_held(&path, layout, &before).await;

        // The copy is the way back, and can be copied and migrated itself.
        let error = check(&copy).await.unwrap_err();
        assert!(matches!(error, StoreError::Layout { found, .. } if found == layout), "{error}");
        let second = folder.path().join("second.sqlite");
        assert_eq!(backup(&copy, &second, false).await.unwrap().layout, layout);
        assert_eq!(migrate(&second, false).await.unwrap().from, layout);
        holds_what_it_held(&second, layout, &before).await;
    }
}

/// One of several that come at the same time does it; the others are told that one is at it, or find it done.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn processes_that_start_together_migrate_once() {
    for layout in EARLIER {
        let folder = tempfile::tempdir().unwrap();
        let path = database(&folder);
        of_layout(layout, &path).await;
        let before = rows(&path, &earlier::UNCHANGED).await;
        let task = format!("open {}", path.display());
        let children: Vec<_> = (0..4)
            .map(|_| {
                let task = task.clone();
                std::thread::spawn(move || child::run(CHILD, &task, &[]))
            })
            .collect();
        let said: Vec<String> = children
            .into_iter()
            .map(|child| String::from_utf8_lossy(&child.join().unwrap().stdout).into_owned())
            .collect();
        assert!(said.iter().any(|said| said.contains("it is open")), "{said:?}");
        let fine = |said: &String| said.contains("it is open") || said.contains("another keeper is running");
        assert!(said.iter().all(fine), "{said:?}");
        holds_what_it_held(&path, layout, &before).await;
    }
}

/// What a child does: `open PATH`, or `die PATH AT` to abort after that many tens of SQLite's instructions.
#[tokio::test]
async fn the_child_migrates() {
    let Some(task) = child::task() else { return };
    let words: Vec<&str> = task.split(' ').collect();
    let path = Path::new(words[1]);
    let identity = followed(path).await;
    let opened = match words[0] {
        "open" => SqliteStore::open(path, identity).await,
        _ => {
            static LEFT: AtomicI64 = AtomicI64::new(i64::MAX);
            let die_at: i64 = words[2].parse().unwrap();
            LEFT.store(die_at, Ordering::SeqCst);
            let writer = SqliteStore::open_writer(path, SqliteSynchronous::Full).await.unwrap();
            let mut connection = writer.pool.acquire().await.unwrap();
            connection.lock_handle().await.unwrap().set_progress_handler(10, || {
                if LEFT.fetch_sub(1, Ordering::SeqCst) <= 1 {
                    std::process::abort();
                }
                true
            });
            drop(connection);
            let opened = SqliteStore::open_with(path, identity, writer).await;
            println!("instructions {}", die_at - LEFT.load(Ordering::SeqCst));
            opened
        }
    };
    match opened {
        Ok(store) => {
            println!("it is open");
            store.close().await;
        }
        Err(error) => println!("{error}"),
    }
}

/// Killed at 30 moments of it, from the first instruction to the last, and begun again each time.
#[tokio::test]
async fn a_migration_that_is_killed_leaves_the_layout_from_before_and_is_done_again() {
    for layout in EARLIER {
        let folder = tempfile::tempdir().unwrap();
        let original = database(&folder);
        of_layout(layout, &original).await;
        let (before, unchanged) = (everything(&original).await, rows(&original, &earlier::UNCHANGED).await);
        let copied = |name: String| {
            let path = folder.path().join(name);
            std::fs::copy(&original, &path).unwrap();
            path
        };
        let whole = copied("whole.sqlite".to_owned());
        let said = child::run(CHILD, &format!("die {} {}", whole.display(), i64::MAX), &[]);
        let said = String::from_utf8_lossy(&said.stdout).into_owned();
        let (_, count) = said.split_once("instructions ").unwrap();
        let count: i64 = count.lines().next().unwrap().parse().unwrap();
        assert!(count > 30, "there is something to kill: {said}");
        let mut unfinished = 0;
        for moment in 0..30 {
            let path = copied(format!("{moment}.sqlite"));
            let at = 1 + moment * (count - 1) / 29;
            let killed = child::run(CHILD, &format!("die {} {at}", path.display()), &[]);
            assert!(child::has_aborted(killed.status), "at {at} of {count}: {killed:?}");
            let mut connection = SqliteConnection::connect_with(&options(&path)).await.unwrap();
            let found = layout_of(&path, &mut connection).await.unwrap();
            connection.close().await.unwrap();
            if found == layout {
                unfinished += 1;
                assert_eq!(everything(&path).await, before, "at {at} of {count}");
                assert_eq!(migrate(&path, false).await.unwrap().from, layout);
            } else {
                assert_eq!(found, known_layout(), "all steps or none, at {at} of {count}");
            }
            holds_what_it_held(&path, layout, &unchanged).await;
        }
        assert!(unfinished > 10, "most of it is the migration: {unfinished}");
    }
}

#[tokio::test]
async fn a_migration_that_dies_at_its_commit_is_done_or_not() {
    for (place, found) in [(MIGRATE.0, 4), (MIGRATE.1, known_layout())] {
        let folder = tempfile::tempdir().unwrap();
        let path = database(&folder);
        of_layout(4, &path).await;
        let before = rows(&path, &earlier::UNCHANGED).await;
        let died = child::run(killed::CHILD, &format!("migrate {}", path.display()), &[(VARIABLE, place.name())]);
        assert!(child::has_aborted(died.status), "{place}: {died:?}");
        assert_eq!(migrate(&path, false).await.unwrap().from, found, "{place}");
        holds_what_it_held(&path, 4, &before).await;
    }
}

/// Reads and writes by this version's commands, on a database whose layout a newer version made.
#[tokio::test]
async fn an_old_keeper_is_told_that_the_database_is_newer_and_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let path = database(&folder);
    of_layout(4, &path).await;
    let before = rows(&path, &earlier::UNCHANGED).await;
    let old = Migrator::with_migrations(MIGRATOR.iter().filter(|migration| migration.version <= 3).cloned().collect());
    let pool = SqlitePool::connect_with(options(&path)).await.unwrap();
    let error = bring_up(&old, &path, &pool).await.unwrap_err();
    pool.close().await;
    assert!(error.to_string().contains("has layout 4, which a newer version of the keeper wrote"), "{error}");
    assert!(error.remedy().unwrap().starts_with("upgrade this keeper"), "{error}");
    assert_eq!(rows(&path, &earlier::UNCHANGED).await, before);
    let error = check(&path).await.unwrap_err();
    assert!(error.to_string().contains("has layout 4, which an earlier version of the keeper wrote"), "{error}");
    assert!(error.remedy().unwrap().contains("keeper db migrate"), "{error}");
}

/// Many queues share numbers: each finds its own, and what was passed over is not read again and again.
#[tokio::test]
async fn a_queue_among_much_of_another_is_found_and_its_mark_moves() {
    let folder = tempfile::tempdir().unwrap();
    let store = SqliteStore::open(&database(&folder), crate::conformance::identity()).await.unwrap();
    let items = |prefix: &str, count: usize| -> Vec<NewItem> { crate::conformance::items(prefix, count) };
    let terms =
        crate::ClaimTerms { claimer: "me".to_owned(), limit: 5, visibility: Duration::from_hours(1), max_attempts: 3 };
    store.enqueue("busy", items("a", 11_000)).await.unwrap();
    assert_eq!(store.claim("idle", &terms).await.unwrap(), []);
    let mark: i64 = sqlx::query_scalar("SELECT fresh_from FROM queue_marks WHERE queue = 'idle'")
        .fetch_one(&store.readers)
        .await
        .unwrap();
    assert_eq!(mark, 11_001);
    store.enqueue("idle", items("b", 3)).await.unwrap();
    store.enqueue("busy", items("c", 3)).await.unwrap();
    store.enqueue("idle", items("d", 3)).await.unwrap();
    let claimed: Vec<String> = store.claim("idle", &terms).await.unwrap().into_iter().map(|claim| claim.key).collect();
    assert_eq!(claimed, ["b-000000", "b-000001", "b-000002", "d-000000", "d-000001"]);
    assert_eq!(store.claim("idle", &terms).await.unwrap()[0].key, "d-000002");
    assert_eq!(store.claim("busy", &terms).await.unwrap()[0].key, "a-000000");
    assert!(store.cursor().await.unwrap().is_none());
}
