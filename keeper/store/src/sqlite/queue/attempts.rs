//! What becomes of items: claims, and how they end.
//!
//! An item that was never claimed has no row in `queue_attempts`. Those of a queue are claimed in the order of their
//! numbers, so that they are its items from its mark on, and a claim moves the mark beyond what it took.

use std::collections::{BTreeMap, BTreeSet};

use sqlx::SqliteConnection;

use super::super::{
    columns::{bound, from_json, integer, number},
    leases::now_ms,
};
use crate::{
    Claim, ClaimTerms, ClaimToken, Failed, ItemId, StoreError,
    queue::{ClaimRow, NEVER_FINISHED},
};

/// An item, and since when it may be claimed.
type Ready = (i64, i64);
/// An item that was never claimed: number, key, payload, when it was enqueued, and since when it may be claimed.
type FreshRow = (i64, String, Vec<u8>, i64, i64);

/// Item, since when it may be claimed, and, where it was never claimed, key, payload and when it was enqueued.
type CandidateRow = (i64, i64, Option<String>, Option<Vec<u8>>, Option<i64>);

/// Up to so many claims are acknowledged by a statement that answers with the items; of more, those that do not stand are
/// looked up before, since an answer of many rows costs more.
const FEW: usize = 64;
/// So many numbers that are no fresh item's may lie before a queue's mark moves though nothing is claimed. Moving it is a
/// wait for the disk, and passing over other queues' items is not free either.
const IDLE_NUMBERS: i64 = 10_000;

pub(super) async fn claim(
    connection: &mut SqliteConnection,
    queue: &str,
    terms: &ClaimTerms,
    visibility: i64,
) -> Result<Vec<Claim>, StoreError> {
    loop {
        let now = now_ms();
        let (again, mut fresh) = candidates(connection, queue, now, terms.limit).await?;
        let again = longest_ready(again, &mut fresh, terms.limit);
        let (mut claims, spent) = claim_again(connection, &again, terms, now + visibility).await?;
        for claim in &spent {
            // This claim of it does not count.
            bury_as(connection, claim.token(), claim.attempt - 1, NEVER_FINISHED).await?;
        }
        claims.extend(claim_first(connection, queue, fresh, terms, now + visibility).await?);
        if !claims.is_empty() || spent.is_empty() {
            claims.sort_unstable_by_key(|claim| claim.item_id);
            return Ok(claims);
        }
    }
}

/// The first items that may be claimed again, and the first of those that were never claimed.
async fn candidates(
    connection: &mut SqliteConnection,
    queue: &str,
    now: i64,
    limit: u32,
) -> Result<(Vec<Ready>, Vec<FreshRow>), StoreError> {
    // One statement for both. What was never claimed is read by number: by key it would have to be sorted, all of it.
    let rows: Vec<CandidateRow> = sqlx::query_as(
        "SELECT item_id, visible_ms, NULL AS key, NULL AS payload, NULL AS enqueued_ms FROM \
             (SELECT item_id, visible_ms FROM queue_attempts WHERE queue = ? AND visible_ms <= ? \
             ORDER BY visible_ms, item_id LIMIT ?) \
         UNION ALL SELECT item_id, ready_ms, key, payload, enqueued_ms FROM \
             (SELECT item_id, ready_ms, key, payload, enqueued_ms FROM queue_items WHERE +queue = ? \
             AND item_id >= coalesce((SELECT fresh_from FROM queue_marks WHERE queue = ?), 0) \
             ORDER BY item_id LIMIT ?)",
    )
    .bind(queue)
    .bind(now)
    .bind(i64::from(limit))
    .bind(queue)
    .bind(queue)
    .bind(i64::from(limit))
    .fetch_all(connection)
    .await?;
    let (mut again, mut fresh) = (Vec::new(), Vec::new());
    for (item_id, since, key, payload, enqueued_ms) in rows {
        match (key, payload, enqueued_ms) {
            (Some(key), Some(payload), Some(enqueued_ms)) => fresh.push((item_id, key, payload, enqueued_ms, since)),
            _ => again.push((item_id, since)),
        }
    }
    Ok((again, fresh))
}

/// Of both the items that have been ready longest, as many as are wanted: gives those to claim again, and leaves those to
/// claim first. Both are in order.
fn longest_ready(mut again: Vec<Ready>, fresh: &mut Vec<FreshRow>, limit: u32) -> Vec<Ready> {
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    let (mut of_again, mut of_fresh) = (0, 0);
    while of_again + of_fresh < limit {
        match (again.get(of_again), fresh.get(of_fresh)) {
            (Some((_, since)), Some(item)) if *since > item.4 => of_fresh += 1,
            (Some(_), _) => of_again += 1,
            (None, Some(_)) => of_fresh += 1,
            (None, None) => break,
        }
    }
    again.truncate(of_again);
    fresh.truncate(of_fresh);
    again
}

