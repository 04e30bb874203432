//! What a million pending jobs take in memory, and a million allocations with failures; `cargo xtask bench queues`.

use std::{fs, path::PathBuf, time::Instant};

use anyhow::Context as _;
use clap::Parser;
use keeper_scheduler::queueing::{
    Balanced, Cluster, PendingRecord, QueueConfig, QueueIndex, Queues, RetryPolicy, TenantIndex, Tenants,
};
use keeper_sim::failures;
use keeper_types::JobId;
use peak_alloc::PeakAlloc;
use serde_json::json;

#[global_allocator]
static ALLOCATOR: PeakAlloc = PeakAlloc;

const TENANTS: u32 = 1_000;

/// A million pending jobs, and a million allocations with failures.
#[derive(Debug, Parser)]
struct Args {
    /// Where the figures go
    #[arg(long)]
    json: PathBuf,
    /// Pending jobs
    #[arg(long, default_value_t = 1_000_000)]
    jobs: u32,
    /// Allocations
    #[arg(long, default_value_t = 1_000_000)]
    allocations: u64,
    /// Seed of the failures
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    let memory = memory(args.jobs)?;
    let begun = Instant::now();
    let ending = failures::run(args.allocations, args.seed);
    anyhow::ensure!(ending.is_complete(), "jobs are left without an end: {ending:?}");
    let figures = json!({
        "pending_jobs": args.jobs,
        "bytes_per_pending_job": memory.bytes_per_job,
        "peak_bytes_per_pending_job": memory.peak_bytes_per_job,
        "record_bytes": size_of::<PendingRecord>(),
        "submissions_per_s": memory.submissions_per_s,
        "round_ms": memory.round_ms,
        "failures": ending,
        "failures_s": begun.elapsed().as_secs_f64(),
    });
    let text = serde_json::to_string_pretty(&figures).context("writing the figures")?;
    fs::write(&args.json, text + "\n").with_context(|| format!("writing {}", args.json.display()))
}

struct Memory {
    bytes_per_job: f64,
    peak_bytes_per_job: f64,
    submissions_per_s: f64,
    round_ms: f64,
}

/// Bytes that the allocator handed out for the queues, tenants, metrics and index included, by jobs.
#[allow(clippy::cast_precision_loss, reason = "bytes of one machine's memory")]
fn memory(jobs: u32) -> anyhow::Result<Memory> {
    let before = ALLOCATOR.current_usage();
    ALLOCATOR.reset_peak_usage();
    let begun = Instant::now();
    let mut tenants = Tenants::new(86_400, 1_000);
    (0..TENANTS).for_each(|_| _ = tenants.add(1, 0));
    let mut configs = QueueConfig::market();
    configs.iter_mut().for_each(|queue| queue.max_jobs = jobs);
    let mut queues = Queues::new(configs, tenants, RetryPolicy::default(), 1_000).context("configuring the queues")?;
    for id in 0..jobs {
        let job = PendingRecord {
            job_id: JobId(u64::from(id)),
            submitted_s: 0,
            deadline_s: 1_000_000 + id,
            due_s: 0,
            not_before_s: 0,
            limit_s: 60 + id % 10_000,
            tenant: TenantIndex(id % TENANTS),
            requirements: id % 10_000,
            gpus: 1 + u16::try_from(id % 8)?,
            priority: 1 + u8::try_from(id % 10)?,
            queue: QueueIndex(u8::try_from(id % 3)?),
        };
        queues.submit(job, id / 1_000);
    }
    let (used, peak) = (ALLOCATOR.current_usage() - before, ALLOCATOR.peak_usage() - before);
    let seconds = begun.elapsed().as_secs_f64();
    anyhow::ensure!(queues.pending().len() == jobs as usize, "only {} jobs wait", queues.pending().len());
    // One round over all of them, so that what a decision needs is counted too.
    let mut cluster = Cluster::new(vec![8]);
    let begun = Instant::now();
    let round = queues.dispatch(&mut cluster, &Balanced::default(), 2_000);
    let round_ms = begun.elapsed().as_secs_f64() * 1_000.0;
    anyhow::ensure!(!round.starts.is_empty(), "nothing started");
    let peak = peak.max(ALLOCATOR.peak_usage() - before);
    let by_job = |bytes: usize| bytes as f64 / f64::from(jobs);
    Ok(Memory {
        bytes_per_job: by_job(used),
        peak_bytes_per_job: by_job(peak),
        submissions_per_s: f64::from(jobs) / seconds,
        round_ms,
    })
}
