//! What is over is forgotten after a while.

use keeper_types::JobId;
use sqlx::SqliteConnection;

use super::columns::{bound, integer};
use crate::StoreError;

/// What is forgotten; each statement takes the time, the job and the most rows.
const FORGET: [&str; 3] = [
    // The newest round of an account says which number comes next.
    "DELETE FROM intents WHERE intent_id IN (SELECT intent_id FROM intents AS old \
     WHERE is_final = 1 AND updated_ms < ?1 AND ?2 >= 0 AND (round IS NULL OR round < \
         (SELECT max(newer.round) FROM intents AS newer WHERE newer.account = old.account)) \
     ORDER BY intent_id LIMIT ?3)",
    "DELETE FROM explanations WHERE job_id IN (SELECT job_id FROM explanations \
     WHERE time_ms < ?1 AND job_id < ?2 ORDER BY job_id LIMIT ?3)",
    "DELETE FROM observations WHERE (job_id, attempt, stage) IN (SELECT job_id, attempt, stage FROM observations \
     WHERE observed_ms < ?1 AND job_id < ?2 ORDER BY job_id LIMIT ?3)",
];

pub(super) async fn forget(
    connection: &mut SqliteConnection,
    before_ms: u64,
    below: JobId,
    most: u32,
) -> Result<u64, StoreError> {
    let before_ms = integer("time", before_ms)?;
    let mut forgotten = 0;
    for statement in FORGET {
        let done = sqlx::query(statement).bind(before_ms).bind(bound(below.0)).bind(most);
        forgotten += done.execute(&mut *connection).await?.rows_affected();
    }
    Ok(forgotten)
}
