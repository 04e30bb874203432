//! Work queues, by this machine's clock. Calls that write share transactions ([`Group`]), and rows statements.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use async_trait::async_trait;
use sqlx::{AssertSqlSafe, SqliteConnection};

use super::{
    SqliteStore,
    columns::{integer, millis, number},
    group::Call,
    leases::now_ms,
};
use crate::{
    Claim, ClaimTerms, ClaimToken, DeadLetter, Failed, ItemId, NewItem, QueueStats, RetryPolicy, StoreError, WorkQueue,
    queue::{ClaimRow, DeadRow, NEVER_FINISHED, StatsRow, check_items, check_name},
};

/// Most rows of one INSERT; fewer are inserted by powers of two, so that there are few statements to prepare.
const ROWS: usize = 256;

/// A call that writes.
#[derive(Debug)]
pub(super) enum Write {
    Enqueue { queue: String, items: Vec<NewItem> },
    Claim { queue: String, terms: ClaimTerms, visibility: i64 },
    Acknowledge { claims: Vec<ClaimToken> },
    Extend { claims: Vec<ClaimToken>, visibility: i64 },
    Fail { claim: ClaimToken, error: String, delay: Option<i64> },
    Requeue { queue: String, dead: Vec<ItemId> },
}

/// What it answers.
#[derive(Debug)]
pub(super) enum Written {
    Count(u64),
    Claims(Vec<Claim>),
    Refused(Vec<ItemId>),
    Failed(Option<Failed>),
}

#[async_trait]
impl Call for Write {
    type Answer = Written;

    async fn execute(&self, connection: &mut SqliteConnection) -> Result<Written, StoreError> {
        match self {
            Self::Enqueue { queue, items } => enqueue(connection, queue, items).await.map(Written::Count),
            Self::Claim { queue, terms, visibility } => {
                claim(connection, queue, terms, *visibility).await.map(Written::Claims)
            }
            Self::Acknowledge { claims } => acknowledge(connection, claims).await.map(Written::Refused),
            Self::Extend { claims, visibility } => extend(connection, claims, *visibility).await.map(Written::Refused),
            Self::Fail { claim, error, delay } => {
                let failed = match delay {
                    Some(delay) => retry_later(connection, *claim, *delay).await?,
                    None => bury(connection, *claim, error).await?,
                };
                Ok(Written::Failed(failed))
            }
            Self::Requeue { queue, dead } => requeue(connection, queue, dead).await.map(Written::Count),
        }
    }
}

impl SqliteStore {
    async fn write(&self, call: Write) -> Result<Written, StoreError> {
        let writer = self.writer.as_ref().ok_or(StoreError::ReadOnly)?;
        self.queue_writes.commit(&writer.pool, call).await
    }
}

#[async_trait]
impl WorkQueue for SqliteStore {
    async fn enqueue(&self, queue: &str, items: Vec<NewItem>) -> Result<u64, StoreError> {
        check_items(queue, &items)?;
        let written = self.write(Write::Enqueue { queue: queue.to_owned(), items }).await?;
        Ok(written.count())
    }

    async fn claim(&self, queue: &str, terms: &ClaimTerms) -> Result<Vec<Claim>, StoreError> {
        check_name("the queue's name", queue)?;
        check_name("the claimer's name", &terms.claimer)?;
        let visibility = millis("the claim's time", terms.visibility)?;
        let call = Write::Claim { queue: queue.to_owned(), terms: terms.clone(), visibility };
        match self.write(call).await? {
            Written::Claims(claims) => Ok(claims),
            _ => Ok(Vec::new()),
        }
    }

    async fn acknowledge(&self, claims: Vec<ClaimToken>) -> Result<Vec<ItemId>, StoreError> {
        Ok(self.write(Write::Acknowledge { claims }).await?.refused())
    }

    async fn extend(&self, claims: Vec<ClaimToken>, visibility: Duration) -> Result<Vec<ItemId>, StoreError> {
        let visibility = millis("the claim's time", visibility)?;
        Ok(self.write(Write::Extend { claims, visibility }).await?.refused())
    }

    async fn fail(&self, claim: ClaimToken, error: &str, retry: &RetryPolicy) -> Result<Failed, StoreError> {
        let delay = retry.delay(claim.attempt).map(|delay| millis("the wait", delay)).transpose()?;
        match self.write(Write::Fail { claim, error: error.to_owned(), delay }).await? {
            Written::Failed(Some(failed)) => Ok(failed),
            _ => Err(StoreError::ClaimLost { item_id: claim.item_id }),
        }
    }

    async fn dead_letters(&self, queue: &str, limit: u32) -> Result<Vec<DeadLetter>, StoreError> {
        let rows: Vec<DeadRow> = sqlx::query_as(
            "SELECT item_id, key, payload, attempt, error, enqueued_ms, died_ms FROM dead_letters \
             WHERE queue = ? ORDER BY item_id LIMIT ?",
        )
        .bind(queue)
        .bind(i64::from(limit))
        .fetch_all(&self.readers)
        .await?;
        rows.into_iter().map(DeadLetter::try_from).collect()
    }

