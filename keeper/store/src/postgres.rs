//! The store of several keepers: a PostgreSQL database.
//!
//! Every call is a transaction that waits for the server's disk; that the server does what survives a power loss is
//! read back when the store is opened. Writes that build on what is stored, blocks above all, lock the one row of
//! `identity` first, so that two keepers take turns and the second sees what the first wrote.
//!
//! A keeper that stands still in the middle of a transaction must not hold up the others: the server ends its session
//! ([`IDLE_IN_TRANSACTION`]), and with that the transaction.

mod blocks;
mod connecting;
mod durability;
mod explanations;
mod finality;
mod history;
mod identity;
mod intents;
mod layout;
mod leases;
mod maintenance;
mod observations;
mod queue;

use std::time::Duration;

use async_trait::async_trait;
use futures::stream::BoxStream;
use keeper_failpoints::reach;
use keeper_types::{
    Address, Attempt, BlockEvents, BlockHeader, BlockNumber, BlockRef, EventPosition, JobId, MarketEvent, TxHash,
};
use sqlx::{Connection as _, PgPool, Postgres, Transaction, migrate::Migrator, postgres::PgConnectOptions};

use self::connecting::{connect, options, pool, readers};
use crate::{
    DatabaseUrl, ExplanationRecord, Identity, Intent, IntentId, IntentTransaction, IntentUpdate, JobTimings, NewIntent,
    Observation, Store, StoreError,
    block::check_cursor,
    columns,
    places::{
        APPEND, EXPLAIN, FINAL, FINALISE, FORGET_FINAL, HISTORY, OBSERVE, Places, RECORD, REVERT, TRANSACTION, UPDATE,
    },
};

static MIGRATOR: Migrator = sqlx::migrate!("migrations/postgres");

/// Connections for writing.
const MAX_WRITERS: u32 = 8;
/// How long a call waits for the server's answer; a network that swallows packets gives none.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long a statement waits for another's lock before it fails: longer than who stands still may hold one.
const LOCK_TIMEOUT: &str = "10s";
/// How long a session may leave a transaction open that writes, without saying anything.
const IDLE_IN_TRANSACTION: &str = "3s";
/// Begins a transaction whose statements read what they are asked for by index, in the order of the index.
const BEGIN_BY_INDEX: &str = "BEGIN; SET LOCAL enable_seqscan = off; SET LOCAL enable_bitmapscan = off; \
     SET LOCAL enable_hashjoin = off; SET LOCAL enable_mergejoin = off";

/// A [`Store`] in a PostgreSQL database, which several keepers may share.
#[derive(Debug)]
pub struct PostgresStore {
    identity: Identity,
    url: DatabaseUrl,
    /// The layout that it writes; another version may bring the database to the next while this one runs.
    layout: i64,
    /// None where the store was opened for reading.
    writers: Option<PgPool>,
    readers: PgPool,
}

impl PostgresStore {
    /// Opens the database for the deployment `identity`, and lays it out where it is empty. The database itself must
    /// be there.
    ///
    /// # Errors
    /// [`StoreError::NoSuchDatabase`] where the server has none of that name, [`StoreError::IdentityMismatch`] where it
    /// follows another deployment, [`StoreError::Layout`] where a newer version wrote it, [`StoreError::NotDurable`]
    /// where the server is set up to lose commits, and where it cannot be reached.
    pub async fn open(url: &DatabaseUrl, identity: Identity) -> Result<Self, StoreError> {
        Self::open_by(&MIGRATOR, url, identity).await
    }

    async fn open_by(migrator: &Migrator, url: &DatabaseUrl, identity: Identity) -> Result<Self, StoreError> {
        let options = Self::options_for_writing(url).await?;
        layout::bring_up(migrator, url, &options).await?;
        let writers = pool(MAX_WRITERS).connect_with(options).await?;
        let found = identity::read_or_write(&writers, &identity).await?;
        if !found.is_same_market(&identity) {
            let (found, expected) = (Box::new(found), Box::new(identity));
            return Err(StoreError::IdentityMismatch { database: url.into(), found, expected });
        }
        if found != identity {
            identity::begin_at(&writers, &identity).await?;
        }
        tracing::debug!(database = %url, "store opened");
        let layout = layout::newest_layout(migrator);
        Ok(Self { identity, url: url.clone(), layout, writers: Some(writers), readers: readers(url) })
    }

    /// How connections are set up that write, where the server keeps what it commits.
    async fn options_for_writing(url: &DatabaseUrl) -> Result<PgConnectOptions, StoreError> {
        let mut connection = connect(url, &options(url)).await?;
        let synchronous_commit = durability::check(&mut connection).await?;
        connection.close().await?;
        // Each connection says again what was read, so that it holds whatever the server is told later.
        Ok(options(url).options([
            ("synchronous_commit", synchronous_commit.as_str()),
            // What a statement reads after it has waited for a lock is what it waited for.
            ("default_transaction_isolation", "read committed"),
            ("lock_timeout", LOCK_TIMEOUT),
            ("idle_in_transaction_session_timeout", IDLE_IN_TRANSACTION),
        ]))
    }

