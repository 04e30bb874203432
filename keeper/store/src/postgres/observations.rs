//! When attempts were first seen to reach their stages.

use std::collections::BTreeMap;

use keeper_types::{Attempt, BlockNumber, JobId};
use sqlx::{FromRow, PgConnection, PgPool};

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

pub(super) async fn record(connection: &mut PgConnection, observations: &[Observation]) -> Result<(), StoreError> {
    // The first of each stands. All keepers write in one order, so none waits for another that waits for it.
    let mut first: BTreeMap<_, &Observation> = BTreeMap::new();
    for observation in observations {
        first.entry((observation.job_id, observation.attempt, observation.stage)).or_insert(observation);
    }
    let (mut job_ids, mut attempts, mut stages) = (Vec::new(), Vec::new(), Vec::new());
    let (mut blocks, mut times) = (Vec::new(), Vec::new());
    for observation in first.into_values() {
        job_ids.push(integer("job id", observation.job_id.0)?);
        attempts.push(i64::from(observation.attempt.0));
        stages.push(observation.stage.name());
        blocks.push(integer("block number", observation.block.0)?);
        times.push(integer("time", observation.observed_ms)?);
    }
    sqlx::query(
        "INSERT INTO observations (job_id, attempt, stage, block, observed_ms) \
         SELECT * FROM unnest($1::bigint[], $2::bigint[], $3::text[], $4::bigint[], $5::bigint[]) \
         ON CONFLICT DO NOTHING",
    )
    .bind(job_ids)
    .bind(attempts)
    .bind(stages)
    .bind(blocks)
    .bind(times)
    .execute(connection)
    .await?;
    Ok(())
}

pub(super) async fn of_job(pool: &PgPool, job_id: JobId) -> Result<Vec<JobTimings>, StoreError> {
    let Ok(job_id) = i64::try_from(job_id.0) else { return Ok(Vec::new()) };
    let rows: Vec<TimingsRow> = sqlx::query_as(
        "SELECT job_id, attempt, \
             max(CASE stage WHEN 'submitted' THEN observed_ms END) AS submitted, \
             max(CASE stage WHEN 'allocated' THEN observed_ms END) AS allocated, \
             max(CASE stage WHEN 'revealed' THEN observed_ms END) AS revealed, \
             max(CASE stage WHEN 'settled' THEN observed_ms END) AS settled \
         FROM observations WHERE job_id = $1 GROUP BY job_id, attempt ORDER BY attempt",
    )
    .bind(job_id)
    .fetch_all(pool)
    .await?;
    rows.into_iter().map(JobTimings::try_from).collect()
}

pub(super) async fn all(pool: &PgPool) -> Result<Vec<JobTimings>, StoreError> {
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

pub(super) async fn revert_to(connection: &mut PgConnection, block: BlockNumber) -> Result<(), StoreError> {
    sqlx::query("DELETE FROM observations WHERE block > $1").bind(bound(block.0)).execute(connection).await?;
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
