//! Work queues. Claimers skip what others have locked, so that none waits for another.

use std::{collections::BTreeSet, time::Duration};

use async_trait::async_trait;
use sqlx::PgConnection;

use super::{
    PostgresStore, answered,
    columns::{integer, millis, number},
    commit,
};
use crate::{
    Claim, ClaimTerms, ClaimToken, DeadLetter, Failed, ItemId, NewItem, QueueStats, RetryPolicy, StoreError, WorkQueue,
    places::{ACKNOWLEDGE, CLAIM, ENQUEUE, EXTEND, FAIL, REQUEUE},
    queue::{ClaimRow, DeadRow, NEVER_FINISHED, StatsRow, check_items, check_name},
};

/// The clock is read once, by a query of its own, or the index would not be used.
pub(super) const CLAIM_NEXT: &str = "WITH next AS MATERIALIZED ( \
         SELECT item_id FROM queue_items WHERE queue = $1 AND visible_ms <= (SELECT clock_ms()) \
         ORDER BY visible_ms, item_id LIMIT $2 FOR UPDATE SKIP LOCKED) \
     UPDATE queue_items AS item \
     SET attempt = item.attempt + 1, visible_ms = (SELECT clock_ms()) + $3, claimed_by = $4 \
     FROM next WHERE item.item_id = next.item_id \
     RETURNING item.item_id, item.key, item.payload, item.attempt, item.enqueued_ms";
pub(super) const END_CLAIMS: &str = "DELETE FROM queue_items AS item \
     USING unnest($1::bigint[], $2::bigint[]) AS claim (item_id, attempt) \
     WHERE item.item_id = claim.item_id AND item.attempt = claim.attempt AND claimed_by IS NOT NULL \
     RETURNING item.item_id";

#[async_trait]
impl WorkQueue for PostgresStore {
    async fn enqueue(&self, queue: &str, items: Vec<NewItem>) -> Result<u64, StoreError> {
        check_items(queue, &items)?;
        answered(async {
            let mut transaction = self.begin_by_index().await?;
            let added = enqueue(&mut transaction, queue, items).await?;
            commit(transaction, ENQUEUE).await?;
            Ok(added)
        })
        .await
    }

    async fn claim(&self, queue: &str, terms: &ClaimTerms) -> Result<Vec<Claim>, StoreError> {
        check_name("the queue's name", queue)?;
        check_name("the claimer's name", &terms.claimer)?;
        let visibility = millis("the claim's time", terms.visibility)?;
        answered(async {
            let mut transaction = self.begin_by_index().await?;
            let claims = claim(&mut transaction, queue, terms, visibility).await?;
            commit(transaction, CLAIM).await?;
            Ok(claims)
        })
        .await
    }

    async fn acknowledge(&self, claims: Vec<ClaimToken>) -> Result<Vec<ItemId>, StoreError> {
        let (items, attempts) = columns_of(&claims)?;
        answered(async {
            let mut transaction = self.begin_by_index().await?;
            let done: Vec<i64> =
                sqlx::query_scalar(END_CLAIMS).bind(items).bind(attempts).fetch_all(&mut *transaction).await?;
            commit(transaction, ACKNOWLEDGE).await?;
            without(&claims, done)
        })
        .await
    }

    async fn extend(&self, claims: Vec<ClaimToken>, visibility: Duration) -> Result<Vec<ItemId>, StoreError> {
        let (items, attempts) = columns_of(&claims)?;
        let visibility = millis("the claim's time", visibility)?;
        answered(async {
            let mut transaction = self.begin_by_index().await?;
            let kept: Vec<i64> = sqlx::query_scalar(
                "UPDATE queue_items AS item SET visible_ms = clock_ms() + $3 \
                 FROM unnest($1::bigint[], $2::bigint[]) AS claim (item_id, attempt) \
                 WHERE item.item_id = claim.item_id AND item.attempt = claim.attempt AND claimed_by IS NOT NULL \
                 RETURNING item.item_id",
            )
            .bind(items)
            .bind(attempts)
            .bind(visibility)
            .fetch_all(&mut *transaction)
            .await?;
            commit(transaction, EXTEND).await?;
            without(&claims, kept)
        })
        .await
    }

    async fn fail(&self, claim: ClaimToken, error: &str, retry: &RetryPolicy) -> Result<Failed, StoreError> {
        let delay = retry.delay(claim.attempt).map(|delay| millis("the wait", delay)).transpose()?;
        answered(async {
            let mut transaction = self.begin_by_index().await?;
            let failed = match delay {
                Some(delay) => retry_later(&mut transaction, claim, delay).await?,
                None => bury(&mut transaction, claim, error).await?,
            };
            commit(transaction, FAIL).await?;
            failed.ok_or(StoreError::ClaimLost { item_id: claim.item_id })
        })
        .await
    }

