use std::path::{Path, PathBuf};

use keeper_types::{Address, BlockNumber, Felt, Fri, TxHash};
use sqlx::{
    AssertSqlSafe, Connection as _, Row as _, SqlSafeStr as _, SqliteConnection,
    migrate::{Migration, MigrationType, Migrator},
};
use tempfile::TempDir;

use super::*;
use crate::{
    IntentAction, IntentState, IntentUpdate, Landed, NewIntent, SqliteStore, Store as _, StoreError,
    conformance::{block, identity, signed, submitted},
    sqlite::{
        MIGRATOR,
        layout::{known_layout, newest_layout},
        maintenance::migrate::migrate_by,
        options,
    },
};

fn database(folder: &TempDir) -> PathBuf {
    folder.path().join("keeper.sqlite")
}

fn intent(nonce: u64) -> NewIntent {
    NewIntent {
        action: IntentAction::ApplyBatch { round: nonce, snapshot_block: BlockNumber(11), items: Vec::new() },
        account: Address(Felt::TWO),
        signed: Some((nonce, signed(nonce, 5))),
        created_ms: 5,
    }
}

/// A store with something in every table that a check reads in more than one way.
async fn filled(path: &Path) -> SqliteStore {
    let store = SqliteStore::open(path, identity()).await.unwrap();
    let blocks = [block(11, 0, 0, vec![submitted(1)]), block(12, 0, 0, vec![]), block(13, 0, 0, vec![submitted(2)])];
    store.append_blocks(&blocks).await.unwrap();
    for nonce in 0..3 {
        let intent_id = store.record_intent(&intent(nonce)).await.unwrap();
        let block = blocks[0].header.reference();
        let landed = Landed { tx_hash: TxHash(Felt::from(nonce)), block: Some(block), fee: Some(Fri(7)) };
        let update = IntentUpdate::landed(IntentState::AcceptedL2, landed, 6);
        store.update_intent(intent_id, &update).await.unwrap();
    }
    store
}

