//! Blocks and their events. The highest block is the cursor, so the two cannot disagree.

use std::sync::LazyLock;

use futures::{StreamExt as _, stream::BoxStream};
use keeper_types::{BlockEvents, BlockHeader, BlockNumber, EventPosition, MarketEvent, TxHash};
use sqlx::{SqliteConnection, SqliteExecutor, SqlitePool};

use super::{
    columns::{bound, felt, from_json, hex, integer, json, number, parsed},
    finality,
};
use crate::{
    StoreError,
    block::{check_above_final, check_events, check_follows},
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

pub(super) async fn block(
    executor: impl SqliteExecutor<'_>,
    number: BlockNumber,
) -> Result<Option<BlockHeader>, StoreError> {
    let Ok(number) = i64::try_from(number.0) else { return Ok(None) };
    let row: Option<HeaderRow> =
        sqlx::query_as("SELECT number, hash, parent_hash, timestamp FROM blocks WHERE number = ?")
            .bind(number)
            .fetch_optional(executor)
            .await?;
    row.map(header).transpose()
}

pub(super) async fn at_or_below(pool: &SqlitePool, number: BlockNumber) -> Result<Option<BlockHeader>, StoreError> {
    let row: Option<HeaderRow> = sqlx::query_as(
        "SELECT number, hash, parent_hash, timestamp FROM blocks WHERE number <= ? ORDER BY number DESC LIMIT 1",
    )
    .bind(bound(number.0))
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
    let marker = finality::read(&mut *connection).await?;
    for block in blocks {
        if let Some(below) = &below {
            check_follows(&block.header, below)?;
        }
        if let Some(marker) = marker {
            check_above_final(&block.header, marker)?;
        }
        check_events(block)?;
        below = Some(block.header);
    }
    // Events refer to their blocks, so those come first.
    let headers: Vec<&BlockHeader> = blocks.iter().map(|block| &block.header).collect();
    for rows in in_batches(&headers) {
        insert_headers(connection, rows).await?;
    }
    let events: Vec<&(EventPosition, MarketEvent)> = blocks.iter().flat_map(|block| &block.events).collect();
    for rows in in_batches(&events) {
        insert_events(connection, rows).await?;
    }
    Ok(())
}

pub(super) async fn revert_to(connection: &mut SqliteConnection, block: BlockNumber) -> Result<(), StoreError> {
    // The events go with their blocks.
    sqlx::query("DELETE FROM blocks WHERE number > ?").bind(bound(block.0)).execute(connection).await?;
    Ok(())
}

/// Rows that one statement inserts. Every statement goes to the database's thread and back: some 10 microseconds, and
/// much more where the processor has other things to do. Few sizes, so that each is prepared once; SQLite takes at most
/// 32,766 values in a statement.
const BATCHES: [usize; 4] = [2_048, 128, 16, 1];

/// Cuts rows into pieces of [`BATCHES`] rows, the largest first.
fn in_batches<T>(mut rows: &[T]) -> impl Iterator<Item = &[T]> {
    std::iter::from_fn(move || {
        let size = BATCHES.into_iter().find(|size| *size <= rows.len())?;
        let (batch, rest) = rows.split_at(size);
        rows = rest;
        Some(batch)
    })
}

/// The statements that insert as many rows at once as each of [`BATCHES`] says.
type Statements = LazyLock<[String; BATCHES.len()]>;

static INSERT_BLOCKS: Statements = LazyLock::new(|| statements("blocks (number, hash, parent_hash, timestamp)"));
static INSERT_EVENTS: Statements = LazyLock::new(|| statements("events (block, event_index, tx_hash, event)"));

/// Both tables have four columns that are inserted.
fn statements(columns: &str) -> [String; BATCHES.len()] {
    BATCHES.map(|rows| format!("INSERT INTO {columns} VALUES {}", vec!["(?, ?, ?, ?)"; rows].join(", ")))
}

/// The statement for as many rows.
fn statement(statements: &'static Statements, rows: usize) -> &'static str {
    let size = BATCHES.iter().position(|size| *size == rows).expect("rows come in batches of these sizes");
    &statements[size]
}

async fn insert_headers(connection: &mut SqliteConnection, headers: &[&BlockHeader]) -> Result<(), StoreError> {
    let mut query = sqlx::query(statement(&INSERT_BLOCKS, headers.len()));
    for header in headers {
        query = query
            .bind(integer("block number", header.number.0)?)
            .bind(hex(header.hash))
            .bind(hex(header.parent_hash))
            .bind(integer("timestamp", header.timestamp)?);
    }
    query.execute(connection).await?;
    Ok(())
}

async fn insert_events(
    connection: &mut SqliteConnection,
    events: &[&(EventPosition, MarketEvent)],
) -> Result<(), StoreError> {
    let mut query = sqlx::query(statement(&INSERT_EVENTS, events.len()));
    for (position, event) in events {
        query = query
            .bind(integer("block number", position.block.0)?)
            .bind(i64::from(position.index))
            .bind(hex(position.tx_hash.0))
            .bind(json("event", event)?);
    }
    query.execute(connection).await?;
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
