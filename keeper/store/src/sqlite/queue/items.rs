//! What is enqueued. Rows share statements, and a statement is written once for each number of rows.

use std::sync::LazyLock;

use sqlx::SqliteConnection;

use super::super::leases::now_ms;
use crate::{ItemId, NewItem, StoreError};

/// Most rows of one INSERT, as a power of two; fewer are inserted by smaller powers, so that there are few statements to
/// prepare.
const LARGEST: u32 = 8;

/// Inserts `1 << n` rows, but for those whose keys are there or among the dead letters. Parameters have no numbers: what
/// has one is looked up by it, at each of them anew.
static INSERTS: LazyLock<Vec<String>> = LazyLock::new(|| {
    let insert = |power: u32| {
        let values = vec!["(?, ?)"; 1 << power];
        format!(
            "INSERT INTO queue_items (queue, key, payload, enqueued_ms, ready_ms) \
             SELECT called.queue, item.column1, item.column2, called.now_ms, called.now_ms \
             FROM (SELECT ? AS queue, ? AS now_ms) AS called CROSS JOIN (VALUES {}) AS item \
             WHERE NOT EXISTS (SELECT 1 FROM dead_letters AS dead WHERE dead.queue = called.queue \
                 AND dead.key = item.column1) \
             ON CONFLICT (queue, key) DO NOTHING",
            values.join(", ")
        )
    };
    (0..=LARGEST).map(insert).collect()
});

pub(super) async fn enqueue(
    connection: &mut SqliteConnection,
    queue: &str,
    items: &[NewItem],
) -> Result<u64, StoreError> {
    let (now, mut added, mut rest) = (now_ms(), 0, items);
    while !rest.is_empty() {
        let power = rest.len().ilog2().min(LARGEST);
        let (chunk, others) = rest.split_at(1 << power);
        let insert: &'static str = &INSERTS[power as usize];
        let mut statement = sqlx::query(insert).bind(queue).bind(now);
        for item in chunk {
            statement = statement.bind(item.key.as_str()).bind(item.payload.as_slice());
        }
        added += statement.execute(&mut *connection).await?.rows_affected();
        rest = others;
    }
    Ok(added)
}

pub(super) async fn requeue(
    connection: &mut SqliteConnection,
    queue: &str,
    dead: &[ItemId],
) -> Result<u64, StoreError> {
    let items: Vec<String> = dead.iter().map(ToString::to_string).collect();
    let items = format!("[{}]", items.join(","));
    let raised = sqlx::query(
        "INSERT INTO queue_items (queue, key, payload, enqueued_ms, ready_ms) \
         SELECT queue, key, payload, enqueued_ms, ?3 FROM dead_letters \
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
