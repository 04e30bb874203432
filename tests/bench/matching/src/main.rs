//! The program behind `cargo xtask bench matching`.
//!
//! `generate JOBS WORKERS NOISE SEED FILE` writes an instance: scores as two bytes each, little end first, a row
//! for every job and then one for every hundredth job again, to replace jobs with. `serve` answers every line
//! `FILE JOBS WORKERS SLOTS` with a line of figures.

use std::{
    fs,
    io::{BufRead as _, Write as _},
    time::Instant,
};

use anyhow::{Context as _, Result, bail, ensure};
use keeper_scheduler::assignment::{Instance, JobScores, Matcher};
use keeper_types::{JobId, WorkerId};
use serde_json::json;

/// Factors of a job and of a worker whose products make up a score.
const RANK: usize = 8;
/// Factors are 0 to this, so that a mean of products reaches the highest score.
const MAX_FACTOR: u64 = 100;
const MAX_SCORE: u64 = 10_000;

/// How many times the changed batch is solved again, and the whole one from nothing.
const CHANGES: usize = 11;
const SOLVES: usize = 3;

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments[..] {
        ["generate", jobs, workers, noise, seed, file] => {
            let scores = generate(jobs.parse()?, workers.parse()?, noise.parse()?, seed.parse()?);
            fs::write(file, scores).with_context(|| format!("writing {file}"))
        }
        ["serve"] => serve(),
        _ => bail!("usage: matching generate JOBS WORKERS NOISE SEED FILE | matching serve"),
    }
}

/// SplitMix64 (Steele, Lea and Flood 2014): the same instances everywhere.
struct Lots(u64);

impl Lots {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = self.0;
        word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (word ^ (word >> 31)) % end
    }
}

/// Scores of low rank: the mean of products of a job's and a worker's factors, and up to `noise` more.
fn generate(jobs: usize, workers: usize, noise: u64, seed: u64) -> Vec<u8> {
    let mut lots = Lots(seed);
    let rows = jobs + jobs / 100 * CHANGES;
    let mut factors = |count: usize| -> Vec<[u64; RANK]> {
        (0..count).map(|_| std::array::from_fn(|_| lots.below(MAX_FACTOR + 1))).collect()
    };
    let (of_jobs, of_workers) = (factors(rows), factors(workers));
    let mut bytes = Vec::with_capacity(rows * workers * 2);
    for job in &of_jobs {
        for worker in &of_workers {
            let sum: u64 = job.iter().zip(worker).map(|(job, worker)| job * worker).sum();
            let score = (sum / RANK as u64 + lots.below(noise + 1)).min(MAX_SCORE);
            bytes.extend(u16::try_from(score).unwrap_or(u16::MAX).to_le_bytes());
        }
    }
    bytes
}

fn serve() -> Result<()> {
    for line in std::io::stdin().lock().lines() {
        let line = line?;
        let fields: Vec<&str> = line.split_whitespace().collect();
        let [file, jobs, workers, slots] = fields[..] else { bail!("expected FILE JOBS WORKERS SLOTS: {line}") };
        let figures = measure(file, jobs.parse()?, workers.parse()?, slots.parse()?)?;
        let mut out = std::io::stdout().lock();
        writeln!(out, "{figures}")?;
        out.flush()?;
    }
    Ok(())
}

/// Solves the instance from nothing, then again after every hundredth job changed, and checks both.
fn measure(file: &str, jobs: usize, workers: u32, slots: u32) -> Result<serde_json::Value> {
    let bytes = fs::read(file).with_context(|| format!("reading {file}"))?;
    let rows: Vec<JobScores> = (1..)
        .zip(bytes.chunks(workers as usize * 2))
        .map(|(id, row)| JobScores {
            job_id: JobId(id),
            scores: (1..)
                .map(WorkerId)
                .zip(row.chunks_exact(2).map(|pair| u32::from(u16::from_le_bytes([pair[0], pair[1]]))))
                .collect(),
        })
        .collect();
    let workers: Vec<_> = (1..=workers).map(|id| (WorkerId(id), slots)).collect();

    let mut cold = Vec::new();
    let build = Instant::now();
    let instance = Instance::new(&workers, &rows[..jobs])?;
    let build_ms = ms(build);
    let mut matcher = Matcher::new(instance);
    let mut solution = None;
    for _ in 0..SOLVES {
        let start = Instant::now();
        solution = Some(matcher.solve());
        cold.push(ms(start));
    }
    let solution = solution.context("nothing was solved")?;
    let start = Instant::now();
    solution.verify(matcher.instance())?;
    let verify_ms = ms(start);

    let mut warm = Vec::new();
    let changed = jobs / 100;
    for (round, new) in rows[jobs..].chunks_exact(changed).enumerate() {
        let gone: Vec<JobId> = rows[round * changed..][..changed].iter().map(|job| job.job_id).collect();
        let start = Instant::now();
        matcher.replace(&gone, new)?;
        let solution = matcher.resolve();
        warm.push(ms(start));
        solution.verify(matcher.instance())?;
        let again = Matcher::new(matcher.instance().clone()).solve();
        ensure!(again.score == solution.score, "solved again {}, from nothing {}", solution.score, again.score);
    }
    Ok(json!({
        "score": solution.score, "ms": median(&mut cold), "build_ms": build_ms, "verify_ms": verify_ms,
        "resolve_ms": median(&mut warm), "resolve_worst_ms": warm.last(),
    }))
}

fn ms(start: Instant) -> f64 {
    start.elapsed().as_secs_f64() * 1e3
}

fn median(values: &mut [f64]) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    values[values.len() / 2]
}
