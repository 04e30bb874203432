//! The latest explanation of each job.

use std::collections::BTreeMap;

use keeper_types::{BlockNumber, JobId};
use sqlx::{PgConnection, PgPool};

use super::columns::{bound, from_json, integer, json, number};
use crate::{ExplanationRecord, StoreError};

type Row = (Option<i64>, i64, i64, String);

pub(super) async fn save(connection: &mut PgConnection, records: &[ExplanationRecord]) -> Result<(), StoreError> {
    // Of several for one job the last stands. All keepers write in the order of the jobs, so none waits for another
    // that waits for it.
    let latest: BTreeMap<JobId, &ExplanationRecord> =
        records.iter().map(|record| (record.explanation.job_id, record)).collect();
    let (mut job_ids, mut rounds, mut blocks) = (Vec::new(), Vec::new(), Vec::new());
    let (mut times, mut explanations) = (Vec::new(), Vec::new());
    for (job_id, record) in latest {
        job_ids.push(integer("job id", job_id.0)?);
        rounds.push(record.round.map(|round| integer("round", round)).transpose()?);
        blocks.push(integer("block number", record.snapshot_block.0)?);
        times.push(integer("time", record.time_ms)?);
        explanations.push(json("explanation", &record.explanation)?);
    }
    sqlx::query(
        "INSERT INTO explanations (job_id, round, snapshot_block, time_ms, explanation) \
         SELECT * FROM unnest($1::bigint[], $2::bigint[], $3::bigint[], $4::bigint[], $5::text[]) \
         ON CONFLICT (job_id) DO UPDATE SET round = excluded.round, snapshot_block = excluded.snapshot_block, \
             time_ms = excluded.time_ms, explanation = excluded.explanation",
    )
    .bind(job_ids)
    .bind(rounds)
    .bind(blocks)
    .bind(times)
    .bind(explanations)
    .execute(connection)
    .await?;
    Ok(())
}

pub(super) async fn latest(pool: &PgPool, job_id: JobId) -> Result<Option<ExplanationRecord>, StoreError> {
    let Ok(job_id) = i64::try_from(job_id.0) else { return Ok(None) };
    let row: Option<Row> =
        sqlx::query_as("SELECT round, snapshot_block, time_ms, explanation FROM explanations WHERE job_id = $1")
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

pub(super) async fn revert_to(connection: &mut PgConnection, block: BlockNumber) -> Result<(), StoreError> {
    // On another fork the same number may be another job.
    sqlx::query("DELETE FROM explanations WHERE snapshot_block > $1").bind(bound(block.0)).execute(connection).await?;
    Ok(())
}
