//! Blocks and their events. The highest block is the cursor, so the two cannot disagree.

use std::collections::VecDeque;

use futures::{
    StreamExt as _,
    stream::{self, BoxStream},
};
use keeper_types::{BlockEvents, BlockHeader, BlockNumber, EventPosition, MarketEvent, TxHash};
use sqlx::{PgConnection, PgExecutor, PgPool, Postgres, Transaction};

use super::{
    columns::{bound, felt, from_json, hex, integer, json, number, parsed},
    finality,
};
use crate::{
    StoreError,
    block::{check_above_final, check_events, check_follows},
};

type HeaderRow = (i64, String, String, i64);
type EventRow = (i64, i64, i64, String, String);
type Event = (EventPosition, MarketEvent);

/// Events read at once.
const PAGE: i64 = 4_096;

pub(super) async fn cursor(executor: impl PgExecutor<'_>) -> Result<Option<BlockHeader>, StoreError> {
    let row: Option<HeaderRow> =
        sqlx::query_as("SELECT number, hash, parent_hash, timestamp FROM blocks ORDER BY number DESC LIMIT 1")
            .fetch_optional(executor)
            .await?;
    row.map(header).transpose()
}

pub(super) async fn block(
    executor: impl PgExecutor<'_>,
    number: BlockNumber,
) -> Result<Option<BlockHeader>, StoreError> {
    let Ok(number) = i64::try_from(number.0) else { return Ok(None) };
    let row: Option<HeaderRow> =
        sqlx::query_as("SELECT number, hash, parent_hash, timestamp FROM blocks WHERE number = $1")
            .bind(number)
            .fetch_optional(executor)
            .await?;
    row.map(header).transpose()
}

pub(super) async fn at_or_below(pool: &PgPool, number: BlockNumber) -> Result<Option<BlockHeader>, StoreError> {
    let row: Option<HeaderRow> = sqlx::query_as(
        "SELECT number, hash, parent_hash, timestamp FROM blocks WHERE number <= $1 ORDER BY number DESC LIMIT 1",
    )
    .bind(bound(number.0))
    .fetch_optional(pool)
    .await?;
    row.map(header).transpose()
}

pub(super) async fn recent(pool: &PgPool, limit: u32) -> Result<Vec<BlockHeader>, StoreError> {
    let rows: Vec<HeaderRow> =
        sqlx::query_as("SELECT number, hash, parent_hash, timestamp FROM blocks ORDER BY number DESC LIMIT $1")
            .bind(i64::from(limit))
            .fetch_all(pool)
            .await?;
    rows.into_iter().map(header).collect()
}

/// The events by pages, all of them as they are when the first is read. A stream that is dropped early has read no
/// more than a page that nobody wants.
pub(super) fn events(pool: &PgPool, from: BlockNumber) -> BoxStream<'_, Result<Event, StoreError>> {
    let reading = Reading { pool, moment: None, after: (bound(from.0), -1), page: VecDeque::new(), is_last: false };
    stream::try_unfold(reading, |mut reading| async move {
        if reading.page.is_empty() && !reading.is_last {
            reading.read_page().await?;
        }
        Ok(reading.page.pop_front().map(|event| (event, reading)))
    })
    .boxed()
}

struct Reading<'a> {
    pool: &'a PgPool,
    /// Begun with the first page; it sees nothing that is committed later.
    moment: Option<Transaction<'static, Postgres>>,
    /// Block and index that the next page comes after.
    after: (i64, i64),
    page: VecDeque<Event>,
    is_last: bool,
}

impl Reading<'_> {
    async fn read_page(&mut self) -> Result<(), StoreError> {
        let moment = match &mut self.moment {
            Some(moment) => moment,
            None => {
                let begin = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY";
                self.moment.insert(self.pool.begin_with(begin).await?)
            }
        };
        let (block, index) = self.after;
        let rows: Vec<EventRow> = sqlx::query_as(
            "SELECT events.block, blocks.timestamp, events.event_index, events.tx_hash, events.event \
             FROM events JOIN blocks ON blocks.number = events.block \
             WHERE (events.block, events.event_index) > ($1, $2) \
             ORDER BY events.block, events.event_index LIMIT $3",
        )
        .bind(block)
        .bind(index)
        .bind(PAGE)
        .fetch_all(&mut **moment)
        .await?;
        let count = rows.len();
        if let Some((block, _, index, ..)) = rows.last() {
            self.after = (*block, *index);
        }
        self.page = rows.into_iter().map(event).collect::<Result<_, _>>()?;
        self.is_last = i64::try_from(count).is_ok_and(|count| count < PAGE);
        Ok(())
    }
}