    async fn requeue(&self, queue: &str, dead: Vec<ItemId>) -> Result<u64, StoreError> {
        Ok(self.write(Write::Requeue { queue: queue.to_owned(), dead }).await?.count())
    }

    async fn stats(&self, queue: &str) -> Result<QueueStats, StoreError> {
        let row: StatsRow = sqlx::query_as(
            "SELECT count(*) FILTER (WHERE visible_ms <= ?2), \
                 count(*) FILTER (WHERE visible_ms > ?2 AND claimed_by IS NULL), \
                 count(*) FILTER (WHERE visible_ms > ?2 AND claimed_by IS NOT NULL), \
                 (SELECT count(*) FROM dead_letters WHERE queue = ?1), \
                 max(?2 - visible_ms) FILTER (WHERE visible_ms <= ?2) \
             FROM queue_items WHERE queue = ?1",
        )
        .bind(queue)
        .bind(now_ms())
        .fetch_one(&self.readers)
        .await?;
        row.try_into()
    }
}

impl Written {
    fn count(self) -> u64 {
        if let Self::Count(count) = self { count } else { 0 }
    }

    fn refused(self) -> Vec<ItemId> {
        if let Self::Refused(items) = self { items } else { Vec::new() }
    }
}

async fn enqueue(connection: &mut SqliteConnection, queue: &str, items: &[NewItem]) -> Result<u64, StoreError> {
    let (now, mut added, mut rest) = (now_ms(), 0, items);
    while !rest.is_empty() {
        let rows = if rest.len() >= ROWS { ROWS } else { 1 << rest.len().ilog2() };
        let (chunk, others) = rest.split_at(rows);
        let mut statement = sqlx::query(AssertSqlSafe(insert(rows))).bind(queue).bind(now);
        for item in chunk {
            statement = statement.bind(&item.key).bind(&item.payload);
        }
        added += statement.execute(&mut *connection).await?.rows_affected();
        rest = others;
    }
    Ok(added)
}

/// Inserts so many rows, but for those whose keys are there or among the dead letters.
fn insert(rows: usize) -> String {
    let values: Vec<String> = (0..rows).map(|row| format!("(?{}, ?{})", 2 * row + 3, 2 * row + 4)).collect();
    format!(
        "INSERT INTO queue_items (queue, key, payload, attempt, visible_ms, enqueued_ms) \
         SELECT ?1, item.column1, item.column2, 0, ?2, ?2 FROM (VALUES {}) AS item \
         WHERE NOT EXISTS (SELECT 1 FROM dead_letters WHERE queue = ?1 AND key = item.column1) \
         ON CONFLICT (queue, key) DO NOTHING",
        values.join(", ")
    )
}

async fn claim(
    connection: &mut SqliteConnection,
    queue: &str,
    terms: &ClaimTerms,
    visibility: i64,
) -> Result<Vec<Claim>, StoreError> {
    loop {
        let now = now_ms();
        let rows: Vec<ClaimRow> = sqlx::query_as(
            "UPDATE queue_items SET attempt = attempt + 1, visible_ms = ?2 + ?3, claimed_by = ?4 \
             WHERE item_id IN (SELECT item_id FROM queue_items WHERE queue = ?1 AND visible_ms <= ?2 \
                 ORDER BY visible_ms, item_id LIMIT ?5) \
             RETURNING item_id, key, payload, attempt, enqueued_ms",
        )
        .bind(queue)
        .bind(now)
        .bind(visibility)
        .bind(&terms.claimer)
        .bind(i64::from(terms.limit))
        .fetch_all(&mut *connection)
        .await?;
        let claims = rows.into_iter().map(Claim::try_from).collect::<Result<Vec<_>, _>>()?;
        let (mut claims, spent): (Vec<_>, Vec<_>) =
            claims.into_iter().partition(|claim| claim.attempt <= terms.max_attempts.max(1));
        for claim in &spent {
            // This claim of it does not count.
            bury_as(connection, claim.token(), claim.attempt - 1, NEVER_FINISHED).await?;
        }
        if !claims.is_empty() || spent.is_empty() {
            claims.sort_unstable_by_key(|claim| claim.item_id);
            return Ok(claims);
        }
    }
}

async fn acknowledge(connection: &mut SqliteConnection, claims: &[ClaimToken]) -> Result<Vec<ItemId>, StoreError> {
    let mut done = BTreeSet::new();
    for (attempt, items) in by_attempt(claims) {
        let reached: Vec<i64> = sqlx::query_scalar(
            "DELETE FROM queue_items WHERE item_id IN (SELECT value FROM json_each(?1)) \
             AND attempt = ?2 AND claimed_by IS NOT NULL RETURNING item_id",
        )
        .bind(items)
        .bind(i64::from(attempt))
        .fetch_all(&mut *connection)
        .await?;
        done.extend(reached);
    }
    Ok(without(claims, &done))
}

