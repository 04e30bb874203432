//! The program behind `cargo xtask bench queue`.
//!
//! `sqlite`, `postgres` and `fdatasync` measure what they name, each with a batch's size, a number of callers and a
//! time, and answer with a line of figures. `with-server` runs another program beside a PostgreSQL server of the same
//! kind as `postgres` does, with the server's URL in place of `{url}`.

use std::{
    fs::OpenOptions,
    io::Write as _,
    os::unix::fs::FileExt as _,
    path::Path,
    process::Command,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail, ensure};
use futures::future::try_join_all;
use keeper_store::{
    Claim, ClaimTerms, NewItem, PostgresStore, SqliteStore, WorkQueue,
    conformance::{Server, identity},
};
use serde_json::{Value, json};

const QUEUE: &str = "intake";
/// Bytes of an item's payload: a small message.
const PAYLOAD: usize = 128;
/// Bytes that an item takes in a log, for the bare loop: payload, key and the rest of its row.
const ROW: usize = 200;
/// The least that a log is written by.
const PAGE: usize = 4_096;
/// What is enqueued at once where enqueueing is not what is measured.
const FILLING: u64 = 1_000;

/// How much is done at once, by how many, for how long.
#[derive(Clone, Copy)]
struct Load {
    batch: u64,
    callers: u64,
    span: Duration,
}

#[tokio::main]
async fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let figures = match arguments[..] {
        ["sqlite", folder, batch, callers, seconds] => {
            let folder = tempfile::tempdir_in(folder)?;
            let store = SqliteStore::open(&folder.path().join("keeper.sqlite"), identity()).await?;
            measured(&store, load(batch, callers, seconds)?, 200_000).await?
        }
        ["postgres", batch, callers, seconds] => {
            let server = Server::start(&[])?;
            let store = PostgresStore::open(&server.create_database().await, identity()).await?;
            measured(&store, load(batch, callers, seconds)?, 60_000).await?
        }
        ["fdatasync", folder, batch, seconds] => syncs(Path::new(folder), load(batch, "1", seconds)?)?,
        ["with-server", program, ref rest @ ..] => return with_server(program, rest).await,
        _ => bail!(
            "usage: queue-bench sqlite FOLDER BATCH CALLERS SECONDS | postgres BATCH CALLERS SECONDS | \
             fdatasync FOLDER BATCH SECONDS | with-server PROGRAM ARGUMENT..."
        ),
    };
    Ok(writeln!(std::io::stdout(), "{figures}")?)
}

fn load(batch: &str, callers: &str, seconds: &str) -> Result<Load> {
    let load =
        Load { batch: batch.parse()?, callers: callers.parse()?, span: Duration::from_secs_f64(seconds.parse()?) };
    ensure!(load.batch > 0 && load.callers > 0, "a batch has items, and somebody has to call");
    Ok(load)
}

/// Enqueues for a while, then claims and acknowledges for as long; each caller does one batch after the other. No more
/// than `most_per_s` are expected to be claimed a second.
async fn measured(queue: &dyn WorkQueue, load: Load, most_per_s: u64) -> Result<Value> {
    let started = Instant::now();
    let enqueuing = (0..load.callers).map(|caller| enqueue(queue, load, caller, started));
    let enqueued: u64 = try_join_all(enqueuing).await?.into_iter().sum();
    let enqueue_per_s = per_second(enqueued, started);

    // Enough that the claimers do not run dry; a batch takes 50 microseconds at the least.
    let wanted = load.span.as_secs().max(1) * most_per_s.min(load.batch * load.callers * 20_000);
    for first in (enqueued..wanted).step_by(usize::try_from(FILLING)?) {
        queue.enqueue(QUEUE, items("fill", first, FILLING)).await?;
    }
    let started = Instant::now();
    let claiming = (0..load.callers).map(|caller| claim_and_acknowledge(queue, load, caller, started));
    let done: u64 = try_join_all(claiming).await?.into_iter().sum();
    let claim_and_ack_per_s = per_second(done, started);
    let left = queue.stats(QUEUE).await?;
    ensure!(left.claimed == 0, "all that was claimed was acknowledged");
    ensure!(left.ready > 0, "the claimers ran dry after {done} items: measure for a shorter time");
    Ok(json!({ "enqueue_per_s": enqueue_per_s, "claim_and_ack_per_s": claim_and_ack_per_s }))
}

async fn enqueue(queue: &dyn WorkQueue, load: Load, caller: u64, started: Instant) -> Result<u64> {
    let (prefix, mut count) = (format!("caller-{caller}"), 0);
    while started.elapsed() < load.span {
        let added = queue.enqueue(QUEUE, items(&prefix, count, load.batch)).await?;
        ensure!(added == load.batch, "all keys are new");
        count += added;
    }
    Ok(count)
}

async fn claim_and_acknowledge(queue: &dyn WorkQueue, load: Load, caller: u64, started: Instant) -> Result<u64> {
    let terms = ClaimTerms {
        claimer: format!("claimer-{caller}"),
        limit: u32::try_from(load.batch)?,
        visibility: Duration::from_secs(300),
        max_attempts: 5,
    };
    let mut count = 0;
    while started.elapsed() < load.span {
        let claims = queue.claim(QUEUE, &terms).await?;
        let refused = queue.acknowledge(claims.iter().map(Claim::token).collect()).await?;
        ensure!(refused.is_empty(), "every claim stands");
        count += claims.len() as u64;
    }
    Ok(count)
}

/// Messages as they come from a partition: keys rise, payloads are small.
fn items(prefix: &str, first: u64, count: u64) -> Vec<NewItem> {
    let item = |number: u64| {
        let key = format!("{prefix}/{number:012}");
        let mut payload = format!("{{\"job\":{number},\"filler\":\"").into_bytes();
        payload.resize(PAYLOAD - 2, b'x');
        payload.extend_from_slice(b"\"}");
        NewItem { key, payload }
    };
    (first..first + count).map(item).collect()
}

/// Appends what a batch takes in a log and waits for the disk, and nothing else.
fn syncs(folder: &Path, load: Load) -> Result<Value> {
    let folder = tempfile::tempdir_in(folder)?;
    let file = OpenOptions::new().create_new(true).write(true).open(folder.path().join("log"))?;
    let bytes = vec![0x5a; (usize::try_from(load.batch)? * ROW).max(PAGE)];
    let (started, mut count, mut offset) = (Instant::now(), 0_u64, 0_u64);
    while started.elapsed() < load.span {
        file.write_all_at(&bytes, offset)?;
        nix::unistd::fdatasync(&file)?;
        offset += bytes.len() as u64;
        count += 1;
    }
    Ok(json!({ "syncs_per_s": per_second(count, started), "rows_per_s": per_second(count * load.batch, started) }))
}

async fn with_server(program: &str, arguments: &[&str]) -> Result<()> {
    let server = Server::start(&[])?;
    let url = format!("{}", server.create_database().await);
    let arguments = arguments.iter().map(|argument| argument.replace("{url}", &url));
    let status = Command::new(program).args(arguments).status().with_context(|| format!("starting {program}"))?;
    ensure!(status.success(), "{program} failed");
    Ok(())
}

fn per_second(count: u64, since: Instant) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "a count of a few seconds")]
    let count = count as f64;
    (count / since.elapsed().as_secs_f64()).round()
}
