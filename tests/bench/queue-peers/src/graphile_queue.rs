//! graphile_worker: jobs are added in bulk, and run by a worker that fetches and completes them in batches.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::{Result, ensure};
use graphile_worker::{IntoTaskHandlerResult, JobSpec, LocalQueueConfig, TaskHandler, WorkerContext, WorkerOptions};
use serde::{Deserialize, Serialize};
use sqlx::postgres::PgPoolOptions;

use crate::{Figures, payload, per_second};

/// Jobs that run at the same time; they only count.
const CONCURRENCY: usize = 64;
/// How long completions are gathered.
const GATHERING: Duration = Duration::from_millis(2);

#[derive(Clone, Serialize, Deserialize)]
struct Message {
    payload: String,
}

#[derive(Clone, Debug)]
struct Done(Arc<AtomicU64>);

impl TaskHandler for Message {
    const IDENTIFIER: &'static str = "message";

    async fn run(self, context: WorkerContext) -> impl IntoTaskHandlerResult {
        if let Some(done) = context.get_ext::<Done>() {
            done.0.fetch_add(1, Ordering::SeqCst);
        }
        Ok::<(), String>(())
    }
}

pub(crate) async fn measured(url: &str, batch: usize, span: Duration) -> Result<Figures> {
    let pool = PgPoolOptions::new().max_connections(16).connect(url).await?;
    let synchronous: String = sqlx::query_scalar("SHOW synchronous_commit").fetch_one(&pool).await?;
    ensure!(synchronous == "on", "the same durability as the keeper's");
    let done = Arc::new(AtomicU64::new(0));
    let mut options = WorkerOptions::default()
        .concurrency(CONCURRENCY)
        .schema("peer")
        .add_extension(Done(Arc::clone(&done)))
        .define_job::<Message>()
        .pg_pool(pool.clone());
    if batch > 1 {
        let queue = LocalQueueConfig::default().with_size(batch.max(CONCURRENCY));
        options = options.complete_job_batch_delay(GATHERING).local_queue(queue);
    }
    let worker = Arc::new(options.init().await?);
    let utils = worker.create_utils();

    let spec = JobSpec::default();
    let jobs = vec![(Message { payload: payload() }, &spec); batch];
    let (mut count, started) = (0, Instant::now());
    while started.elapsed() < span {
        utils.add_jobs::<Message>(&jobs).await?;
        count += batch as u64;
    }
    let enqueue_per_s = per_second(count, started);

    let begun = Instant::now();
    let running = tokio::spawn({
        let worker = Arc::clone(&worker);
        async move { worker.run().await }
    });
    while done.load(Ordering::SeqCst) < count && begun.elapsed() < span && !running.is_finished() {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    worker.request_shutdown();
    running.await??;
    let left: i64 = sqlx::query_scalar("SELECT count(*) FROM peer._private_jobs").fetch_one(&pool).await?;
    let acknowledged = count.saturating_sub(u64::try_from(left)?);
    ensure!(acknowledged > 0, "nothing was acknowledged");
    Ok(Figures { enqueue_per_s, claim_and_ack_per_s: per_second(acknowledged, begun) })
}
