//! The process whose power is cut: it opens the real store, tells what is in it, and writes until it is stopped.
//!
//! It tells each write before it begins, and again once the store has said that it is committed.

use std::{io::Write as _, path::Path};

use anyhow::{Context as _, Result, bail};
use futures::TryStreamExt as _;
use keeper_store::{
    ExplanationRecord, IntentAction, IntentId, IntentUpdate, Landed, NewIntent, Observation, SqliteStore, Stage, Store,
    check, conformance,
};
use keeper_types::{Address, Attempt, BlockNumber, Felt, JobId, TxHash};
use rand::{SeedableRng as _, rngs::StdRng};
use serde::{Deserialize, Serialize};

use super::model::{Block, FIRST_BLOCK, Intent, Model, Op, fork_of, stored};

/// What the writer tells, a line each.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Line {
    /// The store is open.
    Opened,
    /// What is in it.
    Found(Box<Model>),
    /// What the check of the database found.
    Checked { findings: Vec<String> },
    /// A write begins.
    Begun(Op),
    /// It is committed.
    Committed,
    /// The store, or the check, failed.
    Failed(String),
}

/// Runs until the store fails or the process is killed.
///
/// # Errors
/// Fails where nobody listens any more.
pub(crate) fn run(database: &Path, seed: u64, sabotage: bool) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let Err(error) = runtime.block_on(serve(database, seed, sabotage)) else { return Ok(()) };
    tell(&Line::Failed(format!("{error:#}")))
}

fn tell(line: &Line) -> Result<()> {
    let mut out = std::io::stdout().lock();
    let mut text = serde_json::to_string(line)?;
    text.push('\n');
    out.write_all(text.as_bytes())?;
    Ok(out.flush()?)
}

async fn serve(database: &Path, seed: u64, sabotage: bool) -> Result<()> {
    let identity = conformance::identity();
    let store = if sabotage {
        SqliteStore::open_without_sync(database, identity).await
    } else {
        SqliteStore::open(database, identity).await
    };
    let store = store.context("opening the store")?;
    tell(&Line::Opened)?;
    let mut model = found(&store).await.context("reading the store")?;
    tell(&Line::Found(Box::new(model.clone())))?;
    let report = check(database).await.context("checking the store")?;
    let findings = report.findings.into_iter().map(|finding| format!("{}: {}", finding.check, finding.detail));
    tell(&Line::Checked { findings: findings.collect() })?;

    let mut rng = StdRng::seed_from_u64(seed);
    // Later than everything that is there.
    let mut time = model.intents.values().map(|intent| intent.updated).max().unwrap_or(0);
    loop {
        time += 1;
        let op = model.next(time, &mut rng);
        tell(&Line::Begun(op.clone()))?;
        commit(&store, &op).await.context("writing")?;
        tell(&Line::Committed)?;
        model.apply(&op);
    }
}

async fn commit(store: &SqliteStore, op: &Op) -> Result<()> {
    match op {
        Op::Append(blocks) => {
            store.append_blocks(&blocks.iter().map(stored).collect::<Vec<_>>()).await?;
        }
        Op::Revert { block } => store.revert_to(BlockNumber(*block)).await?,
        Op::Record { intent, time } => {
            let recorded = store.record_intent(&new_intent(intent - 1, *time)).await?;
            if recorded != IntentId(*intent) {
                bail!("intent {intent} was given the number {recorded}");
            }
        }
        Op::Update { intent, state, time } => {
            let mut update = IntentUpdate::to(state.parse()?, *time);
            if update.state.is_landed() {
                let tx_hash = TxHash(Felt::from(intent - 1));
                update.landed = Some(Landed { tx_hash, block: None, fee: None });
            }
            store.update_intent(IntentId(*intent), &update).await?;
        }
        Op::Explain { jobs, block, time } => {
            let record =
                |job: &u64| ExplanationRecord { time_ms: *time, ..conformance::explanation(*job, None, *block) };
            store.save_explanations(&jobs.iter().map(record).collect::<Vec<_>>()).await?;
        }
        Op::Observe { jobs, stage, time } => {
            let observation = |job: &u64| Observation {
                job_id: JobId(*job),
                attempt: Attempt(1),
                stage: Stage::ALL[*stage],
                // Never reverted, since what a store tells of an observation does not name its block.
                block: BlockNumber(FIRST_BLOCK),
                observed_ms: *time,
            };
            store.observe(&jobs.iter().map(observation).collect::<Vec<_>>()).await?;
        }
    }
    Ok(())
}

fn new_intent(nonce: u64, time: u64) -> NewIntent {
    NewIntent {
        action: IntentAction::ApplyBatch { round: nonce, snapshot_block: BlockNumber(FIRST_BLOCK), items: Vec::new() },
        account: Address(Felt::TWO),
        signed: Some((nonce, conformance::signed(nonce, time))),
        created_ms: time,
    }
}

/// What the store holds, by its own interface.
async fn found(store: &SqliteStore) -> Result<Model> {
    let mut model = Model::default();
    for header in store.recent_blocks(u32::MAX).await? {
        let number = header.number.0;
        let fork = fork_of(number, header.hash).context("a block has a hash that nobody gave it")?;
        model.blocks.insert(number, Block { fork, jobs: Vec::new() });
    }
    let events: Vec<_> = store.load_events(BlockNumber(0)).try_collect().await?;
    for (position, event) in events {
        model.blocks.entry(position.block.0).or_default().jobs.extend(event.job_ids().iter().map(|job| job.0));
    }
    // Open intents are told as such; the others are found by their transactions, beyond a gap too.
    let last = store.last_round(Address(Felt::TWO)).await?;
    for nonce in 0..last.map_or(0, |last| last + 1) {
        if let Some(intent) = store.intent_by_tx(TxHash(Felt::from(nonce))).await? {
            insert(&mut model, &intent);
        }
    }
    for intent in store.open_intents().await? {
        insert(&mut model, &intent);
    }
    for timings in store.all_timings().await? {
        let seen = [
            timings.observed_submitted_ms,
            timings.observed_allocated_ms,
            timings.observed_revealed_ms,
            timings.observed_settled_ms,
        ];
        model.seen.insert(timings.job_id.0, seen);
    }
    for job in 1..=super::model::EXPLAINED {
        if let Some(record) = store.explanation(JobId(job)).await? {
            model.explained.insert(job, (record.time_ms, record.snapshot_block.0));
        }
    }
    Ok(model)
}

fn insert(model: &mut Model, intent: &keeper_store::Intent) {
    // What was signed is written with its nonce, or not at all.
    let nonce = intent.nonce.filter(|_| intent.transactions.len() == 1).unwrap_or(u64::MAX);
    let line = Intent { nonce, state: intent.state.name().to_owned(), updated: intent.updated_ms };
    model.intents.insert(intent.intent_id.0, line);
}
