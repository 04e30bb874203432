//! The embedded store: one SQLite file in the data directory.
//!
//! Write-ahead logging lets readers, other processes among them, go on while the keeper writes. There is one
//! writing connection, and a lock file keeps a second keeper out. `synchronous=FULL` makes a commit wait for
//! the disk; both settings are checked when the store is opened, since a build of SQLite may ignore them.

mod blocks;
mod explanations;
mod finality;
mod group;
mod history;
mod identity;
pub(crate) mod intents;
mod layout;
mod leases;
pub(crate) mod maintenance;
mod observations;
mod queue;

use std::{
    ffi::OsString,
    fs::{File, TryLockError},
    path::{Path, PathBuf},
    time::Duration,
};

use async_trait::async_trait;
use futures::stream::BoxStream;
use keeper_failpoints::{Sabotage, is_sabotaged, reach};
use keeper_types::{
    Address, Attempt, BlockEvents, BlockHeader, BlockNumber, BlockRef, EventPosition, JobId, MarketEvent, TxHash,
};
use sqlx::{
    Sqlite, SqlitePool, Transaction,
    migrate::Migrator,
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous},
};

use self::group::Group;
use crate::{
    ExplanationRecord, Identity, Intent, IntentId, IntentTransaction, IntentUpdate, JobTimings, NewIntent, Observation,
    Store, StoreError,
    block::check_cursor,
    columns,
    places::{
        APPEND, EXPLAIN, FINAL, FINALISE, FORGET_FINAL, HISTORY, OBSERVE, Places, RECORD, REVERT, TRANSACTION, UPDATE,
    },
    statements::quiet,
};

static MIGRATOR: Migrator = sqlx::migrate!();

/// How long a connection waits for another's lock before it fails.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
/// A program that this process has just started has the file too, until it has begun: for some milliseconds a lock that was
/// given back is not free.
const LOCK_TRIES: u32 = 25;
const LOCK_TRIED_EVERY: Duration = Duration::from_millis(20);
/// Connections for reading; the API and the planner read at the same time.
const MAX_READERS: u32 = 4;
/// Pages of the log after which a commit copies them into the database, and waits for that too. Four times SQLite's own
/// number: pages that are written again and again, as a queue's last ones are, are then copied more seldom.
const CHECKPOINT_PAGES: &str = "4000";
/// Memory for pages of the writing connection, in KiB, which SQLite has negative: a step of the follower that catches up
/// changes some ten MiB, and what does not fit is written and read again within the transaction.
const WRITER_CACHE: &str = "-65536";
/// What `PRAGMA synchronous` says for FULL.
const SYNCHRONOUS_FULL: i64 = 2;

/// A [`Store`] in one SQLite file.
#[derive(Debug)]
pub struct SqliteStore {
    identity: Identity,
    /// A single connection, so that writes queue here instead of failing as busy; none where the store was
    /// opened for reading.
    writer: Option<Writer>,
    readers: SqlitePool,
    /// Writes to queues, which share transactions.
    queue_writes: Group<queue::Write>,
}

#[derive(Debug)]
struct Writer {
    pool: SqlitePool,
    /// Held for as long as the store is open; the system releases it when the process ends, however it ends.
    _lock: File,
}

impl SqliteStore {
    /// Opens the database at `path` for the deployment `identity`, and creates it, with the folders above it,
    /// where it is not there.
    ///
    /// # Errors
    /// [`StoreError::InUse`] where another keeper has it open, [`StoreError::IdentityMismatch`] where it follows
    /// another deployment, [`StoreError::Layout`] where a newer version wrote it, [`StoreError::NotDurable`]
    /// where SQLite does not do what survives a power loss, and where the file cannot be used.
    pub async fn open(path: &Path, identity: Identity) -> Result<Self, StoreError> {
        let writer = Self::open_writer(path, SqliteSynchronous::Full).await?;
        check_durability(&writer.pool).await?;
        Self::open_with(path, identity, writer).await
    }

