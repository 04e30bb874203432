//! The one row that says which block is the highest known as accepted on L1.

use keeper_types::{BlockNumber, BlockRef};
use sqlx::{PgConnection, PgExecutor};

use super::{
    blocks,
    columns::{felt, hex, integer, number},
};
use crate::{StoreError, block::check_final};

pub(super) async fn read(executor: impl PgExecutor<'_>) -> Result<Option<BlockRef>, StoreError> {
    let row: Option<(i64, String)> =
        sqlx::query_as("SELECT number, hash FROM finality").fetch_optional(executor).await?;
    row.map(|(block, hash)| {
        Ok(BlockRef { number: BlockNumber(number("block number", block)?), hash: felt("block hash", &hash)? })
    })
    .transpose()
}

/// Moves the marker up to `block`; a lower one changes nothing.
pub(super) async fn record(connection: &mut PgConnection, block: BlockRef) -> Result<(), StoreError> {
    let marker = read(&mut *connection).await?;
    let recorded = blocks::block(&mut *connection, block.number).await?;
    check_final(block, marker, recorded.map(|header| header.reference()))?;
    if marker.is_some_and(|marker| marker.number >= block.number) {
        return Ok(());
    }
    sqlx::query(
        "INSERT INTO finality (only_row, number, hash) VALUES (1, $1, $2) \
         ON CONFLICT (only_row) DO UPDATE SET number = excluded.number, hash = excluded.hash",
    )
    .bind(integer("block number", block.number.0)?)
    .bind(hex(block.hash))
    .execute(connection)
    .await?;
    Ok(())
}

pub(super) async fn forget(connection: &mut PgConnection) -> Result<(), StoreError> {
    sqlx::query("DELETE FROM finality").execute(connection).await?;
    Ok(())
}
