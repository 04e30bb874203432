//! apalis-sqlite: tasks are pushed in bulk, one transaction each, and run by a worker that fetches and acknowledges in
//! batches.

use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::{Result, ensure};
use apalis::prelude::*;
use apalis_sqlite::{Config, SqliteStorage};
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};

use crate::{Figures, payload, per_second};

/// Tasks that run at the same time; they only count.
const CONCURRENCY: usize = 64;

pub(crate) async fn measured(folder: &Path, batch: usize, span: Duration) -> Result<Figures> {
    let folder = tempfile::tempdir_in(folder)?;
    let options = SqliteConnectOptions::new()
        .filename(folder.path().join("queue.sqlite"))
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
        .busy_timeout(Duration::from_secs(30));
    let pool = SqlitePoolOptions::new().max_connections(1).connect_with(options).await?;
    SqliteStorage::setup(&pool).await?;
    // Setting it up turns waiting for the disk off again.
    sqlx::query("PRAGMA synchronous = FULL").execute(&pool).await?;
    let config = Config::default().queue("intake").batch_size(batch).lock_tasks(false);
    let mut backend = SqliteStorage::<String>::new(&pool).with_config(config);

    let (mut count, started) = (0, Instant::now());
    while started.elapsed() < span {
        backend.push_bulk(vec![payload(); batch]).await?;
        count += batch as u64;
    }
    let enqueue_per_s = per_second(count, started);

    let done = Arc::new(AtomicU64::new(0));
    let begun = Instant::now();
    let task = {
        let done = Arc::clone(&done);
        move |_: String, worker: WorkerContext| {
            let done = done.fetch_add(1, Ordering::SeqCst) + 1;
            async move {
                if done == count || begun.elapsed() > span {
                    // It is told to stop once for each task that still runs.
                    worker.stop().ok();
                }
                Ok::<(), BoxDynError>(())
            }
        }
    };
    let worker = WorkerBuilder::new("claimer").backend(backend).concurrency(CONCURRENCY).build(task);
    worker.run().await?;
    let took = begun;
    let synchronous: i64 = sqlx::query_scalar("PRAGMA synchronous").fetch_one(&pool).await?;
    ensure!(synchronous == 2, "the same durability as the keeper's: FULL");
    let acknowledged: i64 =
        sqlx::query_scalar("SELECT count(*) FROM Jobs WHERE status = 'Done'").fetch_one(&pool).await?;
    ensure!(acknowledged > 0, "nothing was acknowledged");
    Ok(Figures { enqueue_per_s, claim_and_ack_per_s: per_second(u64::try_from(acknowledged)?, took) })
}