    /// Opens the database as [`SqliteStore::open`] does, but so that a commit does not wait for the disk: what a
    /// power cut takes then shows that the test for such losses can fail.
    ///
    /// # Errors
    /// As [`SqliteStore::open`].
    #[cfg(feature = "sabotage")]
    pub async fn open_without_sync(path: &Path, identity: Identity) -> Result<Self, StoreError> {
        let writer = Self::open_writer(path, SqliteSynchronous::Off).await?;
        Self::open_with(path, identity, writer).await
    }

    async fn open_writer(path: &Path, synchronous: SqliteSynchronous) -> Result<Writer, StoreError> {
        let folder = folder_of(path);
        create_folder(folder).map_err(|source| StoreError::File { path: folder.to_path_buf(), source })?;
        let lock = lock(path).await?;
        let options =
            options(path).create_if_missing(true).journal_mode(SqliteJournalMode::Wal).synchronous(synchronous);
        let options = options.pragma("wal_autocheckpoint", CHECKPOINT_PAGES).pragma("cache_size", WRITER_CACHE);
        let pool = SqlitePoolOptions::new()
            .max_connections(1)
            .idle_timeout(None)
            .max_lifetime(None)
            // It is in this process, and does not go by itself.
            .test_before_acquire(false)
            .connect_with(options)
            .await?;
        Ok(Writer { pool, _lock: lock })
    }

    async fn open_with(path: &Path, identity: Identity, writer: Writer) -> Result<Self, StoreError> {
        let pool = &writer.pool;
        layout::bring_up(&MIGRATOR, path, pool).await?;
        let found = identity::read_or_write(pool, &identity).await?;
        if !found.is_same_market(&identity) {
            return Err(StoreError::IdentityMismatch {
                database: path.into(),
                found: Box::new(found),
                expected: Box::new(identity),
            });
        }
        if found != identity {
            identity::begin_at(pool, &found, &identity).await?;
        }
        if is_sabotaged(Sabotage::ForgetIntents) {
            intents::forget(pool).await?;
        }
        let readers = readers(path).await?;
        tracing::debug!(path = %path.display(), "store opened");
        Ok(Self { identity, writer: Some(writer), readers, queue_writes: Group::default() })
    }

    /// Opens the database at `path` for reading, for whatever deployment it follows. A keeper may be running on
    /// it.
    ///
    /// # Errors
    /// [`StoreError::NoDatabase`] where no keeper has run there, [`StoreError::Layout`] where another version
    /// wrote it.
    pub async fn open_read_only(path: &Path) -> Result<Self, StoreError> {
        let none = || StoreError::NoDatabase { database: path.into() };
        let is_empty = std::fs::metadata(path).map_or(true, |file| file.len() == 0);
        if is_empty {
            return Err(none());
        }
        let readers = readers(path).await?;
        layout::check_layout(path, &readers).await?;
        let identity = identity::read(&readers).await?.ok_or_else(none)?;
        Ok(Self { identity, writer: None, readers, queue_writes: Group::default() })
    }

    /// Closes the database once what is running on it is done. Dropping the store is safe too, and faster.
    pub async fn close(self) {
        self.readers.close().await;
        if let Some(writer) = &self.writer {
            writer.pool.close().await;
        }
    }

    /// Begins a transaction that will write. Taking the write lock at once means that what it reads first
    /// cannot change before it writes.
    async fn begin(&self) -> Result<Transaction<'static, Sqlite>, StoreError> {
        let writer = self.writer.as_ref().ok_or(StoreError::ReadOnly)?;
        Ok(writer.pool.begin_with("BEGIN IMMEDIATE").await?)
    }
}

/// Commits what a call has written.
async fn commit(transaction: Transaction<'static, Sqlite>, (before, after): Places) -> Result<(), StoreError> {
    reach(before);
    transaction.commit().await?;
    reach(after);
    Ok(())
}

/// The folder that a file is in.
fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Creates a folder with those above it, and waits until their names are on the disk: a power loss would take the
/// database with them otherwise. SQLite does the same for its own files, but not for what they are in.
fn create_folder(folder: &Path) -> std::io::Result<()> {
    if folder.is_dir() {
        return Ok(());
    }
    let above = folder_of(folder);
    create_folder(above)?;
    match std::fs::create_dir(folder) {
        Err(error) if !folder.is_dir() => return Err(error),
        _ => {}
    }
    File::open(above)?.sync_all()
}