/// Claims items that were claimed before; apart from them those that were claimed as often as they may be.
async fn claim_again(
    connection: &mut SqliteConnection,
    items: &[Ready],
    terms: &ClaimTerms,
    until: i64,
) -> Result<(Vec<Claim>, Vec<Claim>), StoreError> {
    if items.is_empty() {
        return Ok((Vec::new(), Vec::new()));
    }
    let items = json_list(items.iter().map(|(item_id, _)| *item_id));
    sqlx::query(
        "UPDATE queue_attempts SET attempt = attempt + 1, visible_ms = ?, claimed_by = ? \
         WHERE item_id IN (SELECT value FROM json_each(?))",
    )
    .bind(until)
    .bind(&terms.claimer)
    .bind(&items)
    .execute(&mut *connection)
    .await?;
    let rows: Vec<ClaimRow> = sqlx::query_as(
        "SELECT item_id, key, payload, attempt, enqueued_ms FROM queue_items JOIN queue_attempts USING (item_id) \
         WHERE item_id IN (SELECT value FROM json_each(?))",
    )
    .bind(&items)
    .fetch_all(connection)
    .await?;
    let claims = rows.into_iter().map(Claim::try_from).collect::<Result<Vec<_>, _>>()?;
    Ok(claims.into_iter().partition(|claim| claim.attempt <= terms.max_attempts.max(1)))
}

/// Claims items that were never claimed, which are the queue's first of these, and moves the mark beyond them.
async fn claim_first(
    connection: &mut SqliteConnection,
    queue: &str,
    items: Vec<FreshRow>,
    terms: &ClaimTerms,
    until: i64,
) -> Result<Vec<Claim>, StoreError> {
    let (Some(first), Some(last)) = (items.first(), items.last()) else {
        pass_over(connection, queue).await?;
        return Ok(Vec::new());
    };
    sqlx::query(
        "INSERT INTO queue_attempts (item_id, queue, attempt, visible_ms, claimed_by) \
         SELECT item_id, queue, 1, ?, ? FROM queue_items WHERE item_id BETWEEN ? AND ? AND +queue = ?",
    )
    .bind(until)
    .bind(&terms.claimer)
    .bind(first.0)
    .bind(last.0)
    .bind(queue)
    .execute(&mut *connection)
    .await?;
    mark(connection, queue, last.0 + 1).await?;
    let claim = |(item_id, key, payload, enqueued_ms, _)| Claim::try_from((item_id, key, payload, 1, enqueued_ms));
    items.into_iter().map(claim).collect()
}

/// Moves the mark beyond other queues' items, where there are many of them. Called where this queue has none from its mark
/// on.
async fn pass_over(connection: &mut SqliteConnection, queue: &str) -> Result<(), StoreError> {
    let free: Option<i64> = sqlx::query_scalar(
        "SELECT seq + 1 FROM sqlite_sequence WHERE name = 'queue_items' \
         AND seq - coalesce((SELECT fresh_from FROM queue_marks WHERE queue = ?), 0) >= ? \
         AND NOT EXISTS (SELECT 1 FROM queue_items WHERE +queue = ? \
             AND item_id >= coalesce((SELECT fresh_from FROM queue_marks WHERE queue = ?), 0))",
    )
    .bind(queue)
    .bind(IDLE_NUMBERS)
    .bind(queue)
    .bind(queue)
    .fetch_optional(&mut *connection)
    .await?;
    match free {
        Some(free) => mark(connection, queue, free).await,
        None => Ok(()),
    }
}

async fn mark(connection: &mut SqliteConnection, queue: &str, fresh_from: i64) -> Result<(), StoreError> {
    sqlx::query(
        "INSERT INTO queue_marks (queue, fresh_from) VALUES (?, ?) \
         ON CONFLICT (queue) DO UPDATE SET fresh_from = excluded.fresh_from",
    )
    .bind(queue)
    .bind(fresh_from)
    .execute(connection)
    .await?;
    Ok(())
}