    /// Opens the database for reading, for whatever deployment it follows. Keepers may be running on it.
    ///
    /// # Errors
    /// [`StoreError::NoDatabase`] where no keeper has run there, [`StoreError::Layout`] where another version wrote
    /// it.
    pub async fn open_read_only(url: &DatabaseUrl) -> Result<Self, StoreError> {
        connect(url, &options(url)).await?.close().await?;
        let readers = readers(url);
        let (found, known) = (layout::layout(url, &readers).await?, layout::known_layout());
        if found != known {
            return Err(StoreError::Layout { database: url.into(), found, known });
        }
        let identity = identity::read(&readers).await?;
        let identity = identity.ok_or_else(|| StoreError::NoDatabase { database: url.into() })?;
        Ok(Self { identity, url: url.clone(), layout: known, writers: None, readers })
    }

    /// Closes the connections once what is running on them is done. Dropping the store is safe too, and faster.
    pub async fn close(self) {
        self.readers.close().await;
        if let Some(writers) = &self.writers {
            writers.close().await;
        }
    }

    fn writers(&self) -> Result<&PgPool, StoreError> {
        self.writers.as_ref().ok_or(StoreError::ReadOnly)
    }

    /// Begins a transaction that writes, where the layout is still the one that was opened.
    async fn begin(&self) -> Result<Transaction<'static, Postgres>, StoreError> {
        let mut transaction = self.writers()?.begin().await?;
        layout::check(&mut transaction, &self.url, self.layout).await?;
        Ok(transaction)
    }

    /// Begins a transaction on a work queue, whose statements find items by index. Queues fill and empty faster than the server
    /// counts what is in them: by its figures of a moment ago it would sort all that wait to claim the first, or read all to
    /// acknowledge a few.
    async fn begin_by_index(&self) -> Result<Transaction<'static, Postgres>, StoreError> {
        let mut transaction = self.writers()?.begin_with(BEGIN_BY_INDEX).await?;
        layout::check(&mut transaction, &self.url, self.layout).await?;
        Ok(transaction)
    }

    /// Begins a transaction that writes blocks. What it reads of them cannot change before it ends.
    async fn begin_in_turn(&self) -> Result<Transaction<'static, Postgres>, StoreError> {
        let mut transaction = self.begin().await?;
        identity::take_turn(&mut transaction).await?;
        Ok(transaction)
    }
}

/// Commits. Where the connection goes while it does, nobody here can know whether it did.
async fn commit(transaction: Transaction<'_, Postgres>, (before, after): Places) -> Result<(), StoreError> {
    reach(before);
    match transaction.commit().await {
        Ok(()) => {
            reach(after);
            Ok(())
        }
        Err(error @ (sqlx::Error::Io(_) | sqlx::Error::Tls(_) | sqlx::Error::Protocol(_))) => {
            Err(StoreError::CommitUnknown(error))
        }
        Err(sqlx::Error::Database(error)) if error.code().is_some_and(|code| code.starts_with("57P")) => {
            // The server is ending; it may have done what it was asked before it said so.
            Err(StoreError::CommitUnknown(sqlx::Error::Database(error)))
        }
        Err(error) => Err(error.into()),
    }
}

/// Waits for an answer, but not for ever.
async fn answered<T>(call: impl Future<Output = Result<T, StoreError>>) -> Result<T, StoreError> {
    let unanswered = |_| StoreError::Unanswered { limit_s: PATIENCE.as_secs() };
    tokio::time::timeout(PATIENCE, call).await.map_err(unanswered)?
}

#[async_trait]
impl Store for PostgresStore {
    fn identity(&self) -> &Identity {
        &self.identity
    }

    async fn cursor(&self) -> Result<Option<BlockHeader>, StoreError> {
        answered(blocks::cursor(&self.readers)).await
    }

    async fn append_blocks(&self, blocks: &[BlockEvents]) -> Result<(), StoreError> {
        answered(async {
            let mut transaction = self.begin_in_turn().await?;
            blocks::append(&mut transaction, blocks).await?;
            commit(transaction, APPEND).await
        })
        .await
    }

    async fn append_after(&self, base: Option<BlockHeader>, blocks: &[BlockEvents]) -> Result<(), StoreError> {
        answered(async {
            let mut transaction = self.begin_in_turn().await?;
            check_cursor(base, blocks::cursor(&mut *transaction).await?)?;
            blocks::append(&mut transaction, blocks).await?;
            commit(transaction, APPEND).await
        })
        .await
    }

    async fn revert_to(&self, block: BlockNumber) -> Result<(), StoreError> {
        answered(async {
            let mut transaction = self.begin_in_turn().await?;
            blocks::revert_to(&mut transaction, block).await?;
            explanations::revert_to(&mut transaction, block).await?;
            observations::revert_to(&mut transaction, block).await?;
            commit(transaction, REVERT).await
        })
        .await
    }

    async fn block(&self, number: BlockNumber) -> Result<Option<BlockHeader>, StoreError> {
        answered(blocks::block(&self.readers, number)).await
    }