fn options(path: &Path) -> SqliteConnectOptions {
    quiet(SqliteConnectOptions::new().filename(path).busy_timeout(BUSY_TIMEOUT).foreign_keys(true))
}

async fn readers(path: &Path) -> Result<SqlitePool, StoreError> {
    let pool = SqlitePoolOptions::new().max_connections(MAX_READERS).test_before_acquire(false);
    Ok(pool.connect_with(options(path).read_only(true)).await?)
}

/// Keeps other keepers out of the database for as long as the file stays open.
async fn lock(path: &Path) -> Result<File, StoreError> {
    let mut name = OsString::from(path);
    name.push(".lock");
    let path_of_lock = PathBuf::from(name);
    let file_error = |source| StoreError::File { path: path_of_lock.clone(), source };
    let file = File::create(&path_of_lock).map_err(file_error)?;
    for tries_left in (0..LOCK_TRIES).rev() {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(TryLockError::WouldBlock) if tries_left > 0 => tokio::time::sleep(LOCK_TRIED_EVERY).await,
            Err(TryLockError::WouldBlock) => break,
            Err(TryLockError::Error(source)) => return Err(file_error(source)),
        }
    }
    Err(StoreError::InUse { path: path.to_path_buf() })
}

async fn check_durability(pool: &SqlitePool) -> Result<(), StoreError> {
    let journal: String = sqlx::query_scalar("PRAGMA journal_mode").fetch_one(pool).await?;
    if journal != "wal" {
        return Err(StoreError::NotDurable { setting: "journal_mode", found: journal, expected: "wal" });
    }
    let synchronous: i64 = sqlx::query_scalar("PRAGMA synchronous").fetch_one(pool).await?;
    if synchronous != SYNCHRONOUS_FULL {
        let found = synchronous.to_string();
        return Err(StoreError::NotDurable { setting: "synchronous", found, expected: "2 (FULL)" });
    }
    Ok(())
}

#[async_trait]
impl Store for SqliteStore {
    fn identity(&self) -> &Identity {
        &self.identity
    }

    async fn cursor(&self) -> Result<Option<BlockHeader>, StoreError> {
        blocks::cursor(&self.readers).await
    }

    async fn append_blocks(&self, blocks: &[BlockEvents]) -> Result<(), StoreError> {
        let mut transaction = self.begin().await?;
        blocks::append(&mut transaction, blocks).await?;
        commit(transaction, APPEND).await
    }

    async fn append_after(&self, base: Option<BlockHeader>, blocks: &[BlockEvents]) -> Result<(), StoreError> {
        let mut transaction = self.begin().await?;
        check_cursor(base, blocks::cursor(&mut *transaction).await?)?;
        blocks::append(&mut transaction, blocks).await?;
        commit(transaction, APPEND).await
    }

    async fn revert_to(&self, block: BlockNumber) -> Result<(), StoreError> {
        let mut transaction = self.begin().await?;
        blocks::revert_to(&mut transaction, block).await?;
        explanations::revert_to(&mut transaction, block).await?;
        observations::revert_to(&mut transaction, block).await?;
        commit(transaction, REVERT).await
    }

    async fn block(&self, number: BlockNumber) -> Result<Option<BlockHeader>, StoreError> {
        blocks::block(&self.readers, number).await
    }

    async fn block_at_or_below(&self, number: BlockNumber) -> Result<Option<BlockHeader>, StoreError> {
        blocks::at_or_below(&self.readers, number).await
    }

    async fn final_block(&self) -> Result<Option<BlockRef>, StoreError> {
        finality::read(&self.readers).await
    }

    async fn record_final(&self, block: BlockRef) -> Result<(), StoreError> {
        let mut transaction = self.begin().await?;
        finality::record(&mut transaction, block).await?;
        commit(transaction, FINAL).await
    }

