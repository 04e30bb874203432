//! An intent's rows: its own, and one for each of its transactions. What they hold is read as SQLite's is.

use sqlx::{PgConnection, PgPool};

use crate::{
    Intent, IntentId, IntentTransaction, StoreError,
    columns::integer,
    sqlite::intents::rows::{IntentRow, TransactionRow},
};

pub(super) async fn insert_transaction(
    connection: &mut PgConnection,
    intent_id: IntentId,
    signed: &IntentTransaction,
) -> Result<(), StoreError> {
    sqlx::query(
        "INSERT INTO intent_transactions \
         (intent_id, tx_hash, purpose, request, tip, l2_gas_price, max_fee, signed_ms, sent_ms) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) ON CONFLICT DO NOTHING",
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
pub(super) async fn with_transactions(pool: &PgPool, rows: Vec<IntentRow>) -> Result<Vec<Intent>, StoreError> {
    let mut intents = Vec::with_capacity(rows.len());
    for row in rows {
        let transactions: Vec<TransactionRow> = sqlx::query_as(
            "SELECT tx_hash, purpose, request, tip, l2_gas_price, max_fee, signed_ms, sent_ms \
             FROM intent_transactions WHERE intent_id = $1 ORDER BY signed_ms, position",
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