    async fn block_at_or_below(&self, number: BlockNumber) -> Result<Option<BlockHeader>, StoreError> {
        answered(blocks::at_or_below(&self.readers, number)).await
    }

    async fn final_block(&self) -> Result<Option<BlockRef>, StoreError> {
        answered(finality::read(&self.readers)).await
    }

    async fn record_final(&self, block: BlockRef) -> Result<(), StoreError> {
        answered(async {
            let mut transaction = self.begin_in_turn().await?;
            finality::record(&mut transaction, block).await?;
            commit(transaction, FINAL).await
        })
        .await
    }

    async fn forget_final(&self) -> Result<(), StoreError> {
        answered(async {
            let mut transaction = self.begin_in_turn().await?;
            finality::forget(&mut transaction).await?;
            commit(transaction, FORGET_FINAL).await
        })
        .await
    }

    async fn recent_blocks(&self, limit: u32) -> Result<Vec<BlockHeader>, StoreError> {
        answered(blocks::recent(&self.readers, limit)).await
    }

    fn load_events(&self, from: BlockNumber) -> BoxStream<'_, Result<(EventPosition, MarketEvent), StoreError>> {
        blocks::events(&self.readers, from)
    }

    async fn record_intent(&self, intent: &NewIntent) -> Result<IntentId, StoreError> {
        answered(async {
            let mut transaction = self.begin().await?;
            let intent_id = intents::record(&mut transaction, intent).await?;
            commit(transaction, RECORD).await?;
            Ok(intent_id)
        })
        .await
    }

    async fn record_transaction(
        &self,
        intent_id: IntentId,
        nonce: u64,
        signed: &IntentTransaction,
    ) -> Result<(), StoreError> {
        answered(async {
            let mut transaction = self.begin().await?;
            intents::record_transaction(&mut transaction, intent_id, nonce, signed).await?;
            commit(transaction, TRANSACTION).await
        })
        .await
    }

    async fn finalise_intents(&self, account: Address, blocks: &[BlockRef]) -> Result<u64, StoreError> {
        answered(async {
            let mut transaction = self.begin().await?;
            let count = intents::finalise(&mut transaction, account, blocks).await?;
            commit(transaction, FINALISE).await?;
            Ok(count)
        })
        .await
    }

    async fn forget_history(&self, before_ms: u64, below: JobId, most: u32) -> Result<u64, StoreError> {
        answered(async {
            let mut transaction = self.begin().await?;
            let forgotten = history::forget(&mut transaction, before_ms, below, most).await?;
            commit(transaction, HISTORY).await?;
            Ok(forgotten)
        })
        .await
    }

    async fn live_intents(&self, account: Address) -> Result<Vec<Intent>, StoreError> {
        answered(intents::live(&self.readers, account)).await
    }

    async fn intents_since(&self, account: Address, created_ms: u64) -> Result<Vec<Intent>, StoreError> {
        answered(intents::since(&self.readers, account, created_ms)).await
    }

    async fn update_intent(&self, intent_id: IntentId, update: &IntentUpdate) -> Result<(), StoreError> {
        answered(async {
            let mut transaction = self.begin().await?;
            intents::update(&mut transaction, intent_id, update).await?;
            commit(transaction, UPDATE).await
        })
        .await
    }

    async fn open_intents(&self) -> Result<Vec<Intent>, StoreError> {
        answered(intents::open(&self.readers)).await
    }

    async fn last_round(&self, account: Address) -> Result<Option<u64>, StoreError> {
        answered(intents::last_round(&self.readers, account)).await
    }

    async fn intent_by_tx(&self, tx_hash: TxHash) -> Result<Option<Intent>, StoreError> {
        answered(intents::by_tx(&self.readers, tx_hash)).await
    }

    async fn latest_allocation(&self, job_id: JobId, attempt: Attempt) -> Result<Option<Intent>, StoreError> {
        answered(intents::latest_allocation(&self.readers, job_id, attempt)).await
    }

    async fn save_explanations(&self, explanations: &[ExplanationRecord]) -> Result<(), StoreError> {
        answered(async {
            let mut transaction = self.begin().await?;
            explanations::save(&mut transaction, explanations).await?;
            commit(transaction, EXPLAIN).await
        })
        .await
    }

    async fn explanation(&self, job_id: JobId) -> Result<Option<ExplanationRecord>, StoreError> {
        answered(explanations::latest(&self.readers, job_id)).await
    }

    async fn observe(&self, observations: &[Observation]) -> Result<(), StoreError> {
        answered(async {
            let mut transaction = self.begin().await?;
            observations::record(&mut transaction, observations).await?;
            commit(transaction, OBSERVE).await
        })
        .await
    }

    async fn timings(&self, job_id: JobId) -> Result<Vec<JobTimings>, StoreError> {
        answered(observations::of_job(&self.readers, job_id)).await
    }

    async fn all_timings(&self) -> Result<Vec<JobTimings>, StoreError> {
        answered(observations::all(&self.readers)).await
    }
}

#[cfg(test)]
mod tests;
