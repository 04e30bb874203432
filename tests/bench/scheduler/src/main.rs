//! The program behind `cargo xtask bench scheduler`.
//!
//! `stream WORKERS DECISIONS kinds|varied SEED` places jobs one after the other, `pending JOBS` packs jobs that wait,
//! `round WORKERS PENDING TURNOVER RUNNING ROUNDS SEED` makes whole rounds; each answers with a line of figures.

mod round;
mod workload;

use std::{collections::VecDeque, hint::black_box, io::Write as _, time::Instant};

use anyhow::{Context as _, Result, bail, ensure};
use keeper_scheduler::{
    PendingJob, Policy, WorkerView,
    matching::{Decision, Need, WorkerIndex},
    queueing::{PendingPool, PendingRecord, QueueIndex, TenantIndex},
};
use keeper_types::WorkerId;
use serde_json::{Value, json};
use workload::{Fleet, Lots, job, jobs, workers};

/// Pending jobs that are decided on in turn.
const JOBS: u64 = 1_000;
/// What part of all GPUs runs something, in tenths: above it, the job that has run longest ends.
const BUSY_TENTHS: u64 = 6;
const AGE: u16 = 1_000;
const GPUS_OF_LARGEST: u64 = 8;

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let figures = match arguments[..] {
        ["stream", workers, decisions, fleet, seed] => {
            let fleet = match fleet {
                "kinds" => Fleet::Kinds,
                "varied" => Fleet::Varied,
                _ => bail!("a fleet is of kinds or varied, not {fleet}"),
            };
            stream(workers.parse()?, decisions.parse()?, fleet, seed.parse()?)
        }
        ["pending", jobs] => pending(jobs.parse()?)?,
        ["round", workers, pending, turnover, running, rounds, seed] => {
            let (workers, rounds, seed) = (workers.parse()?, rounds.parse()?, seed.parse()?);
            let (pending, turnover, running) = (pending.parse()?, turnover.parse()?, running.parse()?);
            ensure!(rounds > 0, "ROUNDS is 0, but at least one has to be measured");
            round::measure(&round::Case { workers, pending, turnover, running, rounds, seed })?
        }
        _ => bail!(
            "usage: scheduler-bench pending JOBS | round WORKERS PENDING TURNOVER RUNNING ROUNDS SEED | \
             stream WORKERS DECISIONS kinds|varied SEED"
        ),
    };
    Ok(writeln!(std::io::stdout(), "{figures}")?)
}

/// A job as the stream has it: what it needs, and who failed it before.
struct Queued {
    need: Need,
    excluded: Vec<WorkerId>,
}

/// The market as the stream goes through it.
struct Stream {
    index: WorkerIndex,
    running: VecDeque<(WorkerId, u8)>,
    busy_gpus: u64,
    most_busy: u64,
    placed: u64,
}

impl Stream {
    fn new(workers: &[WorkerView]) -> Self {
        let gpus: u64 = workers.iter().map(|worker| u64::from(worker.capabilities.gpu_count)).sum();
        Self {
            index: WorkerIndex::new(workers, &Policy::BALANCED),
            running: VecDeque::new(),
            busy_gpus: 0,
            most_busy: gpus * BUSY_TENTHS / 10,
            placed: 0,
        }
    }

    /// Decides on a job, gives it its worker, and ends what has run longest where too much runs.
    fn step(&mut self, job: &Queued) -> Option<Decision> {
        let decision = self.index.decide(&job.need, AGE, &job.excluded);
        if let Some(decision) = &decision {
            let (worker_id, gpus) = (decision.winner.worker_id, job.need.gpus());
            self.index.reserve(worker_id, gpus);
            self.running.push_back((worker_id, gpus));
            self.busy_gpus += u64::from(gpus);
            self.placed += 1;
        }
        while self.busy_gpus > self.most_busy {
            let Some((worker_id, gpus)) = self.running.pop_front() else { break };
            self.index.release(worker_id, gpus);
            self.busy_gpus -= u64::from(gpus);
        }
        decision
    }
}