    async fn dead_letters(&self, queue: &str, limit: u32) -> Result<Vec<DeadLetter>, StoreError> {
        answered(async {
            let rows: Vec<DeadRow> = sqlx::query_as(
                "SELECT item_id, key, payload, attempt, error, enqueued_ms, died_ms FROM dead_letters \
                 WHERE queue = $1 ORDER BY item_id LIMIT $2",
            )
            .bind(queue)
            .bind(i64::from(limit))
            .fetch_all(&self.readers)
            .await?;
            rows.into_iter().map(DeadLetter::try_from).collect()
        })
        .await
    }

    async fn requeue(&self, queue: &str, dead: Vec<ItemId>) -> Result<u64, StoreError> {
        let dead = dead.into_iter().map(|item| integer("item id", item.0)).collect::<Result<Vec<_>, _>>()?;
        answered(async {
            let mut transaction = self.begin_by_index().await?;
            let done = sqlx::query(
                "WITH raised AS (DELETE FROM dead_letters WHERE queue = $1 AND item_id = ANY ($2) RETURNING *) \
                 INSERT INTO queue_items (queue, key, payload, attempt, visible_ms, enqueued_ms) \
                 SELECT queue, key, payload, 0, clock_ms(), enqueued_ms FROM raised ORDER BY item_id",
            )
            .bind(queue)
            .bind(dead)
            .execute(&mut *transaction)
            .await?;
            commit(transaction, REQUEUE).await?;
            Ok(done.rows_affected())
        })
        .await
    }

    async fn stats(&self, queue: &str) -> Result<QueueStats, StoreError> {
        answered(async {
            let row: StatsRow = sqlx::query_as(
                "SELECT count(*) FILTER (WHERE visible_ms <= now_ms), \
                     count(*) FILTER (WHERE visible_ms > now_ms AND claimed_by IS NULL), \
                     count(*) FILTER (WHERE visible_ms > now_ms AND claimed_by IS NOT NULL), \
                     (SELECT count(*) FROM dead_letters WHERE queue = $1), \
                     max(now_ms - visible_ms) FILTER (WHERE visible_ms <= now_ms) \
                 FROM queue_items, (SELECT clock_ms() AS now_ms OFFSET 0) AS clock WHERE queue = $1",
            )
            .bind(queue)
            .fetch_one(&self.readers)
            .await?;
            row.try_into()
        })
        .await
    }
}

async fn enqueue(connection: &mut PgConnection, queue: &str, items: Vec<NewItem>) -> Result<u64, StoreError> {
    let (keys, payloads): (Vec<_>, Vec<_>) = items.into_iter().map(|item| (item.key, item.payload)).unzip();
    let added = sqlx::query(
        "INSERT INTO queue_items (queue, key, payload, attempt, visible_ms, enqueued_ms) \
         SELECT $1, key, payload, 0, now_ms, now_ms \
         FROM unnest($2::text[], $3::bytea[]) AS item (key, payload), (SELECT clock_ms() AS now_ms OFFSET 0) AS clock \
         WHERE NOT EXISTS (SELECT 1 FROM dead_letters WHERE dead_letters.queue = $1 AND dead_letters.key = item.key) \
         ON CONFLICT (queue, key) DO NOTHING",
    )
    .bind(queue)
    .bind(keys)
    .bind(payloads)
    .execute(connection)
    .await?;
    Ok(added.rows_affected())
}

async fn claim(
    connection: &mut PgConnection,
    queue: &str,
    terms: &ClaimTerms,
    visibility: i64,
) -> Result<Vec<Claim>, StoreError> {
    loop {
        let rows: Vec<ClaimRow> = sqlx::query_as(CLAIM_NEXT)
            .bind(queue)
            .bind(i64::from(terms.limit))
            .bind(visibility)
            .bind(&terms.claimer)
            .fetch_all(&mut *connection)
            .await?;
        let claims = rows.into_iter().map(Claim::try_from).collect::<Result<Vec<_>, _>>()?;
        let (mut claims, spent): (Vec<_>, Vec<_>) =
            claims.into_iter().partition(|claim| claim.attempt <= terms.max_attempts.max(1));
        if !spent.is_empty() {
            bury_spent(connection, &spent).await?;
        }
        if !claims.is_empty() || spent.is_empty() {
            claims.sort_unstable_by_key(|claim| claim.item_id);
            return Ok(claims);
        }
    }
}