/// Appends blocks above the cursor, each to the one before it.
pub(super) async fn append(connection: &mut PgConnection, blocks: &[BlockEvents]) -> Result<(), StoreError> {
    let mut below = cursor(&mut *connection).await?;
    let marker = finality::read(&mut *connection).await?;
    let (mut headers, mut events) = (Headers::default(), Events::default());
    for block in blocks {
        if let Some(below) = &below {
            check_follows(&block.header, below)?;
        }
        if let Some(marker) = marker {
            check_above_final(&block.header, marker)?;
        }
        check_events(block)?;
        headers.push(&block.header)?;
        for (position, event) in &block.events {
            events.push(position, event)?;
        }
        below = Some(block.header);
    }
    headers.insert(connection).await?;
    events.insert(connection).await
}

pub(super) async fn revert_to(connection: &mut PgConnection, block: BlockNumber) -> Result<(), StoreError> {
    // The events go with their blocks.
    sqlx::query("DELETE FROM blocks WHERE number > $1").bind(bound(block.0)).execute(connection).await?;
    Ok(())
}

/// Rows of `blocks`, by columns, to be inserted by one statement.
#[derive(Default)]
struct Headers {
    numbers: Vec<i64>,
    hashes: Vec<String>,
    parent_hashes: Vec<String>,
    timestamps: Vec<i64>,
}

impl Headers {
    fn push(&mut self, header: &BlockHeader) -> Result<(), StoreError> {
        self.numbers.push(integer("block number", header.number.0)?);
        self.hashes.push(hex(header.hash));
        self.parent_hashes.push(hex(header.parent_hash));
        self.timestamps.push(integer("timestamp", header.timestamp)?);
        Ok(())
    }

    async fn insert(self, connection: &mut PgConnection) -> Result<(), StoreError> {
        if self.numbers.is_empty() {
            return Ok(());
        }
        sqlx::query(
            "INSERT INTO blocks (number, hash, parent_hash, timestamp) \
             SELECT * FROM unnest($1::bigint[], $2::text[], $3::text[], $4::bigint[])",
        )
        .bind(self.numbers)
        .bind(self.hashes)
        .bind(self.parent_hashes)
        .bind(self.timestamps)
        .execute(connection)
        .await?;
        Ok(())
    }
}

/// Rows of `events`, by columns, to be inserted by one statement.
#[derive(Default)]
struct Events {
    blocks: Vec<i64>,
    indices: Vec<i64>,
    tx_hashes: Vec<String>,
    events: Vec<String>,
}

impl Events {
    fn push(&mut self, position: &EventPosition, event: &MarketEvent) -> Result<(), StoreError> {
        self.blocks.push(integer("block number", position.block.0)?);
        self.indices.push(i64::from(position.index));
        self.tx_hashes.push(position.tx_hash.to_string());
        self.events.push(json("event", event)?);
        Ok(())
    }

    async fn insert(self, connection: &mut PgConnection) -> Result<(), StoreError> {
        if self.blocks.is_empty() {
            return Ok(());
        }
        sqlx::query(
            "INSERT INTO events (block, event_index, tx_hash, event) \
             SELECT * FROM unnest($1::bigint[], $2::bigint[], $3::text[], $4::text[])",
        )
        .bind(self.blocks)
        .bind(self.indices)
        .bind(self.tx_hashes)
        .bind(self.events)
        .execute(connection)
        .await?;
        Ok(())
    }
}

pub(super) fn header((block, hash, parent_hash, timestamp): HeaderRow) -> Result<BlockHeader, StoreError> {
    Ok(BlockHeader {
        number: BlockNumber(number("block number", block)?),
        hash: felt("block hash", &hash)?,
        parent_hash: felt("block hash", &parent_hash)?,
        timestamp: number("timestamp", timestamp)?,
    })
}

fn event((block, timestamp, index, tx_hash, event): EventRow) -> Result<Event, StoreError> {
    let position = EventPosition {
        block: BlockNumber(number("block number", block)?),
        timestamp: number("timestamp", timestamp)?,
        index: number("event index", index)?,
        tx_hash: parsed::<TxHash>("transaction hash", &tx_hash)?,
    };
    Ok((position, from_json("event", &event)?))
}