pub(super) async fn acknowledge(
    connection: &mut SqliteConnection,
    claims: &[ClaimToken],
) -> Result<Vec<ItemId>, StoreError> {
    if claims.len() > FEW {
        let (standing, refused) = standing(connection, claims).await?;
        if let Some(items) = standing {
            sqlx::query("DELETE FROM queue_items WHERE item_id IN (SELECT value FROM json_each(?))")
                .bind(&items)
                .execute(connection)
                .await?;
        }
        return Ok(refused);
    }
    let mut done = BTreeSet::new();
    for (attempt, items) in by_attempt(claims)? {
        let reached: Vec<i64> = sqlx::query_scalar(
            "DELETE FROM queue_items WHERE item_id IN (SELECT item_id FROM queue_attempts \
             WHERE item_id IN (SELECT value FROM json_each(?)) AND attempt = ? AND claimed_by IS NOT NULL) \
             RETURNING item_id",
        )
        .bind(json_list(items))
        .bind(i64::from(attempt))
        .fetch_all(&mut *connection)
        .await?;
        done.extend(reached);
    }
    Ok(claims.iter().map(|claim| claim.item_id).filter(|item| !done.contains(&bound(item.0))).collect())
}

pub(super) async fn extend(
    connection: &mut SqliteConnection,
    claims: &[ClaimToken],
    visibility: i64,
) -> Result<Vec<ItemId>, StoreError> {
    let (standing, refused) = standing(connection, claims).await?;
    if let Some(items) = standing {
        sqlx::query("UPDATE queue_attempts SET visible_ms = ? WHERE item_id IN (SELECT value FROM json_each(?))")
            .bind(now_ms() + visibility)
            .bind(items)
            .execute(connection)
            .await?;
    }
    Ok(refused)
}

/// The items whose claims stand, as a JSON list, and those whose claims do not. Mostly all stand, and the answer of one
/// row costs less than one for each item.
async fn standing(
    connection: &mut SqliteConnection,
    claims: &[ClaimToken],
) -> Result<(Option<String>, Vec<ItemId>), StoreError> {
    let (mut stand, mut refused) = (Vec::new(), BTreeSet::new());
    for (attempt, items) in by_attempt(claims)? {
        let answer: String = sqlx::query_scalar(
            "SELECT json_group_array(value) FROM json_each(?) AS asked WHERE NOT EXISTS (SELECT 1 FROM queue_attempts \
             WHERE item_id = asked.value AND attempt = ? AND claimed_by IS NOT NULL)",
        )
        .bind(json_list(items.iter().copied()))
        .bind(i64::from(attempt))
        .fetch_one(&mut *connection)
        .await?;
        let fallen: BTreeSet<i64> = from_json("list of items", &answer)?;
        stand.extend(items.into_iter().filter(|item| !fallen.contains(item)));
        refused.extend(fallen);
    }
    let is_refused = |claim: &&ClaimToken| i64::try_from(claim.item_id.0).is_ok_and(|item| refused.contains(&item));
    let refused = claims.iter().filter(is_refused).map(|claim| claim.item_id).collect();
    Ok(((!stand.is_empty()).then(|| json_list(stand)), refused))
}

/// The claimed items by their attempt, mostly one for all.
fn by_attempt(claims: &[ClaimToken]) -> Result<BTreeMap<u32, Vec<i64>>, StoreError> {
    let mut attempts: BTreeMap<u32, Vec<i64>> = BTreeMap::new();
    for claim in claims {
        attempts.entry(claim.attempt).or_default().push(integer("item id", claim.item_id.0)?);
    }
    Ok(attempts)
}

fn json_list(items: impl IntoIterator<Item = i64>) -> String {
    let mut list = String::from("[");
    for item in items {
        if list.len() > 1 {
            list.push(',');
        }
        list.push_str(&item.to_string());
    }
    list.push(']');
    list
}

pub(super) async fn retry_later(
    connection: &mut SqliteConnection,
    claim: ClaimToken,
    delay: i64,
) -> Result<Option<Failed>, StoreError> {
    let visible: Option<i64> = sqlx::query_scalar(
        "UPDATE queue_attempts SET visible_ms = ?, claimed_by = NULL \
         WHERE item_id = ? AND attempt = ? AND claimed_by IS NOT NULL RETURNING visible_ms",
    )
    .bind(now_ms() + delay)
    .bind(integer("item id", claim.item_id.0)?)
    .bind(i64::from(claim.attempt))
    .fetch_optional(connection)
    .await?;
    visible.map(|ms| Ok(Failed::Retry { visible_ms: number("time", ms)? })).transpose()
}

pub(super) async fn bury(
    connection: &mut SqliteConnection,
    claim: ClaimToken,
    error: &str,
) -> Result<Option<Failed>, StoreError> {
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
         SELECT item_id, item.queue, key, payload, ?3, ?4, enqueued_ms, ?5 \
         FROM queue_items AS item JOIN queue_attempts AS tried USING (item_id) \
         WHERE item_id = ?1 AND tried.attempt = ?2 AND claimed_by IS NOT NULL",
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
