//! An intent's rows: its own, and one for each of its transactions.

use keeper_types::{BlockNumber, BlockRef, Fri};
use sqlx::{FromRow, SqliteConnection, SqlitePool};

use crate::{
    Intent, IntentId, IntentTransaction, Landed, StoreError,
    sqlite::columns::{felt, from_json, integer, number, parsed},
};

#[derive(Debug, FromRow)]
pub(crate) struct IntentRow {
    pub(crate) intent_id: i64,
    account: String,
    nonce: Option<i64>,
    action: String,
    state: String,
    is_final: bool,
    landed_tx: Option<String>,
    landed_block: Option<i64>,
    landed_block_hash: Option<String>,
    landed_fee: Option<String>,
    created_ms: i64,
    updated_ms: i64,
}

#[derive(Debug, FromRow)]
pub(crate) struct TransactionRow {
    tx_hash: String,
    purpose: String,
    request: Option<String>,
    tip: i64,
    l2_gas_price: String,
    max_fee: String,
    signed_ms: i64,
    sent_ms: Option<i64>,
}

pub(super) async fn insert_transaction(
    connection: &mut SqliteConnection,
    intent_id: IntentId,
    signed: &IntentTransaction,
) -> Result<(), StoreError> {
    sqlx::query(
        "INSERT INTO intent_transactions \
         (intent_id, tx_hash, purpose, request, tip, l2_gas_price, max_fee, signed_ms, sent_ms) \
         VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
    )
    .bind(integer("intent id", intent_id.0)?)
    .bind(signed.tx_hash.to_string())
    .bind(signed.purpose.name())
    .bind(signed.request.as_deref())
    .bind(integer("tip", signed.tip)?)
    .bind(signed.l2_gas_price.to_string())
    .bind(signed.max_fee.0.to_string())
    .bind(integer("time", signed.signed_ms)?)
    .bind(signed.sent_ms.map(|sent_ms| integer("time", sent_ms)).transpose()?)
    .execute(connection)
    .await?;
    Ok(())
}

/// The intents of these rows, each with its transactions. Few intents are asked for at a time, and fewer have more than
/// one transaction.
pub(super) async fn with_transactions(pool: &SqlitePool, rows: Vec<IntentRow>) -> Result<Vec<Intent>, StoreError> {
    let mut intents = Vec::with_capacity(rows.len());
    for row in rows {
        let transactions: Vec<TransactionRow> = sqlx::query_as(
            "SELECT tx_hash, purpose, request, tip, l2_gas_price, max_fee, signed_ms, sent_ms \
             FROM intent_transactions WHERE intent_id = ? ORDER BY signed_ms, rowid",
        )
        .bind(row.intent_id)
        .fetch_all(pool)
        .await?;
        let mut intent = Intent::try_from(row)?;
        intent.transactions = transactions.into_iter().map(IntentTransaction::try_from).collect::<Result<_, _>>()?;
        intents.push(intent);
    }
    Ok(intents)
}

impl TryFrom<IntentRow> for Intent {
    type Error = StoreError;

    fn try_from(row: IntentRow) -> Result<Self, Self::Error> {
        Ok(Self {
            intent_id: IntentId(number("intent id", row.intent_id)?),
            action: from_json("intent", &row.action)?,
            account: parsed("address", &row.account)?,
            nonce: row.nonce.map(|nonce| number("nonce", nonce)).transpose()?,
            state: parsed("intent state", &row.state)?,
            is_final: row.is_final,
            transactions: Vec::new(),
            landed: row.landed()?,
            created_ms: number("time", row.created_ms)?,
            updated_ms: number("time", row.updated_ms)?,
        })
    }
}

impl IntentRow {
    fn landed(&self) -> Result<Option<Landed>, StoreError> {
        let Some(tx_hash) = &self.landed_tx else { return Ok(None) };
        let block = match (self.landed_block, &self.landed_block_hash) {
            (Some(block), Some(hash)) => {
                let number = BlockNumber(number("block number", block)?);
                Some(BlockRef { number, hash: felt("block hash", hash)? })
            }
            _ => None,
        };
        let fee = self.landed_fee.as_deref().map(|fee| parsed("fee", fee).map(Fri)).transpose()?;
        Ok(Some(Landed { tx_hash: parsed("transaction hash", tx_hash)?, block, fee }))
    }
}

impl TryFrom<TransactionRow> for IntentTransaction {
    type Error = StoreError;

    fn try_from(row: TransactionRow) -> Result<Self, Self::Error> {
        Ok(Self {
            tx_hash: parsed("transaction hash", &row.tx_hash)?,
            purpose: parsed("purpose", &row.purpose)?,
            request: row.request,
            tip: number("tip", row.tip)?,
            l2_gas_price: parsed("gas price", &row.l2_gas_price)?,
            max_fee: Fri(parsed("fee", &row.max_fee)?),
            signed_ms: number("time", row.signed_ms)?,
            sent_ms: row.sent_ms.map(|sent_ms| number("time", sent_ms)).transpose()?,
        })
    }
}