async fn execute(path: &Path, statements: &[&'static str]) {
    let mut connection = SqliteConnection::connect_with(&options(path).foreign_keys(false)).await.unwrap();
    for statement in statements {
        sqlx::query(*statement).execute(&mut connection).await.unwrap();
    }
    connection.close().await.unwrap();
}

#[tokio::test]
async fn a_whole_database_has_no_findings_also_while_a_keeper_runs() {
    let folder = tempfile::tempdir().unwrap();
    let store = filled(&database(&folder)).await;
    let report = check(&database(&folder)).await.unwrap();
    assert_eq!(report.findings, []);
    assert_eq!((report.layout, report.blocks, report.events, report.intents), (known_layout(), 3, 2, 3));
    store.close().await;
    assert_eq!(check(&database(&folder)).await.unwrap(), report);
}

#[tokio::test]
async fn each_fault_is_found_and_told_with_a_remedy() {
    let faults: [(&[&'static str], &str, &str); 16] = [
        (&["UPDATE blocks SET parent_hash = '0x1' WHERE number = 12"], "blocks", "the chain has forked"),
        (&["UPDATE blocks SET timestamp = 1 WHERE number = 13"], "blocks", "block 13 is earlier than"),
        (&["UPDATE identity SET deployment_block = 12"], "blocks", "block 11 is below the deployment's first, 12"),
        (&["DELETE FROM blocks WHERE number = 13"], "references", "events refers to a row of blocks"),
        (&["UPDATE events SET event = '{}' WHERE block = 13"], "events", "event 0 of block 13 cannot be read"),
        (&["UPDATE events SET event = (SELECT event FROM events WHERE block = 11) WHERE block = 13"], "market", "job"),
        (&["UPDATE intents SET state = 'odd' WHERE intent_id = 2"], "intents", "intent 2 is in an unknown state"),
        (&["UPDATE intents SET landed_tx = NULL WHERE intent_id = 1"], "intents", "intent 1 is in a block and is not"),
        (&["UPDATE intents SET landed_tx = '0x77' WHERE intent_id = 1"], "intents", "has no nonce or transaction"),
        (&["DELETE FROM intent_transactions WHERE intent_id = 2"], "intents", "intent 2 was signed, but has no nonce"),
        (&["UPDATE intent_transactions SET purpose = 'odd'"], "intents", "intent 3 has a transaction that cannot"),
        (&["UPDATE intents SET round = 9 WHERE intent_id = 3"], "intents", "intent 3 has another kind or round"),
        (
            &["DROP INDEX intents_by_nonce", "UPDATE intents SET nonce = 1"],
            "intents",
            "intents 1 and 2 both hold nonce 1",
        ),
        (&["INSERT INTO explanations VALUES (7, NULL, 11, 0, '[]')"], "explanations", "job 7 cannot be read"),
        (
            &["INSERT INTO queue_items VALUES (4, 'q', 'k', x'', 5, 5)", "INSERT INTO queue_marks VALUES ('q', 5)"],
            "queues",
            "item 4 of queue q, with the key k, is not where",
        ),
        (
            &[
                "INSERT INTO queue_items VALUES (4, 'q', 'k', x'', 5, 5)",
                "INSERT INTO queue_attempts VALUES (4, 'q', 1, 5, NULL)",
            ],
            "queues",
            "item 4 of queue q",
        ),
    ];
    for (statements, kind, part) in faults {
        let folder = tempfile::tempdir().unwrap();
        filled(&database(&folder)).await.close().await;
        execute(&database(&folder), statements).await;
        let findings = check(&database(&folder)).await.unwrap().findings;
        let found = findings.iter().any(|finding| finding.check == kind && finding.detail.contains(part));
        assert!(found, "{statements:?}: {findings:?}");
        assert!(findings.iter().all(|finding| !finding.remedy.is_empty()));
    }
}

#[tokio::test]
async fn many_findings_of_one_kind_are_told_by_their_number() {
    let folder = tempfile::tempdir().unwrap();
    let store = filled(&database(&folder)).await;
    for nonce in 3..30 {
        store.record_intent(&intent(nonce)).await.unwrap();
    }
    store.close().await;
    execute(&database(&folder), &["UPDATE intents SET action = 'x'"]).await;
    let findings = check(&database(&folder)).await.unwrap().findings;
    assert_eq!(findings.len(), 11);
    assert_eq!(findings.last().unwrap().detail, "20 more of this kind");
}

#[tokio::test]
async fn damaged_pages_are_found_and_not_copied() {
    let (folder, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let store = filled(&database(&folder)).await;
    let many: Vec<_> = (14..2_000).map(|number| block(number, 0, 0, vec![])).collect();
    store.append_blocks(&many).await.unwrap();
    store.close().await;
    let mut bytes = std::fs::read(database(&folder)).unwrap();
    let half = bytes.len() / 2;
    bytes[half..].fill(0xaa);
    std::fs::write(database(&folder), bytes).unwrap();
    let report = check(&database(&folder)).await.unwrap();
    assert!(report.findings.iter().any(|finding| finding.check == "pages"), "{:?}", report.findings);
    let copy = to.path().join("copy.sqlite");
    backup(&database(&folder), &copy, false).await.unwrap_err();
    assert_eq!(std::fs::read_dir(to.path()).unwrap().count(), 0, "nothing is left behind");
}

#[tokio::test]
async fn what_is_no_database_is_said_to_be_none() {
    let folder = tempfile::tempdir().unwrap();
    let missing = database(&folder);
    for error in [check(&missing).await.unwrap_err(), migrate(&missing, true).await.unwrap_err()] {
        assert!(matches!(error, StoreError::NoDatabase { .. }), "{error}");
    }
    assert!(!missing.exists());
    std::fs::write(&missing, "not a database, but long enough to be looked at as one ".repeat(20)).unwrap();
    assert_eq!(check(&missing).await.unwrap().findings.len(), 1);
}

#[tokio::test]
async fn a_copy_of_a_running_keepers_database_is_whole_and_replaces_nothing_unasked() {
    let folder = tempfile::tempdir().unwrap();
    let (path, copy) = (database(&folder), folder.path().join("copy.sqlite"));
    let store = filled(&path).await;
    let writing = async {
        for number in 14..200 {
            store.append_blocks(&[block(number, 0, 0, vec![submitted(number)])]).await.unwrap();
        }
    };
    let (report, ()) = tokio::join!(backup(&path, &copy, false), writing);
    assert!(report.unwrap().blocks >= 3);
    assert_eq!(check(&copy).await.unwrap().findings, []);

    let error = backup(&path, &copy, false).await.unwrap_err();
    assert!(matches!(error, StoreError::Exists { .. }), "{error}");
    let report = backup(&path, &copy, true).await.unwrap();
    assert_eq!(report.blocks, 189);
    let error = backup(&path, &path, true).await.unwrap_err();
    assert!(matches!(error, StoreError::Exists { .. }), "a database is not replaced by itself: {error}");
    store.close().await;

    // A copy serves as the database.
    let store = SqliteStore::open(&copy, identity()).await.unwrap();
    assert_eq!(store.cursor().await.unwrap().unwrap().number, BlockNumber(199));
    assert_eq!(store.record_intent(&intent(3)).await.unwrap().0, 4);
}

/// A database as the version with this layout left it, with rows in it.
async fn of_layout(layout: i64, path: &Path) {
    let options = options(path).create_if_missing(true).journal_mode(sqlx::sqlite::SqliteJournalMode::Wal);
    let mut connection = SqliteConnection::connect_with(&options).await.unwrap();
    MIGRATOR.run_direct(Some(layout), &mut connection, false).await.unwrap();
    // In the words of its layout, which later ones keep or migrate.
    let intent = if layout == 1 {
        "INSERT INTO intents (kind, round, account, nonce, tx_hash, action, state, created_ms, updated_ms) VALUES \
         ('maintenance', NULL, '0x2', 0, '0x3', '{\"kind\":\"maintenance\",\"calls\":[]}', 'sent', 5, 6)"
    } else {
        "INSERT INTO intents (kind, round, account, nonce, action, state, is_final, created_ms, updated_ms) VALUES \
         ('maintenance', NULL, '0x2', 0, '{\"kind\":\"maintenance\",\"calls\":[]}', 'maybe_sent', 0, 5, 6); \
         INSERT INTO intent_transactions VALUES (1, '0x3', 'action', NULL, 0, '0', '0', 5, 6)"
    };
    for statement in [
        intent,
        "INSERT INTO identity VALUES (1, '0x534e5f5345504f4c4941', '0xa', '0xb', '0xc', 10)",
        "INSERT INTO blocks (number, hash, parent_hash, timestamp) VALUES (11, '0xb1', '0xb0', 1011)",
        "INSERT INTO observations (job_id, attempt, stage, block, observed_ms) VALUES (1, 1, 'submitted', 11, 7)",
    ] {
        sqlx::raw_sql(statement).execute(&mut connection).await.unwrap();
    }
    connection.close().await.unwrap();
}

/// This version's migrations and one more, as the next version may have it.
fn next_version() -> Migrator {
    let next = Migration::new(
        known_layout() + 1,
        "next".into(),
        MigrationType::Simple,
        AssertSqlSafe("ALTER TABLE blocks ADD COLUMN note TEXT; CREATE INDEX blocks_by_note ON blocks (note);")
            .into_sql_str(),
        false,
    );
    Migrator::with_migrations(MIGRATOR.iter().cloned().chain([next]).collect())
}

/// From every layout to this version's and to one more, while another connection goes on reading.
#[tokio::test]
async fn earlier_layouts_are_brought_up_under_load_and_keep_what_they_hold() {
    let versions = [Migrator::with_migrations(MIGRATOR.iter().cloned().collect()), next_version()];
    let layouts = MIGRATOR.iter().map(|migration| migration.version);
    for (layout, version) in layouts.flat_map(|layout| versions.iter().map(move |to| (layout, to))) {
        let folder = tempfile::tempdir().unwrap();
        let path = database(&folder);
        let copy = folder.path().join(format!("keeper.sqlite.layout-{layout}"));
        of_layout(layout, &path).await;
        let reader = SqliteConnection::connect_with(&options(&path).read_only(true)).await.unwrap();
        let (done, stop) = tokio::sync::oneshot::channel::<()>();
        let reading = tokio::spawn(read_until_stopped(reader, async move { _ = stop.await }));
        let migrated = migrate_by(version, &path, true).await.unwrap();
        drop(done);
        reading.await.unwrap();
        let to = newest_layout(version);
        assert_eq!((migrated.from, migrated.to), (layout, to));
        assert_eq!(migrated.backup.is_some(), layout < to);
        assert_eq!(copy.exists(), layout < to);
        let again = migrate_by(version, &path, true).await.unwrap();
        assert_eq!((again.from, again.backup), (to, None), "a second time there is nothing to do");
        if to == known_layout() {
            keeps_what_it_held(&path).await;
        } else {
            let error = migrate(&path, false).await.unwrap_err();
            assert!(matches!(error, StoreError::Layout { found, .. } if found == to), "no way back: {error}");
            migrate(&copy, false).await.unwrap();
            keeps_what_it_held(&copy).await;
        }
    }
}

async fn keeps_what_it_held(path: &Path) {
    assert_eq!(check(path).await.unwrap().findings, []);
    let store = SqliteStore::open(path, identity()).await.unwrap();
    assert_eq!(store.cursor().await.unwrap().unwrap().number, BlockNumber(11));
    let open = store.open_intents().await.unwrap();
    assert_eq!(open.iter().map(|intent| intent.state).collect::<Vec<_>>(), [IntentState::MaybeSent]);
    assert_eq!((open[0].nonce, open[0].tx_hash()), (Some(0), Some(TxHash(Felt::THREE))));
    assert_eq!(store.all_timings().await.unwrap()[0].observed_submitted_ms, Some(7));
    store.close().await;
}

/// What the first layout called sent may have been, and what it left unclear about a nonce is decided for the latest.
#[tokio::test]
async fn intents_of_the_first_layout_are_taken_over() {
    let folder = tempfile::tempdir().unwrap();
    let path = database(&folder);
    of_layout(1, &path).await;
    let batch =
        |round: u64| format!("{{\"kind\":\"apply_batch\",\"round\":{round},\"snapshot_block\":11,\"items\":[]}}");
    let mut connection = SqliteConnection::connect_with(&options(&path)).await.unwrap();
    // A reorganisation gave nonce 1 twice.
    let rows =
        [(1, 1, "accepted"), (2, 1, "accepted"), (3, 2, "reverted"), (4, 3, "lost"), (5, 3, "sent"), (6, 4, "planned")];
    for (round, nonce, state) in rows {
        sqlx::query(
            "INSERT INTO intents (kind, round, account, nonce, tx_hash, action, state, created_ms, updated_ms) \
             VALUES ('apply_batch', ?, ?, ?, ?, ?, ?, 5, 6)",
        )
        .bind(i64::try_from(round).unwrap())
        .bind(Address(Felt::TWO).to_string())
        .bind(nonce)
        .bind(TxHash(Felt::from(round)).to_string())
        .bind(batch(round))
        .bind(state)
        .execute(&mut connection)
        .await
        .unwrap();
    }
    connection.close().await.unwrap();
    migrate(&path, false).await.unwrap();
    assert_eq!(check(&path).await.unwrap().findings, []);
    let store = SqliteStore::open(&path, identity()).await.unwrap();
    for (round, state) in [
        (1, IntentState::Lost),
        (2, IntentState::AcceptedL2),
        (3, IntentState::Reverted),
        (4, IntentState::Lost),
        (5, IntentState::MaybeSent),
        (6, IntentState::MaybeSent),
    ] {
        let intent = store.intent_by_tx(TxHash(Felt::from(round))).await.unwrap().unwrap();
        assert_eq!((intent.action.round(), intent.state), (Some(round), state));
        assert_eq!(intent.transactions[0].request, None, "its bytes were not kept");
        assert_eq!(intent.is_final, !state.is_open());
    }
    let error = store.record_intent(&NewIntent { signed: Some((9, signed(9, 9))), ..intent(6) }).await;
    assert!(matches!(error, Err(StoreError::IntentExists { .. })), "round 6 is taken: {error:?}");
}

async fn read_until_stopped(mut reader: SqliteConnection, stop: impl Future<Output = ()>) {
    let mut stop = std::pin::pin!(stop);
    loop {
        let count = sqlx::query("SELECT count(*) FROM intents").fetch_one(&mut reader).await.unwrap();
        assert_eq!(count.get::<i64, _>(0), 1, "no reader sees a migration's middle");
        tokio::select! {
            biased;
            () = &mut stop => return,
            () = tokio::task::yield_now() => {}
        }
    }
}

#[tokio::test]
async fn a_newer_database_and_one_in_use_are_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let store = filled(&database(&folder)).await;
    let error = migrate(&database(&folder), true).await.unwrap_err();
    assert!(matches!(error, StoreError::InUse { .. }), "{error}");
    store.close().await;
    execute(&database(&folder), &["INSERT INTO _sqlx_migrations VALUES (999, 'future', 0, 1, x'00', 0)"]).await;
    let error = migrate(&database(&folder), true).await.unwrap_err();
    assert!(matches!(error, StoreError::Layout { found: 999, .. }), "{error}");
}

#[tokio::test]
async fn a_database_that_is_set_aside_is_whole_and_its_place_is_free() {
    let folder = tempfile::tempdir().unwrap();
    let path = database(&folder);
    assert!(matches!(set_aside(&path, "old").await, Err(StoreError::NoDatabase { .. })));
    let store = filled(&path).await;
    assert!(matches!(set_aside(&path, "old").await, Err(StoreError::InUse { .. })), "a keeper runs on it");
    store.close().await;
    let aside = set_aside(&path, "old").await.unwrap();
    assert_eq!(aside, folder.path().join("keeper.sqlite.old"));
    let report = check(&aside).await.unwrap();
    assert_eq!((report.findings.as_slice(), report.blocks, report.intents), (&[][..], 3, 3));
    // Nothing of it is found in its place, its write-ahead log as little as its rows.
    let fresh = SqliteStore::open(&path, identity()).await.unwrap();
    assert_eq!(fresh.cursor().await.unwrap(), None);
    assert!(fresh.open_intents().await.unwrap().is_empty());
    fresh.close().await;
    // What has the name keeps it.
    let second = set_aside(&path, "old").await.unwrap();
    assert_eq!(second, folder.path().join("keeper.sqlite.old-2"));
    assert_eq!(check(&aside).await.unwrap().blocks, 3);
}
