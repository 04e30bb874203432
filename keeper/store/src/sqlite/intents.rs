//! Intents. The action is stored as JSON; its kind and round stand beside it to be searched by.

pub(crate) mod rows;

use keeper_types::{Address, Attempt, BlockRef, JobId, TxHash};
use sqlx::{AssertSqlSafe, SqliteConnection, SqlitePool};

use super::columns::{bound, from_json, hex, integer, json, number, parsed};
use crate::{Intent, IntentAction, IntentId, IntentState, IntentTransaction, IntentUpdate, NewIntent, StoreError};

/// A query for intents, of which only the condition differs.
macro_rules! select {
    ($condition:literal) => {
        concat!(
            "SELECT intent_id, account, nonce, action, state, is_final, landed_tx, landed_block, landed_block_hash, \
             landed_fee, created_ms, updated_ms FROM intents ",
            $condition
        )
    };
}

pub(super) async fn record(connection: &mut SqliteConnection, intent: &NewIntent) -> Result<IntentId, StoreError> {
    let created_ms = integer("time", intent.created_ms)?;
    let state = if intent.signed.is_some() { IntentState::Signed } else { IntentState::Planned };
    let keys = intent.action.keys(intent.account);
    for key in &keys {
        if let Some(intent_id) = holder(connection, key).await? {
            return Err(StoreError::IntentExists { key: key.clone(), intent_id });
        }
    }
    if let Some((nonce, _)) = &intent.signed {
        check_nonce(connection, intent.account, *nonce, None).await?;
    }
    let intent_id: i64 = sqlx::query_scalar(
        "INSERT INTO intents (kind, round, account, nonce, action, state, is_final, created_ms, updated_ms) \
         VALUES (?, ?, ?, ?, ?, ?, 0, ?, ?) RETURNING intent_id",
    )
    .bind(intent.action.kind())
    .bind(intent.action.round().map(|round| integer("round", round)).transpose()?)
    .bind(intent.account.to_string())
    .bind(intent.signed.as_ref().map(|(nonce, _)| integer("nonce", *nonce)).transpose()?)
    .bind(json("intent", &intent.action)?)
    .bind(state.name())
    .bind(created_ms)
    .bind(created_ms)
    .fetch_one(&mut *connection)
    .await?;
    let intent_id = IntentId(number("intent id", intent_id)?);
    if let Some((_, signed)) = &intent.signed {
        rows::insert_transaction(connection, intent_id, signed).await?;
    }
    take_keys(connection, intent_id, &keys).await?;
    Ok(intent_id)
}

/// Forgets every intent: what the chaos tests have to notice.
pub(super) async fn forget(pool: &SqlitePool) -> Result<(), StoreError> {
    for table in ["intent_keys", "intent_transactions", "intents"] {
        sqlx::query(AssertSqlSafe(format!("DELETE FROM {table}"))).execute(pool).await?;
    }
    Ok(())
}

/// The intent that a key belongs to.
async fn holder(connection: &mut SqliteConnection, key: &str) -> Result<Option<IntentId>, StoreError> {
    let holder: Option<i64> = sqlx::query_scalar("SELECT intent_id FROM intent_keys WHERE action_key = ?")
        .bind(key)
        .fetch_optional(connection)
        .await?;
    holder.map(|intent_id| Ok(IntentId(number("intent id", intent_id)?))).transpose()
}

/// Gives an intent its keys, save those that another has meanwhile.
async fn take_keys(connection: &mut SqliteConnection, intent_id: IntentId, keys: &[String]) -> Result<(), StoreError> {
    for key in keys {
        sqlx::query("INSERT INTO intent_keys (action_key, intent_id) VALUES (?, ?) ON CONFLICT DO NOTHING")
            .bind(key)
            .bind(integer("intent id", intent_id.0)?)
            .execute(&mut *connection)
            .await?;
    }
    Ok(())
}

