//! The latest explanation of each job.

use keeper_types::{BlockNumber, JobId};
use serde_json::Value;
use sqlx::{SqliteConnection, SqlitePool};

use super::columns::{bound, from_json, integer, json, number};
use crate::{ExplanationRecord, StoreError};

type Row = (Option<i64>, i64, i64, String);

/// Explanations that one statement writes: every statement goes to the database's thread and back.
const TOGETHER: usize = 500;

pub(super) async fn save(connection: &mut SqliteConnection, records: &[ExplanationRecord]) -> Result<(), StoreError> {
    for records in records.chunks(TOGETHER) {
        let rows: Result<Vec<Value>, StoreError> = records.iter().map(row).collect();
        // Of several for one job the last stands.
        sqlx::query(
            "INSERT OR REPLACE INTO explanations (job_id, round, snapshot_block, time_ms, explanation) \
             SELECT value ->> 0, value ->> 1, value ->> 2, value ->> 3, value ->> 4 FROM json_each(?) ORDER BY key",
        )
        .bind(Value::from(rows?).to_string())
        .execute(&mut *connection)
        .await?;
    }
    Ok(())
}

fn row(record: &ExplanationRecord) -> Result<Value, StoreError> {
    Ok(serde_json::json!([
        integer("job id", record.explanation.job_id.0)?,
        record.round.map(|round| integer("round", round)).transpose()?,
        integer("block number", record.snapshot_block.0)?,
        integer("time", record.time_ms)?,
        json("explanation", &record.explanation)?,
    ]))
}

pub(super) async fn latest(pool: &SqlitePool, job_id: JobId) -> Result<Option<ExplanationRecord>, StoreError> {
    let Ok(job_id) = i64::try_from(job_id.0) else { return Ok(None) };
    let row: Option<Row> =
        sqlx::query_as("SELECT round, snapshot_block, time_ms, explanation FROM explanations WHERE job_id = ?")
            .bind(job_id)
            .fetch_optional(pool)
            .await?;
    let Some((round, snapshot_block, time_ms, explanation)) = row else { return Ok(None) };
    Ok(Some(ExplanationRecord {
        explanation: from_json("explanation", &explanation)?,
        round: round.map(|round| number("round", round)).transpose()?,
        snapshot_block: BlockNumber(number("block number", snapshot_block)?),
        time_ms: number("time", time_ms)?,
    }))
}

pub(super) async fn revert_to(connection: &mut SqliteConnection, block: BlockNumber) -> Result<(), StoreError> {
    // On another fork the same number may be another job.
    sqlx::query("DELETE FROM explanations WHERE snapshot_block > ?").bind(bound(block.0)).execute(connection).await?;
    Ok(())
}
