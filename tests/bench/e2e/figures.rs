//! The measurement in numbers.

use std::time::Duration;

use serde_json::{Map, Value, json};

use super::{BLOCK_S, load::Submission, shares::Shares, watching::Seen};

/// The numbers.
#[derive(Debug)]
pub(crate) struct Figures {
    rate: u32,
    workers: usize,
    jobs: usize,
    allocated: usize,
    latency: Vec<Duration>,
    inclusion: Vec<Duration>,
    block: Vec<Duration>,
    own: Vec<Duration>,
    node: Vec<Duration>,
    stages: Vec<(String, Vec<Duration>)>,
    overflow: u64,
    seen: Seen,
    chain_rss_mb: Option<u64>,
}

impl Figures {
    pub(crate) fn of(
        rate: u32,
        workers: usize,
        submissions: &[Submission],
        seen: &Seen,
        shares: &Shares,
        chain_rss_mb: Option<u64>,
    ) -> Self {
        let latency = sorted(submissions.iter().flat_map(|submission| seen.waits_of(submission)).collect());
        let included = |submission: &Submission| {
            let at = seen.included.get(&submission.tx_hash)?;
            Some(at.duration_since(submission.at))
        };
        let inclusion = sorted(submissions.iter().filter_map(included).collect());
        let block = sorted(seen.blocks.windows(2).map(|pair| pair[1].duration_since(pair[0])).collect());
        Self {
            rate,
            workers,
            jobs: submissions.iter().map(|submission| submission.jobs).sum(),
            allocated: latency.len(),
            latency,
            inclusion,
            block,
            own: sorted(shares.own.clone()),
            node: sorted(shares.node.clone()),
            stages: shares.stages.iter().map(|(name, times)| (name.clone(), sorted(times.clone()))).collect(),
            overflow: shares.overflow,
            seen: seen.clone(),
            chain_rss_mb,
        }
    }

    fn success_percent(&self) -> f64 {
        #[allow(clippy::cast_precision_loss, reason = "numbers of jobs stay far below 2^52")]
        let share = self.allocated as f64 / self.jobs.max(1) as f64;
        (share * 1e6).round() / 1e4
    }

    pub(crate) fn json(&self) -> Value {
        let latency = json!(percentiles(&self.latency));
        let limit_ms = 2 * BLOCK_S * 1_000;
        json!({
            "rate": self.rate,
            "workers": self.workers,
            "jobs": self.jobs,
            "allocated": self.allocated,
            "success_percent": self.success_percent(),
            "overflow": self.overflow,
            "doubled": self.seen.doubled,
            "skipped": self.seen.skipped,
            "submit_to_allocated_ms": latency,
            "submit_to_included_ms": percentiles(&self.inclusion),
            "chain_limit_ms": limit_ms,
            "p95_in_chain_limits": percentile(&self.latency, 95).map(|p95| ratio(p95, limit_ms)),
            "own_share_ms": percentiles(&self.own),
            "own_stages_ms": self.stages.iter().map(|(name, times)| (name.clone(), percentiles(times))).collect::<Map<_, _>>(),
            "node_share_ms": percentiles(&self.node),
            "block_ms": percentiles(&self.block),
            "rounds": self.seen.rounds.len(),
            "largest_round": self.seen.rounds.iter().max(),
            "chain_rss_mb": self.chain_rss_mb,
        })
    }

    pub(crate) fn told(&self) -> String {
        let line = |name: &str, times: &[Duration]| {
            let ms = |percent| percentile(times, percent).map_or("-".to_owned(), |time| format!("{:.1}", millis(time)));
            format!("{name:<34} {:>10} {:>10} {:>10}\n", ms(50), ms(95), ms(99))
        };
        let mut text = format!("{:<34} {:>10} {:>10} {:>10}\n", "ms", "p50", "p95", "p99");
        text += &line("from submission to allocation", &self.latency);
        text += &line("from submission to its block", &self.inclusion);
        text += &line("from block to block, as seen", &self.block);
        text += &line("the keeper's own share of a round", &self.own);
        for (name, times) in &self.stages {
            text += &line(&format!("  {name}"), times);
        }
        text += &line("the node's answers in a round", &self.node);
        text += &format!(
            "{} of {} jobs allocated ({} %), {} doubled, {} skipped, {} found their queue full\n\
             {} rounds, the largest of {} items\n",
            self.allocated,
            self.jobs,
            self.success_percent(),
            self.seen.doubled,
            self.seen.skipped,
            self.overflow,
            self.seen.rounds.len(),
            self.seen.rounds.iter().max().unwrap_or(&0),
        );
        text
    }
}

fn sorted(mut times: Vec<Duration>) -> Vec<Duration> {
    times.sort_unstable();
    times
}

/// By the nearest rank.
fn percentile(sorted: &[Duration], percent: usize) -> Option<Duration> {
    let place = (sorted.len() * percent).div_ceil(100).max(1) - 1;
    sorted.get(place).copied()
}

fn percentiles(sorted: &[Duration]) -> Value {
    let of = |percent| percentile(sorted, percent).map(millis);
    json!({ "p50": of(50), "p95": of(95), "p99": of(99), "longest": of(100) })
}

/// In milliseconds, to the microsecond.
fn millis(time: Duration) -> f64 {
    (time.as_secs_f64() * 1e6).round() / 1e3
}

#[allow(clippy::cast_precision_loss, reason = "a few seconds")]
fn ratio(time: Duration, limit_ms: u64) -> f64 {
    (millis(time) / limit_ms as f64 * 1e3).round() / 1e3
}