fn stream(count: u32, decisions: usize, fleet: Fleet, seed: u64) -> Value {
    let mut lots = Lots(seed);
    let workers = workers(count, fleet, &mut lots);
    let pending = jobs(JOBS, &mut lots);
    let queue: Vec<_> =
        pending.iter().map(|job| Queued { need: Need::of(job), excluded: job.excluded.clone() }).collect();
    let mut in_turn = queue.iter().cycle();
    let mut next = || in_turn.next().unwrap_or(&queue[0]);

    let start = Instant::now();
    let mut stream = Stream::new(&workers);
    let build_ms = start.elapsed().as_secs_f64() * 1e3;
    // Until as much runs as will: an empty market is another one.
    let filling = decisions / 10 + 4 * workers.len();
    for _ in 0..filling {
        if stream.busy_gpus + GPUS_OF_LARGEST > stream.most_busy {
            break;
        }
        black_box(stream.step(next()));
    }
    stream.placed = 0;
    let decisions_per_s = rate(decisions, || {
        black_box(stream.step(next()));
    });
    let placed_share = stream.placed as f64 / decisions as f64;

    let mut nanoseconds: Vec<u128> = Vec::with_capacity(decisions);
    for _ in 0..decisions {
        let job = next();
        let start = Instant::now();
        black_box(stream.step(job));
        nanoseconds.push(start.elapsed().as_nanos());
    }
    nanoseconds.sort_unstable();
    let us = |part: usize, of: usize| nanoseconds[(decisions - 1) * part / of] as f64 / 1e3;

    let explained_per_s = rate(decisions, || {
        let job = next();
        black_box(stream.index.rejections(&job.need, &job.excluded));
        black_box(stream.step(job));
    });
    json!({
        "decisions_per_s": decisions_per_s, "explained_per_s": explained_per_s, "placed_share": placed_share,
        "p50_us": us(50, 100), "p99_us": us(99, 100), "p999_us": us(999, 1_000), "max_us": us(1, 1),
        "build_ms": build_ms,
    })
}

/// Steps that are timed together: a part of a millisecond, so that most are not interrupted.
const TOGETHER: usize = 100;

/// How often a second `step` runs: the median over hundreds.
fn rate(steps: usize, mut step: impl FnMut()) -> f64 {
    let mut rates: Vec<f64> = (0..steps.div_ceil(TOGETHER))
        .map(|_| {
            let start = Instant::now();
            (0..TOGETHER).for_each(|_| step());
            TOGETHER as f64 / start.elapsed().as_secs_f64()
        })
        .collect();
    rates.sort_unstable_by(f64::total_cmp);
    rates[rates.len() / 2]
}

/// Queues jobs, each with needs of its own, and says by how much the process has grown; then reads every hundredth back.
fn pending(count: u64) -> Result<Value> {
    let before = resident_bytes()?;
    let mut pool = PendingPool::new();
    let mut needs: Vec<Need> = Vec::new();
    let mut lots = Lots(1);
    let start = Instant::now();
    for id in 1..=count {
        let job = job(id, &mut lots);
        pool.insert(record(&job, needs.len())?);
        needs.push(Need::of(&job));
    }
    let seconds = start.elapsed().as_secs_f64();
    let grown = resident_bytes()?.saturating_sub(before);
    let mut lots = Lots(1);
    for id in 1..=count {
        let expected = job(id, &mut lots);
        if id % 100 == 0 {
            let found = pool.get(expected.job_id).context("a job is missing")?;
            ensure!(*found == record(&expected, found.requirements as usize)?, "job {id} came out changed");
            ensure!(needs[found.requirements as usize] == Need::of(&expected), "job {id} needs something else");
        }
    }
    Ok(json!({ "jobs": pool.len(), "bytes_per_pending_job": grown as f64 / count as f64, "seconds": seconds }))
}

fn record(job: &PendingJob, need: usize) -> Result<PendingRecord> {
    Ok(PendingRecord {
        job_id: job.job_id,
        submitted_s: u32::try_from(job.submitted_at)?,
        deadline_s: u32::try_from(job.deadline.0)?,
        due_s: u32::MAX,
        not_before_s: 0,
        limit_s: job.execution_timeout_s,
        tenant: TenantIndex(0),
        requirements: u32::try_from(need)?,
        gpus: u16::from(job.requirements.gpu_count),
        priority: job.priority,
        queue: QueueIndex(job.queue as u8),
    })
}

/// What the process holds in memory, as Linux counts it.
fn resident_bytes() -> Result<u64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS")?;
    Ok(line.trim().trim_end_matches(" kB").trim().parse::<u64>()? * 1_024)
}
