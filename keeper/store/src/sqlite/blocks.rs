//! Blocks and their events. The highest block is the cursor, so the two cannot disagree.

use futures::{StreamExt as _, stream::BoxStream};
use keeper_types::{BlockEvents, BlockHeader, BlockNumber, EventPosition, MarketEvent, TxHash};
use sqlx::{SqliteConnection, SqliteExecutor, SqlitePool};

use super::columns::{bound, felt, from_json, hex, integer, json, number, parsed};
use crate::{
    StoreError,
    block::{check_events, check_follows},
};

pub(super) type HeaderRow = (i64, String, String, i64);
type EventRow = (i64, i64, i64, String, String);

pub(super) async fn cursor(executor: impl SqliteExecutor<'_>) -> Result<Option<BlockHeader>, StoreError> {
    let row: Option<HeaderRow> =
        sqlx::query_as("SELECT number, hash, parent_hash, timestamp FROM blocks ORDER BY number DESC LIMIT 1")
            .fetch_optional(executor)
            .await?;
    row.map(header).transpose()
}

pub(super) async fn block(pool: &SqlitePool, number: BlockNumber) -> Result<Option<BlockHeader>, StoreError> {
    let Ok(number) = i64::try_from(number.0) else { return Ok(None) };
    let row: Option<HeaderRow> =
        sqlx::query_as("SELECT number, hash, parent_hash, timestamp FROM blocks WHERE number = ?")
            .bind(number)
            .fetch_optional(pool)
            .await?;
    row.map(header).transpose()
}

pub(super) async fn recent(pool: &SqlitePool, limit: u32) -> Result<Vec<BlockHeader>, StoreError> {
    let rows: Vec<HeaderRow> =
        sqlx::query_as("SELECT number, hash, parent_hash, timestamp FROM blocks ORDER BY number DESC LIMIT ?")
            .bind(i64::from(limit))
            .fetch_all(pool)
            .await?;
    rows.into_iter().map(header).collect()
}

pub(super) fn events(
    pool: &SqlitePool,
    from: BlockNumber,
) -> BoxStream<'_, Result<(EventPosition, MarketEvent), StoreError>> {
    sqlx::query_as(
        "SELECT events.block, blocks.timestamp, events.event_index, events.tx_hash, events.event \
         FROM events JOIN blocks ON blocks.number = events.block \
         WHERE events.block >= ? ORDER BY events.block, events.event_index",
    )
    .bind(bound(from.0))
    .fetch(pool)
    .map(|row| event(row?))
    .boxed()
}

/// Appends blocks above the cursor, each to the one before it.
pub(super) async fn append(connection: &mut SqliteConnection, blocks: &[BlockEvents]) -> Result<(), StoreError> {
    let mut below = cursor(&mut *connection).await?;
    for block in blocks {
        if let Some(below) = &below {
            check_follows(&block.header, below)?;
        }
        check_events(block)?;
        insert_header(connection, &block.header).await?;
        for (position, event) in &block.events {
            insert_event(connection, position, event).await?;
        }
        below = Some(block.header);
    }
    Ok(())
}

pub(super) async fn revert_to(connection: &mut SqliteConnection, block: BlockNumber) -> Result<(), StoreError> {
    // The events go with their blocks.
    sqlx::query("DELETE FROM blocks WHERE number > ?").bind(bound(block.0)).execute(connection).await?;
    Ok(())
}

async fn insert_header(connection: &mut SqliteConnection, header: &BlockHeader) -> Result<(), StoreError> {
    sqlx::query("INSERT INTO blocks (number, hash, parent_hash, timestamp) VALUES (?, ?, ?, ?)")
        .bind(integer("block number", header.number.0)?)
        .bind(hex(header.hash))
        .bind(hex(header.parent_hash))
        .bind(integer("timestamp", header.timestamp)?)
        .execute(connection)
        .await?;
    Ok(())
}

async fn insert_event(
    connection: &mut SqliteConnection,
    position: &EventPosition,
    event: &MarketEvent,
) -> Result<(), StoreError> {
    sqlx::query("INSERT INTO events (block, event_index, tx_hash, event) VALUES (?, ?, ?, ?)")
        .bind(integer("block number", position.block.0)?)
        .bind(i64::from(position.index))
        .bind(position.tx_hash.to_string())
        .bind(json("event", event)?)
        .execute(connection)
        .await?;
    Ok(())
}

pub(super) fn header((block, hash, parent_hash, timestamp): HeaderRow) -> Result<BlockHeader, StoreError> {
    Ok(BlockHeader {
        number: BlockNumber(number("block number", block)?),
        hash: felt("block hash", &hash)?,
        parent_hash: felt("block hash", &parent_hash)?,
        timestamp: number("timestamp", timestamp)?,
    })
}

fn event((block, timestamp, index, tx_hash, event): EventRow) -> Result<(EventPosition, MarketEvent), StoreError> {
    let position = EventPosition {
        block: BlockNumber(number("block number", block)?),
        timestamp: number("timestamp", timestamp)?,
        index: number("event index", index)?,
        tx_hash: parsed::<TxHash>("transaction hash", &tx_hash)?,
    };
    Ok((position, from_json("event", &event)?))
}
