//! Other queues on the same databases, each with the same durability as the keeper's and set up to be fast.
//!
//! `apalis FOLDER BATCH SECONDS` is apalis-sqlite on SQLite with a write-ahead log and `synchronous=FULL`;
//! `graphile URL BATCH SECONDS` is graphile_worker on a PostgreSQL database. Each answers with a line of figures.

mod apalis_queue;
mod graphile_queue;

use std::{
    path::Path,
    time::{Duration, Instant},
};

use anyhow::{Result, bail};
use serde_json::json;

/// Bytes of an item's payload, as the keeper's queue is measured with.
const PAYLOAD: usize = 128;

/// What one peer did.
pub(crate) struct Figures {
    /// Items enqueued a second.
    pub(crate) enqueue_per_s: f64,
    /// Items claimed, done (there is nothing to do) and acknowledged a second.
    pub(crate) claim_and_ack_per_s: f64,
}

#[tokio::main]
async fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let figures = match arguments[..] {
        ["apalis", folder, batch, seconds] => {
            apalis_queue::measured(Path::new(folder), batch.parse()?, span(seconds)?).await?
        }
        ["graphile", url, batch, seconds] => graphile_queue::measured(url, batch.parse()?, span(seconds)?).await?,
        _ => bail!("usage: queue-peers apalis FOLDER BATCH SECONDS | graphile URL BATCH SECONDS"),
    };
    let Figures { enqueue_per_s, claim_and_ack_per_s } = figures;
    println!("{}", json!({ "enqueue_per_s": enqueue_per_s, "claim_and_ack_per_s": claim_and_ack_per_s }));
    Ok(())
}

fn span(seconds: &str) -> Result<Duration> {
    Ok(Duration::from_secs_f64(seconds.parse()?))
}

/// A small message.
pub(crate) fn payload() -> String {
    "x".repeat(PAYLOAD)
}

/// Rounded to whole items.
pub(crate) fn per_second(count: u64, since: Instant) -> f64 {
    (count as f64 / since.elapsed().as_secs_f64()).round()
}