async fn extend(
    connection: &mut SqliteConnection,
    claims: &[ClaimToken],
    visibility: i64,
) -> Result<Vec<ItemId>, StoreError> {
    let (now, mut kept) = (now_ms(), BTreeSet::new());
    for (attempt, items) in by_attempt(claims) {
        let reached: Vec<i64> = sqlx::query_scalar(
            "UPDATE queue_items SET visible_ms = ?1 WHERE item_id IN (SELECT value FROM json_each(?2)) \
             AND attempt = ?3 AND claimed_by IS NOT NULL RETURNING item_id",
        )
        .bind(now + visibility)
        .bind(items)
        .bind(i64::from(attempt))
        .fetch_all(&mut *connection)
        .await?;
        kept.extend(reached);
    }
    Ok(without(claims, &kept))
}

/// The claimed items by their attempt, mostly one for all, as JSON.
fn by_attempt(claims: &[ClaimToken]) -> Vec<(u32, String)> {
    let mut attempts: BTreeMap<u32, Vec<String>> = BTreeMap::new();
    for claim in claims {
        attempts.entry(claim.attempt).or_default().push(claim.item_id.to_string());
    }
    attempts.into_iter().map(|(attempt, items)| (attempt, format!("[{}]", items.join(",")))).collect()
}

/// The items of these claims that were not reached.
fn without(claims: &[ClaimToken], reached: &BTreeSet<i64>) -> Vec<ItemId> {
    let is_reached = |item: ItemId| i64::try_from(item.0).is_ok_and(|item| reached.contains(&item));
    claims.iter().map(|claim| claim.item_id).filter(|item| !is_reached(*item)).collect()
}

async fn retry_later(
    connection: &mut SqliteConnection,
    claim: ClaimToken,
    delay: i64,
) -> Result<Option<Failed>, StoreError> {
    let visible: Option<i64> = sqlx::query_scalar(
        "UPDATE queue_items SET visible_ms = ?, claimed_by = NULL \
         WHERE item_id = ? AND attempt = ? AND claimed_by IS NOT NULL RETURNING visible_ms",
    )
    .bind(now_ms() + delay)
    .bind(integer("item id", claim.item_id.0)?)
    .bind(i64::from(claim.attempt))
    .fetch_optional(connection)
    .await?;
    visible.map(|ms| Ok(Failed::Retry { visible_ms: number("time", ms)? })).transpose()
}

async fn bury(connection: &mut SqliteConnection, claim: ClaimToken, error: &str) -> Result<Option<Failed>, StoreError> {
    let is_done = bury_as(connection, claim, claim.attempt, error).await?;
    Ok(is_done.then_some(Failed::Dead))
}

/// Turns an item into a dead letter with this many attempts; false where the claim does not stand.
async fn bury_as(
    connection: &mut SqliteConnection,
    claim: ClaimToken,
    attempts: u32,
    error: &str,
) -> Result<bool, StoreError> {
    let item_id = integer("item id", claim.item_id.0)?;
    let buried = sqlx::query(
        "INSERT INTO dead_letters (item_id, queue, key, payload, attempt, error, enqueued_ms, died_ms) \
         SELECT item_id, queue, key, payload, ?3, ?4, enqueued_ms, ?5 FROM queue_items \
         WHERE item_id = ?1 AND attempt = ?2 AND claimed_by IS NOT NULL",
    )
    .bind(item_id)
    .bind(i64::from(claim.attempt))
    .bind(i64::from(attempts))
    .bind(error)
    .bind(now_ms())
    .execute(&mut *connection)
    .await?;
    if buried.rows_affected() == 0 {
        return Ok(false);
    }
    sqlx::query("DELETE FROM queue_items WHERE item_id = ?").bind(item_id).execute(connection).await?;
    Ok(true)
}

async fn requeue(connection: &mut SqliteConnection, queue: &str, dead: &[ItemId]) -> Result<u64, StoreError> {
    let items: Vec<String> = dead.iter().map(ToString::to_string).collect();
    let items = format!("[{}]", items.join(","));
    let raised = sqlx::query(
        "INSERT INTO queue_items (queue, key, payload, attempt, visible_ms, enqueued_ms) \
         SELECT queue, key, payload, 0, ?3, enqueued_ms FROM dead_letters \
         WHERE queue = ?1 AND item_id IN (SELECT value FROM json_each(?2)) ORDER BY item_id",
    )
    .bind(queue)
    .bind(&items)
    .bind(now_ms())
    .execute(&mut *connection)
    .await?;
    sqlx::query("DELETE FROM dead_letters WHERE queue = ? AND item_id IN (SELECT value FROM json_each(?))")
        .bind(queue)
        .bind(&items)
        .execute(connection)
        .await?;
    Ok(raised.rows_affected())
}
