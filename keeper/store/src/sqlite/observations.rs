//! When attempts were first seen to reach their stages.

use keeper_types::{Attempt, BlockNumber, JobId};
use serde_json::Value;
use sqlx::{FromRow, SqliteConnection, SqlitePool};

use super::columns::{bound, integer, number};
use crate::{JobTimings, Observation, StoreError};

#[derive(Debug, FromRow)]
struct TimingsRow {
    job_id: i64,
    attempt: i64,
    submitted: Option<i64>,
    allocated: Option<i64>,
    revealed: Option<i64>,
    settled: Option<i64>,
}

/// Observations that one statement writes: every statement goes to the database's thread and back, and whoever writes next
/// waits.
const TOGETHER: usize = 500;

pub(super) async fn record(connection: &mut SqliteConnection, observations: &[Observation]) -> Result<(), StoreError> {
    for observations in observations.chunks(TOGETHER) {
        let rows: Result<Vec<Value>, StoreError> = observations.iter().map(row).collect();
        // The first of each stands. SQLite asks for a condition before ON CONFLICT, which it may take for a join's otherwise.
        sqlx::query(
            "INSERT INTO observations (job_id, attempt, stage, block, observed_ms) \
             SELECT value ->> 0, value ->> 1, value ->> 2, value ->> 3, value ->> 4 FROM json_each(?) \
             WHERE true ORDER BY key ON CONFLICT DO NOTHING",
        )
        .bind(Value::from(rows?).to_string())
        .execute(&mut *connection)
        .await?;
    }
    Ok(())
}

fn row(observation: &Observation) -> Result<Value, StoreError> {
    Ok(serde_json::json!([
        integer("job id", observation.job_id.0)?,
        observation.attempt.0,
        observation.stage.name(),
        integer("block number", observation.block.0)?,
        integer("time", observation.observed_ms)?,
    ]))
}

pub(super) async fn of_job(pool: &SqlitePool, job_id: JobId) -> Result<Vec<JobTimings>, StoreError> {
    let Ok(job_id) = i64::try_from(job_id.0) else { return Ok(Vec::new()) };
    let rows: Vec<TimingsRow> = sqlx::query_as(
        "SELECT job_id, attempt, \
             max(CASE stage WHEN 'submitted' THEN observed_ms END) AS submitted, \
             max(CASE stage WHEN 'allocated' THEN observed_ms END) AS allocated, \
             max(CASE stage WHEN 'revealed' THEN observed_ms END) AS revealed, \
             max(CASE stage WHEN 'settled' THEN observed_ms END) AS settled \
         FROM observations WHERE job_id = ? GROUP BY job_id, attempt ORDER BY attempt",
    )
    .bind(job_id)
    .fetch_all(pool)
    .await?;
    rows.into_iter().map(JobTimings::try_from).collect()
}

pub(super) async fn all(pool: &SqlitePool) -> Result<Vec<JobTimings>, StoreError> {
    let rows: Vec<TimingsRow> = sqlx::query_as(
        "SELECT job_id, attempt, \
             max(CASE stage WHEN 'submitted' THEN observed_ms END) AS submitted, \
             max(CASE stage WHEN 'allocated' THEN observed_ms END) AS allocated, \
             max(CASE stage WHEN 'revealed' THEN observed_ms END) AS revealed, \
             max(CASE stage WHEN 'settled' THEN observed_ms END) AS settled \
         FROM observations GROUP BY job_id, attempt ORDER BY job_id, attempt",
    )
    .fetch_all(pool)
    .await?;
    rows.into_iter().map(JobTimings::try_from).collect()
}

pub(super) async fn revert_to(connection: &mut SqliteConnection, block: BlockNumber) -> Result<(), StoreError> {
    sqlx::query("DELETE FROM observations WHERE block > ?").bind(bound(block.0)).execute(connection).await?;
    Ok(())
}

impl TryFrom<TimingsRow> for JobTimings {
    type Error = StoreError;

    fn try_from(row: TimingsRow) -> Result<Self, Self::Error> {
        let time = |observed: Option<i64>| observed.map(|ms| number("time", ms)).transpose();
        Ok(Self {
            job_id: JobId(number("job id", row.job_id)?),
            attempt: Attempt(number("attempt", row.attempt)?),
            observed_submitted_ms: time(row.submitted)?,
            observed_allocated_ms: time(row.allocated)?,
            observed_revealed_ms: time(row.revealed)?,
            observed_settled_ms: time(row.settled)?,
        })
    }
}
