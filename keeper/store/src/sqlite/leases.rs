//! Leases by this machine's clock: one keeper has the database, and so all that asks is in its process.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use async_trait::async_trait;
use sqlx::{SqliteConnection, SqliteExecutor};

use super::{
    SqliteStore,
    columns::{integer, millis, number},
    commit, intents,
};
use crate::{
    Fence, IntentId, IntentTransaction, IntentUpdate, Lease, Leases, NewIntent, StoreError,
    lease::LANE,
    places::{ACQUIRE, RECORD_UNDER, RELEASE, RENEW, TRANSACTION, UPDATE},
    queue::check_name,
};

type Row = (String, String, i64, i64);

/// Milliseconds since the epoch; 0 where the clock stands before it.
pub(super) fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX / 2)
}

#[async_trait]
impl Leases for SqliteStore {
    async fn acquire(&self, name: &str, holder: &str, ttl: Duration) -> Result<Option<Lease>, StoreError> {
        check_name("the lease's name", name)?;
        check_name("the holder's name", holder)?;
        let ttl = millis("the lease's time", ttl)?;
        let mut transaction = self.begin().await?;
        let now = now_ms();
        let granted: Option<Row> = sqlx::query_as(
            "INSERT INTO leases AS held (name, holder, term, expires_ms) VALUES (?1, ?2, 1, ?3) \
             ON CONFLICT (name) DO UPDATE SET holder = excluded.holder, term = held.term + 1, expires_ms = ?3 \
             WHERE held.holder = excluded.holder OR held.expires_ms <= ?4 \
             RETURNING name, holder, term, expires_ms",
        )
        .bind(name)
        .bind(holder)
        .bind(now + ttl)
        .bind(now)
        .fetch_optional(&mut *transaction)
        .await?;
        commit(transaction, ACQUIRE).await?;
        granted.map(lease).transpose()
    }

    async fn renew(&self, fence: &Fence, ttl: Duration) -> Result<Lease, StoreError> {
        let ttl = millis("the lease's time", ttl)?;
        let mut transaction = self.begin().await?;
        let now = now_ms();
        let renewed: Option<Row> = sqlx::query_as(
            "UPDATE leases SET expires_ms = ?1 WHERE name = ?2 AND term = ?3 AND expires_ms > ?4 \
             RETURNING name, holder, term, expires_ms",
        )
        .bind(now + ttl)
        .bind(&fence.name)
        .bind(integer("term", fence.term)?)
        .bind(now)
        .fetch_optional(&mut *transaction)
        .await?;
        commit(transaction, RENEW).await?;
        renewed.map(lease).transpose()?.ok_or_else(|| fence.refusal())
    }

    async fn release(&self, fence: &Fence) -> Result<(), StoreError> {
        let mut transaction = self.begin().await?;
        let ended = sqlx::query("UPDATE leases SET expires_ms = ?1 WHERE name = ?2 AND term = ?3 AND expires_ms > ?1")
            .bind(now_ms())
            .bind(&fence.name)
            .bind(integer("term", fence.term)?)
            .execute(&mut *transaction)
            .await?;
        commit(transaction, RELEASE).await?;
        if ended.rows_affected() == 0 { Err(fence.refusal()) } else { Ok(()) }
    }

    async fn current(&self, name: &str) -> Result<Option<Lease>, StoreError> {
        current(&self.readers, name).await
    }

    async fn standing(&self) -> Result<Vec<Lease>, StoreError> {
        let rows: Vec<Row> =
            sqlx::query_as("SELECT name, holder, term, expires_ms FROM leases WHERE expires_ms > ? ORDER BY name")
                .bind(now_ms())
                .fetch_all(&self.readers)
                .await?;
        rows.into_iter().map(lease).collect()
    }

    async fn record_intent_under(&self, fences: &[Fence], intent: &NewIntent) -> Result<IntentId, StoreError> {
        let mut transaction = self.begin().await?;
        for fence in fences {
            check(&mut transaction, fence).await?;
        }
        free_keys(&mut transaction, intent).await?;
        let intent_id = intents::record(&mut transaction, intent).await?;
        commit(transaction, RECORD_UNDER).await?;
        Ok(intent_id)
    }

    async fn record_transaction_under(
        &self,
        fence: &Fence,
        intent_id: IntentId,
        nonce: u64,
        signed: &IntentTransaction,
    ) -> Result<(), StoreError> {
        let mut transaction = self.begin().await?;
        check(&mut transaction, fence).await?;
        intents::record_transaction(&mut transaction, intent_id, nonce, signed).await?;
        commit(transaction, TRANSACTION).await
    }

    async fn update_intent_under(
        &self,
        fence: &Fence,
        intent_id: IntentId,
        update: &IntentUpdate,
    ) -> Result<(), StoreError> {
        let mut transaction = self.begin().await?;
        check(&mut transaction, fence).await?;
        intents::update(&mut transaction, intent_id, update).await?;
        commit(transaction, UPDATE).await
    }
}

/// Takes what an intent is to do from those of other accounts whose leases nobody has.
async fn free_keys(connection: &mut SqliteConnection, intent: &NewIntent) -> Result<(), StoreError> {
    for key in intent.action.keys(intent.account) {
        sqlx::query(
            "DELETE FROM intent_keys WHERE action_key = ?1 AND intent_id IN (SELECT intent_id FROM intents AS held \
             WHERE held.account <> ?2 AND NOT EXISTS \
             (SELECT 1 FROM leases WHERE name = ?3 || held.account AND expires_ms > ?4))",
        )
        .bind(key)
        .bind(intent.account.to_string())
        .bind(LANE)
        .bind(now_ms())
        .execute(&mut *connection)
        .await?;
    }
    Ok(())
}

async fn current(executor: impl SqliteExecutor<'_>, name: &str) -> Result<Option<Lease>, StoreError> {
    let row: Option<Row> =
        sqlx::query_as("SELECT name, holder, term, expires_ms FROM leases WHERE name = ? AND expires_ms > ?")
            .bind(name)
            .bind(now_ms())
            .fetch_optional(executor)
            .await?;
    row.map(lease).transpose()
}

/// Checks that a grant stands. The transaction has the write lock, so that none can be made until it has ended.
async fn check(connection: &mut SqliteConnection, fence: &Fence) -> Result<(), StoreError> {
    let found = current(connection, &fence.name).await?;
    if found.is_some_and(|lease| lease.term == fence.term) { Ok(()) } else { Err(fence.refusal()) }
}

fn lease((name, holder, term, expires_ms): Row) -> Result<Lease, StoreError> {
    Ok(Lease { name, holder, term: number("term", term)?, expires_ms: number("time", expires_ms)? })
}