    async fn forget_final(&self) -> Result<(), StoreError> {
        let mut transaction = self.begin().await?;
        finality::forget(&mut transaction).await?;
        commit(transaction, FORGET_FINAL).await
    }

    async fn recent_blocks(&self, limit: u32) -> Result<Vec<BlockHeader>, StoreError> {
        blocks::recent(&self.readers, limit).await
    }

    fn load_events(&self, from: BlockNumber) -> BoxStream<'_, Result<(EventPosition, MarketEvent), StoreError>> {
        blocks::events(&self.readers, from)
    }

    async fn record_intent(&self, intent: &NewIntent) -> Result<IntentId, StoreError> {
        let mut transaction = self.begin().await?;
        let intent_id = intents::record(&mut transaction, intent).await?;
        commit(transaction, RECORD).await?;
        Ok(intent_id)
    }

    async fn record_transaction(
        &self,
        intent_id: IntentId,
        nonce: u64,
        signed: &IntentTransaction,
    ) -> Result<(), StoreError> {
        let mut transaction = self.begin().await?;
        intents::record_transaction(&mut transaction, intent_id, nonce, signed).await?;
        commit(transaction, TRANSACTION).await
    }

    async fn update_intent(&self, intent_id: IntentId, update: &IntentUpdate) -> Result<(), StoreError> {
        let mut transaction = self.begin().await?;
        intents::update(&mut transaction, intent_id, update).await?;
        commit(transaction, UPDATE).await
    }

    async fn finalise_intents(&self, account: Address, blocks: &[BlockRef]) -> Result<u64, StoreError> {
        let mut transaction = self.begin().await?;
        let count = intents::finalise(&mut transaction, account, blocks).await?;
        commit(transaction, FINALISE).await?;
        Ok(count)
    }

    async fn forget_history(&self, before_ms: u64, below: JobId, most: u32) -> Result<u64, StoreError> {
        let mut transaction = self.begin().await?;
        let forgotten = history::forget(&mut transaction, before_ms, below, most).await?;
        commit(transaction, HISTORY).await?;
        Ok(forgotten)
    }

    async fn live_intents(&self, account: Address) -> Result<Vec<Intent>, StoreError> {
        intents::live(&self.readers, account).await
    }

    async fn intents_since(&self, account: Address, created_ms: u64) -> Result<Vec<Intent>, StoreError> {
        intents::since(&self.readers, account, created_ms).await
    }

    async fn open_intents(&self) -> Result<Vec<Intent>, StoreError> {
        intents::open(&self.readers).await
    }

    async fn last_round(&self, account: Address) -> Result<Option<u64>, StoreError> {
        intents::last_round(&self.readers, account).await
    }

    async fn intent_by_tx(&self, tx_hash: TxHash) -> Result<Option<Intent>, StoreError> {
        intents::by_tx(&self.readers, tx_hash).await
    }

    async fn latest_allocation(&self, job_id: JobId, attempt: Attempt) -> Result<Option<Intent>, StoreError> {
        intents::latest_allocation(&self.readers, job_id, attempt).await
    }

    async fn save_explanations(&self, explanations: &[ExplanationRecord]) -> Result<(), StoreError> {
        let mut transaction = self.begin().await?;
        explanations::save(&mut transaction, explanations).await?;
        commit(transaction, EXPLAIN).await
    }

    async fn explanation(&self, job_id: JobId) -> Result<Option<ExplanationRecord>, StoreError> {
        explanations::latest(&self.readers, job_id).await
    }

    async fn observe(&self, observations: &[Observation]) -> Result<(), StoreError> {
        let mut transaction = self.begin().await?;
        observations::record(&mut transaction, observations).await?;
        commit(transaction, OBSERVE).await
    }

    async fn timings(&self, job_id: JobId) -> Result<Vec<JobTimings>, StoreError> {
        observations::of_job(&self.readers, job_id).await
    }

    async fn all_timings(&self) -> Result<Vec<JobTimings>, StoreError> {
        observations::all(&self.readers).await
    }
}

#[cfg(test)]
mod tests;