/// Refuses a nonce that another intent holds.
async fn check_nonce(
    connection: &mut SqliteConnection,
    account: Address,
    nonce: u64,
    own: Option<IntentId>,
) -> Result<(), StoreError> {
    let holder: Option<i64> = sqlx::query_scalar(
        "SELECT intent_id FROM intents WHERE account = ? AND nonce = ? AND state NOT IN ('planned', 'lost')",
    )
    .bind(account.to_string())
    .bind(integer("nonce", nonce)?)
    .fetch_optional(connection)
    .await?;
    match holder {
        Some(intent_id) if own.is_none_or(|own| bound(own.0) != intent_id) => {
            Err(StoreError::NonceHeld { nonce, intent_id: IntentId(number("intent id", intent_id)?) })
        }
        _ => Ok(()),
    }
}

pub(super) async fn record_transaction(
    connection: &mut SqliteConnection,
    intent_id: IntentId,
    nonce: u64,
    signed: &IntentTransaction,
) -> Result<(), StoreError> {
    let (account, held, state) = standing(connection, intent_id).await?;
    if held.is_some_and(|held| held != bound(nonce)) {
        return Err(StoreError::NonceChanged { intent_id, nonce });
    }
    check_nonce(connection, account, nonce, Some(intent_id)).await?;
    let state = if state == IntentState::Planned { IntentState::Signed } else { state };
    sqlx::query("UPDATE intents SET nonce = ?, state = ?, updated_ms = ? WHERE intent_id = ?")
        .bind(integer("nonce", nonce)?)
        .bind(state.name())
        .bind(integer("time", signed.signed_ms)?)
        .bind(integer("intent id", intent_id.0)?)
        .execute(&mut *connection)
        .await?;
    rows::insert_transaction(connection, intent_id, signed).await
}

/// The account, nonce and state of an intent.
async fn standing(
    connection: &mut SqliteConnection,
    intent_id: IntentId,
) -> Result<(Address, Option<i64>, IntentState), StoreError> {
    let row: Option<(String, Option<i64>, String)> =
        sqlx::query_as("SELECT account, nonce, state FROM intents WHERE intent_id = ?")
            .bind(integer("intent id", intent_id.0)?)
            .fetch_optional(connection)
            .await?;
    let (account, nonce, state) = row.ok_or(StoreError::IntentUnknown(intent_id))?;
    Ok((parsed("address", &account)?, nonce, parsed("intent state", &state)?))
}

pub(super) async fn update(
    connection: &mut SqliteConnection,
    intent_id: IntentId,
    update: &IntentUpdate,
) -> Result<(), StoreError> {
    let id = integer("intent id", intent_id.0)?;
    let updated_ms = integer("time", update.updated_ms)?;
    let block = update.landed.and_then(|landed| landed.block);
    let action: Option<(String, String)> = sqlx::query_as(
        "UPDATE intents SET state = ?, is_final = ?, landed_tx = ?, landed_block = ?, landed_block_hash = ?, \
         landed_fee = ?, updated_ms = ? WHERE intent_id = ? RETURNING account, action",
    )
    .bind(update.state.name())
    .bind(matches!(update.state, IntentState::Lost | IntentState::AcceptedL1))
    .bind(update.landed.map(|landed| landed.tx_hash.to_string()))
    .bind(block.map(|block| integer("block number", block.number.0)).transpose()?)
    .bind(block.map(|block| hex(block.hash)))
    .bind(update.landed.and_then(|landed| landed.fee).map(|fee| fee.0.to_string()))
    .bind(updated_ms)
    .bind(id)
    .fetch_optional(&mut *connection)
    .await?;
    let (account, action) = action.ok_or(StoreError::IntentUnknown(intent_id))?;
    if let Some(sent) = update.sent {
        sqlx::query("UPDATE intent_transactions SET sent_ms = ? WHERE intent_id = ? AND tx_hash = ?")
            .bind(updated_ms)
            .bind(id)
            .bind(sent.to_string())
            .execute(&mut *connection)
            .await?;
    }
    let action: IntentAction = from_json("intent", &action)?;
    if update.state.is_open() {
        let account = parsed("address", &account)?;
        take_keys(connection, intent_id, &action.keys(account)).await
    } else if action.keeps_its_keys() {
        Ok(())
    } else {
        sqlx::query("DELETE FROM intent_keys WHERE intent_id = ?").bind(id).execute(connection).await?;
        Ok(())
    }
}

