//! Work queues, by this machine's clock. Calls that write share transactions ([`Group`](super::group::Group)), and rows
//! statements.

mod attempts;
mod items;

use std::time::Duration;

use async_trait::async_trait;
use sqlx::SqliteConnection;

use self::{
    attempts::{acknowledge, bury, claim, extend, retry_later},
    items::{enqueue, requeue},
};

use super::{SqliteStore, columns::millis, group::Call, leases::now_ms};
use crate::{
    Claim, ClaimTerms, ClaimToken, DeadLetter, Failed, ItemId, NewItem, QueueStats, RetryPolicy, StoreError, WorkQueue,
    places::{ACKNOWLEDGE, CLAIM, ENQUEUE, EXTEND, FAIL, Places, REQUEUE},
    queue::{DeadRow, StatsRow, check_items, check_name},
};

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

    fn places(&self) -> Places {
        match self {
            Self::Enqueue { .. } => ENQUEUE,
            Self::Claim { .. } => CLAIM,
            Self::Acknowledge { .. } => ACKNOWLEDGE,
            Self::Extend { .. } => EXTEND,
            Self::Fail { .. } => FAIL,
            Self::Requeue { .. } => REQUEUE,
        }
    }

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
            "SELECT count(*) FILTER (WHERE since <= ?2), \
                 count(*) FILTER (WHERE since > ?2 AND claimed_by IS NULL), \
                 count(*) FILTER (WHERE since > ?2 AND claimed_by IS NOT NULL), \
                 (SELECT count(*) FROM dead_letters WHERE queue = ?1), \
                 max(?2 - since) FILTER (WHERE since <= ?2) \
             FROM (SELECT coalesce(visible_ms, min(ready_ms, ?2)) AS since, claimed_by \
                 FROM queue_items AS item LEFT JOIN queue_attempts AS tried USING (item_id) WHERE item.queue = ?1)",
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
