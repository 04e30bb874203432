//! How many commits a second the store makes durable, by how many callers write at the same time.
//!
//! `cargo run --release -p keeper-store --features conformance --example commits [FOLDER]`
#![allow(clippy::print_stdout, reason = "an example prints")]

use std::{
    error::Error,
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use keeper_store::{
    IntentAction, NewIntent, SqliteStore, Store as _,
    conformance::{block, explanation, identity, signed, submitted},
};
use keeper_types::{Address, BlockNumber, Felt};

/// How long each is measured.
const SPAN: Duration = Duration::from_secs(3);

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let folder = PathBuf::from(std::env::args().nth(1).unwrap_or_else(|| ".".to_owned()));
    let folder = tempfile::tempdir_in(folder)?;
    let store = Arc::new(SqliteStore::open(&folder.path().join("keeper.sqlite"), identity()).await?);
    for callers in [1_u64, 2, 4, 16] {
        let rate = intents(&store, callers).await?;
        println!("{:<42} {rate:>8.0}/s", format!("an intent a commit, {callers} callers"));
    }
    println!("{:<42} {:>8.0}/s", "events in commits of 1,000", events(&store).await?);
    println!("{:<42} {:>8.0}/s", "explanations in commits of 1,000", explanations(&store).await?);
    Ok(())
}

fn per_second(count: u64, since: Instant) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "a count of a few seconds")]
    let count = count as f64;
    count / since.elapsed().as_secs_f64()
}

async fn intents(store: &Arc<SqliteStore>, callers: u64) -> Result<f64, Box<dyn Error>> {
    let started = Instant::now();
    let tasks = (0..callers).map(|caller| {
        let store = Arc::clone(store);
        tokio::spawn(async move {
            let mut count = 0;
            while started.elapsed() < SPAN {
                store.record_intent(&intent(caller, count)).await?;
                count += 1;
            }
            Ok::<u64, keeper_store::StoreError>(count)
        })
    });
    let mut total = 0;
    for task in tasks.collect::<Vec<_>>() {
        total += task.await??;
    }
    Ok(per_second(total, started))
}

fn intent(caller: u64, nonce: u64) -> NewIntent {
    NewIntent {
        action: IntentAction::ApplyBatch { round: nonce, snapshot_block: BlockNumber(11), items: Vec::new() },
        account: Address(Felt::from(caller)),
        signed: Some((nonce, signed(caller << 32 | nonce, 0))),
        created_ms: 0,
    }
}

async fn events(store: &SqliteStore) -> Result<f64, Box<dyn Error>> {
    let (mut number, started) = (10, Instant::now());
    while started.elapsed() < SPAN {
        let blocks = (1..=100).map(|above| {
            let jobs = (0..10).map(|job| submitted(10 * (number + above) + job)).collect();
            block(number + above, 0, 0, jobs)
        });
        store.append_blocks(&blocks.collect::<Vec<_>>()).await?;
        number += 100;
    }
    Ok(per_second((number - 10) * 10, started))
}

async fn explanations(store: &SqliteStore) -> Result<f64, Box<dyn Error>> {
    let records: Vec<_> = (0..1_000).map(|job| explanation(job, None, 11)).collect();
    let (mut count, started) = (0, Instant::now());
    while started.elapsed() < SPAN {
        store.save_explanations(&records).await?;
        count += 1_000;
    }
    Ok(per_second(count, started))
}
