//! Intents. The action is stored as JSON; its kind and round stand beside it to be searched by.

mod rows;

use keeper_types::{Address, Attempt, BlockRef, JobId, TxHash};
use sqlx::{PgConnection, PgPool};

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

/// Names the lock of the database under which intents are written.
const LOCK: i64 = 0x6b65_6570_696e_7431;

/// Waits until no other transaction writes intents, and keeps others waiting until this one ends. So what is looked up
/// of keys and nonces still holds when the intent is written.
pub(super) async fn take_turn(connection: &mut PgConnection) -> Result<(), StoreError> {
    sqlx::query("SELECT pg_advisory_xact_lock($1)").bind(LOCK).execute(connection).await?;
    Ok(())
}

pub(super) async fn record(connection: &mut PgConnection, intent: &NewIntent) -> Result<IntentId, StoreError> {
    take_turn(connection).await?;
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
         VALUES ($1, $2, $3, $4, $5, $6, FALSE, $7, $8) RETURNING intent_id",
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

/// The intent that a key belongs to.
async fn holder(connection: &mut PgConnection, key: &str) -> Result<Option<IntentId>, StoreError> {
    let holder: Option<i64> = sqlx::query_scalar("SELECT intent_id FROM intent_keys WHERE action_key = $1")
        .bind(key)
        .fetch_optional(connection)
        .await?;
    holder.map(|intent_id| Ok(IntentId(number("intent id", intent_id)?))).transpose()
}

/// Gives an intent its keys, save those that another has meanwhile.
async fn take_keys(connection: &mut PgConnection, intent_id: IntentId, keys: &[String]) -> Result<(), StoreError> {
    for key in keys {
        sqlx::query("INSERT INTO intent_keys (action_key, intent_id) VALUES ($1, $2) ON CONFLICT DO NOTHING")
            .bind(key)
            .bind(integer("intent id", intent_id.0)?)
            .execute(&mut *connection)
            .await?;
    }
    Ok(())
}

/// Refuses a nonce that another intent holds.
async fn check_nonce(
    connection: &mut PgConnection,
    account: Address,
    nonce: u64,
    own: Option<IntentId>,
) -> Result<(), StoreError> {
    let holder: Option<i64> = sqlx::query_scalar(
        "SELECT intent_id FROM intents WHERE account = $1 AND nonce = $2 AND state NOT IN ('planned', 'lost')",
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
    connection: &mut PgConnection,
    intent_id: IntentId,
    nonce: u64,
    signed: &IntentTransaction,
) -> Result<(), StoreError> {
    take_turn(connection).await?;
    let (account, held, state) = standing(connection, intent_id).await?;
    if held.is_some_and(|held| held != bound(nonce)) {
        return Err(StoreError::NonceChanged { intent_id, nonce });
    }
    check_nonce(connection, account, nonce, Some(intent_id)).await?;
    let state = if state == IntentState::Planned { IntentState::Signed } else { state };
    sqlx::query("UPDATE intents SET nonce = $1, state = $2, updated_ms = $3 WHERE intent_id = $4")
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
    connection: &mut PgConnection,
    intent_id: IntentId,
) -> Result<(Address, Option<i64>, IntentState), StoreError> {
    let row: Option<(String, Option<i64>, String)> =
        sqlx::query_as("SELECT account, nonce, state FROM intents WHERE intent_id = $1")
            .bind(integer("intent id", intent_id.0)?)
            .fetch_optional(connection)
            .await?;
    let (account, nonce, state) = row.ok_or(StoreError::IntentUnknown(intent_id))?;
    Ok((parsed("address", &account)?, nonce, parsed("intent state", &state)?))
}

pub(super) async fn update(
    connection: &mut PgConnection,
    intent_id: IntentId,
    update: &IntentUpdate,
) -> Result<(), StoreError> {
    take_turn(connection).await?;
    let id = integer("intent id", intent_id.0)?;
    let updated_ms = integer("time", update.updated_ms)?;
    let block = update.landed.and_then(|landed| landed.block);
    let action: Option<(String, String)> = sqlx::query_as(
        "UPDATE intents SET state = $1, is_final = $2, landed_tx = $3, landed_block = $4, landed_block_hash = $5, \
         landed_fee = $6, updated_ms = $7 WHERE intent_id = $8 RETURNING account, action",
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
        sqlx::query("UPDATE intent_transactions SET sent_ms = $1 WHERE intent_id = $2 AND tx_hash = $3")
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
        sqlx::query("DELETE FROM intent_keys WHERE intent_id = $1").bind(id).execute(connection).await?;
        Ok(())
    }
}

pub(super) async fn finalise(
    connection: &mut PgConnection,
    account: Address,
    blocks: &[BlockRef],
) -> Result<u64, StoreError> {
    let mut count = 0;
    for block in blocks {
        let done = sqlx::query(
            "UPDATE intents SET is_final = TRUE, \
             state = CASE state WHEN 'accepted_l2' THEN 'accepted_l1' ELSE state END \
             WHERE account = $1 AND NOT is_final AND state IN ('accepted_l2', 'reverted', 'replaced') \
             AND landed_block = $2 AND landed_block_hash = $3",
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

pub(super) async fn open(pool: &PgPool) -> Result<Vec<Intent>, StoreError> {
    let query = select!(
        "WHERE NOT is_final AND state IN ('planned', 'signed', 'maybe_sent', 'nonce_consumed', 'reorged') \
         ORDER BY intent_id"
    );
    rows::with_transactions(pool, sqlx::query_as(query).fetch_all(pool).await?).await
}

pub(super) async fn live(pool: &PgPool, account: Address) -> Result<Vec<Intent>, StoreError> {
    let query = select!("WHERE account = $1 AND NOT is_final ORDER BY intent_id");
    rows::with_transactions(pool, sqlx::query_as(query).bind(account.to_string()).fetch_all(pool).await?).await
}

pub(super) async fn since(pool: &PgPool, account: Address, created_ms: u64) -> Result<Vec<Intent>, StoreError> {
    let query = select!("WHERE account = $1 AND created_ms >= $2 ORDER BY intent_id");
    let found = sqlx::query_as(query).bind(account.to_string()).bind(bound(created_ms)).fetch_all(pool).await?;
    rows::with_transactions(pool, found).await
}

pub(super) async fn last_round(pool: &PgPool, account: Address) -> Result<Option<u64>, StoreError> {
    let round: Option<i64> = sqlx::query_scalar("SELECT max(round) FROM intents WHERE account = $1")
        .bind(account.to_string())
        .fetch_one(pool)
        .await?;
    round.map(|round| number("round", round)).transpose()
}

pub(super) async fn by_tx(pool: &PgPool, tx_hash: TxHash) -> Result<Option<Intent>, StoreError> {
    let query = select!("WHERE intent_id = (SELECT max(intent_id) FROM intent_transactions WHERE tx_hash = $1)");
    let found = sqlx::query_as(query).bind(tx_hash.to_string()).fetch_all(pool).await?;
    Ok(rows::with_transactions(pool, found).await?.pop())
}

/// Reads backwards from the newest, so that what was decided lately is found soon.
pub(super) async fn latest_allocation(
    pool: &PgPool,
    job_id: JobId,
    attempt: Attempt,
) -> Result<Option<Intent>, StoreError> {
    let Ok(job_id) = i64::try_from(job_id.0) else { return Ok(None) };
    let sought = serde_json::json!({ "items": [{ "job_id": job_id, "attempt": attempt.0 }] });
    let query = select!("WHERE kind = 'apply_batch' AND action::jsonb @> $1::jsonb ORDER BY intent_id DESC LIMIT 1");
    let found = sqlx::query_as(query).bind(sought.to_string()).fetch_all(pool).await?;
    Ok(rows::with_transactions(pool, found).await?.pop())
}
