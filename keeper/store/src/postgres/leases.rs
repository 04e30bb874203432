//! Leases by the server's clock. Whoever grants, renews or ends one changes its row; whoever writes under one locks
//! the row, shared with others that do, until the write is committed.

use std::time::Duration;

use async_trait::async_trait;
use sqlx::{PgConnection, PgExecutor};

use super::{
    PostgresStore, answered,
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

#[async_trait]
impl Leases for PostgresStore {
    async fn acquire(&self, name: &str, holder: &str, ttl: Duration) -> Result<Option<Lease>, StoreError> {
        check_name("the lease's name", name)?;
        check_name("the holder's name", holder)?;
        let ttl = millis("the lease's time", ttl)?;
        answered(async {
            let mut transaction = self.begin().await?;
            let granted = acquire(&mut transaction, name, holder, ttl).await?;
            commit(transaction, ACQUIRE).await?;
            granted.map(lease).transpose()
        })
        .await
    }

    async fn renew(&self, fence: &Fence, ttl: Duration) -> Result<Lease, StoreError> {
        let (term, ttl) = (integer("term", fence.term)?, millis("the lease's time", ttl)?);
        answered(async {
            let mut transaction = self.begin().await?;
            let renewed: Option<Row> = sqlx::query_as(
                "UPDATE leases SET expires_ms = clock_ms() + $3 \
                 WHERE name = $1 AND term = $2 AND expires_ms > clock_ms() RETURNING name, holder, term, expires_ms",
            )
            .bind(&fence.name)
            .bind(term)
            .bind(ttl)
            .fetch_optional(&mut *transaction)
            .await?;
            commit(transaction, RENEW).await?;
            renewed.map(lease).transpose()?.ok_or_else(|| fence.refusal())
        })
        .await
    }

    async fn release(&self, fence: &Fence) -> Result<(), StoreError> {
        let term = integer("term", fence.term)?;
        answered(async {
            let mut transaction = self.begin().await?;
            let ended = sqlx::query(
                "UPDATE leases SET expires_ms = clock_ms() \
                 WHERE name = $1 AND term = $2 AND expires_ms > clock_ms()",
            )
            .bind(&fence.name)
            .bind(term)
            .execute(&mut *transaction)
            .await?;
            commit(transaction, RELEASE).await?;
            if ended.rows_affected() == 0 { Err(fence.refusal()) } else { Ok(()) }
        })
        .await
    }

    async fn current(&self, name: &str) -> Result<Option<Lease>, StoreError> {
        answered(current(&self.readers, name)).await
    }

    async fn standing(&self) -> Result<Vec<Lease>, StoreError> {
        answered(async {
            let rows: Vec<Row> = sqlx::query_as(
                "SELECT name, holder, term, expires_ms FROM leases WHERE expires_ms > clock_ms() ORDER BY name",
            )
            .fetch_all(&self.readers)
            .await?;
            rows.into_iter().map(lease).collect()
        })
        .await
    }

    async fn record_intent_under(&self, fences: &[Fence], intent: &NewIntent) -> Result<IntentId, StoreError> {
        answered(async {
            let mut transaction = self.begin().await?;
            for fence in fences {
                check(&mut transaction, fence).await?;
            }
            intents::take_turn(&mut transaction).await?;
            free_keys(&mut transaction, intent).await?;
            let intent_id = intents::record(&mut transaction, intent).await?;
            commit(transaction, RECORD_UNDER).await?;
            Ok(intent_id)
        })
        .await
    }

    async fn record_transaction_under(
        &self,
        fence: &Fence,
        intent_id: IntentId,
        nonce: u64,
        signed: &IntentTransaction,
    ) -> Result<(), StoreError> {
        answered(async {
            let mut transaction = self.begin().await?;
            check(&mut transaction, fence).await?;
            intents::record_transaction(&mut transaction, intent_id, nonce, signed).await?;
            commit(transaction, TRANSACTION).await
        })
        .await
    }

    async fn update_intent_under(
        &self,
        fence: &Fence,
        intent_id: IntentId,
        update: &IntentUpdate,
    ) -> Result<(), StoreError> {
        answered(async {
            let mut transaction = self.begin().await?;
            check(&mut transaction, fence).await?;
            intents::update(&mut transaction, intent_id, update).await?;
            commit(transaction, UPDATE).await
        })
        .await
    }
}

/// Takes what an intent is to do from those of other accounts whose leases nobody has.
async fn free_keys(connection: &mut PgConnection, intent: &NewIntent) -> Result<(), StoreError> {
    for key in intent.action.keys(intent.account) {
        sqlx::query(
            "DELETE FROM intent_keys USING intents AS held \
             WHERE action_key = $1 AND held.intent_id = intent_keys.intent_id AND held.account <> $2 \
             AND NOT EXISTS (SELECT 1 FROM leases WHERE name = $3 || held.account AND expires_ms > clock_ms())",
        )
        .bind(key)
        .bind(intent.account.to_string())
        .bind(LANE)
        .execute(&mut *connection)
        .await?;
    }
    Ok(())
}

async fn acquire(connection: &mut PgConnection, name: &str, holder: &str, ttl: i64) -> Result<Option<Row>, StoreError> {
    // On a conflict the row is locked before it is looked at, and the clock is read after that.
    let granted = sqlx::query_as(
        "INSERT INTO leases AS held (name, holder, term, expires_ms) VALUES ($1, $2, 1, clock_ms() + $3) \
         ON CONFLICT (name) DO UPDATE \
         SET holder = excluded.holder, term = held.term + 1, expires_ms = clock_ms() + $3 \
         WHERE held.holder = excluded.holder OR held.expires_ms <= clock_ms() \
         RETURNING name, holder, term, expires_ms",
    )
    .bind(name)
    .bind(holder)
    .bind(ttl)
    .fetch_optional(connection)
    .await?;
    Ok(granted)
}

async fn current(executor: impl PgExecutor<'_>, name: &str) -> Result<Option<Lease>, StoreError> {
    let row: Option<Row> =
        sqlx::query_as("SELECT name, holder, term, expires_ms FROM leases WHERE name = $1 AND expires_ms > clock_ms()")
            .bind(name)
            .fetch_optional(executor)
            .await?;
    row.map(lease).transpose()
}

/// Checks that a grant stands, and lets none be made until the transaction has ended.
pub(super) async fn check(connection: &mut PgConnection, fence: &Fence) -> Result<(), StoreError> {
    let stands: Option<bool> =
        sqlx::query_scalar("SELECT expires_ms > clock_ms() FROM leases WHERE name = $1 AND term = $2 FOR SHARE")
            .bind(&fence.name)
            .bind(integer("term", fence.term)?)
            .fetch_optional(connection)
            .await?;
    if stands == Some(true) { Ok(()) } else { Err(fence.refusal()) }
}

fn lease((name, holder, term, expires_ms): Row) -> Result<Lease, StoreError> {
    Ok(Lease { name, holder, term: number("term", term)?, expires_ms: number("time", expires_ms)? })
}