pub(super) async fn finalise(
    connection: &mut SqliteConnection,
    account: Address,
    blocks: &[BlockRef],
) -> Result<u64, StoreError> {
    let mut count = 0;
    for block in blocks {
        let done = sqlx::query(
            "UPDATE intents SET is_final = 1, \
             state = CASE state WHEN 'accepted_l2' THEN 'accepted_l1' ELSE state END \
             WHERE account = ? AND is_final = 0 AND state IN ('accepted_l2', 'reverted', 'replaced') \
             AND landed_block = ? AND landed_block_hash = ?",
        )
        .bind(account.to_string())
        .bind(integer("block number", block.number.0)?)
        .bind(hex(block.hash))
        .execute(&mut *connection)
        .await?;
        count += done.rows_affected();
    }
    Ok(count)
}

pub(super) async fn open(pool: &SqlitePool) -> Result<Vec<Intent>, StoreError> {
    let query = select!(
        "WHERE is_final = 0 AND state IN ('planned', 'signed', 'maybe_sent', 'nonce_consumed', 'reorged') \
         ORDER BY intent_id"
    );
    rows::with_transactions(pool, sqlx::query_as(query).fetch_all(pool).await?).await
}

pub(super) async fn live(pool: &SqlitePool, account: Address) -> Result<Vec<Intent>, StoreError> {
    let query = select!("WHERE account = ? AND is_final = 0 ORDER BY intent_id");
    rows::with_transactions(pool, sqlx::query_as(query).bind(account.to_string()).fetch_all(pool).await?).await
}

pub(super) async fn since(pool: &SqlitePool, account: Address, created_ms: u64) -> Result<Vec<Intent>, StoreError> {
    let query = select!("WHERE account = ? AND created_ms >= ? ORDER BY intent_id");
    let found = sqlx::query_as(query).bind(account.to_string()).bind(bound(created_ms)).fetch_all(pool).await?;
    rows::with_transactions(pool, found).await
}

pub(super) async fn last_round(pool: &SqlitePool, account: Address) -> Result<Option<u64>, StoreError> {
    let round: Option<i64> = sqlx::query_scalar("SELECT max(round) FROM intents WHERE account = ?")
        .bind(account.to_string())
        .fetch_one(pool)
        .await?;
    round.map(|round| number("round", round)).transpose()
}

pub(super) async fn by_tx(pool: &SqlitePool, tx_hash: TxHash) -> Result<Option<Intent>, StoreError> {
    let query = select!("WHERE intent_id = (SELECT max(intent_id) FROM intent_transactions WHERE tx_hash = ?)");
    let found = sqlx::query_as(query).bind(tx_hash.to_string()).fetch_all(pool).await?;
    Ok(rows::with_transactions(pool, found).await?.pop())
}

/// Reads backwards from the newest, so that what was decided lately is found soon.
pub(super) async fn latest_allocation(
    pool: &SqlitePool,
    job_id: JobId,
    attempt: Attempt,
) -> Result<Option<Intent>, StoreError> {
    let Ok(job_id) = i64::try_from(job_id.0) else { return Ok(None) };
    let query = select!(
        "WHERE kind = 'apply_batch' AND EXISTS (SELECT 1 FROM json_each(action, '$.items') AS item \
         WHERE item.value ->> 'job_id' = ? AND item.value ->> 'attempt' = ?) ORDER BY intent_id DESC LIMIT 1"
    );
    let found = sqlx::query_as(query).bind(job_id).bind(i64::from(attempt.0)).fetch_all(pool).await?;
    Ok(rows::with_transactions(pool, found).await?.pop())
}
