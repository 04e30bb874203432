//! Intents. The action is stored as JSON; its kind and round stand beside it to be searched by.

use keeper_types::{Address, Attempt, JobId, TxHash};
use sqlx::{FromRow, PgConnection, PgPool};

use super::columns::{from_json, integer, json, number, parsed};
use crate::{Intent, IntentId, IntentState, IntentUpdate, NewIntent, StoreError};

#[derive(Debug, FromRow)]
struct IntentRow {
    intent_id: i64,
    account: String,
    nonce: i64,
    tx_hash: Option<String>,
    action: String,
    state: String,
    created_ms: i64,
    updated_ms: i64,
}

pub(super) async fn record(connection: &mut PgConnection, intent: &NewIntent) -> Result<IntentId, StoreError> {
    let created_ms = integer("time", intent.created_ms)?;
    let intent_id: i64 = sqlx::query_scalar(
        "INSERT INTO intents (kind, round, account, nonce, tx_hash, action, state, created_ms, updated_ms) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) RETURNING intent_id",
    )
    .bind(intent.action.kind())
    .bind(intent.action.round().map(|round| integer("round", round)).transpose()?)
    .bind(intent.account.to_string())
    .bind(integer("nonce", intent.nonce)?)
    .bind(intent.tx_hash.map(|hash| hash.to_string()))
    .bind(json("intent", &intent.action)?)
    .bind(IntentState::Planned.name())
    .bind(created_ms)
    .bind(created_ms)
    .fetch_one(connection)
    .await?;
    Ok(IntentId(number("intent id", intent_id)?))
}

pub(super) async fn update(
    connection: &mut PgConnection,
    intent_id: IntentId,
    update: &IntentUpdate,
) -> Result<(), StoreError> {
    let done = sqlx::query(
        "UPDATE intents SET state = $1, tx_hash = coalesce($2, tx_hash), updated_ms = $3 WHERE intent_id = $4",
    )
    .bind(update.state.name())
    .bind(update.tx_hash.map(|hash| hash.to_string()))
    .bind(integer("time", update.updated_ms)?)
    .bind(integer("intent id", intent_id.0)?)
    .execute(connection)
    .await?;
    if done.rows_affected() == 0 { Err(StoreError::IntentUnknown(intent_id)) } else { Ok(()) }
}

pub(super) async fn open(pool: &PgPool) -> Result<Vec<Intent>, StoreError> {
    let rows: Vec<IntentRow> = sqlx::query_as(
        "SELECT intent_id, account, nonce, tx_hash, action, state, created_ms, updated_ms FROM intents \
         WHERE state IN ('planned', 'sent') ORDER BY intent_id",
    )
    .fetch_all(pool)
    .await?;
    rows.into_iter().map(Intent::try_from).collect()
}

pub(super) async fn last_round(pool: &PgPool, account: Address) -> Result<Option<u64>, StoreError> {
    let round: Option<i64> = sqlx::query_scalar("SELECT max(round) FROM intents WHERE account = $1")
        .bind(account.to_string())
        .fetch_one(pool)
        .await?;
    round.map(|round| number("round", round)).transpose()
}

pub(super) async fn by_tx(pool: &PgPool, tx_hash: TxHash) -> Result<Option<Intent>, StoreError> {
    let row: Option<IntentRow> = sqlx::query_as(
        "SELECT intent_id, account, nonce, tx_hash, action, state, created_ms, updated_ms FROM intents \
         WHERE tx_hash = $1 ORDER BY intent_id DESC LIMIT 1",
    )
    .bind(tx_hash.to_string())
    .fetch_optional(pool)
    .await?;
    row.map(Intent::try_from).transpose()
}

/// Reads backwards from the newest, so that what was decided lately is found soon.
pub(super) async fn latest_allocation(
    pool: &PgPool,
    job_id: JobId,
    attempt: Attempt,
) -> Result<Option<Intent>, StoreError> {
    let Ok(job_id) = i64::try_from(job_id.0) else { return Ok(None) };
    let sought = serde_json::json!({ "items": [{ "job_id": job_id, "attempt": attempt.0 }] });
    let row: Option<IntentRow> = sqlx::query_as(
        "SELECT intent_id, account, nonce, tx_hash, action, state, created_ms, updated_ms FROM intents \
         WHERE kind = 'apply_batch' AND action::jsonb @> $1::jsonb ORDER BY intent_id DESC LIMIT 1",
    )
    .bind(sought.to_string())
    .fetch_optional(pool)
    .await?;
    row.map(Intent::try_from).transpose()
}

impl TryFrom<IntentRow> for Intent {
    type Error = StoreError;

    fn try_from(row: IntentRow) -> Result<Self, Self::Error> {
        Ok(Self {
            intent_id: IntentId(number("intent id", row.intent_id)?),
            action: from_json("intent", &row.action)?,
            account: parsed("address", &row.account)?,
            nonce: number("nonce", row.nonce)?,
            tx_hash: row.tx_hash.map(|hash| parsed("transaction hash", &hash)).transpose()?,
            state: parsed("intent state", &row.state)?,
            created_ms: number("time", row.created_ms)?,
            updated_ms: number("time", row.updated_ms)?,
        })
    }
}