/// Turns items into dead letters whose last claim has run out. This claim of them does not count.
async fn bury_spent(connection: &mut PgConnection, spent: &[Claim]) -> Result<(), StoreError> {
    let items = spent.iter().map(|claim| integer("item id", claim.item_id.0)).collect::<Result<Vec<_>, _>>()?;
    sqlx::query(
        "WITH spent AS (DELETE FROM queue_items WHERE item_id = ANY ($1) RETURNING *) \
         INSERT INTO dead_letters (item_id, queue, key, payload, attempt, error, enqueued_ms, died_ms) \
         SELECT item_id, queue, key, payload, attempt - 1, $2, enqueued_ms, clock_ms() FROM spent",
    )
    .bind(items)
    .bind(NEVER_FINISHED)
    .execute(connection)
    .await?;
    Ok(())
}

async fn retry_later(
    connection: &mut PgConnection,
    claim: ClaimToken,
    delay: i64,
) -> Result<Option<Failed>, StoreError> {
    let visible: Option<i64> = sqlx::query_scalar(
        "UPDATE queue_items SET visible_ms = clock_ms() + $3, claimed_by = NULL \
         WHERE item_id = $1 AND attempt = $2 AND claimed_by IS NOT NULL RETURNING visible_ms",
    )
    .bind(integer("item id", claim.item_id.0)?)
    .bind(i64::from(claim.attempt))
    .bind(delay)
    .fetch_optional(connection)
    .await?;
    visible.map(|ms| Ok(Failed::Retry { visible_ms: number("time", ms)? })).transpose()
}

async fn bury(connection: &mut PgConnection, claim: ClaimToken, error: &str) -> Result<Option<Failed>, StoreError> {
    let done = sqlx::query(
        "WITH spent AS (DELETE FROM queue_items WHERE item_id = $1 AND attempt = $2 AND claimed_by IS NOT NULL \
             RETURNING *) \
         INSERT INTO dead_letters (item_id, queue, key, payload, attempt, error, enqueued_ms, died_ms) \
         SELECT item_id, queue, key, payload, attempt, $3, enqueued_ms, clock_ms() FROM spent",
    )
    .bind(integer("item id", claim.item_id.0)?)
    .bind(i64::from(claim.attempt))
    // The one character that PostgreSQL's texts cannot hold.
    .bind(error.replace('\0', "\u{fffd}"))
    .execute(connection)
    .await?;
    Ok((done.rows_affected() > 0).then_some(Failed::Dead))
}

fn columns_of(claims: &[ClaimToken]) -> Result<(Vec<i64>, Vec<i64>), StoreError> {
    // All in one order, so that no two calls wait for each other.
    let claims: BTreeSet<ClaimToken> = claims.iter().copied().collect();
    claims.into_iter().map(|claim| Ok((integer("item id", claim.item_id.0)?, i64::from(claim.attempt)))).collect()
}

/// The items of these claims that were not reached.
fn without(claims: &[ClaimToken], reached: Vec<i64>) -> Result<Vec<ItemId>, StoreError> {
    let reached = reached.into_iter().map(|item| number("item id", item)).collect::<Result<BTreeSet<u64>, _>>()?;
    Ok(claims.iter().map(|claim| claim.item_id).filter(|item| !reached.contains(&item.0)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conformance::{self, Server, identity};

    /// How the server would do it within a transaction on a queue.
    async fn plan_of(store: &PostgresStore, statement: &str) -> String {
        let mut transaction = store.begin_by_index().await.unwrap();
        let explain = sqlx::AssertSqlSafe(format!("EXPLAIN {statement}"));
        let query = sqlx::query_scalar::<_, String>(explain);
        let query = match statement {
            CLAIM_NEXT => query.bind("intake").bind(100_i64).bind(1_000_i64).bind("claimer"),
            _ => query.bind(vec![1_i64; 100]).bind(vec![1_i64; 100]),
        };
        query.fetch_all(&mut *transaction).await.unwrap().join("\n")
    }

    #[tokio::test]
    async fn a_claim_of_a_few_reads_a_few_however_many_wait_and_whatever_the_server_knows() {
        let url = Server::shared().create_database().await;
        let store = PostgresStore::open(&url, identity()).await.unwrap();
        let forget = "DELETE FROM pg_statistic WHERE starelid = 'queue_items'::regclass";
        for statements in [forget, "ANALYZE queue_items"] {
            store.enqueue("intake", conformance::items(statements, 3_000)).await.unwrap();
            Server::shared().execute(url.options().get_database().unwrap(), statements).await;
            for statement in [CLAIM_NEXT, END_CLAIMS] {
                let plan = plan_of(&store, statement).await;
                for word in ["Sort", "Seq Scan", "Hash", "Bitmap"] {
                    assert!(!plan.contains(word), "{plan}");
                }
            }
            let plan = plan_of(&store, CLAIM_NEXT).await;
            assert!(plan.contains("Index Scan using queue_items_by_time"), "{plan}");
        }
    }
}
